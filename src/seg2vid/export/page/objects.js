// Objects of a first frame in its scene: what moves together, where, and how far, as in objects.py.

import { CELL, MOST_OBJECTS, ROWS, poolRows, rowsOf } from "./labels.js";
import { AROUND, clamp } from "./scene.js";

export const LANE = 1.6;
const TALL = 1.3;
const UNEVEN = 1.03;
const LENGTHS = 1.4;
const LONG = 0.1;
const REACH = 1 / 40;
const SHADOW = 1;
const GOES = 2.5;
const ABOVE = 1.03;
const TOUCHES = 2;
const CLEARLY = 0.1;
const WIDE = 2.5;
const STEP = 1.25;
const MOST_PARTS = 16;

/**
 * Return the number of each pixel's object, 0 for the background. Cells are coarse: a pixel in one of
 * another class's object goes with an object of its own class in a cell beside, if there is any.
 */
function refinedRows(labels, objects, model) {
  const { width, height } = model;
  const [wide, tall] = [width / CELL, height / CELL];
  const found = rowsOf(labels, objects, model);
  const isThing = new Set(model.foreground);
  // An object is of the class that all its cells hold, of several of the one they were named for.
  const held = new Set();
  const counts = Array.from({ length: ROWS }, () => new Int32Array(model.channels));
  labels.forEach((id, pixel) => {
    const cell =
      Math.floor(pixel / width / CELL) * wide + Math.floor((pixel % width) / CELL);
    const key = cell * model.channels + id;
    if (!isThing.has(id) || held.has(key)) return;
    held.add(key);
    counts[objects[cell]][id] += 1;
  });
  const kinds = counts.map((one) => one.lastIndexOf(Math.max(...one)));
  return found.map((row, pixel) => {
    if (!isThing.has(labels[pixel]) || (row > 0 && kinds[row] === labels[pixel])) return row;
    const x = Math.floor((pixel % width) / CELL);
    const y = Math.floor(pixel / width / CELL);
    for (const [down, right] of AROUND) {
      if (y + down < 0 || y + down >= tall || x + right < 0 || x + right >= wide) continue;
      const near = objects[(y + down) * wide + x + right];
      if (near > 0 && kinds[near] === labels[pixel]) return near;
    }
    return row;
  });
}

/** Return where each object is: camera units to the right and down, and 1 / m away. */
export function middles(depth, rows, camera, width) {
  const pixels = rows.length;
  const place = new Float32Array(3 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    place[pixel] = ((pixel % width) - camera.x) / camera.focal;
    place[pixels + pixel] = (Math.floor(pixel / width) - camera.y) / camera.focal;
    place[2 * pixels + pixel] = depth[pixel];
  }
  return poolRows(place, 3, rows, ROWS).subarray(3);
}

/** Return the metres ahead and to the right of what `middles` says. */
export function pivotsOf(middle) {
  const pivots = new Float32Array(2 * MOST_OBJECTS);
  for (let row = 0; row < MOST_OBJECTS; row++) {
    const ahead = 1 / Math.max(middle[3 * row + 2], 1e-3);
    pivots[2 * row] = ahead;
    pivots[2 * row + 1] = middle[3 * row] * ahead;
  }
  return pivots;
}

/** Return objects with long ones parted, each pixel's, and the row that each part goes with. */
export function tellApart(objects, labels, depth, camera, model) {
  const whole = refinedRows(labels, objects, model);
  const lanes = partObjects(objects, whole, depth, camera, model, new Float32Array(ROWS));
  const rows = refinedRows(labels, lanes, model);
  const metres = Float32Array.from(labels, (id) => model.spacings[id]);
  const spacings = poolRows(metres, 1, rows, ROWS);
  const parted = partObjects(lanes, rows, depth, camera, model, spacings);
  const companions = [...Array(MOST_OBJECTS).keys()];
  parted.forEach((one, cell) => one && (companions[one - 1] = lanes[cell] - 1));
  const mended = mendOutlines(refinedRows(labels, parted, model), parted, objects, depth, model);
  return { objects: parted, rows: mended, companions };
}

/**
 * Tell apart what stands left of the camera's lane, in it and right of it in one long object, and there
 * one from the next by their spacing, where that is not 0.
 */
function partObjects(objects, rows, depth, camera, model, spacings) {
  const { width } = model;
  const wide = width / CELL;
  const about = ["share", "across", "away"].map(() => new Float64Array(objects.length));
  rows.forEach((row, pixel) => {
    if (!row) return;
    const x = pixel % width;
    const cell = Math.floor(pixel / width / CELL) * wide + Math.floor(x / CELL);
    const own = [1, (x - camera.x) / camera.focal, depth[pixel]];
    about.forEach((plane, at) => (plane[cell] += own[at] / CELL ** 2));
  });
  const parted = objects.slice();
  findLong(depth, rows).forEach((isLong, number) => {
    if (!isLong) return;
    const free = parted.reduce((most, one) => Math.max(most, one), 0) + 1;
    const cells = [...objects.keys()].filter((cell) => objects[cell] === number);
    // What stands upright is as far in all of a column.
    const sums = about.map((plane) => {
      const columns = new Float64Array(wide);
      cells.forEach((cell) => (columns[cell % wide] += plane[cell]));
      return columns;
    });
    const [ahead, beside] = [sums[0], sums[1]].map((sum) =>
      sum.map((one, column) => one / Math.max(sums[2][column], 1e-6)),
    );
    const parts = partsOf(cells, beside, ahead, spacings[number], wide);
    const kept = [...parts].sort(
      ([one, own], [other, others]) => others.length - own.length || one - other,
    );
    const many = kept.filter(([, own]) => own.length > 1).length;
    kept.length = Math.max(1, Math.min(many, MOST_OBJECTS - free + 2));
    const distance = (own) =>
      own.reduce((sum, cell) => sum + ahead[cell % wide], 0) / own.length;
    for (const [part, own] of parts) {
      const off = kept.map(([one, others]) =>
        one === part ? -1 : Math.abs(distance(others) - distance(own)),
      );
      const nearest = off.indexOf(Math.min(...off));
      own.forEach((cell) => (parted[cell] = nearest ? free + nearest - 1 : number));
    }
  });
  return parted;
}

/** Return the cells of each side and, the nearest first, of each place in the row there. */
function partsOf(cells, beside, ahead, spacing, wide) {
  const side = sidesOf(beside, ahead);
  const nearest = [Infinity, Infinity, Infinity];
  cells.forEach((cell) => {
    const [one, own] = [side[cell % wide], ahead[cell % wide]];
    if (own > 0) nearest[one] = Math.min(nearest[one], own);
  });
  const parts = new Map();
  for (const cell of cells) {
    const [one, own] = [side[cell % wide], ahead[cell % wide]];
    const place = spacing > 0 && own > 0 ? Math.floor((own - nearest[one]) / spacing) : 0;
    const part = one * MOST_PARTS + Math.min(place, MOST_PARTS - 1);
    if (!parts.has(part)) parts.set(part, []);
    parts.get(part).push(cell);
  }
  return parts;
}

/** Return 0 for each column left of the camera's lane, 1 in it, 2 right of it; one thing is whole. */
function sidesOf(beside, ahead) {
  const sideOf = (x) => 1 + (x > LANE) - (x < -LANE);
  const side = Array.from(beside, sideOf);
  for (let first = 0, next; first < ahead.length; first = next) {
    next = first + 1;
    const hangsTogether = (at) => Math.abs(Math.log(ahead[at] / ahead[at - 1])) <= Math.log(STEP);
    while (next < ahead.length && hangsTogether(next)) next++;
    const piece = beside.subarray(first, next);
    if (!(ahead[first] > 0) || Math.max(...piece) - Math.min(...piece) > WIDE) continue;
    side.fill(sideOf(piece.reduce((sum, x) => sum + x, 0) / piece.length), first, next);
  }
  return side;
}

/** Let pixels of objects that were parted go with a part in a cell beside that is as far as they. */
function mendOutlines(rows, objects, whole, depth, { width, height }) {
  const [wide, tall] = [width / CELL, height / CELL];
  const origin = new Int32Array(ROWS);
  objects.forEach((one, cell) => one && (origin[one] = whole[cell]));
  const logarithm = depth.map((one) => Math.log(Math.max(one, 1e-3)));
  const means = poolRows(logarithm, 1, rows, ROWS);
  return rows.map((row, pixel) => {
    const x = Math.floor((pixel % width) / CELL);
    const y = Math.floor(pixel / width / CELL);
    let [found, least] = [row, Math.abs(means[row] - logarithm[pixel]) - CLEARLY];
    for (const [down, right] of row ? AROUND : []) {
      if (y + down < 0 || y + down >= tall || x + right < 0 || x + right >= wide) continue;
      const near = objects[(y + down) * wide + x + right];
      const off = Math.abs(means[near] - logarithm[pixel]);
      if (near && origin[near] === origin[row] && off < least) [found, least] = [near, off];
    }
    return found;
  });
}

/**
 * Return which object each sits on, counted from 0: a rider on the cycle that touches it most, all
 * others on themselves.
 */
export function seatsOf(rows, labels, { width, height, riders, cycles }) {
  const touches = Array.from({ length: MOST_OBJECTS }, () => new Int32Array(MOST_OBJECTS));
  const touch = (here, there) => {
    const isSeat = riders.includes(labels[here]) && cycles.includes(labels[there]);
    if (isSeat && rows[here] && rows[there]) touches[rows[here] - 1][rows[there] - 1] += 1;
  };
  for (let pixel = 0; pixel < rows.length; pixel++) {
    const beside = (pixel + 1) % width ? pixel + 1 : -1;
    const below = pixel + width < width * height ? pixel + width : -1;
    for (const other of [beside, below]) {
      if (other < 0) continue;
      touch(pixel, other);
      touch(other, pixel);
    }
  }
  return touches.map((counts, row) => {
    const most = Math.max(...counts);
    return most >= TOUCHES ? counts.indexOf(most) : row;
  });
}

/** Let riders be as far as what carries them. */
export function seatRiders(depth, rows, seats) {
  const mean = poolRows(depth, 1, rows, ROWS);
  return depth.map((one, pixel) => {
    const row = rows[pixel];
    const carried = row ? mean[seats[row - 1] + 1] : 0;
    return carried > 0 && seats[row - 1] !== row - 1 ? (one * carried) / mean[row] : one;
  });
}

/**
 * Return rows with the ground before the foot of each object that goes far, where its shadow lies,
 * and the depth with that a little above the ground.
 */
export function addShadows(rows, labels, depth, paths, model) {
  const { width, height } = model;
  const { objects, steps } = paths;
  const goes = (row) => {
    const last = 3 * (row * steps - 1);
    return row > 0 && Math.hypot(objects[last], objects[last + 1]) > GOES;
  };
  const ground = new Set(model.ground);
  const away = (pixel) => Math.fround(1 / Math.max(depth[pixel], Math.fround(1e-3)));
  const shaded = rows.slice();
  const lifted = depth.slice();
  for (let x = 0; x < width; x++) {
    let above = x; // the last pixel upwards that is no ground
    for (let y = 0; y < height; y++) {
      const pixel = y * width + x;
      if (rows[pixel] > 0 || !ground.has(labels[pixel])) {
        above = pixel;
        continue;
      }
      const below = Math.min(Math.floor(above / width) + 1, height - 1) * width + x;
      const foot = Math.min(away(above), away(below));
      if (Math.fround(foot - away(pixel)) >= SHADOW || !goes(rows[above])) continue;
      shaded[pixel] = rows[above];
      lifted[pixel] = Math.fround(ABOVE) * depth[pixel];
    }
  }
  return { rows: shaded, depth: lifted };
}

/** Keep each object near an upright plane; tall ones are flat, and long ones recede. */
export function holdTogether(given, rows, width) {
  const pixels = rows.length;
  const middle = poolRows(given, 1, rows, ROWS);
  const depth = given.map((one, pixel) => {
    const own = middle[rows[pixel]];
    return rows[pixel] ? clamp(one, own / LENGTHS, own * LENGTHS) : one;
  });
  const about = new Float32Array(6 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const [x, y, own] = [pixel % width, Math.floor(pixel / width), depth[pixel]];
    [own, x, y, x * x, y * y, x * own].forEach((one, at) => (about[at * pixels + pixel] = one));
  }
  const means = poolRows(about, 6, rows, ROWS);
  const isLong = findLong(given, rows);
  const column = columns(given, rows, width);
  return depth.map((one, pixel) => {
    if (!rows[pixel]) return one;
    const [mean, x, y, xx, yy, xd] = means.subarray(6 * rows[pixel], 6 * rows[pixel] + 6);
    const [wide, tall] = [xx - x * x, yy - y * y];
    const isFlat = tall > TALL * TALL * wide;
    if (isLong[rows[pixel]] && !isFlat) {
      return clamp(given[pixel], column[pixel] / UNEVEN, column[pixel] * UNEVEN);
    }
    const slope = isFlat ? 0 : (xd - x * mean) / (wide + 1);
    const uneven = isFlat ? 1 : UNEVEN;
    const plane = clamp(mean + slope * ((pixel % width) - x), mean / LENGTHS, mean * LENGTHS);
    return clamp(one, plane / uneven, plane * uneven);
  });
}

function findLong(depth, rows) {
  const middle = poolRows(depth, 1, rows, ROWS);
  const beyond = Float32Array.from(depth, (one, pixel) => {
    const own = middle[rows[pixel]];
    return one > own * LENGTHS || one < own / LENGTHS ? 1 : 0;
  });
  return poolRows(beyond, 1, rows, ROWS).map((share, row) => (row > 0 && share > LONG ? 1 : 0));
}

/** Return for each pixel the mean of its object in its column and those beside. */
function columns(depth, rows, width) {
  const sums = new Float64Array(ROWS * width);
  const counts = new Float64Array(ROWS * width);
  rows.forEach((row, pixel) => {
    const at = row * width + (pixel % width);
    sums[at] += depth[pixel];
    counts[at] += 1;
  });
  const reach = Math.max(1, Math.round(REACH * width));
  const means = new Map();
  return Float32Array.from(rows, (row, pixel) => {
    const x = pixel % width;
    const key = row * width + x;
    if (!means.has(key)) {
      let [sum, count] = [0, 0];
      for (let at = Math.max(x - reach, 0); at <= Math.min(x + reach, width - 1); at++) {
        sum += sums[row * width + at];
        count += counts[row * width + at];
      }
      means.set(key, sum / count);
    }
    return means.get(key);
  });
}
