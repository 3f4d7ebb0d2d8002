// The channels above the image: which are shown, in which colour, and what is black and white.

import { element, make, shown } from "/page/shared.js";
import { changed, on, say, state } from "./state.js";

const bar = element("channels");
const COLOURS = [[0, 255, 0], [255, 0, 255], [0, 200, 255], [255, 200, 0], [255, 90, 0], [120, 120, 255]];
const hex = (colour) => `#${colour.map((part) => part.toString(16).padStart(2, "0")).join("")}`;
const parts = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

/** Take over what was set for a channel of the same name in the FOV before. */
function describe() {
  const before = new Map(state.channels.map((channel) => [channel.name, channel]));
  let lights = 0;
  state.channels = state.fov.channels.map((channel, at) => {
    const light = channel.name.startsWith("fl_") && !channel.name.startsWith("fl_background");
    const colour = channel.name.startsWith("pc_") ? [255, 255, 255] : COLOURS[light ? lights++ % COLOURS.length : 5];
    const [low, high] = channel.limits;
    const was = before.get(channel.name);
    return { ...channel, low, high, on: was ? was.on : at === 0, colour: was ? was.colour : colour };
  });
  if (state.channels.length && !state.channels.some(({ on: there }) => there)) state.channels[0].on = true;
}

function number(channel, which, label) {
  const input = make("input", "", { type: "number", step: "any", "aria-label": `${channel.title}: ${label}` });
  input.value = Number(channel[which].toPrecision(6));
  input.addEventListener("change", () => {
    const value = Number(input.value);
    if (Number.isFinite(value) && input.value !== "") channel[which] = value;
    input.value = Number(channel[which].toPrecision(6));
    if (channel.high <= channel.low) say(`${channel.title}: white is to be above black.`);
    changed("channels");
  });
  return input;
}

function fill() {
  bar.replaceChildren(
    ...state.channels.map((channel, at) => {
      const box = make("input", "", { type: "checkbox", "data-channel": channel.name });
      box.checked = channel.on;
      box.addEventListener("change", () => toggle(at, box.checked));
      const label = make("label", "", { title: `Key ${at + 1}` });
      label.append(box, `${channel.title}`);
      const colour = make("input", "", { type: "color", "aria-label": `Colour of ${channel.title}` });
      colour.value = hex(channel.colour);
      colour.addEventListener("input", () => {
        channel.colour = parts(colour.value);
        changed("channels");
      });
      const details = make("details", "", { class: "contrast" });
      const fields = make("div", "", { class: "fields" });
      const reset = make("button", "as measured", { type: "button" });
      reset.addEventListener("click", () => {
        [channel.low, channel.high] = channel.limits;
        fields.querySelectorAll("input").forEach((input, which) => {
          input.value = Number(channel[which ? "high" : "low"].toPrecision(6));
        });
        changed("channels");
      });
      const [low, high] = [make("label", "black "), make("label", "white ")];
      low.append(number(channel, "low", "black"));
      high.append(number(channel, "high", "white"));
      fields.append(low, high, reset);
      details.append(make("summary", "contrast", { "aria-label": `Contrast of ${channel.title}`, title: `${shown(channel.limits[0])} to ${shown(channel.limits[1])} counts` }), fields);
      const group = make("div", "", { class: "channel", role: "group", "aria-label": channel.title });
      group.append(label, colour, details);
      return group;
    }),
  );
}

/** Show or hide a channel by its place; at least one stays. */
export function toggle(at, wanted) {
  const channel = state.channels[at];
  if (!channel) return;
  const before = channel.on;
  channel.on = wanted ?? !before;
  if (!state.channels.some(({ on: there }) => there)) channel.on = true;
  bar.querySelectorAll("input[type=checkbox]")[at].checked = channel.on;
  say(`${channel.title} ${channel.on ? "on" : "off"}`);
  if (channel.on !== before) changed("channels");
}

/** The fields of a contrast lie over the image until Esc, or a click elsewhere. */
function closeFields() {
  document.addEventListener("pointerdown", ({ target }) => {
    bar.querySelectorAll("details[open]").forEach((details) => {
      if (!details.contains(target)) details.open = false;
    });
  });
  bar.addEventListener("keydown", (event) => {
    const details = event.key === "Escape" ? event.target.closest("details[open]") : null;
    if (!details) return;
    event.stopPropagation(); // the chosen cell stays chosen
    details.open = false;
    details.querySelector("summary").focus();
  });
}

export function connect() {
  closeFields();
  on("fov", () => {
    describe();
    fill();
  });
}
