// Figures for Plotly from the page's data. Each function returns {traces, layout}; none touches the page.
"use strict";

const FILLED = [
  "circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star", "hexagon", "pentagon",
];
const SYMBOLS = [...FILLED, ...FILLED.map((name) => `${name}-open`)];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];

// Plotly reads a little HTML in its texts; names must not be read so.
const plain = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
const clipped = (text, length) => (text.length > length ? text.slice(0, length - 1) + "…" : text);
const shown = (value) =>
  value === null || value === undefined ? "–" : String(Number(value.toPrecision(3))).replace("-", "\u2212");
const bounds = ([mean, low, high]) => shown(mean) + (low === null ? "" : ` [${shown(low)}, ${shown(high)}]`);

/** An arm's name in a plot: in short lines, at most three; the end is what tells arms apart, so it stays. */
function label(arm, look) {
  const width = look.narrow ? 16 : 24;
  const lines = [];
  for (const word of arm.name.split(/(?<=[\s,/])/)) {
    const last = lines.length - 1;
    if (last >= 0 && (lines[last] + word).trim().length <= width) lines[last] += word;
    else lines.push(word);
  }
  const kept = lines.length > 3 ? [lines[0], "…", lines[lines.length - 1]] : lines;
  return kept.map((line) => plain(clipped(line.trim(), width))).join("<br>");
}

function errors(spans, color) {
  const up = spans.map(([mean, , high]) => (high === null ? 0 : high - mean));
  const down = spans.map(([mean, low]) => (low === null ? 0 : mean - low));
  return { type: "data", symmetric: false, array: up, arrayminus: down, color, thickness: 2, width: 0 };
}

function intervals(entries, arms, look, axisTitle, zero) {
  // Plotly puts the first category at the bottom, a table's first row is at its top.
  const rows = entries.filter(({ span }) => span);
  const place = (position) => rows.length - 1 - position;
  const traces = rows.flatMap(({ arm, span, seeds }, position) => {
    const color = look.color(arms[arm]);
    const symbol = SYMBOLS[arms[arm].shape];
    const dots = seeds && seeds.length > 1 ? [{
      type: "scatter", mode: "markers", x: seeds.map(([, value]) => value), y: seeds.map(() => place(position) - 0.24),
      marker: { color, size: 6, opacity: 0.5, symbol }, customdata: seeds.map(([seed]) => plain(seed)),
      hovertemplate: `${plain(arms[arm].name)}<br>seed %{customdata}: %{x:.4g}<extra></extra>`, cliponaxis: false,
    }] : [];
    return [...dots, {
      type: "scatter", mode: "markers", x: [span[0]], y: [place(position)], error_x: errors([span], color),
      marker: { color, size: 10, symbol }, cliponaxis: false,
      hovertemplate: `${plain(arms[arm].name)}<br>${bounds(span)}<extra></extra>`,
    }];
  });
  const y = {
    tickvals: rows.map((_, position) => place(position)), ticktext: rows.map(({ arm }) => label(arms[arm], look)),
    range: [-0.65, rows.length - 0.4], automargin: true, showgrid: false, zeroline: false, ticks: "", fixedrange: true,
  };
  const x = { title: { text: plain(axisTitle) }, zeroline: zero, automargin: true };
  const tallest = Math.max(1, ...y.ticktext.map((text) => text.split("<br>").length));
  return { traces, layout: { yaxis: y, xaxis: x, height: Math.max(150, 78 + (18 + 16 * tallest) * rows.length) } };
}

function means(data, { index }, look) {
  const metric = data.metrics[index];
  return intervals(metric.rows.filter(({ arm }) => look.visible(arm)), data.arms, look, metric.name, false);
}

function differences(data, { index }, look) {
  const metric = data.metrics[index];
  // The baseline has its row, so that rows are at the same height as those of the means.
  const rows = metric.rows
    .filter(({ arm, difference }) => (difference || data.arms[arm].color === 0) && look.visible(arm))
    .map(({ arm, difference }) => ({ arm, span: difference ?? [0, null, null] }));
  const better = metric.higher ? "better \u2192" : "\u2190 better";
  const name = look.narrow ? "" : `${metric.name}, `; // the heading has it, too
  return intervals(rows, data.arms, look, `${name}arm \u2212 baseline   ${better}`, true);
}

/** The mean of each value with its neighbors, a tenth of all: what the noise of single steps hides. */
function smoothed(values) {
  const reach = Math.max(1, Math.round(values.length / 20));
  return values.map((_, at) => {
    const some = values.slice(Math.max(0, at - reach), at + reach + 1).filter((value) => value !== null);
    return some.length ? some.reduce((sum, value) => sum + value, 0) / some.length : null;
  });
}

/** Where further phases begin, in steps or epochs: dotted lines, at most a dozen. */
function phaseMarks(lines, byEpoch, look) {
  const starts = lines.flatMap((line) => (byEpoch ? line.phases.map((step) => between(line, step)) : line.phases));
  return [...new Set(starts)].sort((a, b) => a - b).slice(0, 12).map((at) => ({
    type: "line", x0: at, x1: at, y0: 0, y1: 1, yref: "paper", line: { color: look.muted, width: 1, dash: "dot" },
    label: { text: "phase", textposition: "end", textangle: 0, xanchor: "left", font: { size: 10, color: look.muted } },
  }));
}

/** The epoch at a step of a line. */
function between({ x, epochs }, step) {
  const after = x.findIndex((value) => value >= step);
  if (after <= 0) return epochs.at(after);
  const part = (step - x[after - 1]) / (x[after] - x[after - 1]);
  return epochs[after - 1] + part * (epochs[after] - epochs[after - 1]);
}

function curves(data, { chart, log, smooth, along }, look) {
  const { title, x, lines } = data.curves[chart];
  const drawn = lines.filter(({ arm }) => look.visible(arm));
  const byEpoch = along === "epoch" && drawn.every(({ epochs }) => epochs.length);
  const traces = drawn.flatMap((line) => {
    const arm = data.arms[line.arm];
    const color = look.color(arm);
    const places = byEpoch ? line.epochs : line.x;
    const widened = line.low.some((low, i) => low !== null && low !== line.high[i]);
    const band = widened ? [{
      type: "scatter", mode: "lines", x: [...places, ...places.toReversed()], y: [...line.high, ...line.low.toReversed()],
      line: { width: 0, color }, fill: "toself", fillcolor: look.faint(arm), hoverinfo: "skip",
    }] : [];
    const raw = smooth ? [{
      type: "scatter", mode: "lines", x: places, y: line.mean, line: { color, width: 1 }, opacity: 0.35, hoverinfo: "skip",
    }] : [];
    const epoch = line.epochs.length ? " (step %{customdata[0]:.6~g}, epoch %{customdata[1]:.3~g})" : "";
    return [...band, ...raw, {
      type: "scatter", mode: places.length > 1 ? "lines" : "markers", x: places, y: smooth ? smoothed(line.mean) : line.mean,
      line: { color, width: 2, dash: DASHES[arm.shape % DASHES.length] }, name: plain(clipped(arm.name, 40)),
      customdata: line.x.map((step, i) => [step, line.epochs[i]]), hovertemplate: `%{y:.4g}${epoch}`,
    }];
  });
  const noEpochs = along === "epoch" && !byEpoch ? " (not all logs have epochs)" : "";
  return {
    traces,
    layout: {
      xaxis: { title: { text: plain(byEpoch ? "epoch" : x + noEpochs) }, automargin: true },
      yaxis: { title: { text: plain(title) }, type: log ? "log" : "linear", automargin: true },
      shapes: phaseMarks(drawn, byEpoch, look),
      hovermode: look.visibleCount > 12 ? "closest" : "x unified", hoverdistance: 60, height: look.narrow ? 320 : 420,
    },
  };
}

function groups(data, { chart }, look) {
  const { title, x, lines } = data.groups[chart];
  const names = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b || 0);
  const drawn = lines.filter(({ arm }) => look.visible(arm));
  const apart = Math.min(0.05, 0.5 / drawn.length); // side by side, so that no bar hides another
  const traces = drawn.map((line, position) => {
    const shift = apart * (position - (drawn.length - 1) / 2);
    const arm = data.arms[line.arm];
    const color = look.color(arm);
    return {
      type: "scatter", mode: "lines+markers", x: line.x.map((value) => names.indexOf(value) + shift), y: line.mean,
      error_y: { ...errors(line.mean.map((mean, i) => [mean, line.low[i], line.high[i]]), color), thickness: 1.3 },
      line: { color, width: 2, dash: DASHES[arm.shape % DASHES.length] }, marker: { color, size: 7, symbol: SYMBOLS[arm.shape] },
      customdata: line.x.map((value) => plain(value)),
      hovertemplate: `${plain(arm.name)}<br>${plain(x)} %{customdata}: %{y:.4g}<extra></extra>`,
    };
  });
  return {
    traces,
    layout: {
      xaxis: {
        title: { text: plain(x) }, automargin: true, zeroline: false, showgrid: false, range: [-0.4, names.length - 0.6],
        tickvals: names.map((_, position) => position), ticktext: names.map((value) => plain(value)),
      },
      yaxis: { title: { text: plain(title) }, automargin: true, zeroline: false }, hovermode: "closest", height: look.narrow ? 320 : 400,
    },
  };
}

function scatter(data, { metric, cost, log }, look) {
  const measure = data.costs[cost];
  const { name, rows } = data.metrics[metric];
  const points = rows
    .map(({ arm, span }) => ({ arm, span, cost: measure.values[arm] }))
    .filter(({ arm, cost: known }) => known !== null && look.visible(arm));
  const byArm = new Map(points.map((point) => [point.arm, point]));
  const best = measure.fronts[metric].map((arm) => byArm.get(arm)).filter(Boolean);
  const line = {
    type: "scatter", mode: "lines", x: best.map((point) => point.cost), y: best.map((point) => point.span[0]),
    line: { color: look.muted, width: 1.5, dash: "dot", shape: "hv" }, hoverinfo: "skip",
  };
  const middle = points.length ? (Math.min(...points.map((p) => p.cost)) + Math.max(...points.map((p) => p.cost))) / 2 : 0;
  const traces = points.map((point) => {
    const arm = data.arms[point.arm];
    const color = look.color(arm);
    return {
      type: "scatter", mode: points.length > 14 || look.narrow ? "markers" : "markers+text", x: [point.cost], y: [point.span[0]],
      error_y: errors([point.span], color), marker: { color, size: 11, symbol: SYMBOLS[arm.shape] },
      text: [label(arm, look)], textposition: point.cost > middle ? "top left" : "top right", textfont: { size: 11, color: look.muted }, cliponaxis: false,
      hovertemplate: `${plain(arm.name)}<br>${plain(name)} ${bounds(point.span)}<br>` +
        `${plain(measure.title)} %{x:.3g} ${plain(measure.unit)}<extra></extra>`,
    };
  });
  const unit = measure.unit ? ` (${measure.unit})` : "";
  const direction = measure.lower ? "\u2190 cheaper" : "faster \u2192";
  return {
    traces: best.length > 1 ? [line, ...traces] : traces,
    layout: {
      xaxis: { title: { text: plain(`${measure.title}${unit}   ${direction}`) }, type: log ? "log" : "linear", automargin: true },
      yaxis: { title: { text: plain(name) }, automargin: true }, height: look.narrow ? 320 : 420,
    },
  };
}

const CHARTS = { means, differences, curves, groups, scatter };
