// Several draws of the kept slots, for a decoder that draws its pictures; each is shown while it is drawn.

import { draw } from "./api.js";

const DRAWS = 4;

export class Draws {
  // `picks` returns what the server is asked for.
  constructor(run, picks) {
    this.run = run;
    this.picks = picks;
    this.urls = [];
    this.words = document.getElementById("draws-words");
    this.place = document.getElementById("draws");
    document.getElementById("draws-section").hidden = !run.draws;
    document.getElementById("draw-again").addEventListener("click", () => this.draw());
  }

  async draw() {
    this.running?.abort();
    const running = (this.running = new AbortController());
    const picks = this.picks();
    this.urls.forEach((url) => URL.revokeObjectURL(url));
    this.urls = [];
    this.place.replaceChildren();
    if (picks.length === 0) {
      this.words.textContent = "no slot is kept; click one";
      return;
    }
    try {
      for (let number = 0; number < DRAWS; number++) {
        const picture = this.figure(number);
        await draw(picks, number, running.signal, ({ done, total, blob }) => {
          this.show(picture, blob);
          this.words.textContent = `draw ${number + 1} of ${DRAWS}, step ${done} of ${total}`;
        });
      }
      this.words.textContent = `${DRAWS} draws of the same slots; the first is the result`;
    } catch (error) {
      if (error.name !== "AbortError") this.words.textContent = error.message;
    }
  }

  figure(number) {
    const figure = document.createElement("figure");
    const picture = new Image();
    picture.className = "pixels";
    picture.alt = `draw ${number} of the kept slots`;
    const caption = document.createElement("figcaption");
    caption.textContent = `draw ${number}`;
    figure.append(picture, caption);
    this.place.append(figure);
    return picture;
  }

  show(picture, blob) {
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.src = URL.createObjectURL(blob);
    this.urls.push(picture.src);
  }
}
