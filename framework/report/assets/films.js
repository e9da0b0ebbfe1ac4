// Films: all play together, by one clock. A film is one picture whose frames lie one above the other.
"use strict";

(() => {
  const films = [...document.querySelectorAll("img[data-frames]")];
  const players = [...document.querySelectorAll("[data-player]")];
  if (films.length === 0) return;
  const NORMAL = 160, SLOW = 480; // milliseconds a frame
  const last = Math.max(...films.map((film) => Number(film.dataset.frames))) - 1;
  const foretold = Math.max(...films.map((film) => Number(film.dataset.foretold)));
  let at = 0, timer = null, slow = false;

  function show(frame) {
    at = (frame + last + 1) % (last + 1);
    for (const film of films) {
      const end = Number(film.dataset.frames) - 1; // a shorter film waits at its end
      film.style.objectPosition = `0 ${(100 * Math.min(at, end)) / end}%`;
    }
    const kind = foretold === 0 ? "" : at < foretold ? ", seen" : ", foretold";
    for (const player of players) {
      player.querySelector("input[type=range]").value = String(at);
      player.querySelector("output").textContent = `frame ${at + 1} of ${last + 1}${kind}`;
    }
  }

  function play(yes) {
    clearInterval(timer);
    timer = yes ? setInterval(() => show(at + 1), slow ? SLOW : NORMAL) : null;
    for (const player of players) {
      const button = player.querySelector("[data-play]");
      button.textContent = yes ? "Pause" : "Play";
      player.querySelector("output").setAttribute("aria-live", yes ? "off" : "polite");
    }
  }

  function step(by) {
    play(false);
    show(at + by);
  }

  for (const player of players) {
    const slider = player.querySelector("input[type=range]");
    slider.max = String(last);
    slider.addEventListener("input", () => step(Number(slider.value) - at));
    player.querySelector("[data-play]").addEventListener("click", () => play(timer === null));
    for (const button of player.querySelectorAll("[data-by]")) {
      button.addEventListener("click", () => step(Number(button.dataset.by)));
    }
    player.querySelector("[data-slow]").addEventListener("change", ({ target }) => {
      slow = target.checked;
      for (const other of players) other.querySelector("[data-slow]").checked = slow;
      if (timer !== null) play(true);
    });
    player.addEventListener("keydown", (event) => {
      const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const own = event.target.matches("button, [type=checkbox]"); // these take the space themselves
      if (by !== undefined) step(by);
      else if (event.key === " " && !own) play(timer === null);
      else return;
      event.preventDefault();
      event.stopPropagation(); // arrows in the pictures around go to another image
    });
  }
  addEventListener("beforeprint", () => play(false));
  show(0);
  play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
})();
