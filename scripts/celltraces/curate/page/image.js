// The image with outlines: drawn on a canvas, zoomed, panned, clicked.

import * as frames from "./frames.js";
import { drawLine, word } from "./lines.js";
import { labelNear } from "./outline.js";
import { element } from "/page/shared.js";
import { boxOf, cellOf, on, rowOf, state, trouble, wanted } from "./state.js";

const canvas = element("image");
const pen = canvas.getContext("2d", { alpha: false });
const NEAR = 3; // pixels on the screen or of the image, whichever is more: a click this near to a cell is on it
const MOST_ZOOM = 24;
const AHEAD = 3; // frames fetched before they are wanted
const STYLES = {
  kept: { dash: [], width: 2 },
  bad: { dash: [7, 5], width: 2 },
  "left out": { dash: [2, 3], width: 2 },
  excluded: { dash: [10, 4, 3, 4], width: 2 },
  chosen: { dash: [], width: 3 },
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
    paintNow();
  });
}

/** Draw what is there; asks for what is not, and draws again when it comes. */
export function paintNow() {
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
  const { frame: now, fov, playing } = state;
  const steps = playing ? [1, 2, 3, 4, 5, 6] : Array.from({ length: AHEAD }, (_, at) => [at + 1, -at - 1]).flat();
  const inside = (frame) => frame >= 0 && frame < fov.frames;
  const coming = playing ? steps.map((step) => (now + step) % fov.frames) : steps.map((step) => now + step).filter(inside);
  coming.forEach((frame) => {
    const quietly = () => {}; // a damaged frame is told of when it is looked at
    if (what.layers.length) frames.picture(what, frame).catch(quietly);
    if (wantLabels) frames.labels(what, frame).catch(quietly);
  });
}

/** Whether a frame could be drawn at once; if not, it is fetched. */
export function isReady(frame) {
  const what = wanted(level());
  const { labels } = state.fov;
  if ((!what.layers.length || frames.ready(frames.pictureKey(what, frame))) && (!labels || frames.ready(frames.labelsKey(what, frame)))) return true;
  fetchAhead(what, labels);
  return false;
}

/** How the outline of a cell is drawn in a frame. */
function styleOf(cell, frame) {
  const row = rowOf(cell);
  if (row < 0) return "left out";
  if (state.fov.excludedIn(cell, frame)) return "excluded";
  return state.fov.cells.state[row];
}

let overlay = null; // what outlines are drawn on, as large as the canvas

function drawOutlines({ points, starts, labels }) {
  const { width, height } = canvas;
  if (!overlay || overlay.width !== width || overlay.height !== height) {
    const made = new OffscreenCanvas(width, height);
    const image = new ImageData(width, height);
    overlay = { width, height, made, pen: made.getContext("2d"), image, words: new Uint32Array(image.data.buffer) };
  }
  overlay.words.fill(0);
  const unit = density();
  const penOf = (style, colour, extra = 0) => ({
    word: word(colour),
    width: (STYLES[style].width + extra) * unit,
    dash: STYLES[style].dash.map((length) => length * unit),
  });
  const pens = new Map(Object.keys(STYLES).map((name) => [name, penOf(name, colours[name] ?? "#ffffff")]));
  const chosen = [];
  labels.forEach((label, line) => {
    const cell = cellOf(label, state.frame);
    if (cell === 0) return; // deleted
    if (cell === state.cell) chosen.push(line);
    else drawLine(overlay, points, starts[line], starts[line + 1], view, pens.get(styleOf(cell, state.frame)));
  });
  const rim = { ...penOf("chosen", "#000000", 2), dash: [] };
  const { dash } = pens.get(state.cell === null ? "kept" : styleOf(state.cell, state.frame));
  [rim, { ...pens.get("chosen"), dash }].forEach((of) =>
    chosen.forEach((line) => drawLine(overlay, points, starts[line], starts[line + 1], view, of)),
  );
  overlay.pen.putImageData(overlay.image, 0, 0);
  pen.drawImage(overlay.made, 0, 0);
  drawNumber();
}

function drawNumber() {
  const box = state.cell === null ? null : boxOf(state.cell, state.frame);
  if (!box) return;
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
  let place = "";
  on("fov", () => {
    drawn = null;
    const { dataset, fov, height, width } = state.fov;
    const now = [dataset, fov, height, width].join(" ");
    if (now === place) draw(); // a run made it anew: what a person looks at stays in sight
    else fit();
    place = now;
  });
}
