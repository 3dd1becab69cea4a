// Points of a scene: lifted from what was painted, moved, and placed in later frames.

import { AROUND, FOOTPRINT, NEAREST } from "./scene.js";

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
    if (!isBefore) continue;
    // From a point at distance 1 to one at z the picture has grown by 1 / z, and a point with it.
    const half = Math.min(Math.max(Math.fround(FOOTPRINT / z), 0.5), FARTHEST);
    const left = Math.max(Math.ceil(Math.fround(placeX[at] - half)), 0);
    const right = Math.min(Math.floor(Math.fround(placeX[at] + half)), width - 1);
    const bottom = Math.min(Math.floor(Math.fround(placeY[at] + half)), height - 1);
    for (let line = Math.max(Math.ceil(Math.fround(placeY[at] - half)), 0); line <= bottom; line++) {
      for (let target = line * width + left; target <= line * width + right; target++) {
        if (buffer[target] < 0 || isNearer(at, buffer[target])) buffer[target] = at;
      }
    }
  }
  // Where a surface's depth is uneven its points go apart by a pixel more.
  const found = buffer.slice();
  for (let pixel = 0; pixel < pixels; pixel++) {
    if (buffer[pixel] >= 0) continue;
    const x = pixel % width;
    const y = Math.floor(pixel / width);
    for (const [down, right] of AROUND) {
      if (y + down < 0 || y + down >= height || x + right < 0 || x + right >= width) continue;
      const other = buffer[pixel + down * width + right];
      if (other >= 0 && (found[pixel] < 0 || isNearer(other, found[pixel]))) found[pixel] = other;
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
