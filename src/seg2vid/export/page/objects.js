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

/**
 * Return the number of each pixel's object, 0 for the background. Cells are coarse: a pixel in one of
 * another class's object goes with an object of its own class in a cell beside, if there is any.
 */
export function refinedRows(labels, objects, model) {
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

/** Tell apart what stands left of the camera's lane, in it and right of it in one long object. */
export function partObjects(objects, rows, depth, camera, width) {
  const wide = width / CELL;
  const across = new Float64Array(objects.length);
  const away = new Float64Array(objects.length);
  rows.forEach((row, pixel) => {
    if (!row) return;
    const x = pixel % width;
    const cell = Math.floor(pixel / width / CELL) * wide + Math.floor(x / CELL);
    across[cell] += (x - camera.x) / camera.focal;
    away[cell] += depth[pixel];
  });
  const mean = CELL * CELL;
  const side = Array.from(across, (one, cell) => {
    const beside = one / mean / Math.max(away[cell] / mean, 1e-6);
    return 1 + (beside > LANE) - (beside < -LANE);
  });
  const parted = objects.slice();
  let free = parted.reduce((most, one) => Math.max(most, one), 0) + 1;
  findLong(depth, rows).forEach((isLong, number) => {
    if (!isLong) return;
    const counts = [0, 0, 0];
    objects.forEach((one, cell) => one === number && (counts[side[cell]] += 1));
    const order = [0, 1, 2].sort((one, other) => counts[other] - counts[one]);
    for (const part of order.slice(1)) {
      if (counts[part] <= 1 || free > MOST_OBJECTS) continue;
      objects.forEach((one, cell) => one === number && side[cell] === part && (parted[cell] = free));
      free += 1;
    }
  });
  return parted;
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
