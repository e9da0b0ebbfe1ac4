// Films play together by one clock. A film is one picture with its frames one above the other.

const NORMAL = 160, SLOW = 480; // milliseconds a frame

export class Player {
  // `history` is how many frames a model sees that foretells, or null.
  constructor(element, history) {
    this.element = element;
    this.history = history;
    this.films = new Set();
    this.at = 0;
    this.timer = null;
    this.slider = element.querySelector("input[type=range]");
    this.button = element.querySelector(".play");
    this.slow = element.querySelector("input[type=checkbox]");
    this.button.addEventListener("click", () => this.play(this.timer === null));
    this.slider.addEventListener("input", () => this.step(this.slider.valueAsNumber - this.at));
    this.slow.addEventListener("change", () => this.timer !== null && this.play(true));
    element.querySelector(".back").addEventListener("click", () => this.step(-1));
    element.querySelector(".forward").addEventListener("click", () => this.step(1));
    element.addEventListener("keydown", (event) => this.key(event));
    element.hidden = false;
    this.play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  }

  get last() {
    return Math.max(1, ...[...this.films].map((film) => film.frames)) - 1;
  }

  // Show a film in a picture, which it replaces.
  show(picture, url, frames) {
    picture.src = url;
    picture.frames = frames;
    picture.classList.add("film");
    this.films.add(picture);
    this.slider.max = this.last;
    this.move(Math.min(this.at, this.last));
  }

  move(frame) {
    const count = this.last + 1;
    this.at = ((frame % count) + count) % count;
    for (const film of this.films) {
      const end = film.frames - 1; // a shorter film waits at its end
      film.style.objectPosition = `0 ${end ? (100 * Math.min(this.at, end)) / end : 0}%`;
    }
    const kind = this.history === null ? "" : this.at < this.history ? ", seen" : ", foretold";
    this.slider.value = this.at;
    this.element.querySelector("output").textContent = `frame ${this.at + 1} of ${count}${kind}`;
  }

  play(yes) {
    clearInterval(this.timer);
    this.timer = yes ? setInterval(() => this.move(this.at + 1), this.slow.checked ? SLOW : NORMAL) : null;
    this.button.textContent = yes ? "Pause" : "Play";
  }

  step(by) {
    this.play(false);
    this.move(this.at + by);
  }

  key(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by !== undefined) this.step(by);
    else if (event.key === " " && !event.target.matches("button, [type=checkbox]")) this.play(this.timer === null);
    else return;
    event.preventDefault();
  }
}
