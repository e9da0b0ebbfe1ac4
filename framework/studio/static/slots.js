// The slots of both images, pair by pair: which are kept, dropped or swapped.

export class Slots {
  // `source` says where pictures of slots come from, `film` shows one; `changed` is called when another set is kept.
  constructor(list, source, film, changed) {
    this.list = list;
    this.source = source;
    this.film = film;
    this.changed = changed;
    this.images = { a: null, b: null };
    this.kept = { a: new Set(), b: new Set() };
  }

  // Show the slots of image `side`; a choice that was made before stays.
  show(side, seen) {
    const first = this.images.a === null && this.images.b === null;
    this.images[side] = seen;
    if (first) this.kept = { a: new Set(seen.slots.map((slot) => slot.slot)), b: new Set() };
    if (this.images.a && this.images.b) this.draw();
  }

  draw() {
    const { a, b } = this.images;
    if (this.list.children.length !== a.slots.length) {
      this.list.replaceChildren(...a.slots.map((slot) => this.pair(slot)));
    }
    for (const [side, seen] of [["a", a], ["b", b]]) {
      for (const { slot, area } of seen.slots) {
        const button = this.button(slot, side);
        for (const name of ["cutout", "mask"]) {
          this.film(button.querySelector(`.${name}`), this.source.slot(seen.position, slot, name), seen.frames);
        }
        button.title = `covers ${Math.round(100 * area)} % of ${side.toUpperCase()}`;
      }
    }
    this.mark();
  }

  pair({ slot, color }) {
    const item = document.getElementById("pair").content.firstElementChild.cloneNode(true);
    item.style.setProperty("--slot", color);
    item.querySelector("h3").textContent = `slot ${slot}`;
    for (const side of ["a", "b"]) {
      item.querySelector(`.slot.${side}`).addEventListener("click", () => this.toggle(slot, side));
    }
    const swap = item.querySelector(".swap");
    swap.setAttribute("aria-label", `swap slot ${slot} between A and B`);
    swap.addEventListener("click", () => this.swap([slot]));
    return item;
  }

  button(slot, side) {
    return this.list.children[slot].querySelector(`.slot.${side}`);
  }

  toggle(slot, side) {
    if (!this.kept[side].delete(slot)) this.kept[side].add(slot);
    this.mark();
  }

  swap(slots) {
    for (const slot of slots) {
      const [a, b] = [this.kept.a.has(slot), this.kept.b.has(slot)];
      this.kept.a[b ? "add" : "delete"](slot);
      this.kept.b[a ? "add" : "delete"](slot);
    }
    this.mark();
  }

  swapAll() {
    this.swap(this.images.a.slots.map((slot) => slot.slot));
  }

  keepAllOf(side) {
    const all = this.images[side].slots.map((slot) => slot.slot);
    this.kept = { a: new Set(side === "a" ? all : []), b: new Set(side === "b" ? all : []) };
    this.mark();
  }

  mark() {
    for (const side of ["a", "b"]) {
      for (const { slot } of this.images[side].slots) {
        const [button, kept] = [this.button(slot, side), this.kept[side].has(slot)];
        const name = side.toUpperCase();
        button.setAttribute("aria-pressed", String(kept));
        button.setAttribute("aria-label", `slot ${slot} of ${name}`);
        button.querySelector(".state").textContent = `${name}: ${kept ? "kept ✓" : "dropped"}`;
      }
    }
    this.changed();
  }

  // The slots that stand in B's place for A's.
  swapped() {
    return [...this.kept.b].filter((slot) => !this.kept.a.has(slot));
  }

  // What the server is asked for; swapped slots have gone `amount` of the way from A to B.
  picks(amount) {
    const { a, b } = this.images;
    const picks = [];
    for (const { slot } of a.slots) {
      const [inA, inB] = [this.kept.a.has(slot), this.kept.b.has(slot)];
      if (inA) picks.push({ image: a.position, slot });
      if (inB && (inA || amount === 1)) picks.push({ image: b.position, slot });
      else if (inB) picks.push({ image: a.position, slot, toward: { image: b.position, slot }, amount });
    }
    return picks;
  }
}
