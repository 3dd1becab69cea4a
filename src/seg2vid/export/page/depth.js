// Depth and camera of a picture, as in depth.py.

import { CELL, feetOf } from "./labels.js";
import { clamp, round } from "./scene.js";

const SPREAD = 6;
const HORIZON = 0.45;
const LOW = 0.54;
const SEEN = 0.05;
const BEYOND = 0.02;
const STRAIGHT = 0.1;
const NARROWEST = 4.5;

/**
 * See depth and camera in a picture; `known` depth (0 where it is not) sets the scale. Of a camera
 * that looks up, the network is shown the picture raised; `horizon` is as a share of the height.
 */
export async function seeDepth(boxes, model, picture, labels, known, horizon) {
  const { width, height } = model;
  const pixels = width * height;
  const told = [findHorizon(labels, model), lowestSky(labels, model)].filter((one) => one > 0);
  const cells = cellsDown(horizon ?? Math.max(...told), height);
  const rows = CELL * cells;
  const raised = shifted(labels, rows, width, height);
  const shown = shifted(picture, rows, width, height);
  const seen = await boxes.depth({ picture: shown, labels: raised, feet: feetOf(raised, model) });
  seen.logarithm = shifted(seen.logarithm, -rows, width, height);
  seen.features = shifted(seen.features, -cells, width / CELL, height / CELL);
  const guess = seen.camera;
  const camera = {
    focal: Math.fround(1.08 * width * Math.exp(0.2 * Math.tanh(guess[0]))),
    x: (width - 1) / 2,
    y: Math.fround(height * (HORIZON + 0.2 * Math.tanh(guess[1]))) + rows,
  };
  let depth = seen.logarithm.map((one) => Math.exp(clamp(one, -8, 0.7)));
  if (model.thin.length) {
    const thin = new Set(model.thin);
    const weight = Float32Array.from(labels, (id) => (thin.has(id) ? 1 : 0));
    const upright = standUp(depth, weight, width, height);
    depth = depth.map((one, pixel) => (weight[pixel] ? upright[pixel] : one));
  }
  if (model.sky !== null) {
    for (let pixel = 0; pixel < pixels; pixel++) if (labels[pixel] === model.sky) depth[pixel] = 0;
  }
  if (known) {
    const ratios = [];
    depth.forEach((one, pixel) => {
      if (one > 0 && known[pixel] > 0) ratios.push(known[pixel] / Math.max(one, 1e-6));
    });
    ratios.sort((a, b) => a - b);
    const ratio = ratios.length ? ratios[(ratios.length - 1) >> 1] : 1;
    depth = depth.map((one) => one * clamp(ratio, 0.5, 2));
  }
  return { depth, camera, features: seen.features };
}

/** Return where the edges of the road meet, as a share of the height; NaN where none do. */
export function findHorizon(labels, model) {
  const { width, height } = model;
  const road = new Set(model.road);
  const lines = [];
  for (let y = Math.floor(height / 3); y < height; y++) {
    const line = Array.from(labels.subarray(y * width, (y + 1) * width), (id) => road.has(id));
    const [first, last] = [line.indexOf(true), line.lastIndexOf(true)];
    if (first < 2 || last >= width - 2 || last - first < 2) continue;
    lines.push([y, last - first + 1]);
  }
  const slopes = [];
  for (const [y, wide] of lines) {
    for (const [below, wider] of lines) {
      if (below - y >= 4) slopes.push((wider - wide) / (below - y));
    }
  }
  const slope = median(slopes);
  const meets = median(lines.map(([y, wide]) => y - wide / slope));
  const misses = median(lines.map(([y, wide]) => Math.abs(wide - slope * (y - meets))));
  const isLine = misses < STRAIGHT * median(lines.map(([, wide]) => wide)) && slope >= NARROWEST;
  return isLine && lines.length >= Math.floor(height / 12) ? meets / height : NaN;
}

/** Return how far down the sky reaches, as a share of the height; NaN where that tells nothing. */
function lowestSky(labels, model) {
  const { width, height } = model;
  const road = new Set(model.road);
  let [lowest, begins] = [-Infinity, Infinity];
  for (let y = 0; y < height; y++) {
    const line = labels.subarray(y * width, (y + 1) * width);
    const seen = (fits) => line.reduce((sum, id) => sum + (fits(id) ? 1 : 0), 0) / width >= SEEN;
    if (seen((id) => id === model.sky)) lowest = y + 1;
    if (begins === Infinity && seen((id) => road.has(id))) begins = y;
  }
  return lowest > 0 ? Math.min(lowest, begins) / height + BEYOND : NaN;
}

function median(values) {
  return values.length ? values.sort((a, b) => a - b)[(values.length - 1) >> 1] : NaN;
}

/** Return by how many cells the horizon lies lower than usual, if by much. */
function cellsDown(horizon, height) {
  if (!(horizon > LOW)) return 0;
  const most = Math.floor(height / (4 * CELL));
  return round(Math.min(((horizon - HORIZON) * height) / CELL, most));
}

/** Shift planes up by so many rows; what comes in is the border again. */
function shifted(planes, rows, width, height) {
  if (!rows) return planes;
  const moved = planes.slice();
  for (let line = 0; line < planes.length / width; line++) {
    const plane = Math.floor(line / height) * height;
    const from = plane + clamp(line - plane + rows, 0, height - 1);
    moved.set(planes.subarray(from * width, (from + 1) * width), line * width);
  }
  return moved;
}

/** Give what stands upright one depth from foot to top; what touches beside it, nearly the same. */
function standUp(depth, weight, width, height) {
  // In each column, what is no more than an eighth of the picture apart is one.
  const number = new Int32Array(depth.length);
  const counts = [];
  for (let x = 0; x < width; x++) {
    let last = -Infinity;
    for (let y = 0; y < height; y++) {
      const pixel = y * width + x;
      if (!weight[pixel]) continue;
      if (y - last > Math.floor(height / 8) + 1) counts.push(0);
      last = y;
      number[pixel] = counts.length - 1;
      counts[counts.length - 1] += 1;
    }
  }
  const upright = (plane) => {
    const sums = new Float64Array(counts.length);
    plane.forEach((one, pixel) => weight[pixel] && (sums[number[pixel]] += one));
    return plane.map((_, pixel) =>
      weight[pixel] ? sums[number[pixel]] / counts[number[pixel]] : 0,
    );
  };
  // The taller a column is, the more the others follow it.
  const tall = weight.map((one, pixel) => one && counts[number[pixel]]);
  const beside = (plane) =>
    plane.map((_, pixel) => {
      let [sum, share] = [0, 0];
      const x = pixel % width;
      for (let step = x > 0 ? -1 : 0; step <= (x < width - 1 ? 1 : 0); step++) {
        sum += plane[pixel + step] * tall[pixel + step];
        share += tall[pixel + step];
      }
      return sum / Math.max(share, 1e-6);
    });
  let value = upright(Float32Array.from(depth));
  for (let time = 0; time < SPREAD; time++) value = upright(beside(value));
  return value;
}
