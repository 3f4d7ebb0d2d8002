// Draws charts with plotly.js in the page's colours. In the page it stands after pictures/shared.js, in the same script.

const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false, // what is measured here is nobody else's business
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};
const NUMBER = ",.5~r"; // of d3-format: five digits, with commas between thousands
const CLEAR = "rgba(0,0,0,0)";

/** The colours of the page as it is: light, dark, or on paper. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(["ink", "soft", "line", "paper", "accent"].map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

function layout(x, y, more = {}) {
  const colours = palette();
  const body = getComputedStyle(document.body);
  const axis = { gridcolor: colours.line, linecolor: colours.soft, zerolinecolor: colours.soft, ticks: "outside", automargin: true };
  return {
    font: { family: body.fontFamily, size: 0.86 * parseFloat(body.fontSize), color: colours.ink },
    margin: { l: 64, r: 12, t: 10, b: 42 },
    paper_bgcolor: CLEAR,
    plot_bgcolor: CLEAR,
    showlegend: false,
    hovermode: "closest",
    ...more,
    xaxis: { ...axis, ...PLAIN_NUMBERS, title: { text: x }, ...more.xaxis },
    yaxis: { ...axis, ...PLAIN_NUMBERS, title: { text: y }, ...more.yaxis },
  };
}

const PLAIN_NUMBERS = { exponentformat: "none", separatethousands: true };

/** What an axis needs to show these values with ticks and numbers that can be read. */
function axisFor(values, logarithmic = false) {
  const there = values.filter((value) => Number.isFinite(value) && (!logarithmic || value > 0));
  if (!there.length) return {}; // with nothing above 0 a logarithmic axis would have nothing on it, not even ticks
  const [low, high] = there.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const numbers = Math.max(-low, high) >= 1e6 ? { exponentformat: "SI" } : {};
  const flat = high - low <= 1e-4 * Math.max(Math.abs(high), Math.abs(low));
  if (!logarithmic) {
    if (!flat) return numbers;
    const around = Math.abs(high) / 5 || 1;
    return { ...numbers, range: [low - around, high + around] };
  }
  const margin = Math.max(0.05 * Math.log10(high / low), 0.02);
  const [first, last] = [low, high].map(Math.log10);
  // Below a factor of four plotly's own ticks are at equal steps; above, 1, 2 and 5 in each decade, or 1 alone.
  const decades = last - first;
  const ticks = decades < 0.6 ? {} : { dtick: decades < 3 ? "D2" : Math.ceil(decades / 8) };
  return { ...numbers, ...ticks, type: "log", range: [first - margin, last + margin] };
}

/** Text for plotly, which knows a little HTML. */
const plain = (words) => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function draw(id, traces, of, onClick) {
  const plot = element(id);
  const first = !plot.classList.contains("js-plotly-plot");
  const size = document.documentElement.dataset.paper ? { width: plot.clientWidth } : {};
  Plotly.react(plot, traces, { ...of, ...size }, CONFIG);
  if (first && onClick) plot.on("plotly_click", (event) => onClick(event.points[0]));
}

function nothing(id, why) {
  element(id).classList.add("empty");
  element(id).textContent = why;
}

/** The lines of several cells as one, with gaps between: plotly draws one line faster than hundreds. */
function joined(cells, xOf, yOf) {
  const [x, y, which] = [[], [], []];
  for (const cell of cells) {
    const [xs, ys] = [xOf(cell), yOf(cell)];
    xs.forEach((value, at) => {
      if (Number.isNaN(ys[at])) return;
      x.push(value);
      y.push(ys[at]);
      which.push(cell);
    });
    x.push(null);
    y.push(null);
    which.push(cell);
  }
  return { x, y, which };
}

/** What is on paper is light and as wide as a sheet, and shows what is folded away. */
function onPaper(redraw) {
  let folded = [];
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.paper = "yes";
    folded = [...document.querySelectorAll("details:not([open])")];
    folded.forEach((details) => { details.open = true; });
    redraw();
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.paper;
    folded.forEach((details) => { details.open = false; });
    redraw();
  });
}
