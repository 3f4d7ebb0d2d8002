// Draws what the page carries. Charts are plotly.js's; here stands what is in them, and what a click does. In the page
// pictures/shared.js stands above it, in the same script.

/** The bytes in one of the page's blocks: base64 of zlib. */
async function unpack(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

const text = (bytes) => new TextDecoder().decode(bytes);

/** What is in the page, with functions that read its arrays. */
class Report {
  constructor(data, arrays) {
    Object.assign(this, data);
    this.bytes = arrays;
    this.places = new Map(this.cells.map((cell, at) => [`${cell.fov} ${cell.cell}`, at]));
    this.groups = this.samples.map((sample) => {
      const fovs = new Set(sample.fovs);
      return this.cells.flatMap((cell, at) => (fovs.has(cell.fov) ? [at] : []));
    });
  }

  /** Row `row` of a table of numbers: lowest value, step, then numbers of steps; NaN where there is nothing. */
  row([start, rows, columns], row) {
    const [low, step] = [0, rows].map((offset) => new Float64Array(this.bytes, start, 2 * rows)[offset + row]);
    const codes = new Int16Array(this.bytes, start + 16 * rows + 2 * columns * row, columns);
    return Array.from(codes, (code) => (code === -32768 ? NaN : low + (code + 32767) * step));
  }

  /** The times of all frames of the FOV of a cell. */
  times(cell) {
    return this.row(this.fov_times, this.fovs.indexOf(cell.fov));
  }

  picture([start, length]) {
    return URL.createObjectURL(new Blob([new Uint8Array(this.bytes, start, length)], { type: "image/webp" }));
  }
}

const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false, // what is measured here is nobody else's business
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};
const AXIS = { gridcolor: "#e6e9ee", linecolor: "#8a94a3", zerolinecolor: "#c3c9d2", ticks: "outside", automargin: true };

function layout(x, y, more = {}) {
  return {
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "#1d2530" },
    margin: { l: 64, r: 12, t: 10, b: 42 },
    showlegend: false,
    hovermode: "closest",
    ...more,
    xaxis: { ...AXIS, title: { text: x }, ...more.xaxis },
    yaxis: { ...AXIS, title: { text: y }, ...more.yaxis },
  };
}

/** Text for plotly, which knows a little HTML. */
const plain = (words) => words.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

function draw(id, traces, of, onClick) {
  const plot = element(id);
  const first = !plot.classList.contains("js-plotly-plot");
  Plotly.react(plot, traces, of, CONFIG);
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

function start(report) {
  const chosen = { cell: null, samples: new Set(report.samples.map((_, at) => at).slice(0, 8)) };
  const time = `time (${report.unit})`;
  const named = (cell) => `FOV ${cell.fov}, cell ${cell.cell}`;
  const feature = () => report.features[element("feature").value];
  const atFrames = (times) => report.frames.map((frame) => times[frame]);

  // ------------------------------------------------------------------------------------------------- traces

  /** Line, markers and data of the chosen cell, drawn over the others. */
  function highlighted() {
    const cell = report.cells[chosen.cell];
    if (!cell) return { x: [], y: [] };
    return { x: atFrames(report.times(cell)), y: report.row(feature().cells, chosen.cell) };
  }

  function drawTraces() {
    const traces = [];
    report.samples.forEach((sample, at) => {
      if (!chosen.samples.has(at)) return;
      const name = plain(sample.name);
      const lines = joined(
        report.groups[at],
        (cell) => atFrames(report.times(report.cells[cell])),
        (cell) => report.row(feature().cells, cell),
      );
      const many = Math.min(0.8, Math.max(0.2, 6 / Math.sqrt(report.groups[at].length)));
      traces.push({
        type: "scatter", mode: report.frames.length > 1 ? "lines" : "markers", x: lines.x, y: lines.y, customdata: lines.which,
        text: lines.which.map((cell) => named(report.cells[cell])), name,
        line: { color: sample.colour, width: 1 }, marker: { color: sample.colour }, opacity: many,
        hovertemplate: "%{text}<br>%{x:.4g}, %{y:.5g}<extra>%{fullData.name}</extra>",
      });
    });
    report.samples.forEach((sample, at) => {
      if (!chosen.samples.has(at)) return;
      const times = report.row(report.sample_times, at);
      const [low, median, high, mean] = [0, 1, 2, 3].map((which) => report.row(feature().samples, 4 * at + which));
      const there = times.map((_, frame) => frame).filter((frame) => !Number.isNaN(mean[frame]));
      const back = [...there].reverse();
      const pick = (values, frames) => frames.map((frame) => values[frame]);
      traces.push({
        type: "scatter", mode: "lines", x: [...pick(times, there), ...pick(times, back)],
        y: [...pick(high, there), ...pick(low, back)], fill: "toself", fillcolor: `${sample.colour}38`,
        line: { width: 0 }, hoverinfo: "skip",
      });
      [["median", median, { width: 1.5, dash: "dash" }, 6], ["mean", mean, { width: 3.5 }, 10]].forEach(([what, values, line, size]) => {
        traces.push({
          type: "scatter", mode: there.length > 1 ? "lines" : "markers", x: pick(times, there), y: pick(values, there),
          line: { color: sample.colour, ...line }, marker: { color: sample.colour, size }, name: plain(sample.name),
          hovertemplate: `${what} of ${sample.cells} cells<br>%{x:.4g}, %{y:.5g}<extra>%{fullData.name}</extra>`,
        });
      });
    });
    traces.push({
      type: "scatter", mode: "lines+markers", ...highlighted(), line: { color: "#000", width: 2.5 },
      marker: { color: "#000", size: 4 }, hoverinfo: "skip",
    });
    const scale = element("log").checked ? { type: "log", dtick: 1 } : {};
    draw("plot-traces", traces, layout(time, plain(feature().label), { yaxis: scale }), choosePoint);
  }

  function choosePoint(point) {
    if (point.customdata !== undefined) choose(point.customdata);
  }

  // ---------------------------------------------------------------------------------------------- one cell

  function choose(at) {
    chosen.cell = at;
    const cell = report.cells[at];
    element("fov").value = cell.fov;
    listCells();
    element("number").value = at;
    document.querySelectorAll(".card").forEach((card) => card.classList.toggle("chosen", Number(card.dataset.fov) === cell.fov));
    const samples = report.samples.filter((sample) => sample.fovs.includes(cell.fov));
    element("of-sample").textContent = samples.map((sample) => sample.name).join(", ");
    const place = { dataset: element("name").textContent, fov: cell.fov, cell: cell.cell, frame: cell.frames[Math.floor(cell.frames.length / 2)] };
    element("correct").href = `${element("correct").dataset.page}#${new URLSearchParams(place)}`;
    drawCell();
    drawFilm();
    drawFits();
    const plot = element("plot-traces");
    const { x, y } = highlighted();
    Plotly.restyle(plot, { x: [x], y: [y] }, [plot.data.length - 1]);
    if (report.quantities.length) drawDistribution();
  }

  function drawCell() {
    const cell = report.cells[chosen.cell];
    const times = report.times(cell);
    const [first, last] = report.row(report.ends, chosen.cell);
    const traces = [{
      type: "scatter", mode: "lines+markers", ...highlighted(), name: "trace",
      line: { color: "#1d2530", width: 1.5 }, marker: { color: "#1d2530", size: 4 }, hovertemplate: "%{x:.4g}, %{y:.5g}<extra></extra>",
    }];
    report.fits.forEach((fit, at) => {
      if (fit.column !== feature().column || !fit.cells[chosen.cell]) return;
      const y = report.row(fit.curves, chosen.cell);
      if (y.every(Number.isNaN)) return;
      const x = y.map((_, point) => first + ((last - first) * point) / (y.length - 1));
      traces.push({
        type: "scatter", mode: "lines", x, y, name: plain(fit.label.split(" of ")[0]), showlegend: true,
        line: { color: ["#d55e00", "#0072b2", "#009e73"][at % 3], width: 3 }, hoverinfo: "skip",
      });
    });
    const shapes = cell.frames.map((frame) => ({
      type: "line", x0: times[frame], x1: times[frame], y0: 0, y1: 1, yref: "paper", layer: "below",
      line: { color: "#c3c9d2", width: 1, dash: "dot" },
    }));
    const legend = { x: 0.02, y: 0.98, bgcolor: "rgba(255,255,255,0.8)" };
    draw("plot-cell", traces, layout(time, plain(feature().label), { shapes, legend, showlegend: traces.length > 1 }));
  }

  function drawFilm() {
    const cell = report.cells[chosen.cell];
    const times = report.times(cell);
    const film = element("film");
    film.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
    const strip = make("div", "", { class: "strip" });
    const rows = make("div", "", { class: "rows" });
    rows.append(...report.channels.map((channel) => make("span", channel, { title: channel })));
    const image = make("img", "", { src: report.picture(cell.strip), alt: `Film strip of ${named(cell)}` });
    const under = make("div", "", { class: "times" });
    const label = (frame) => (times[frame] === undefined || Number.isNaN(times[frame]) ? `#${frame}` : shown(Number(times[frame].toFixed(1))));
    under.append(...cell.frames.map((frame) => make("span", label(frame), { title: `frame ${frame}` })));
    strip.append(rows, image, under);
    const light = report.levels[cell.fov].slice(1).map(([low, high], at) => `${report.channels[at + 1]} ${shown(low)} to ${shown(high)} counts above the background`);
    const born = cell.parent === undefined ? "" : `, daughter of cell ${cell.parent} (frame ${cell.division_frame})`;
    const divides = cell.daughters ? `, divides into ${cell.daughters.join(" and ")} (frame ${cell.divides})` : "";
    const note = `${named(cell)}${born}${divides}: times in ${report.unit}, dotted in the plot; the outline is what was measured.` + (light.length ? ` Black to white, in all of FOV ${cell.fov}: ${light.join("; ")}.` : "");
    film.replaceChildren(strip, make("p", note, { class: "note" }));
  }

  function drawFits() {
    const tables = report.fits.flatMap((fit) => {
      const told = fit.column === feature().column && fit.cells[chosen.cell];
      if (!told) return [];
      const table = make("table");
      const quality = told.r_squared === null ? "" : `, R² ${shown(told.r_squared)}`;
      const head = make("tr");
      head.append(...["parameter", "value", "95 % interval", ""].map((title) => make("th", title)));
      table.append(make("caption", `${fit.label}: ${told.flag}${quality}`), head);
      told.parameters.forEach(([name, unit, value, low, high, flag]) => {
        const row = make("tr");
        const interval = low === null && high === null ? "" : `${low === null ? "…" : shown(low)} to ${high === null ? "…" : shown(high)}`;
        row.append(make("td", unit ? `${name} (${unit})` : name), make("td", shown(value)), make("td", interval), make("td", flag === "ok" ? "" : flag));
        table.append(row);
      });
      return [table];
    });
    element("fits").replaceChildren(...tables);
  }

  /** The list of the chosen FOV's cells that are shown. */
  function listCells() {
    const fov = Number(element("fov").value);
    const options = report.cells.flatMap((cell, at) => (cell.fov === fov ? [make("option", String(cell.cell), { value: at })] : []));
    element("number").replaceChildren(...options);
  }

  function chooseFov(fov) {
    const at = report.cells.findIndex((cell) => cell.fov === fov);
    if (at >= 0) choose(at);
    return at >= 0;
  }

  const step = (by) => choose((chosen.cell + by + report.cells.length) % report.cells.length);

  // ------------------------------------------------------------------------------------------ distributions

  function drawDistribution() {
    const quantity = report.quantities[element("quantity").value];
    const points = report.row(quantity.points, 0);
    const traces = [];
    const [places, names] = [[], []];
    report.samples.forEach((sample, at) => {
      if (!chosen.samples.has(at) || quantity.boxes[at] === undefined) return;
      const place = places.push(places.length) - 1;
      const [p10, q1, median, q3, p90, n] = quantity.boxes[at];
      names.push(`${plain(sample.name)}<br>n = ${n}`);
      if (n) {
        traces.push({
          type: "box", x: [place], q1: [q1], median: [median], q3: [q3], lowerfence: [p10], upperfence: [p90], width: 0.5,
          line: { color: sample.colour, width: 2 }, fillcolor: `${sample.colour}30`, hoverinfo: "y", name: plain(sample.name),
        });
      }
      const cells = report.groups[at].filter((cell) => !Number.isNaN(points[cell]));
      traces.push({
        // Side by side in steps of the golden section: evenly strewn, and every time the same.
        type: "scatter", mode: "markers", x: cells.map((_, turn) => place + 0.44 * (((turn * 0.618034) % 1) - 0.5)),
        y: cells.map((cell) => points[cell]), customdata: cells, text: cells.map((cell) => named(report.cells[cell])),
        marker: { color: cells.map((cell) => (cell === chosen.cell ? "#000" : sample.colour)), size: cells.map((cell) => (cell === chosen.cell ? 11 : 6)), opacity: 0.75 },
        hovertemplate: "%{text}<br>%{y:.5g}<extra></extra>",
      });
    });
    const xaxis = { tickvals: places, ticktext: names, range: [-0.6, Math.max(places.length, 3) - 0.4], zeroline: false, showgrid: false };
    const yaxis = element("log-quantity").checked ? { type: "log", dtick: 1 } : {};
    draw("plot-distribution", traces, layout("", plain(quantity.label).replace(": ", ":<br>"), { xaxis, yaxis }), choosePoint);
  }

  // ----------------------------------------------------------------------------------------------- left out

  function drawLeftOut() {
    const kinds = [["good", "in the tables", "#0072b2"], ["short", "in few frames", "#e69f00"], ["border", "near the edge", "#56b4e9"], ["both", "both", "#7f7f7f"], ["refused", "refused", "#d55e00"]];
    const bars = kinds.map(([key, name, color]) => ({
      type: "bar", name, marker: { color }, x: report.cards.map((card) => `FOV ${card.fov}`), y: report.cards.map((card) => card[key]),
    }));
    const legend = { orientation: "h", x: 0, y: -0.25, yanchor: "top", traceorder: "normal" };
    const xaxis = { type: "category", nticks: 12 };
    draw("plot-left-out", bars, layout("", "cells", { barmode: "stack", showlegend: true, legend, xaxis }));
    const lines = [["tracked", "tracked", "#7f7f7f"], ["kept", "in the traces", "#0072b2"]].map(([key, name, color]) => ({
      type: "scatter", mode: "lines+markers", name, x: report.counts.times, y: report.counts[key], line: { color }, marker: { size: 4 },
    }));
    draw("plot-counts", lines, layout(time, "cells in all FOVs", { showlegend: true, legend, yaxis: { rangemode: "tozero" } }));
  }

  // ---------------------------------------------------------------------------------------------- what is shown

  function fill(id, words) {
    element(id).replaceChildren(...words.map((label, at) => make("option", label, { value: at })));
  }

  element("samples").replaceChildren(...report.samples.map((sample, at) => {
    const label = make("label");
    const box = make("input", "", { type: "checkbox", value: at });
    box.checked = chosen.samples.has(at);
    box.addEventListener("change", () => {
      box.checked ? chosen.samples.add(at) : chosen.samples.delete(at);
      drawTraces();
      drawDistribution();
    });
    const colour = make("i");
    colour.style.background = sample.colour;
    label.append(box, colour, `${sample.name} (${sample.cells})`);
    return label;
  }));
  const flaggedOnly = element("flagged-only");
  flaggedOnly.addEventListener("change", () => element("fovs").classList.toggle("flagged-only", flaggedOnly.checked));
  drawLeftOut();

  if (!report.features.length || !report.samples.some((sample) => sample.cells)) {
    nothing("plot-traces", report.features.length ? "There is no cell in the tables." : "No feature was asked for in the config.");
    nothing("plot-distribution", "There is nothing to show.");
    document.querySelectorAll("#traces .controls, #distributions .controls").forEach((controls) => controls.remove());
    return;
  }
  fill("feature", report.features.map(({ label }) => label));
  fill("quantity", report.quantities.map(({ label }) => label));
  const brightest = report.features.findIndex(({ column }) => column.startsWith("intensity"));
  element("feature").value = element("quantity").value = Math.max(brightest, 0);
  element("feature").addEventListener("change", () => {
    drawTraces();
    if (chosen.cell !== null) [drawCell, drawFits].forEach((part) => part());
  });
  element("log").addEventListener("change", drawTraces);
  ["quantity", "log-quantity"].forEach((id) => element(id).addEventListener("change", drawDistribution));
  drawTraces();
  drawDistribution();
  if (!report.cells.length) {
    element("cell").replaceChildren(make("p", "No cell is shown singly.", { class: "note" }));
    return;
  }
  element("fov").replaceChildren(...report.fovs.map((fov) => make("option", String(fov), { value: fov })));
  element("fov").addEventListener("change", () => chooseFov(Number(element("fov").value)));
  element("number").addEventListener("change", () => choose(Number(element("number").value)));
  element("previous").addEventListener("click", () => step(-1));
  element("next").addEventListener("click", () => step(1));
  document.querySelectorAll(".card").forEach((card) => card.addEventListener("click", () => {
    if (chooseFov(Number(card.dataset.fov))) element("traces").scrollIntoView();
  }));
  choose(0);
}

(async () => {
  try {
    const [library, data, arrays] = await Promise.all(["library", "data", "arrays"].map(unpack));
    document.head.append(make("script", text(library)));
    start(new Report(JSON.parse(text(data)), arrays));
    document.body.dataset.ready = "yes"; // for tests
  } catch (error) {
    element("trouble").textContent = `Plots cannot be drawn: ${error}. Browsers from 2023 on can.`;
    element("trouble").hidden = false;
  }
})();
