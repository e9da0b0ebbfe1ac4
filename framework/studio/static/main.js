// Two pickers, the slots of their images, and the picture that the kept slots are decoded to.

import { compose, getJson } from "./api.js";
import { Draws } from "./draws.js";
import { Picker } from "./picker.js";
import { Samples } from "./samples.js";
import { Slots } from "./slots.js";

const byId = (id) => document.getElementById(id);

function tellProblem(error) {
  byId("problem").textContent = error === null ? "" : error.message;
  byId("problem").hidden = error === null;
}

class Result {
  constructor(run) {
    this.run = run;
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
      const blob = await compose(picks, kind, running.signal);
      if (running.signal.aborted) return;
      await this.fill(blob, slots, kind);
      if (running.signal.aborted) return;
      this.busy(false);
      tellProblem(null);
    } catch (error) {
      if (error.name !== "AbortError") this.clear(error.message);
    }
  }

  busy(yes) {
    byId("result").setAttribute("aria-busy", String(yes));
  }

  async fill(blob, slots, kind) {
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = URL.createObjectURL(blob);
    this.picture.src = this.url;
    this.picture.hidden = false;
    const [a, b] = [slots.kept.a.size, slots.kept.b.size];
    const trained = a + b === this.run.slots ? "" : ` (the run has ${this.run.slots})`;
    this.words.textContent = `${a + b} slot${a + b === 1 ? "" : "s"}: ${a} of A, ${b} of B${trained}`;
    this.link.href = this.url;
    const names = `${slots.images.a.position}-${slots.images.b.position}`;
    this.link.download = `${this.run.name}-${names}${kind === "picture" ? "" : "-segments"}.png`;
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

async function start() {
  const run = await getJson("api/run");
  document.title = `${run.name} - slotlab studio`;
  byId("facts").textContent =
    `${run.name}: ${run.images} images of ${run.dataset} ${run.split}, protocol ${run.protocol}, ` +
    `${run.slots} slots, weights of step ${run.step}, on ${run.device}`;
  const result = new Result(run);
  const amount = byId("amount");
  const update = () => {
    amount.disabled = slots.swapped().length === 0;
    byId("amount-words").textContent = amount.disabled ? "swap one first" : `${amount.value} %`;
    result.show(slots, Number(amount.value) / 100);
  };
  const slots = new Slots(byId("slots"), update);
  amount.addEventListener("input", update);
  document.querySelectorAll("input[name=show]").forEach((choice) => choice.addEventListener("change", update));
  byId("all-of-a").addEventListener("click", () => slots.keepAllOf("a"));
  byId("all-of-b").addEventListener("click", () => slots.keepAllOf("b"));
  byId("swap-all").addEventListener("click", () => slots.swapAll());
  const pickers = ["A", "B"].map(
    (name) => new Picker(name, run, (seen) => slots.show(name.toLowerCase(), seen), tellProblem),
  );
  byId("pickers").append(...pickers.map((picker) => picker.element));
  new Samples(run);
  new Draws(run, () => slots.picks(Number(amount.value) / 100));
  await pickers[0].choose(0);
  await pickers[1].choose(Math.min(1, run.images - 1));
}

start().catch(tellProblem);
