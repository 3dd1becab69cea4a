// PNG files of class ids and object numbers: what canvases cannot write exactly.

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

export async function squeeze(bytes, format, Stream = CompressionStream) {
  const stream = new Blob([bytes]).stream().pipeThrough(new Stream(format));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(name, content) {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set([...name].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(content, 8);
  view.setUint32(content.length + 8, crc(bytes.subarray(4, content.length + 8)));
  return bytes;
}

async function file(width, height, depth, kind, rows, palette) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([depth, kind], 8);
  const parts = [Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10), chunk("IHDR", header)];
  if (palette) parts.push(chunk("PLTE", palette));
  parts.push(chunk("IDAT", await squeeze(rows, "deflate")), chunk("IEND", new Uint8Array()));
  return new Blob(parts, { type: "image/png" });
}

// Values of 8 bits with a palette of [red, green, blue] by value.
export async function palettePng(width, height, values, colours) {
  const rows = new Uint8Array(height * (width + 1));
  for (let y = 0; y < height; y++) rows.set(values.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const palette = new Uint8Array(768);
  for (const [value, colour] of colours) palette.set(colour, 3 * value);
  return file(width, height, 8, 3, rows, palette);
}

// Grey of 16 bits.
export async function greyPng(width, height, values) {
  const rows = new Uint8Array(height * (2 * width + 1));
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const place = y * (2 * width + 1) + 1 + 2 * x;
      rows[place] = values[y * width + x] >> 8;
      rows[place + 1] = values[y * width + x] & 255;
    }
  return file(width, height, 16, 0, rows);
}
