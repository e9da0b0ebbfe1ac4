// Pictures of one random slot from each cluster, by seed.

import { getPicture } from "./api.js";

const PICTURES = 8;

export class Samples {
  constructor(run) {
    this.run = run;
    this.urls = [];
    this.words = document.getElementById("samples-words");
    this.place = document.getElementById("samples");
    this.seed = document.getElementById("seed");
    this.seed.value = run.seed;
    document.getElementById("samples-hint").textContent =
      `One random slot from each of ${run.slots} clusters (k-means over the slots of ${run.split} images).`;
    document.getElementById("samples-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.draw();
    });
    document.getElementById("next-seed").addEventListener("click", () => {
      this.seed.value = Math.min(this.seed.valueAsNumber + 1 || 0, Number(this.seed.max));
      this.draw();
    });
  }

  async draw() {
    const seed = this.seed.valueAsNumber;
    const asked = (this.asked = Symbol("newest"));
    this.words.textContent = `drawing pictures of seed ${seed} … (the first time, the clusters are computed)`;
    const figures = [];
    try {
      for (let number = 0; number < PICTURES; number++) {
        const blob = await getPicture(`api/samples/${seed}/${number}.png`);
        if (asked !== this.asked) return; // newer ones have been requested
        figures.push(this.figure(seed, number, URL.createObjectURL(blob)));
      }
      this.urls.forEach((url) => URL.revokeObjectURL(url));
      this.urls = figures.map((figure) => figure.querySelector("img").src);
      this.place.replaceChildren(...figures);
      this.words.textContent = `pictures of seed ${seed}`;
    } catch (error) {
      if (asked === this.asked) this.words.textContent = error.message;
    }
  }

  figure(seed, number, url) {
    const figure = document.createElement("figure");
    const picture = new Image();
    picture.className = "pixels";
    picture.alt = `picture ${number} of seed ${seed}`;
    picture.src = url;
    const link = document.createElement("a");
    link.href = url;
    link.download = `${this.run.name}-seed${seed}-${number}.png`;
    link.textContent = `seed ${seed}, ${number}`;
    link.setAttribute("aria-label", `download picture ${number} of seed ${seed}`);
    const caption = document.createElement("figcaption");
    caption.append(link);
    figure.append(picture, caption);
    return figure;
  }
}
