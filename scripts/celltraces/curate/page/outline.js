// The outlines of cells, and the cell at a place, from runs of labels.
// Runs are three rows of one Uint32Array: starts, ends (half-open, in pixels of the flattened frame), labels.

/** The order of the runs by label; those of one label stay from top to bottom and left to right. */
function byLabel(values) {
  const most = values.reduce((highest, value) => Math.max(highest, value), 0);
  if (most > 2 ** 22) return Uint32Array.from(values.keys()).sort((one, other) => values[one] - values[other] || one - other);
  const places = new Uint32Array(most + 2);
  values.forEach((value) => places[value + 1]++);
  for (let value = 0; value <= most; value++) places[value + 1] += places[value];
  const order = new Uint32Array(values.length);
  values.forEach((value, run) => {
    order[places[value]++] = run;
  });
  return order;
}

/**
 * Closed lines along the edges between pixels, around each cell and each hole in it.
 * Returns points (x, y), starts (where each line begins in points, in pairs), labels (of each line).
 *
 * Edges on the left of a run are walked upwards, those on the right downwards: the cell is on the right hand. Where two
 * rows meet, the ends of a label's runs in both, sorted by x, are joined in pairs: between the two of a pair the label is
 * on one side only, so that the line runs along there. No pixel is looked at, so it takes as long as there are runs.
 */
export function outlines(runs, height, width) {
  const count = runs.length / 3;
  const order = byLabel(runs.subarray(2 * count));
  const rows = new Uint32Array(count);
  const xs = new Uint32Array(2 * count); // of edges: 2 run and 2 run + 1 are the left and the right one of a run
  for (let run = 0; run < count; run++) {
    rows[run] = Math.floor(runs[run] / width);
    xs[2 * run] = runs[run] - rows[run] * width;
    xs[2 * run + 1] = runs[count + run] - rows[run] * width;
  }
  const next = new Uint32Array(2 * count); // the edge that is walked after an edge
  /** Join the edges of one label along the line above row y. Above, below: places in `order`, half-open. */
  const join = (above, aboveEnd, below, belowEnd) => {
    let up = 2 * above;
    let down = 2 * below;
    let waiting = -1;
    let arrives = false;
    while (up < 2 * aboveEnd || down < 2 * belowEnd) {
      const upper = up < 2 * aboveEnd ? 2 * order[up >> 1] + (up & 1) : -1;
      const lower = down < 2 * belowEnd ? 2 * order[down >> 1] + (down & 1) : -1;
      const takeUpper = lower < 0 || (upper >= 0 && xs[upper] <= xs[lower]);
      const edge = takeUpper ? upper : lower;
      const comes = (edge & 1) === (takeUpper ? 1 : 0); // it is walked towards this line
      if (takeUpper) up += 1;
      else down += 1;
      if (waiting < 0) {
        waiting = edge;
        arrives = comes;
      } else {
        if (arrives) next[waiting] = edge;
        else next[edge] = waiting;
        waiting = -1;
      }
    }
  };
  const label = (place) => runs[2 * count + order[place]];
  for (let begin = 0; begin < count; ) {
    let row = rows[order[begin]];
    let [above, aboveEnd, place] = [begin, begin, begin]; // above the first row there is nothing
    const same = label(begin);
    for (;;) {
      const below = place;
      while (place < count && label(place) === same && rows[order[place]] === row) place += 1;
      join(above, aboveEnd, below, place);
      if (below === place) break; // the row below the last one, or below a gap
      above = below;
      aboveEnd = place;
      row += 1;
    }
    begin = place; // what is left of the label begins below a gap of rows
  }
  const seen = new Uint8Array(2 * count);
  const Numbers = Math.max(height, width) < 65536 ? Uint16Array : Uint32Array;
  const points = new Numbers(8 * count); // at most two from each edge
  const starts = [];
  const labels = [];
  let end = 0;
  for (let at = 0; at < count; at++) {
    const first = 2 * order[at];
    if (seen[first]) continue;
    starts.push(end / 2);
    labels.push(label(at));
    let edge = first;
    do {
      seen[edge] = 1;
      const then = next[edge];
      if (xs[edge] !== xs[then]) {
        const y = rows[edge >> 1] + (edge & 1);
        points[end++] = xs[edge];
        points[end++] = y;
        points[end++] = xs[then];
        points[end++] = y;
      }
      edge = then;
    } while (edge !== first);
  }
  starts.push(end / 2);
  return { points: points.slice(0, end), starts: Uint32Array.from(starts), labels: Uint32Array.from(labels) };
}

/** The label on a pixel; 0 for background. */
export function labelOn(runs, width, x, y) {
  const count = runs.length / 3;
  const place = y * width + x;
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (runs[count + middle] <= place) low = middle + 1;
    else high = middle;
  }
  return low < count && runs[low] <= place ? runs[2 * count + low] : 0;
}

/** The label nearest to a place in image pixels, within some pixels of it; 0 where there is none. */
export function labelNear(runs, height, width, x, y, within) {
  const [column, row] = [Math.floor(x), Math.floor(y)];
  let [best, nearest] = [0, Infinity];
  const reach = Math.ceil(within);
  for (let dy = -reach; dy <= reach; dy++) {
    for (let dx = -reach; dx <= reach; dx++) {
      const [px, py] = [column + dx, row + dy];
      const distance = dx * dx + dy * dy;
      if (px < 0 || py < 0 || px >= width || py >= height || distance >= nearest || distance > within * within) continue;
      const label = labelOn(runs, width, px, py);
      if (label) [best, nearest] = [label, distance];
    }
  }
  return best;
}
