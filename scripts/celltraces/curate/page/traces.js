// The traces of all cells of a FOV, with the chosen one, and the frame as a line over them.

import { askBytes } from "./ask.js";
import { element, make, shown } from "/page/shared.js";
import { calmly, on, rowOf, state, trouble } from "./state.js";

const canvas = element("traces");
const chooser = element("feature");
const MARGIN = { left: 54, right: 10, top: 8, bottom: 30 };
const NEAR = 8; // px: a click this near to a line is on it
let values = null; // Float32Array (cells, frames)
let axes = null;
let asked = 0;

async function load() {
  const { fov } = state;
  asked += 1;
  const mine = asked;
  [values, axes] = [null, null];
  if (fov && fov.columns.length && fov.cells.n.length) {
    try {
      const query = { dataset: fov.dataset, fov: fov.fov, column: chooser.value };
      const buffer = await askBytes("traces", query);
      if (mine !== asked) return;
      const found = new Float32Array(buffer);
      values = found;
    } catch (error) {
      trouble(error.message);
    }
  }
  draw();
}

/** Steps of 1, 2 or 5 times a power of ten between two values. */
function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  return found;
}

const xOf = (frame) => (state.fov.times.length ? state.fov.times[frame] / 60 : frame);

function range() {
  const { fov } = state;
  let [low, high] = [Infinity, -Infinity];
  fov.cells.n.forEach((cell, row) => {
    if (fov.cells.state[row] !== "kept" && cell !== state.cell) return;
    for (let at = row * fov.frames; at < (row + 1) * fov.frames; at++) {
      if (values[at] < low) low = values[at];
      if (values[at] > high) high = values[at];
    }
  });
  if (low > high) return null;
  const rim = (high - low || Math.abs(high) || 1) * 0.04;
  return [low - rim, high + rim];
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  const { fov } = state;
  const fitting = fov && values?.length === fov.cells.n.length * fov.frames; // else those of the new tracks are coming
  const limits = fitting && fov.frames ? range() : null;
  const coming = Boolean(fov?.columns.length && fov.cells.n.length) && !fitting;
  element("no-traces").hidden = limits !== null || coming;
  element("cursor").hidden = limits === null;
  axes = null;
  if (!limits) {
    element("value").textContent = "";
    return;
  }
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [first, last] = [xOf(0), xOf(fov.frames - 1)];
  const across = (width - MARGIN.left - MARGIN.right) / (last - first || 1);
  const down = (height - MARGIN.top - MARGIN.bottom) / (limits[1] - limits[0]);
  axes = {
    x: (frame) => MARGIN.left + (xOf(frame) - first) * across,
    y: (value) => MARGIN.top + (limits[1] - value) * down,
  };
  pen.font = `${parseFloat(style.fontSize) * 0.7}px system-ui, sans-serif`;
  pen.fillStyle = colour("--soft");
  pen.strokeStyle = colour("--line");
  pen.lineWidth = 1;
  pen.textAlign = "right";
  pen.textBaseline = "middle";
  ticks(...limits, 5).forEach((value) => {
    const y = Math.round(axes.y(value)) + 0.5;
    pen.beginPath();
    pen.moveTo(MARGIN.left, y);
    pen.lineTo(width - MARGIN.right, y);
    pen.stroke();
    pen.fillText(shown(value), MARGIN.left - 6, y);
  });
  pen.textAlign = "center";
  pen.textBaseline = "top";
  if (last > first) {
    ticks(first, last, 6).forEach((value) => {
      const x = MARGIN.left + (value - first) * across;
      pen.fillText(shown(value), x, height - MARGIN.bottom + 5);
    });
  }
  pen.fillText(fov.times.length ? "time (h)" : "frame", (MARGIN.left + width - MARGIN.right) / 2, height - 14);
  const line = (row) => {
    let there = false;
    for (let frame = 0; frame < fov.frames; frame++) {
      const value = values[row * fov.frames + frame];
      if (Number.isNaN(value)) there = false;
      else if (there) pen.lineTo(axes.x(frame), axes.y(value));
      else {
        pen.moveTo(axes.x(frame), axes.y(value));
        if (frame + 1 === fov.frames || Number.isNaN(values[row * fov.frames + frame + 1])) pen.lineTo(axes.x(frame) + 1, axes.y(value));
        there = true;
      }
    }
  };
  [["kept", [], "--kept-line"], ["bad", [5, 4], "--bad"]].forEach(([name, dash, of]) => {
    pen.setLineDash(dash);
    pen.strokeStyle = colour(of);
    pen.globalAlpha = Math.min(0.8, Math.max(0.1, 6 / Math.sqrt(fov.cells.n.length)));
    fov.cells.state.forEach((cellState, row) => {
      if (cellState !== name) return;
      pen.beginPath(); // one for each cell: a path of all takes many times as long to stroke
      line(row);
      pen.stroke();
    });
  });
  pen.globalAlpha = 1;
  pen.setLineDash([]);
  const row = state.cell === null ? -1 : rowOf(state.cell);
  if (row >= 0) {
    pen.beginPath();
    line(row);
    pen.lineWidth = 2.5;
    pen.strokeStyle = colour("--ink");
    pen.stroke();
    pen.fillStyle = colour("--bad");
    for (let frame = 0; frame < fov.frames; frame++) {
      const value = values[row * fov.frames + frame];
      if (!Number.isNaN(value) && fov.excludedIn(state.cell, frame)) pen.fillRect(axes.x(frame) - 3, axes.y(value) - 3, 6, 6);
    }
  }
  moveCursor();
}

/** The frame's line is an element over the plot: a step of a frame draws nothing anew. */
function moveCursor() {
  if (!axes) return;
  element("cursor").style.transform = `translateX(${axes.x(state.frame)}px)`;
  const row = state.cell === null ? -1 : rowOf(state.cell);
  const start = row * state.fov.frames;
  const traced = row >= 0 && values.subarray(start, start + state.fov.frames).some((value) => !Number.isNaN(value));
  const words = traced ? shown(values[start + state.frame]) : "no trace";
  element("value").textContent = row >= 0 ? `cell ${state.cell}: ${words}` : "";
}

/** The point of a line next to a place: cell, frame, distance in px. */
function nearest(x, y) {
  const { fov } = state;
  let best = { distance: Infinity };
  for (let row = 0; row < fov.cells.n.length; row++) {
    for (let frame = 0; frame < fov.frames; frame++) {
      const value = values[row * fov.frames + frame];
      if (Number.isNaN(value)) continue;
      const distance = Math.hypot(axes.x(frame) - x, axes.y(value) - y);
      if (distance < best.distance) best = { cell: fov.cells.n[row], frame, distance };
    }
  }
  return best;
}

function frameAt(x) {
  const frames = Array.from({ length: state.fov.frames }, (_, frame) => frame);
  return frames.reduce((best, frame) => (Math.abs(axes.x(frame) - x) < Math.abs(axes.x(best) - x) ? frame : best), 0);
}

/** choose(cell) and goTo(frame) are called by clicks: on a line, on a point of the chosen cell, beside all lines. */
export function connect({ choose, goTo }) {
  chooser.addEventListener("change", load);
  canvas.addEventListener("click", (event) => {
    if (!axes) return;
    const found = nearest(event.offsetX, event.offsetY);
    if (found.distance <= NEAR && found.cell !== state.cell) choose(found.cell);
    else goTo(found.distance <= NEAR ? found.frame : frameAt(event.offsetX));
  });
  new ResizeObserver(draw).observe(canvas.parentElement);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  on("fov", () => {
    const before = chooser.value;
    const { columns } = state.fov;
    chooser.replaceChildren(...columns.map(({ name, label }) => make("option", label, { value: name })));
    const bright = columns.find(({ name }) => name.startsWith("intensity")) ?? columns[0];
    const same = columns.find(({ name }) => name === before) ?? bright;
    if (same) chooser.value = same.name;
    chooser.disabled = !columns.length;
    load();
  });
  on("tracks", load);
  on("cell cells", draw);
  on("frame", calmly(moveCursor));
}
