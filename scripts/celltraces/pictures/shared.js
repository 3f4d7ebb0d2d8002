// What the pages of this workflow share: elements and numbers.

/** The element with this id. */
export const element = (id) => document.getElementById(id);

/** A new element with some text, which is never taken for HTML. */
export function make(tag, content = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = content;
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  return made;
}

/** A number to read: 12,345 or 0.001235. */
export function shown(value) {
  if (value === null || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(3);
  return value.toLocaleString("en", { maximumSignificantDigits: size >= 1e4 ? 6 : 4 });
}
