// Points of a scene: lifted from what was painted, moved, and placed in later frames.

import { AROUND, FOOTPRINT, NEAREST, round } from "./scene.js";

const FARTHEST = 6;

/** Lift pixels of a moved frame into the scene: they lie on the surfaces behind. */
export function liftPoints(scene, rigid, moved, pixels) {
  const { width, rows, camera } = scene;
  const count = pixels.length;
  const points = { rows: new Int32Array(count) };
  for (const name of ["x", "y", "z", "depth"]) points[name] = new Float32Array(count);
  const up = Math.sin(rigid.pitch);
  const level = Math.cos(rigid.pitch);
  pixels.forEach((pixel, at) => {
    const row = rows[moved.behind[pixel]];
    const depth = moved.distance[pixel];
    const slope = (Math.floor(pixel / width) - camera.y) / camera.focal;
    const y = level * slope - up;
    const z = up * slope + level - rigid.ahead[row] * depth;
    const x = ((pixel % width) - camera.x) / camera.focal - rigid.right[row] * depth;
    points.rows[at] = row;
    points.x[at] = rigid.cosine[row] * x - rigid.sine[row] * z;
    points.y[at] = y;
    points.z[at] = rigid.sine[row] * x + rigid.cosine[row] * z;
    points.depth[at] = depth;
  });
  return points;
}

/**
 * Move points to a time: the nearest at or beside each pixel, -1 where none is, and how far the
 * pixel lies from its place, in pixels of the frame that the point was lifted from.
 */
export function movePoints(scene, rigid, points) {
  const { width, height, camera } = scene;
  const pixels = width * height;
  const count = points.rows.length;
  const buffer = new Int32Array(pixels).fill(-1);
  const placeX = new Float32Array(count);
  const placeY = new Float32Array(count);
  const depths = new Float32Array(count);
  const scales = new Float32Array(count);
  const up = Math.sin(rigid.pitch);
  const level = Math.cos(rigid.pitch);
  const isNearer = (one, other) =>
    depths[one] > depths[other] || (depths[one] === depths[other] && one > other);
  let growth = 1;
  for (let at = 0; at < count; at++) {
    const row = points.rows[at];
    const depth = points.depth[at];
    const px = points.x[at];
    const x = rigid.cosine[row] * px + rigid.sine[row] * points.z[at] + rigid.right[row] * depth;
    const far = rigid.cosine[row] * points.z[at] - rigid.sine[row] * px + rigid.ahead[row] * depth;
    const y = level * points.y[at] + up * far;
    let z = level * far - up * points.y[at];
    const isBefore = z > NEAREST;
    z = Math.max(z, NEAREST);
    scales[at] = z;
    depths[at] = depth / z;
    placeX[at] = (x / z) * camera.focal + camera.x;
    placeY[at] = (y / z) * camera.focal + camera.y;
    const column = round(placeX[at]);
    const line = round(placeY[at]);
    if (!isBefore || column < 0 || column >= width || line < 0 || line >= height) continue;
    const target = line * width + column;
    growth = Math.max(growth, 1 / z);
    if (buffer[target] < 0 || isNearer(at, buffer[target])) buffer[target] = at;
  }
  // Where surfaces come nearer their points go apart: a pixel may show one beside it, and one
  // farther away as long as that reaches so far.
  const times = Math.max(1, Math.min(Math.ceil(growth / 2), FARTHEST));
  let found = buffer;
  for (let time = 0; time < times; time++) {
    const last = found;
    found = last.slice();
    for (let pixel = 0; pixel < pixels; pixel++) {
      if (last[pixel] >= 0) continue;
      const x = pixel % width;
      const y = Math.floor(pixel / width);
      let best = -1;
      for (const [down, right] of AROUND) {
        if (y + down < 0 || y + down >= height || x + right < 0 || x + right >= width) continue;
        const other = last[pixel + down * width + right];
        if (other >= 0 && (best < 0 || isNearer(other, best))) best = other;
      }
      if (best < 0) continue;
      const off = Math.max(Math.abs(x - placeX[best]), Math.abs(y - placeY[best]));
      if (!time || off * scales[best] <= FOOTPRINT) found[pixel] = best;
    }
  }
  const offset = new Float32Array(2 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const x = pixel % width;
    const y = Math.floor(pixel / width);
    const here = found[pixel];
    if (here < 0) continue;
    offset[pixel] = (x - placeX[here]) * scales[here];
    offset[pixels + pixel] = (y - placeY[here]) * scales[here];
  }
  return { found, offset };
}
