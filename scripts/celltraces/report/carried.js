// Reads what a page carries. In the page it stands after pictures/shared.js, in the same script.

/** The bytes in one of the page's blocks: base64 of zlib. */
async function unpack(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Response(stream).arrayBuffer();
}

const text = (bytes) => new TextDecoder().decode(bytes);

/** Row `row` of a table of numbers: lowest value, step, then numbers of steps; NaN where there is nothing. */
function numbersAt(bytes, [start, rows, columns], row) {
  const [low, step] = [0, rows].map((offset) => new Float64Array(bytes, start, 2 * rows)[offset + row]);
  const codes = new Int16Array(bytes, start + 16 * rows + 2 * columns * row, columns);
  return Array.from(codes, (code) => (code === -32768 ? NaN : low + (code + 32767) * step));
}
