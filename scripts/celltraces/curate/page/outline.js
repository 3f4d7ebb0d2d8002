// The outlines of cells, and the cell at a place, from runs of labels.
// Runs are three rows of one Uint32Array: starts, ends (half-open, in pixels of the flattened frame), labels.

let scratch = { size: 0 }; // kept between frames: it would take longer to clear than to fill

/**
 * Closed lines along the edges between pixels, around each cell and each hole in it.
 * Returns points (x, y), starts (where each line begins in points, in pairs), labels (of each line).
 */
export function outlines(runs, height, width) {
  const count = runs.length / 3;
  const stride = width + 2; // with a rim of background
  if (scratch.size !== (height + 2) * stride) {
    const size = (height + 2) * stride;
    scratch = { size, image: new Uint32Array(size), seen: new Uint8Array(size) };
  }
  const { image, seen } = scratch; // seen: pixels whose left edge is on a line already
  const left = new Uint32Array(count); // where the run begins in the image
  for (let run = 0; run < count; run++) {
    const start = runs[run];
    const end = runs[count + run];
    const row = Math.floor(start / width);
    const at = (row + 1) * stride + (start - row * width) + 1;
    left[run] = at;
    image.fill(runs[2 * count + run], at, at + end - start);
  }
  const ahead = [1, stride, -1, -stride]; // right, down, left, up
  const points = [];
  const starts = [];
  const labels = [];
  for (let run = 0; run < count; run++) {
    if (seen[left[run]]) continue;
    const label = runs[2 * count + run];
    starts.push(points.length / 2);
    labels.push(label);
    // Walk along the edges with the cell on the right hand, from the lower end of this left edge upwards.
    let pixel = left[run];
    let heading = 3;
    const first = pixel;
    do {
      // The pixel is on the right of the edge that is walked; its corners are at the pixel's x, y less the rim.
      if (heading === 3) seen[pixel] = 1;
      const row = Math.floor(pixel / stride) - 1;
      const column = pixel - (row + 1) * stride - 1;
      const front = pixel + ahead[heading]; // beyond the edge's end, on the right
      const side = front + ahead[(heading + 3) % 4]; // and on the left
      let turned = heading;
      if (image[front] !== label) turned = (heading + 1) % 4; // to the right, around this pixel
      else if (image[side] === label) {
        turned = (heading + 3) % 4; // to the left
        pixel = side;
      } else pixel = front;
      if (turned !== heading) {
        // The corner at the end of the walked edge.
        const x = column + (heading === 0 || heading === 1 ? 1 : 0);
        const y = row + (heading === 1 || heading === 2 ? 1 : 0);
        points.push(x, y);
      }
      heading = turned;
    } while (pixel !== first || heading !== 3);
  }
  starts.push(points.length / 2);
  for (let run = 0; run < count; run++) {
    image.fill(0, left[run], left[run] + runs[count + run] - runs[run]);
    seen[left[run]] = 0;
  }
  const Numbers = Math.max(height, width) < 65536 ? Uint16Array : Uint32Array;
  return { points: Numbers.from(points), starts: Uint32Array.from(starts), labels: Uint32Array.from(labels) };
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
