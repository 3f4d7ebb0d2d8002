// Reads the data that the page carries. In the page it stands after pictures/shared.js, in the same script.

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
