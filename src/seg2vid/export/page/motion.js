// From a first frame and z to a drive: how camera and objects move, as in motion_decoder.py and drive.py.

import { CELL, MOST_OBJECTS, feetOf, ownCar, poolRows } from "./labels.js";
import { LANE, holdTogether, middles, partObjects, pivotsOf, refinedRows } from "./objects.js";
import { findOwners } from "./outlines.js";
import { rigidMotion, surfacePlanes } from "./scene.js";

const KNOTS = 3;
const FINENESS = 4;
const CAMERA_SPEED = [10, 1, 0.5, 0.1];
const OBJECT_SPEED = [5, 5, 0.5];
const RESIDUAL = 4;
const FADE = 0.5;
const SPREAD = 6;
const GAP = 7;
const NEAR = 2.5;
export const KEY_PASSES = 3;
const ROWS = MOST_OBJECTS + 1;

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** See depth and camera in a picture; `known` depth (0 where it is not) sets the scale. */
async function seeDepth(boxes, model, picture, labels, known) {
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
  const sums = [];
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
    sums.length = 0;
    for (const _ of counts) sums.push(0);
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

/** Return the drive that z decodes to in a first frame; `before` tells of the key before it. */
export async function decodeDrive(boxes, model, picture, labels, given, z, before = {}) {
  const { width, height } = model;
  const pixels = width * height;
  const wide = width / CELL;
  const tall = height / CELL;
  const cells = wide * tall;
  const seen = await seeDepth(boxes, model, picture, labels, before.known);
  const { camera } = seen;
  const own = seen.features.length / cells;
  const features = new Float32Array((own + 5) * cells);
  features.set(seen.features);
  for (let cell = 0; cell < cells; cell++) {
    features[(own + 3) * cells + cell] = -1 + (2 * (cell % wide)) / (wide - 1);
    features[(own + 4) * cells + cell] = -1 + (2 * Math.floor(cell / wide)) / (tall - 1);
  }
  const { scene } = await boxes.scene({ features });
  const whole = refinedRows(labels, given, model);
  const objects = partObjects(given, whole, seen.depth, camera, width);
  const rows = refinedRows(labels, objects, model);
  let depth = holdTogether(seen.depth, rows, width);
  const middle = middles(depth, rows, camera, width);
  const count = Math.max(KEY_PASSES * model.numFrames, Math.ceil(before.until ?? 0));
  const paths = await decodePaths(boxes, model, scene, z, objects, middle, count, before.velocity);
  paths.pivots = pivotsOf(middle);
  keepPace(paths, labels, rows, model);
  const drives = keepApart(paths, labels, rows, model);
  const vehicles = new Set(model.vehicles);
  const stands = labels.map((id, pixel) => vehicles.has(id) && !drives.has(rows[pixel]));
  slowDown(paths, clearWay(depth, stands, camera, paths, width));
  const surfaces = Int32Array.from(labels, (id, pixel) => id * ROWS + rows[pixel]);
  const residual = await decodeResidual(boxes, model, scene, z);
  if (!model.hasGround) {
    depth = depth.fill(1);
    paths.camera.fill(0);
    paths.objects.fill(0);
  }
  const planes = surfacePlanes(depth, surfaces, camera, width, height);
  const fixed = ownCar(labels, model);
  const owners = findOwners(surfaces, width, height);
  const still = { width, height, depth, rows, surfaces, owners, fixed, camera, planes };
  return { ...still, paths, residual, model, pixels };
}

async function decodePaths(boxes, model, scene, z, objects, middle, count, velocity) {
  const wide = model.width / CELL;
  const tall = model.height / CELL;
  const cells = wide * tall;
  const channels = scene.length / cells;
  // Means over two rows and four columns of the picture.
  const pooled = new Float32Array(8 * channels);
  for (let channel = 0; channel < channels; channel++) {
    for (let part = 0; part < 8; part++) {
      const [left, right] = [part % 4, (part % 4) + 1].map((one) => (one * wide) / 4);
      const [top, bottom] = [part >> 2, (part >> 2) + 1].map((one) => (one * tall) / 2);
      const [x0, x1] = [Math.floor(left), Math.ceil(right)];
      const [y0, y1] = [Math.floor(top), Math.ceil(bottom)];
      let sum = 0;
      for (let y = y0; y < y1; y++) {
        for (let x = x0; x < x1; x++) sum += scene[channel * cells + y * wide + x];
      }
      pooled[8 * channel + part] = sum / ((x1 - x0) * (y1 - y0));
    }
  }
  const seen = new Float32Array(z.background.length + pooled.length);
  seen.set(z.background);
  seen.set(pooled, z.background.length);
  const { knots } = await boxes.camera({ seen });
  for (let knot = 0; knot < KNOTS; knot++) knots[4 * knot] = Math.max(knots[4 * knot], 0);
  if (velocity) velocity.forEach((one, unit) => (knots[unit] = one / CAMERA_SPEED[unit]));
  const camera = integrate(knots, CAMERA_SPEED, count, model);
  const codes = z.foreground.length / cells;
  const parts = [
    [poolRows(z.foreground, codes, objects, ROWS), codes],
    [poolRows(scene, channels, objects, ROWS), channels],
    [new Float32Array(3 * ROWS), 3],
  ];
  const size = codes + channels + 6;
  const about = new Float32Array(MOST_OBJECTS * size);
  for (let row = 0; row < MOST_OBJECTS; row++) {
    let at = row * size;
    for (const [table, length] of parts) {
      about.set(table.subarray((row + 1) * length, (row + 2) * length), at);
      at += length;
    }
    about.set(middle.subarray(3 * row, 3 * row + 3), at);
  }
  const told = (await boxes.objects({ seen: about })).knots;
  const steps = count * FINENESS + 1;
  const ways = new Float32Array(MOST_OBJECTS * steps * 3);
  for (let row = 0; row < MOST_OBJECTS; row++) {
    const own = told.subarray(9 * row, 9 * row + 9);
    ways.set(integrate(own, OBJECT_SPEED, count, model), row * steps * 3);
  }
  return { camera, objects: ways, steps };
}

/** Turn velocities at the knots into the way covered by each step, the first of which is none. */
function integrate(knots, units, count, model) {
  const kinds = units.length;
  const passSteps = model.numFrames * FINENESS;
  const seconds = model.numFrames / model.framesPerSecond;
  const step = seconds / passSteps;
  const total = count * FINENESS;
  const way = new Float32Array((total + 1) * kinds);
  const covered = new Float64Array(kinds);
  let turned = 0;
  for (let number = 0; number < total; number++) {
    const rates = units.map((unit, kind) => {
      // At the middle of each step.
      const middle = (Math.min(number, passSteps - 1) + 0.5) / passSteps;
      const place = middle * (KNOTS - 1);
      const knot = Math.min(Math.floor(place), KNOTS - 2);
      const [before, after] = [knots[knot * kinds + kind], knots[(knot + 1) * kinds + kind]];
      const rate = unit * (before + (after - before) * (place - knot));
      const late = (number - passSteps + 1) * step;
      return late > 0 && kind > 1 ? rate * Math.exp(-late / FADE) : rate;
    });
    turned += rates[2] * step;
    const angle = turned - (rates[2] * step) / 2;
    const [forward, rightward] = rates;
    rates[0] = Math.cos(angle) * forward - Math.sin(angle) * rightward;
    rates[1] = Math.sin(angle) * forward + Math.cos(angle) * rightward;
    rates.forEach((rate, kind) => {
      covered[kind] += rate * step;
      way[(number + 1) * kinds + kind] = covered[kind];
    });
  }
  return way;
}

/** Let objects go their ways no faster than things of their class do. */
function keepPace(paths, labels, rows, model) {
  const { objects, steps } = paths;
  const paces = poolRows(Float32Array.from(labels, (id) => model.paces[id]), 1, rows, ROWS);
  const step = 1 / (model.framesPerSecond * FINENESS);
  for (let row = 0; row < MOST_OBJECTS; row++) {
    const way = objects.subarray(3 * row * steps, 3 * (row + 1) * steps);
    let most = 1e-6;
    for (let at = 3; at < way.length; at += 3) {
      most = Math.max(most, Math.hypot(way[at] - way[at - 3], way[at + 1] - way[at - 2]) / step);
    }
    const share = Math.min(paces[row + 1] / most, 1);
    for (let at = 0; at < way.length; at += 3) {
      way[at] *= share;
      way[at + 1] *= share;
    }
  }
}

/** Let vehicles that the camera would run into drive ahead of it; return the rows that do. */
function keepApart(paths, labels, rows, model) {
  const { camera, objects, pivots, steps } = paths;
  const drives = new Set();
  const vehicles = new Set(model.vehicles);
  const share = poolRows(
    Float32Array.from(labels, (id) => (vehicles.has(id) ? 1 : 0)), 1, rows, ROWS,
  );
  const [driven, aside] = camera.subarray(4 * (steps - 1));
  for (let row = 0; row < MOST_OBJECTS; row++) {
    const [ahead, beside] = pivots.subarray(2 * row, 2 * row + 2);
    if (share[row + 1] <= 0.5 || ahead <= NEAR) continue;
    const way = objects.subarray(3 * row * steps, 3 * (row + 1) * steps);
    const leads = Math.abs(beside) < LANE;
    for (let at = 0; leads && at < way.length; at += 3) {
      way[at] = Math.max(way[at], 0);
      way[at + 1] = way[at + 2] = 0;
    }
    const last = way.subarray(3 * (steps - 1));
    const gap = ahead + last[0] - driven;
    const isInWay =
      Math.abs(beside) < 2 * LANE && Math.abs(beside + last[1] - aside) < LANE;
    if (!isInWay && !leads) continue;
    drives.add(row + 1);
    const wanted = Math.min(0.6 * ahead, GAP);
    const part = clamp((wanted - gap) / Math.max(driven, 0.1), 0, 1);
    for (let at = 0; at < steps; at++) {
      way[3 * at] += part * camera[4 * at];
      if (leads) way[3 * at + 1] += part * camera[4 * at + 1];
    }
  }
  return drives;
}

/** Return how many metres the camera may drive until it keeps a gap to what stands in its way. */
function clearWay(depth, stands, camera, paths, width) {
  const [driven, aside] = paths.camera.subarray(4 * (paths.steps - 1));
  const found = [];
  for (let pixel = 0; pixel < depth.length; pixel++) {
    if (!stands[pixel]) continue;
    const ahead = 1 / Math.max(depth[pixel], 1e-3);
    const beside = (((pixel % width) - camera.x) / camera.focal) * ahead;
    const bend = aside * Math.min((ahead / Math.max(driven, 0.1)) ** 2, 4);
    if (ahead > NEAR && Math.abs(beside - bend) < LANE / 2) found.push(ahead);
  }
  found.sort((one, other) => one - other);
  // A few stray pixels are no vehicle.
  const near = found[Math.max(1, Math.floor(depth.length / 2048)) - 1] ?? Infinity;
  return near - Math.min(0.6 * near, GAP);
}

/** Let the camera drive along its path ever more slowly, and so many metres ahead at most. */
function slowDown(paths, clear) {
  const { camera, steps } = paths;
  const most = Math.max(clear, 0.1);
  const gone = new Float64Array(steps);
  for (let at = 0; at < steps; at++) gone[at] = Math.max(camera[4 * at], gone[at - 1] ?? 0);
  if (!(gone[steps - 1] > most / 2)) return;
  const way = camera.slice();
  for (let at = 0, after = 1; at < steps; at++) {
    const allowed = most * Math.tanh(gone[at] / most);
    while (after < steps - 1 && gone[after] < allowed) after++;
    const step = Math.max(gone[after] - gone[after - 1], 1e-6);
    const share = clamp((allowed - gone[after - 1]) / step, 0, 1);
    for (let kind = 0; kind < 4; kind++) {
      const before = way[4 * (after - 1) + kind];
      camera[4 * at + kind] = before + share * (way[4 * after + kind] - before);
    }
  }
}

/** Return the flow in pixels that is not rigid, after a pass. */
async function decodeResidual(boxes, model, scene, z) {
  const { width, height } = model;
  const wide = width / CELL;
  const tall = height / CELL;
  const cells = wide * tall;
  const seen = new Float32Array(scene.length + z.background.length * cells + z.foreground.length);
  seen.set(scene);
  z.background.forEach((one, number) => {
    const at = scene.length + number * cells;
    seen.fill(one, at, at + cells);
  });
  seen.set(z.foreground, scene.length + z.background.length * cells);
  const { flow } = await boxes.residual({ seen });
  const fine = new Float32Array(2 * width * height);
  for (let axis = 0; axis < 2; axis++) {
    const coarse = flow.subarray(axis * cells, (axis + 1) * cells);
    for (let pixel = 0; pixel < width * height; pixel++) {
      const x = Math.max(((pixel % width) + 0.5) / CELL - 0.5, 0);
      const y = Math.max((Math.floor(pixel / width) + 0.5) / CELL - 0.5, 0);
      const [x0, y0] = [Math.floor(x), Math.floor(y)];
      const [x1, y1] = [Math.min(x0 + 1, wide - 1), Math.min(y0 + 1, tall - 1)];
      const top = coarse[y0 * wide + x0] * (1 - x + x0) + coarse[y0 * wide + x1] * (x - x0);
      const low = coarse[y1 * wide + x0] * (1 - x + x0) + coarse[y1 * wide + x1] * (x - x0);
      fine[axis * width * height + pixel] =
        RESIDUAL * (top * (1 - y + y0) + low * (y - y0));
    }
  }
  return fine;
}

/** Return how things stand at a time, in frames after the first one, which is -1. */
export function driveAt(drive, time) {
  const { paths, residual, model } = drive;
  const place = (time + 1) * FINENESS;
  const before = Math.min(Math.floor(place), paths.steps - 1);
  const after = Math.min(before + 1, paths.steps - 1);
  const share = place - before;
  const between = (way, start, kinds) =>
    Float32Array.from({ length: kinds }, (_, kind) => {
      const one = way[start + before * kinds + kind];
      return one + (way[start + after * kinds + kind] - one) * share;
    });
  const camera = between(paths.camera, 0, 4);
  const objects = new Float32Array(3 * MOST_OBJECTS);
  for (let row = 0; row < MOST_OBJECTS; row++) {
    objects.set(between(paths.objects, 3 * row * paths.steps, 3), 3 * row);
  }
  const part = Math.min((time + 1) / model.numFrames, 1);
  return {
    camera,
    rigid: rigidMotion(camera, objects, paths.pivots),
    residual: residual.map((one) => one * part),
  };
}

/** Return the camera's velocity at the end of a path, in the axes it then has. */
export function lastVelocity(before, last, seconds) {
  const [forward, rightward, turn, pitch] = last.map((one, at) => (one - before[at]) / seconds);
  const yaw = (last[2] + before[2]) / 2;
  return [
    Math.cos(yaw) * forward + Math.sin(yaw) * rightward,
    Math.cos(yaw) * rightward - Math.sin(yaw) * forward,
    turn,
    pitch,
  ];
}
