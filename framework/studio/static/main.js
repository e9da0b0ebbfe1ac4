// Two pickers, the slots of their images, and the picture that the kept slots are decoded to.

import { clips, compose, composeClip, getJson, images } from "./api.js";
import { Draws } from "./draws.js";
import { Picker } from "./picker.js";
import { Player } from "./player.js";
import { Samples } from "./samples.js";
import { Slots } from "./slots.js";

const byId = (id) => document.getElementById(id);

function tellProblem(error) {
  byId("problem").textContent = error === null ? "" : error.message;
  byId("problem").hidden = error === null;
}

class Result {
  // `player` shows films, of a run of clips; else null.
  constructor(run, player) {
    this.run = run;
    this.player = player;
    this.picture = byId("result-picture");
    this.words = byId("result-words");
    this.link = byId("download");
  }

  async show(slots, amount) {
    const kind = document.querySelector("input[name=show]:checked").value;
    this.busy(true);
    this.running?.abort();
    const running = (this.running = new AbortController());
    const picks = slots.picks(amount);
    if (picks.length === 0) {
      this.clear("no slot is kept; click one");
      return;
    }
    try {
      const { blob, frames } = await this.ask(picks, kind, running.signal);
      if (running.signal.aborted) return;
      await this.fill(blob, slots, kind, frames);
      if (running.signal.aborted) return;
      this.busy(false);
      tellProblem(null);
    } catch (error) {
      if (error.name !== "AbortError") this.clear(error.message);
    }
  }

  async ask(picks, kind, signal) {
    if (!this.player) return { blob: await compose(picks, kind, signal), frames: 1 };
    const wanted = this.run.history === null ? null : byId("frames").valueAsNumber || null;
    const asked = [picks, kind, wanted];
    this.animated = (signal) => composeClip(...asked, "webp", signal);
    return composeClip(...asked, "film", signal);
  }

  // Keep the clip as an animated picture, which is made now.
  async keep(event) {
    if (!this.player || !this.link.href) return;
    event.preventDefault();
    const { blob } = await this.animated();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = this.link.download;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // not before the browser has read it
  }

  busy(yes) {
    byId("result").setAttribute("aria-busy", String(yes));
  }

  async fill(blob, slots, kind, frames) {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(blob);
    if (this.player) this.player.show(this.picture, this.url, frames);
    else this.picture.src = this.url;
    this.picture.hidden = false;
    const [a, b] = [slots.kept.a.size, slots.kept.b.size];
    const trained = a + b === this.run.slots ? "" : ` (the run has ${this.run.slots})`;
    this.words.textContent = `${a + b} slot${a + b === 1 ? "" : "s"}: ${a} of A, ${b} of B${trained}`;
    this.link.href = this.url;
    const names = `${slots.images.a.position}-${slots.images.b.position}`;
    this.link.download = `${this.run.name}-${names}${kind === "picture" ? "" : "-segments"}.${this.player ? "webp" : "png"}`;
    this.link.removeAttribute("aria-disabled");
    await this.picture.decode().catch(() => {}); // of a picture that a newer one has replaced
  }

  clear(words) {
    this.busy(false);
    this.words.textContent = words;
    this.picture.hidden = true;
    this.link.removeAttribute("href");
    this.link.setAttribute("aria-disabled", "true");
  }
}

// Words and controls of a run of clips, and the shape of its frames.
function prepareForClips(run) {
  document.documentElement.style.setProperty("--ratio", String(run.ratio));
  byId("images-title").textContent = "Two clips";
  byId("download").textContent = "Download WebP";
  byId("samples-section").hidden = true;
  byId("result-picture").alt = "the clip decoded from the kept slots";
  byId("roll").hidden = run.history === null;
  byId("roll-words").textContent =
    `The first ${run.history} frames are seen; what follows is rolled on from the kept slots alone.`;
}

async function start() {
  const run = await getJson("api/run");
  document.title = `${run.name} - slotlab studio`;
  const source = run.clips ? clips : images;
  const count = run.clips || run.images;
  const player = run.clips ? new Player(byId("player"), run.history) : null;
  const film = (picture, url, frames) => (player ? player.show(picture, url, frames) : (picture.src = url));
  if (player) prepareForClips(run);
  byId("facts").textContent =
    `${run.name}: ${count} ${source.noun}s of ${run.dataset} ${run.split}, protocol ${run.protocol}, ` +
    `${run.slots} slots, weights of step ${run.step}, on ${run.device}`;
  const result = new Result(run, player);
  byId("download").addEventListener("click", (event) => result.keep(event).catch(tellProblem));
  byId("frames").addEventListener("change", () => update());
  const amount = byId("amount");
  const update = () => {
    amount.disabled = slots.swapped().length === 0;
    byId("amount-words").textContent = amount.disabled ? "swap one first" : `${amount.value} %`;
    result.show(slots, Number(amount.value) / 100);
  };
  const slots = new Slots(byId("slots"), source, film, update);
  amount.addEventListener("input", update);
  document.querySelectorAll("input[name=show]").forEach((choice) => choice.addEventListener("change", update));
  byId("all-of-a").addEventListener("click", () => slots.keepAllOf("a"));
  byId("all-of-b").addEventListener("click", () => slots.keepAllOf("b"));
  byId("swap-all").addEventListener("click", () => slots.swapAll());
  const pickers = ["A", "B"].map(
    (name) => new Picker(name, source, count, film, (seen) => slots.show(name.toLowerCase(), seen), tellProblem),
  );
  byId("pickers").append(...pickers.map((picker) => picker.element));
  if (!player) {
    new Samples(run);
    new Draws(run, () => slots.picks(Number(amount.value) / 100));
  }
  await pickers[0].choose(0);
  await pickers[1].choose(Math.min(1, count - 1));
}

start().catch(tellProblem);
