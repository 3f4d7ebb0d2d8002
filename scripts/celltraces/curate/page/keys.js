// What each key does, and the page's help, which is made from the same list.

import { element, make } from "/page/shared.js";

/** Words for keys that have no sign of their own. */
const SPELLED = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Delete: "Del", Escape: "Esc", PageUp: "PgUp", PageDown: "PgDn" };

const spelled = (key) => key.split("+").map((part) => SPELLED[part] ?? (part.length === 1 ? part.toUpperCase() : part)).join(" + ");

/** The name of a key with Shift, as the list below has it; "" for what the browser or a screen reader wants. */
function nameOf(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return "";
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const letter = /^[a-z]$/.test(key);
  return event.shiftKey && (letter || key.length > 1) ? `Shift+${key}` : key;
}

/** Whether keys are text for what has the focus. */
const typing = (target) => target.matches("input:not([type=checkbox]):not([type=range]):not([type=color]), textarea, select");

/** What was clicked does not keep the keys: Space plays and arrows step on. Who came there by keys stays there. */
function leaveWhatIsClicked() {
  let pointing = false;
  document.addEventListener("pointerdown", () => (pointing = true), true);
  document.addEventListener("keydown", () => (pointing = false), true);
  document.addEventListener("change", ({ target }) => {
    if (pointing && target.matches("select, [type=checkbox]")) target.blur();
  });
  document.addEventListener("click", ({ detail, target }) => {
    if (detail) target.closest("button, summary")?.blur();
  });
}

/** actions: [[keys, words, function]], in the order of the help; those of one line are separated by blanks. */
export function connect(actions) {
  leaveWhatIsClicked();
  const byKey = new Map(actions.flatMap(([keys, , then]) => keys.map((key) => [key, then])));
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || typing(event.target)) return;
    const name = nameOf(event);
    const pressed = event.target.closest("button, summary, a, [type=checkbox], [type=color]");
    if (pressed && (name === " " || name === "Enter")) return; // the button's own
    const then = byKey.get(name);
    if (!then) return;
    event.preventDefault();
    then(event);
  });
  const table = make("table");
  actions.forEach(([keys, words]) => {
    if (!words) return;
    const row = make("tr");
    const first = make("th", "", { scope: "row" });
    keys.forEach((key, at) => first.append(at ? " " : "", make("kbd", spelled(key))));
    row.append(first, make("td", words));
    table.append(row);
  });
  element("keys").replaceChildren(table);
}
