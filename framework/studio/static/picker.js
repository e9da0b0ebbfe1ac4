// One of the two images: thumbnails, a number, a random one.

import { getJson } from "./api.js";

const THUMBS = 8;

export class Picker {
  // `source` says where images (or clips) come from, `count` how many there are, `film` shows a picture.
  // `changed` is called with what the server says of the image, once it is there.
  constructor(name, source, count, film, changed, failed) {
    this.name = name;
    this.source = source;
    this.count = count;
    this.film = film;
    this.changed = changed;
    this.failed = failed;
    this.position = null;
    this.page = 0;
    this.element = document.getElementById("picker").content.firstElementChild.cloneNode(true);
    this.find(".noun").textContent = source.noun === "image" ? "Image" : "Clip";
    this.find(".name").textContent = name;
    this.find(".thumbs").setAttribute("aria-label", `${source.noun}s to choose ${name} from`);
    this.find(".position").setAttribute("aria-label", `number of ${source.noun} ${name}`);
    this.find(".position").max = count - 1;
    this.find(".position").addEventListener("change", (event) => this.choose(event.target.valueAsNumber));
    this.find(".random").setAttribute("aria-label", `random ${source.noun} ${name}`);
    this.find(".random").addEventListener("click", () => this.choose(Math.floor(Math.random() * count)));
    this.button(".earlier", "earlier", -1);
    this.button(".later", "later", 1);
  }

  find(selector) {
    return this.element.querySelector(selector);
  }

  button(selector, word, step) {
    const button = this.find(selector);
    button.setAttribute("aria-label", `${word} ${this.source.noun}s for ${this.name}`);
    button.addEventListener("click", () => this.turn(this.page + step));
  }

  async choose(position) {
    if (!Number.isInteger(position) || position < 0 || position >= this.count) {
      this.failed(new Error(`there is no ${this.source.noun} ${position}: they are 0 to ${this.count - 1}`));
      this.find(".position").value = this.position;
      return;
    }
    const asked = (this.asked = Symbol("newest"));
    try {
      const seen = await getJson(this.source.facts(position));
      if (asked !== this.asked) return; // another one was chosen meanwhile
      this.position = position;
      this.show(seen);
      this.turn(Math.floor(position / THUMBS));
      this.changed(seen);
    } catch (error) {
      this.failed(error);
    }
  }

  show(seen) {
    this.find(".id").textContent = seen.id;
    this.find(".position").value = seen.position;
    for (const name of ["image", "reconstruction", "segments"]) {
      const picture = this.find(`img.${name}`);
      this.film(picture, this.source.image(seen.position, name), seen.frames);
      picture.alt = `${name === "segments" ? "slots" : name} of ${this.name}, ${seen.id}`;
    }
  }

  turn(page) {
    const last = Math.floor((this.count - 1) / THUMBS);
    this.page = Math.min(Math.max(page, 0), last);
    this.find(".earlier").disabled = this.page === 0;
    this.find(".later").disabled = this.page === last;
    const start = this.page * THUMBS;
    const positions = Array.from({ length: Math.min(THUMBS, this.count - start) }, (_, i) => start + i);
    const thumbs = this.find(".thumbs");
    const known = [...thumbs.children].map((thumb) => Number(thumb.dataset.position));
    if (String(known) !== String(positions)) thumbs.replaceChildren(...positions.map((p) => this.thumb(p)));
    for (const thumb of thumbs.children) {
      thumb.setAttribute("aria-pressed", String(Number(thumb.dataset.position) === this.position));
    }
  }

  thumb(position) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "thumb";
    button.dataset.position = position;
    button.setAttribute("aria-label", `${this.source.noun} ${position} as ${this.name}`);
    const picture = new Image();
    picture.className = "pixels";
    picture.alt = "";
    picture.loading = "lazy";
    picture.src = this.source.thumb(position);
    button.append(picture);
    button.addEventListener("click", () => this.choose(position));
    return button;
  }
}
