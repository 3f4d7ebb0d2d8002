// What the pages of this workflow share: elements, numbers, tables as CSV.

/** The element with this id. */
export const element = (id) => document.getElementById(id);

/** A new element with some text, which is never taken for HTML. */
export function make(tag, content = "", attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = content;
  Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
  return made;
}

/** A number to read: 12,345 or 1.79 M or 0.001235. */
export function shown(value) {
  if (value === null || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && size < 1e-3) return value.toExponential(3);
  const [unit, letter] = size >= 999.5e6 ? [1e9, " G"] : size >= 999.5e3 ? [1e6, " M"] : [1, ""];
  const digits = size >= 1e4 ? (unit === 1 ? 6 : 3) : 4;
  return (value / unit).toLocaleString("en", { maximumSignificantDigits: digits }) + letter;
}

/** Rows as the text of a CSV file; null and NaN are empty. */
export function csvText(rows) {
  const written = (value) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "";
    const words = typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
    return /[",\n\r]/.test(words) ? `"${words.replaceAll('"', '""')}"` : words;
  };
  return rows.map((row) => `${row.map(written).join(",")}\n`).join("");
}

/** The rows of a CSV file, header first, as lists of texts. */
export function csvRows(content) {
  const rows = [];
  let row = [];
  for (const [, quoted, plain, end] of content.matchAll(/(?:"((?:[^"]|"")*)"|([^",\n\r]*))(,|\r?\n|$)/g)) {
    if (end === "" && !row.length && !quoted && !plain) break;
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === ",") continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

/** Offer some text as a file, as a click on a link to it would. */
export function download(name, content) {
  const link = make("a", "", { href: URL.createObjectURL(new Blob([content], { type: "text/csv" })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
