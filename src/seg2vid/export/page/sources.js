// What each pixel of a moment shows, and what lies behind it, as in sources.py.

import { fillInRows } from "./holes.js";
import { REACH } from "./moments.js";
import { AROUND, NEAREST, clamp, round } from "./scene.js";

const CELL_LEVELS = 3;
const BEHIND_LEVELS = 6;
const WALKS = 3;
const GROWN = [1.3, 64];

/** Put each pixel where its centre falls, the nearest on top; and so for cells of 2, 4, 8. */
function splat(moment) {
  const { width, height, pixels, inverse } = moment;
  const buffer = new Int32Array(pixels).fill(-1);
  for (let pixel = 0; pixel < pixels; pixel++) {
    if (!moment.shown[pixel]) continue;
    const column = round(moment.placeX[pixel]);
    const row = round(moment.placeY[pixel]);
    if (column < 0 || column >= width || row < 0 || row >= height) continue;
    const target = row * width + column;
    if (buffer[target] < 0 || moment.isNearer(pixel, buffer[target])) buffer[target] = pixel;
  }
  cover(moment, buffer);
  const levels = [{ cells: buffer, wide: width, tall: height }];
  for (let level = 0; level < CELL_LEVELS; level++) {
    const below = levels[level];
    const wide = Math.ceil(below.wide / 2);
    const tall = Math.ceil(below.tall / 2);
    const cells = new Int32Array(wide * tall).fill(-1);
    below.cells.forEach((source, at) => {
      if (source < 0) return;
      const x = (at % below.wide) >> 1;
      const y = Math.floor(at / below.wide) >> 1;
      const cell = y * wide + x;
      if (cells[cell] < 0 || moment.isNearer(source, cells[cell])) cells[cell] = source;
    });
    levels.push({ cells, wide, tall });
  }
  return levels;
}

/** Put what has grown on all that it may cover: as wide as its neighbours have come apart. */
function cover(moment, buffer) {
  const { width, height, pixels, inverse, depth, surfaces } = moment;
  for (let pixel = 0; pixel < pixels; pixel++) {
    const growth = inverse[pixel] / depth[pixel];
    if (!moment.before[pixel] || !moment.shown[pixel] || !(growth > GROWN[0])) continue;
    let wide = growth;
    for (const beside of [pixel - 1, pixel + 1]) {
      if (Math.floor(beside / width) !== Math.floor(pixel / width)) continue;
      if (!moment.shown[beside] || surfaces[beside] !== surfaces[pixel]) continue;
      wide = Math.max(wide, Math.abs(moment.placeX[beside] - moment.placeX[pixel]));
    }
    const half = Math.min(growth, GROWN[1]) / 2;
    const reach = Math.min(wide, GROWN[1]) / 2;
    const left = Math.max(Math.ceil(moment.placeX[pixel] - reach), 0);
    const right = Math.min(Math.floor(moment.placeX[pixel] + reach), width - 1);
    const bottom = Math.min(Math.floor(moment.placeY[pixel] + half), height - 1);
    for (let y = Math.max(Math.ceil(moment.placeY[pixel] - half), 0); y <= bottom; y++) {
      for (let at = y * width + left; at <= y * width + right; at++) {
        if (buffer[at] < 0 || moment.isNearer(pixel, buffer[at])) buffer[at] = pixel;
      }
    }
  }
}

/** Return the nearest surface that each pixel shows, -1 where none is, and what lies behind. */
export function findSources(moment) {
  const { width, height, pixels } = moment;
  const levels = splat(moment);
  const buffer = levels[0].cells;
  const cellAt = (level, pixel) => {
    const { cells, wide } = levels[level];
    const x = (pixel % width) >> level;
    return cells[(Math.floor(pixel / width) >> level) * wide + x];
  };
  const first = new Int32Array(pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    let source = buffer[pixel];
    for (let level = 1; source < 0 && level <= CELL_LEVELS; level++) {
      source = cellAt(level, pixel);
    }
    first[pixel] = source < 0 ? pixel : source;
  }
  const apart = tornApart(moment, first, cellAt);
  const own = new Int32Array(pixels).fill(-1);
  const candidates = new Int32Array(5 + CELL_LEVELS);
  for (let pixel = 0; pixel < pixels; pixel++) {
    let best = moment.walk(pixel, first[pixel], WALKS);
    let nearest = moment.distance;
    if (best < 0 || apart[pixel]) {
      const x = pixel % width;
      const y = Math.floor(pixel / width);
      candidates[0] = first[pixel];
      candidates[1] = buffer[y * width + Math.max(x - 1, 0)];
      candidates[2] = buffer[y * width + Math.min(x + 1, width - 1)];
      candidates[3] = buffer[Math.max(y - 1, 0) * width + x];
      candidates[4] = buffer[Math.min(y + 1, height - 1) * width + x];
      for (let level = 1; level <= CELL_LEVELS; level++) {
        candidates[4 + level] = cellAt(level, pixel);
      }
      for (let one = 1; one < candidates.length; one++) {
        if (candidates[one] < 0) candidates[one] = first[pixel];
        if (candidates.indexOf(candidates[one]) < one) continue;
        const source = moment.walk(pixel, candidates[one], WALKS - 1);
        if (source < 0) continue;
        const isNearer =
          moment.distance > nearest || (moment.distance === nearest && source > best);
        if (best < 0 || isNearer) {
          best = source;
          nearest = moment.distance;
        }
      }
    }
    own[pixel] = best;
  }
  const closed = closeCracks(moment, own);
  return { own: closed, behind: lookBehind(moment, closed, first) };
}

/**
 * Return what each pixel shows or, where it shows nothing, what lies behind: the sky, where there is
 * more of it around, or the farthest of what is around, but the ground where its ray meets that
 * first.
 */
function lookBehind(moment, own, first) {
  const { depth, before } = moment;
  const behind = own.slice();
  const holes = [];
  own.forEach((source, pixel) => source < 0 && holes.push(pixel));
  const far = own.map((source) => (source >= 0 && before[source] ? -1 : source));
  const sky = depth.indexOf(0);
  let things = holes;
  let around = far;
  if (sky >= 0) {
    const isSky = isMost(far, (source) => depth[source] === 0, moment);
    for (const pixel of holes) if (isSky[pixel]) behind[pixel] = sky;
    things = holes.filter((pixel) => !isSky[pixel]);
    around = far.map((source) => (source >= 0 && depth[source] === 0 ? -1 : source));
  }
  const found = firstAround(moment, around, (source) => depth[source], things);
  things.forEach((pixel, at) => (behind[pixel] = found[at] < 0 ? first[pixel] : found[at]));
  const sunk = holes.filter((pixel) => moment.rayY[pixel] > 0);
  if (!sunk.length) return behind;
  // The nearest ground is known best.
  const level = far.map((source) => (source >= 0 && moment.isLevel(source) ? source : -1));
  const away = (source) => Math.fround(1 / Math.max(depth[source], Math.fround(NEAREST)));
  const grounds = firstAround(moment, level, away, sunk);
  sunk.forEach((pixel, at) => {
    if (grounds[at] < 0) return;
    moment.land(pixel, behind[pixel]);
    const other = moment.distance;
    moment.land(pixel, grounds[at]);
    const isFirst = moment.isLevel(behind[pixel]) || moment.distance > other;
    if (isFirst) behind[pixel] = grounds[at];
  });
  return behind;
}

/** Say whether most of the sources around each pixel, beside it or else above, are such. */
function isMost(sources, isSuch, { width, height, pixels }) {
  const planes = new Float32Array(4 * pixels);
  sources.forEach((source, pixel) => {
    if (source < 0) return;
    planes[pixel] = isSuch(source) ? 1 : 0;
    planes[3 * pixels + pixel] = 1;
  });
  const share = fillInRows(planes, width, height).subarray(0, pixels);
  return share.map((one) => (one > 0.5 ? 1 : 0));
}

/**
 * Return for each hole the one of the sources with the least key that is within a cell or beside
 * it, of the smallest cells where anything is; -1 where nothing is.
 */
function firstAround(moment, sources, keyOf, holes) {
  const { width, height } = moment;
  const isLess = (one, other) =>
    keyOf(one) < keyOf(other) || (keyOf(one) === keyOf(other) && one < other);
  const found = new Int32Array(holes.length).fill(-1);
  let cells = sources;
  let [wide, tall] = [width, height];
  let missing = holes.map((_, at) => at);
  for (let level = 1; level <= BEHIND_LEVELS && missing.length; level++) {
    const below = cells;
    const [across, down] = [wide, tall];
    wide = Math.ceil(wide / 2);
    tall = Math.ceil(tall / 2);
    cells = new Int32Array(wide * tall).fill(-1);
    for (let y = 0; y < down; y++) {
      for (let x = 0; x < across; x++) {
        const source = below[y * across + x];
        const cell = (y >> 1) * wide + (x >> 1);
        if (source < 0) continue;
        if (cells[cell] < 0 || isLess(source, cells[cell])) cells[cell] = source;
      }
    }
    missing = missing.filter((at) => {
      const [x, y] = [(holes[at] % width) >> level, Math.floor(holes[at] / width) >> level];
      for (const [row, column] of [[0, 0], ...AROUND]) {
        const line = clamp(y + row, 0, tall - 1) * wide;
        const source = cells[line + clamp(x + column, 0, wide - 1)];
        if (source < 0) continue;
        if (found[at] < 0 || isLess(source, found[at])) found[at] = source;
      }
      return found[at] < 0;
    });
  }
  return found;
}

/** Mark where surfaces that fell nearby are no neighbours in the first frame. */
function tornApart(moment, first, cellAt) {
  const { width, height, pixels, surfaces } = moment;
  const apart = new Uint8Array(pixels);
  // Between two pixels of another surface, whose rows or columns have come apart.
  const isBetween = (pixel, step) => {
    const [one, other] = [surfaces[first[pixel - step]], surfaces[first[pixel + step]]];
    return one === other && surfaces[first[pixel]] !== one;
  };
  const columnOf = (source) => source % width;
  const rowOf = (source) => Math.floor(source / width);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const x = columnOf(first[pixel]);
    const y = rowOf(first[pixel]);
    const beside = pixel % width < width - 1 ? pixel + 1 : -1;
    const below = pixel + width < pixels ? pixel + width : -1;
    if (beside >= 0 && pixel % width && isBetween(pixel, 1)) apart[pixel] = 1;
    if (below >= 0 && pixel >= width && isBetween(pixel, width)) apart[pixel] = 1;
    for (const other of [beside, below]) {
      if (other < 0) continue;
      const gapX = Math.abs(columnOf(first[other]) - x);
      if (gapX > REACH || Math.abs(rowOf(first[other]) - y) > REACH) {
        apart[pixel] = apart[other] = 1;
      }
    }
    for (let level = 1; level <= CELL_LEVELS; level++) {
      const cell = cellAt(level, pixel);
      if (cell < 0) continue;
      const far = 1.5 * (2 ** level + 1);
      if (Math.abs(columnOf(cell) - x) > far || Math.abs(rowOf(cell) - y) > far) {
        apart[pixel] = 1;
      }
    }
  }
  return apart;
}

/** Give a pixel that shows nothing, while nearly all around do, the best of their planes. */
function closeCracks(moment, own) {
  const { width, height, pixels } = moment;
  const closed = own.slice();
  for (let pixel = 0; pixel < pixels; pixel++) {
    if (own[pixel] >= 0) continue;
    const x = pixel % width;
    const y = Math.floor(pixel / width);
    const near = [];
    for (const [down, right] of AROUND) {
      if (y + down < 0 || y + down >= height || x + right < 0 || x + right >= width) continue;
      const source = own[pixel + down * width + right];
      if (source >= 0) near.push(source);
    }
    if (near.length < 6) continue;
    let nearest = Infinity;
    for (const source of near) {
      moment.land(pixel, source);
      const offX = Math.abs(moment.x - (source % width));
      const off = Math.max(offX, Math.abs(moment.y - Math.floor(source / width)));
      if (moment.distance >= 0 && off < nearest) {
        nearest = off;
        closed[pixel] = source;
      }
    }
  }
  return closed;
}
