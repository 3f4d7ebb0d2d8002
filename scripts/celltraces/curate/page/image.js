// The image with outlines: drawn on a canvas, zoomed, panned, clicked.

import * as frames from "./frames.js";
import { labelNear } from "./outline.js";
import { element } from "/page/shared.js";
import { boxOf, cellOf, on, rowOf, state, trouble, wanted } from "./state.js";

const canvas = element("image");
const pen = canvas.getContext("2d", { alpha: false });
const NEAR = 3; // pixels on the screen or of the image, whichever is more: a click this near to a cell is on it
const MOST_ZOOM = 24;
const AHEAD = 3; // frames fetched before they are wanted
const STYLES = {
  kept: { dash: [], width: 1.6 },
  bad: { dash: [6, 4], width: 1.8 },
  "left out": { dash: [2, 3], width: 1.6 },
  excluded: { dash: [9, 3, 2, 3], width: 1.8 },
  chosen: { dash: [], width: 2.6 },
};
let colours = {};
const view = { scale: 1, x: 0, y: 0, fitted: true };
let drawn = null; // key of what is on the screen, to notice what is late
let queued = false;

export const useColours = (given) => {
  colours = given;
};

/** Pixels of the screen for one of the page. */
const density = () => window.devicePixelRatio || 1;

function resize() {
  const { clientWidth, clientHeight } = canvas.parentElement;
  canvas.width = Math.max(1, Math.round(clientWidth * density()));
  canvas.height = Math.max(1, Math.round(clientHeight * density()));
  if (view.fitted) fit();
  draw();
}

/** Show the whole image. */
export function fit() {
  if (!state.fov) return;
  const { height, width } = state.fov;
  view.scale = Math.min(canvas.width / width, canvas.height / height);
  view.x = (canvas.width - width * view.scale) / 2;
  view.y = (canvas.height - height * view.scale) / 2;
  view.fitted = true;
  draw();
}

/** Zoom by a factor about a point of the canvas; about its middle where none is given. */
export function zoom(factor, x = canvas.width / 2, y = canvas.height / 2) {
  const { height, width } = state.fov;
  const least = 0.8 * Math.min(canvas.width / width, canvas.height / height);
  const scale = Math.min(MOST_ZOOM * density(), Math.max(least, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  view.fitted = false;
  draw();
}

function centre(box) {
  view.x = canvas.width / 2 - view.scale * ((box[1] + box[3]) / 2);
  view.y = canvas.height / 2 - view.scale * ((box[0] + box[2]) / 2);
  view.fitted = false;
}

/** Bring the chosen cell into sight: in the middle while it is followed, else only where it is out of sight. */
export function reveal() {
  const box = state.cell === null ? null : boxOf(state.cell, state.frame);
  if (!box) return;
  const [top, left, bottom, right] = [0, 1, 2, 3].map((at) => view[at % 2 ? "x" : "y"] + view.scale * box[at]);
  const out = left < 0 || top < 0 || right > canvas.width || bottom > canvas.height;
  if (state.follow || (out && !view.fitted)) centre(box);
}

/** Level 1, of half the size, where the screen shows no more of it and its black and white are enough. */
function level() {
  const layers = state.channels.filter(({ on: shown }) => shown);
  const enough = layers.every(({ half, low, high, limits }) => half && low >= limits[0] && high <= limits[1]);
  const finest = state.playing ? 1.3 : 0.75;
  return enough && view.scale <= finest && Math.max(state.fov.height, state.fov.width) > 700 ? 1 : 0;
}

/** Draw at the next moment at which the screen is renewed; many wishes are one drawing. */
export function draw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    paint();
  });
}

function paint() {
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.fillStyle = "#14181d";
  if (!state.fov || !state.fov.channels.length) {
    pen.fillRect(0, 0, canvas.width, canvas.height);
    return;
  }
  const what = wanted(level());
  const picture = what.layers.length ? frames.ready(frames.pictureKey(what, state.frame)) : null;
  const wantLabels = state.fov.labels;
  const labels = wantLabels ? frames.ready(frames.labelsKey(what, state.frame)) : null;
  const late = (what.layers.length && !picture) || (wantLabels && !labels);
  if (late) {
    fetchNow(what, wantLabels);
    return; // the last picture stays until this one is there: no flicker
  }
  pen.fillRect(0, 0, canvas.width, canvas.height);
  if (picture) {
    pen.imageSmoothingEnabled = view.scale * (state.fov.width / picture.bitmap.width) < 2;
    pen.drawImage(picture.bitmap, view.x, view.y, state.fov.width * view.scale, state.fov.height * view.scale);
  }
  if (labels && state.outlines) drawOutlines(labels);
  drawn = { frame: state.frame, labels };
  canvas.dataset.frame = state.frame;
  canvas.dataset.drawn = `${what.place.dataset} ${what.place.fov} ${state.frame}`;
  fetchAhead(what, wantLabels);
}

function fetchNow(what, wantLabels) {
  const { frame } = state;
  const tasks = [what.layers.length ? frames.picture(what, frame) : null, wantLabels ? frames.labels(what, frame) : null];
  Promise.all(tasks).then(
    () => {
      if (state.fov && frame === state.frame) draw();
    },
    (error) => trouble(error.message),
  );
}

/** Fetch the frames that are likely wanted next, after this one is on the screen. */
function fetchAhead(what, wantLabels) {
  if (frames.pending() > 4) return;
  const steps = state.playing ? [1, 2, 3, 4, 5, 6] : Array.from({ length: AHEAD }, (_, at) => [at + 1, -at - 1]).flat();
  const coming = steps.map((step) => state.frame + step).filter((frame) => frame >= 0 && frame < state.fov.frames);
  coming.forEach((frame) => {
    const quietly = () => {}; // a damaged frame is told of when it is looked at
    if (what.layers.length) frames.picture(what, frame).catch(quietly);
    if (wantLabels) frames.labels(what, frame).catch(quietly);
  });
}

/** Whether a frame could be drawn at once. */
export function isReady(frame) {
  const what = wanted(level());
  return (!what.layers.length || frames.ready(frames.pictureKey(what, frame))) && (!state.fov.labels || frames.ready(frames.labelsKey(what, frame)));
}

/** How the outline of a cell is drawn in a frame. */
function styleOf(cell, frame) {
  const row = rowOf(cell);
  if (row < 0) return "left out";
  if (state.fov.excludedIn(cell, frame)) return "excluded";
  return state.fov.cells.state[row];
}

function drawOutlines({ points, starts, labels }) {
  pen.setTransform(view.scale, 0, 0, view.scale, view.x, view.y);
  pen.lineJoin = "round";
  const paths = new Map();
  labels.forEach((label, line) => {
    const cell = cellOf(label, state.frame);
    if (cell === 0) return; // deleted
    const style = cell === state.cell ? "chosen" : styleOf(cell, state.frame);
    if (!paths.has(style)) paths.set(style, new Path2D());
    const path = paths.get(style);
    const end = 2 * starts[line + 1];
    let place = 2 * starts[line];
    path.moveTo(points[place], points[place + 1]);
    for (place += 2; place < end; place += 2) path.lineTo(points[place], points[place + 1]);
    path.closePath();
  });
  const unit = density() / view.scale;
  const chosen = state.cell === null ? "kept" : styleOf(state.cell, state.frame);
  ["left out", "excluded", "bad", "kept", "chosen"].forEach((name) => {
    const path = paths.get(name);
    if (!path) return;
    const { width } = STYLES[name];
    const { dash } = STYLES[name === "chosen" ? chosen : name] ?? STYLES.kept;
    if (name === "chosen") {
      pen.setLineDash([]);
      pen.strokeStyle = "#000";
      pen.lineWidth = (width + 2) * unit;
      pen.stroke(path);
    }
    pen.setLineDash(dash.map((length) => length * unit));
    pen.strokeStyle = colours[name] ?? "#fff";
    pen.lineWidth = width * unit;
    pen.stroke(path);
  });
  pen.setLineDash([]);
  drawNumber();
}

function drawNumber() {
  const box = state.cell === null ? null : boxOf(state.cell, state.frame);
  if (!box) return;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const size = 14 * density();
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.lineWidth = 4 * density();
  pen.strokeStyle = "#000";
  pen.fillStyle = "#fff";
  const [x, y] = [view.x + (view.scale * (box[1] + box[3])) / 2, Math.max(view.y + view.scale * box[0] - 6 * density(), size)];
  pen.strokeText(String(state.cell), x, y);
  pen.fillText(String(state.cell), x, y);
}

// ------------------------------------------------------------------------------------------------------- the mouse

/** A point of the window in pixels of the canvas. */
function onCanvas(event) {
  const frame = canvas.getBoundingClientRect();
  return [(event.clientX - frame.left) * density(), (event.clientY - frame.top) * density()];
}

/** The cell at a point of the window, or near it; null where there is none. */
export function cellAt(event) {
  if (!drawn?.labels || drawn.frame !== state.frame || !state.fov) return null;
  const [x, y] = onCanvas(event);
  const within = Math.max(NEAR, (NEAR * density()) / view.scale);
  const { height, width } = state.fov;
  const label = labelNear(drawn.labels.runs, height, width, (x - view.x) / view.scale, (y - view.y) / view.scale, within);
  return label ? cellOf(label, state.frame) || null : null;
}

/** Where the middle of a cell is in the window: for tests and for what points to it. */
export function placeOf(cell) {
  const box = boxOf(cell, state.frame);
  if (!box) return null;
  const frame = canvas.getBoundingClientRect();
  return [
    frame.left + (view.x + (view.scale * (box[1] + box[3])) / 2) / density(),
    frame.top + (view.y + (view.scale * (box[0] + box[2])) / 2) / density(),
  ];
}

/** Make the canvas zoom, pan and choose. choose: called with a cell (or null) that was clicked; mark: right click. */
export function connect({ choose, mark }) {
  new ResizeObserver(resize).observe(canvas.parentElement);
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    held = { x: event.clientX, y: event.clientY, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    if (!held.moved && Math.hypot(dx, dy) < 4) return;
    Object.assign(held, { moved: true, x: event.clientX, y: event.clientY });
    view.x += dx * density();
    view.y += dy * density();
    view.fitted = false;
    canvas.classList.add("dragged");
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (held && !held.moved) choose(cellAt(event));
    held = null;
    canvas.classList.remove("dragged");
  });
  canvas.addEventListener("pointercancel", () => {
    held = null;
  });
  canvas.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    const cell = cellAt(event);
    if (cell !== null) mark(cell);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      if (!state.fov) return;
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...onCanvas(event));
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", () => fit());
  on("frame cell", () => {
    reveal();
    draw();
  });
  on("cells channels view", draw);
  on("fov", () => {
    drawn = null;
    fit();
  });
}
