// The slider of frames with its marks, the time, and play.

import { isReady, untilReady } from "./ahead.js";
import { element } from "/page/shared.js";
import { boxOf, calmly, changed, on, state } from "./state.js";

const slider = element("frame");
const marks = element("marks");
const FRAMES_PER_SECOND = 20;
let due = 0;
let round = 0; // how often play began

/** Show a frame; beyond the ends there is none. */
export function goTo(frame) {
  if (!state.fov?.frames) return;
  const inside = Math.min(Math.max(frame, 0), state.fov.frames - 1);
  if (inside === state.frame) return;
  state.frame = inside;
  changed("frame");
}

/** Minutes as hours and minutes. */
function clock(minutes) {
  const whole = Math.round(Math.abs(minutes));
  return `${minutes < 0 && whole ? "-" : ""}${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} h`;
}

export const timeOf = (frame) => (state.fov.times.length ? clock(state.fov.times[frame]) : "");

function show() {
  const { frames } = state.fov;
  slider.max = Math.max(frames - 1, 0);
  slider.value = state.frame;
  slider.disabled = frames < 2;
  if (!frames) {
    element("time").textContent = "no frames";
    return;
  }
  const words = `frame ${state.frame} of ${frames - 1}${state.fov.times.length ? `, ${timeOf(state.frame)}` : ""}`;
  slider.setAttribute("aria-valuetext", words);
  const missing = state.fov.missing.has(state.frame) ? " – not in the file" : "";
  element("time").textContent = `${state.frame} / ${frames - 1}  ${timeOf(state.frame)}${missing}`;
}

/** Gaps, findings and edits along the slider, and where the chosen cell is. */
function drawMarks() {
  const ratio = window.devicePixelRatio || 1;
  marks.width = Math.max(1, Math.round(marks.clientWidth * ratio));
  marks.height = Math.max(1, Math.round(marks.clientHeight * ratio));
  const pen = marks.getContext("2d");
  const { fov } = state;
  if (!fov) return;
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const rim = 8 * ratio; // half of the slider's thumb
  const step = fov.frames > 1 ? (marks.width - 2 * rim) / (fov.frames - 1) : 2 * rim;
  const place = (frame) => rim + frame * step;
  const bar = (frame, top, height, of) => {
    pen.fillStyle = of;
    pen.fillRect(place(frame) - Math.max(step, 2 * ratio) / 2, top * ratio, Math.max(step, 2 * ratio), height * ratio);
  };
  for (let frame = 0; frame < fov.frames; frame++) {
    if (fov.missing.has(frame)) bar(frame, 0, 16, colour("--line"));
    if (state.cell !== null && boxOf(state.cell, frame)) bar(frame, 12, 4, colour("--accent"));
    if (state.cell !== null && fov.excludedIn(state.cell, frame)) bar(frame, 12, 4, colour("--bad"));
  }
  fov.found.forEach((frame) => {
    pen.fillStyle = colour("--warn");
    pen.beginPath();
    pen.moveTo(place(frame) - 4 * ratio, 1 * ratio);
    pen.lineTo(place(frame) + 4 * ratio, 1 * ratio);
    pen.lineTo(place(frame), 9 * ratio);
    pen.fill();
  });
  fov.edited.forEach((frame) => {
    pen.fillStyle = colour("--ink");
    pen.beginPath();
    pen.arc(place(frame), 6 * ratio, 3 * ratio, 0, 2 * Math.PI);
    pen.fill();
  });
}

export function play(wanted = !state.playing) {
  state.playing = wanted && state.fov !== null && state.fov.frames > 1;
  const button = element("play");
  button.textContent = state.playing ? "❚❚" : "▶";
  button.setAttribute("aria-label", state.playing ? "Stop" : "Play");
  if (state.playing) {
    due = performance.now();
    round += 1;
    continuePlaying(round);
  }
  changed("view");
}

const continuePlaying = (mine) => requestAnimationFrame((now) => next(now, mine));

/** Show the next frame when its time has come and it is there; at the end go on from the beginning. */
function next(now, mine) {
  if (!state.playing || mine !== round) return;
  const coming = (state.frame + 1) % state.fov.frames;
  if (now >= due) {
    if (!isReady(coming)) {
      untilReady(coming).then(() => continuePlaying(mine)); // to look again and again takes time from what is waited for
      return;
    }
    due = Math.max(due + 1000 / Number(element("speed").value || FRAMES_PER_SECOND), now - 100);
    goTo(coming);
  }
  continuePlaying(mine);
}

export function connect() {
  slider.addEventListener("input", () => goTo(Number(slider.value)));
  element("play").addEventListener("click", () => play());
  new ResizeObserver(drawMarks).observe(marks);
  on("frame", calmly(show));
  on("fov", show);
  on("fov cell cells", drawMarks);
}
