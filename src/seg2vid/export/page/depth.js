// Depth and camera of a picture, as in depth.py.

import { feetOf } from "./labels.js";
import { clamp } from "./scene.js";

const SPREAD = 6;

/** See depth and camera in a picture; `known` depth (0 where it is not) sets the scale. */
export async function seeDepth(boxes, model, picture, labels, known) {
  const { width, height } = model;
  const pixels = width * height;
  const seen = await boxes.depth({ picture, labels, feet: feetOf(labels, model) });
  const guess = seen.camera;
  const camera = {
    focal: Math.fround(1.08 * width * Math.exp(0.2 * Math.tanh(guess[0]))),
    x: (width - 1) / 2,
    y: Math.fround(height * (0.45 + 0.2 * Math.tanh(guess[1]))),
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
