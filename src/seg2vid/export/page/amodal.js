// What objects hide of one another, as in amodal.py.

import { fillInRows, pullAndPush } from "./holes.js";
import { clamp, round } from "./scene.js";

const WIDTHS = { thing: 0.4, car: 1.2 };
const NEARER = 1.03;
const HIDDEN = 0.4;
const LOWEST = 8;

/** Complete what stands half behind another object; return what would be seen of it as points. */
export function completeObjects({ width, height, camera }, rows, depth, picture, labels, cars) {
  const shapes = new Map();
  rows.forEach((row, pixel) => {
    if (!row) return;
    if (!shapes.has(row)) shapes.set(row, []);
    shapes.get(row).push(pixel);
  });
  const mean = (pixels) => pixels.reduce((sum, pixel) => sum + depth[pixel], 0) / pixels.length;
  const order = [...shapes.keys()].sort((a, b) => a - b);
  const near = new Map(order.map((row) => [row, mean(shapes.get(row))]));
  order.sort((a, b) => near.get(a) - near.get(b)); // the nearest last: it hides the others
  const whole = { picture: picture.slice(), labels: labels.slice() };
  whole.rows = new Int32Array(rows.length);
  whole.depth = new Float32Array(rows.length);
  const frame = { width, height, rows, depth, picture };
  for (const row of order) {
    const kind = mostFrequent(shapes.get(row).map((pixel) => labels[pixel]));
    const times = cars.includes(kind) ? WIDTHS.car : WIDTHS.thing;
    const part = hiddenPart(frame, row, shapes.get(row), times);
    if (part) complete(whole, frame, row, kind, part);
  }
  const pixels = [];
  whole.rows.forEach((row, pixel) => row && pixels.push(pixel));
  const points = {
    rows: Int32Array.from(pixels, (pixel) => whole.rows[pixel]),
    x: Float32Array.from(pixels, (pixel) => ((pixel % width) - camera.x) / camera.focal),
    y: Float32Array.from(pixels, (pixel) => (Math.floor(pixel / width) - camera.y) / camera.focal),
    z: new Float32Array(pixels.length).fill(1),
    depth: Float32Array.from(pixels, (pixel) => whole.depth[pixel]),
  };
  return { picture: whole.picture, labels: whole.labels, points, pixels };
}

function mostFrequent(ids) {
  const counts = new Map();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts].sort(([a, many], [b, more]) => more - many || a - b)[0][0];
}

/** Return the lines of an object and the first and last column it would have; null for none. */
function hiddenPart({ width, rows, depth }, row, pixels, times) {
  const ends = new Map(); // of each line
  for (const pixel of pixels) {
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    const [first, last] = ends.get(y) ?? [x, x];
    ends.set(y, [Math.min(first, x), Math.max(last, x)]);
  }
  const [top, bottom] = [Math.min(...ends.keys()), Math.max(...ends.keys())];
  const first = Math.min(...[...ends.values()].map((one) => one[0]));
  const last = Math.max(...[...ends.values()].map((one) => one[1]));
  const more = round(times * (bottom + 1 - top)) - (last + 1 - first);
  if (bottom + 1 - top < LOWEST || more < 1) return null;
  const [hidesLeft, hidesRight] = [-1, 1].map((step, side) => {
    const count = [...ends].filter(([y, both]) => {
      const at = y * width + both[side];
      const beside = y * width + clamp(both[side] + step, 0, width - 1);
      return rows[beside] > 0 && depth[beside] > NEARER * depth[at];
    }).length;
    return count / ends.size >= HIDDEN;
  });
  if (hidesLeft === hidesRight) return null;
  const span = hidesLeft ? [first - more, last] : [first, last + more];
  return { top, bottom, first: span[0], last: span[1] };
}

/** Put what is hidden of one object into the whole. */
function complete(whole, { width, rows, depth, picture }, row, kind, { top, bottom, first, last }) {
  const pixels = rows.length;
  const [left, right] = [Math.max(first, 0), Math.min(last, width - 1)];
  const [wide, tall] = [right + 1 - left, bottom + 1 - top];
  const size = wide * tall;
  const known = new Uint8Array(size); // 1: in the mirror, 2: seen
  const colours = new Float32Array(4 * size);
  const nearness = new Float32Array(4 * size);
  for (let at = 0; at < size; at++) {
    const line = (top + Math.floor(at / wide)) * width;
    const [x, mirrored] = [left + (at % wide), first + last - left - (at % wide)];
    const isSeen = rows[line + x] === row;
    const isReflected = mirrored >= 0 && mirrored < width && rows[line + mirrored] === row;
    if (!isSeen && !isReflected) continue;
    known[at] = isSeen ? 2 : 1;
    colours[3 * size + at] = 1;
    for (let colour = 0; colour < 3; colour++) {
      colours[colour * size + at] = picture[colour * pixels + line + (isSeen ? x : mirrored)];
    }
    if (isSeen) [nearness[at], nearness[3 * size + at]] = [depth[line + x], 1];
  }
  const filled = fillInRows(colours, wide, tall);
  const own = pullAndPush(nearness, wide, tall);
  const placeOf = (at) => (top + Math.floor(at / wide)) * width + left + (at % wide);
  const hides = (at) => {
    const place = placeOf(at);
    return rows[place] > 0 && rows[place] !== row && depth[place] > NEARER * own[at];
  };
  for (let column = 0; column < wide; column++) {
    const [begin, end] = span(known, hides, column, wide, tall);
    for (let at = begin * wide + column; at < end * wide; at += wide) {
      if (!hides(at)) continue;
      const place = placeOf(at);
      whole.rows[place] = row;
      whole.labels[place] = kind;
      whole.depth[place] = own[at];
      for (let colour = 0; colour < 3; colour++) {
        whole.picture[colour * pixels + place] = filled[colour * size + at];
      }
    }
  }
}

/** Return how far a column goes: where it is known, and on where what is seen ends at what hides. */
function span(known, hides, column, wide, tall) {
  let [begin, end] = [0, tall];
  while (begin < tall && !known[begin * wide + column]) begin++;
  if (begin === tall) return [0, tall];
  while (!known[(end - 1) * wide + column]) end--;
  const goesOn = (at, beyond) => known[at * wide + column] > 1 && hides(beyond * wide + column);
  if (begin > 0 && goesOn(begin, begin - 1)) begin = 0;
  if (end < tall && goesOn(end - 1, end)) end = tall;
  return [begin, end];
}
