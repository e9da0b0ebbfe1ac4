// What the page does beyond its tables: plots, tabs, sorting, arms shown and hidden, pictures, theme.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const data = JSON.parse(document.getElementById("report-data").textContent);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // --- theme -----------------------------------------------------------------------------
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const themeButton = document.getElementById("theme");

  function showTheme() {
    themeButton.setAttribute("aria-pressed", String(isDark()));
    themeButton.textContent = isDark() ? "Light" : "Dark";
    redraw();
  }

  // --- arms ------------------------------------------------------------------------------
  const hidden = new Set(data.arms.map((_, index) => index).filter((index) => !data.drawn.includes(index)));
  const chips = all(".legend .arm");

  /** Which arms plots and pictures leave out, in words; empty if they leave out none. */
  function hiddenWords() {
    if (hidden.size === 0) return "";
    const asAtFirst = data.drawn.every((arm) => !hidden.has(arm)) && hidden.size === data.arms.length - data.drawn.length;
    const which = asAtFirst ? `: shown are ${data.rule}` : "";
    return `${hidden.size} of ${data.arms.length} arms are hidden in plots and pictures${which}. Tables have all.`;
  }

  function showArms() {
    for (const chip of chips) chip.setAttribute("aria-pressed", String(!hidden.has(Number(chip.dataset.arm))));
    for (const tile of all("figure[data-arm]")) tile.hidden = hidden.has(Number(tile.dataset.arm));
    const button = document.getElementById("all-arms");
    if (button) button.disabled = hidden.size === 0;
    const words = document.getElementById("hidden-arms");
    if (words) words.textContent = hiddenWords();
    redraw();
  }

  // --- plots -----------------------------------------------------------------------------
  const plots = all("[data-plot]");
  const seen = new WeakSet(); // near the window at least once, so drawn

  /** What a style variable comes to under the present theme; plots need it as a color. */
  function resolved(name) {
    const probe = document.createElement("span");
    probe.style.color = `var(${name})`;
    document.body.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  }

  function look(plot) {
    const colors = Array.from({ length: 7 }, (_, index) => resolved(`--arm-${index}`));
    const color = (arm) => colors[arm.color];
    return {
      color,
      faint: (arm) => color(arm).replace("rgb(", "rgba(").replace(")", ", 0.12)"),
      muted: resolved("--muted"), ink: resolved("--ink"), grid: resolved("--grid"), rule: resolved("--rule"), surface: resolved("--surface"),
      narrow: plot.clientWidth < 480,
      visible: (arm) => !hidden.has(arm),
      visibleCount: data.arms.length - hidden.size,
    };
  }

  const chosen = (name) => Number(document.querySelector(`[data-for="${name}"]`)?.value ?? 0);
  const logarithmic = (name) => document.querySelector(`[data-log="${name}"]`)?.checked ?? false;

  function choices(plot) {
    const kind = plot.dataset.plot;
    return {
      index: Number(plot.dataset.index ?? 0), chart: chosen(kind), log: logarithmic(kind),
      smooth: document.querySelector(`[data-smooth="${kind}"]`)?.checked ?? false,
      along: document.querySelector(`[data-along="${kind}"]`)?.value,
      metric: chosen("scatter-metric"), cost: chosen("scatter-cost"),
    };
  }

  function themed(layout, colors) {
    const title = (own) => ({ ...own.title, standoff: 12, font: { size: 13 } });
    const axis = { gridcolor: colors.grid, zerolinecolor: colors.muted, linecolor: colors.rule, tickcolor: colors.rule };
    return {
      ...layout,
      xaxis: { ...axis, ...layout.xaxis, title: title(layout.xaxis) },
      yaxis: { ...axis, ...layout.yaxis, title: title(layout.yaxis) },
      font: { color: colors.ink, family: getComputedStyle(document.body).fontFamily, size: 12.5 },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: colors.surface, showlegend: false,
      margin: { l: 12, r: 16, t: 26, b: 12 },
      hoverlabel: { bgcolor: colors.surface, bordercolor: colors.rule, font: { color: colors.ink } },
      dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom", // a finger scrolls the page
    };
  }

  function draw(plot) {
    if (plot.clientWidth === 0) return; // in a tab that is not open
    const colors = look(plot);
    const { traces, layout } = CHARTS[plot.dataset.plot](data, choices(plot), colors);
    const width = plot.clientWidth; // said, since Plotly would see only later that paper is narrower
    Plotly.react(plot, traces, { ...themed(layout, colors), width }, {
      displaylogo: false,
      modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
      toImageButtonOptions: { format: "svg", filename: `${plot.dataset.plot}` },
    });
    plot.dataset.drawn = "yes";
  }

  function redraw() {
    for (const plot of plots) if (seen.has(plot)) draw(plot);
  }

  function drawAll() {
    for (const plot of plots) seen.add(plot);
    redraw();
  }

  const nearby = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (isIntersecting && !seen.has(target)) {
        seen.add(target);
        draw(target);
      }
    }
  }, { rootMargin: "400px" });

  // --- tabs ------------------------------------------------------------------------------
  function open(tabs, tab) {
    for (const other of tabs) {
      const selected = other === tab;
      other.setAttribute("aria-selected", String(selected));
      other.tabIndex = selected ? 0 : -1;
      document.getElementById(other.getAttribute("aria-controls")).hidden = !selected;
    }
    redraw();
  }

  for (const list of all('[role="tablist"]')) {
    const tabs = all('[role="tab"]', list);
    for (const tab of tabs) tab.addEventListener("click", () => open(tabs, tab));
    list.addEventListener("keydown", (event) => {
      const at = tabs.indexOf(document.activeElement);
      const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      const tab = tabs[(to + tabs.length) % tabs.length];
      open(tabs, tab);
      tab.focus();
      tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
    open(tabs, tabs.find((tab) => tab.dataset.first !== undefined) ?? tabs[0]);
  }

  // --- tables ----------------------------------------------------------------------------
  function ordered(a, b, direction) {
    const [x, y] = [a, b].map((row) => row.key);
    if (x === "" || y === "") return (x === "") - (y === ""); // what is not known comes last
    const [m, n] = [Number(x), Number(y)];
    const order = Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y, "en", { numeric: true }) : m - n;
    return direction * order;
  }

  function sort(table, head) {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: row.cells[head.cellIndex].dataset.value ?? "" }));
    rows.sort((a, b) => ordered(a, b, down ? -1 : 1));
    table.tBodies[0].append(...rows.map(({ row }) => row));
  }

  for (const table of all("table.sortable")) {
    for (const head of all("th[data-sortable]", table)) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => sort(table, head));
    }
  }

  // --- pictures --------------------------------------------------------------------------
  for (const gallery of all("[data-gallery]")) {
    const frames = all(".frame", gallery);
    const slider = gallery.querySelector('input[type="range"]');
    const caption = gallery.querySelector("output");
    const show = (position) => {
      const at = (position + frames.length) % frames.length;
      frames.forEach((frame, index) => { frame.hidden = index !== at; });
      slider.value = String(at);
      caption.textContent = frames[at].dataset.caption;
    };
    slider.addEventListener("input", () => show(Number(slider.value)));
    for (const button of all("[data-step]", gallery)) {
      button.addEventListener("click", () => show(Number(slider.value) + Number(button.dataset.step)));
    }
    gallery.tabIndex = 0; // so that the arrows work wherever in the pictures one is
    gallery.setAttribute("role", "group");
    gallery.setAttribute("aria-label", `Pictures of one ${gallery.dataset.gallery}; left and right arrows go to another`);
    gallery.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step === undefined || event.target === slider) return; // the slider has arrows of its own
      event.preventDefault();
      show(Number(slider.value) + step);
    });
    show(0);
  }

  // --- the bar ---------------------------------------------------------------------------
  const links = new Map(all(".bar nav a").map((link) => [link.hash.slice(1), link]));
  const reading = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-25% 0px -70% 0px" });
  for (const section of all("main > section")) reading.observe(section);

  // --- begin -----------------------------------------------------------------------------
  themeButton.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    showTheme();
  });
  system.addEventListener("change", showTheme);
  for (const chip of chips) {
    chip.addEventListener("click", () => {
      const arm = Number(chip.dataset.arm);
      if (!hidden.delete(arm)) hidden.add(arm);
      showArms();
    });
  }
  document.getElementById("all-arms")?.addEventListener("click", () => {
    hidden.clear();
    showArms();
  });
  for (const control of all("[data-for], [data-log], [data-smooth], [data-along]")) control.addEventListener("change", redraw);
  let resizing = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(resizing);
    resizing = requestAnimationFrame(redraw);
  });
  addEventListener("beforeprint", () => {
    root.classList.add("printing"); // every metric is open, and as wide as paper
    drawAll();
  });
  addEventListener("afterprint", () => {
    root.classList.remove("printing");
    redraw();
  });
  showTheme();
  showArms();
  for (const plot of plots) nearby.observe(plot);
})();
