// A moved scene seen by the moved camera, as in rendering.py.

import { Moment } from "./moments.js";
import { clamp } from "./scene.js";
import { findSources } from "./sources.js";

const EDGE = 3;
const NEARER = 1.15;

/**
 * Move a scene to one time: where every pixel of that frame reads, and from which surface.
 *
 * Returns flow (dx, dy planes), inverse depth now, source (-1 where nothing is seen) and behind:
 * the same, but what lies behind where nothing is seen.
 */
export function moveScene(scene, rigid, residual) {
  scene.before ??= standsBefore(scene);
  const moment = new Moment(scene, rigid, residual);
  const { own, behind } = findSources(moment);
  const { width, height, depth, fixed } = scene;
  const pixels = width * height;
  const flow = new Float32Array(2 * pixels);
  const distance = new Float32Array(pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    if (fixed[pixel]) {
      own[pixel] = behind[pixel] = pixel;
      distance[pixel] = depth[pixel];
      continue;
    }
    moment.land(pixel, behind[pixel]);
    if (own[pixel] >= 0) moment.keepOnSurface(own[pixel]);
    flow[pixel] = clamp(moment.x, -2 * width, 3 * width) - (pixel % width);
    flow[pixels + pixel] =
      clamp(moment.y, -2 * width, 3 * width) - Math.floor(pixel / width);
    distance[pixel] = Math.max(moment.distance, 0);
  }
  return { flow, distance, source: own, behind };
}

/**
 * Mark what something else lies behind: objects, the near side of an upright edge, and what is as
 * narrow as a pole, unless all beside it is nearer.
 */
export function standsBefore({ width, depth, rows, surfaces }) {
  return Uint8Array.from(rows, (row, pixel) => {
    const x = pixel % width;
    const [first, last] = [Math.max(x - EDGE, 0), Math.min(x + EDGE, width - 1)];
    let farthest = depth[pixel];
    let [left, right] = [false, false];
    for (let column = first; column <= last; column++) {
      const at = pixel - x + column;
      farthest = Math.min(farthest, depth[at]);
      const isEdge = column < last && surfaces[at] !== surfaces[at + 1];
      if (column < x) left ||= isEdge;
      else right ||= isEdge;
    }
    const isEdge = depth[pixel] > Math.fround(NEARER * farthest);
    return row > 0 || isEdge || (left && right && depth[pixel] > farthest) ? 1 : 0;
  });
}
