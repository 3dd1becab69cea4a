// From a first frame and z to a drive: how camera and objects move, as in motion_decoder.py.

import { seeDepth } from "./depth.js";
import { FINENESS } from "./drive.js";
import { CELL, MOST_OBJECTS, ROWS, ownCar, poolRows } from "./labels.js";
import { addShadows, holdTogether, middles, pivotsOf } from "./objects.js";
import { seatRiders, seatsOf, tellApart } from "./objects.js";
import { findOwners } from "./outlines.js";
import { surfacePlanes } from "./scene.js";
import { clearWay, keepApart, keepPace, keepToRoad, slowDown } from "./traffic.js";

const KNOTS = 3;
const CAMERA_SPEED = [10, 1, 0.5, 0.1];
const OBJECT_SPEED = [5, 5, 0.5];
const RESIDUAL = 4;
const FADE = 0.5;
export const KEY_PASSES = 3;

/** Return the drive that z decodes to in a first frame; `before` tells of the key before it. */
export async function decodeDrive(boxes, model, picture, labels, given, z, before = {}) {
  const { width, height } = model;
  const pixels = width * height;
  const wide = width / CELL;
  const tall = height / CELL;
  const cells = wide * tall;
  const seen = await seeDepth(boxes, model, picture, labels, before.known, before.horizon);
  const { camera } = seen;
  const own = seen.features.length / cells;
  const features = new Float32Array((own + 5) * cells);
  features.set(seen.features);
  for (let cell = 0; cell < cells; cell++) {
    features[(own + 3) * cells + cell] = -1 + (2 * (cell % wide)) / (wide - 1);
    features[(own + 4) * cells + cell] = -1 + (2 * Math.floor(cell / wide)) / (tall - 1);
  }
  const { scene } = await boxes.scene({ features });
  const { objects, rows, ...parts } = tellApart(given, labels, seen.depth, camera, model);
  const seats = seatsOf(rows, labels, model);
  const companions = seats.map((seat) => parts.companions[seat]);
  let depth = seatRiders(holdTogether(seen.depth, rows, width), rows, seats);
  const middle = ofCompanions(middles(depth, rows, camera, width), companions);
  const count = Math.max(KEY_PASSES * model.numFrames, Math.ceil(before.until ?? 0));
  const about = { objects, middle, companions };
  const paths = await decodePaths(boxes, model, scene, z, about, count, before.velocity);
  paths.pivots = pivotsOf(middle);
  const fixed = ownCar(labels, model);
  const others = labels.map((id, pixel) => (fixed[pixel] ? model.void : id));
  keepPace(paths, others, rows, companions, model);
  const hidesRoad = rows.map((row, pixel) => row || fixed[pixel]);
  keepToRoad(paths, labels, hidesRoad, depth, camera, model, Boolean(before.velocity));
  const drives = keepApart(paths, others, rows, model);
  const vehicles = new Set(model.vehicles);
  const stands = others.map((id, pixel) => vehicles.has(id) && !drives.has(rows[pixel]));
  slowDown(paths, clearWay(depth, stands, camera, paths, width));
  const residual = await decodeResidual(boxes, model, scene, z);
  if (!model.hasGround) {
    depth = depth.fill(1);
    paths.camera.fill(0);
    paths.objects.fill(0);
  }
  const shaded = model.hasGround ? addShadows(rows, labels, depth, paths, model) : { rows, depth };
  const surfaces = Int32Array.from(labels, (id, pixel) => id * ROWS + shaded.rows[pixel]);
  const planes = surfacePlanes(shaded.depth, surfaces, camera, width, height);
  const owners = findOwners(surfaces, width, height);
  const standing = { rows, depth }; // without shadows
  const still = { width, height, ...shaded, standing, surfaces, owners, fixed, camera, planes };
  return { ...still, paths, residual, model, pixels };
}

/** Return for each object the three numbers of what it goes with. */
function ofCompanions(table, companions) {
  return table.map((_, at) => table[3 * companions[Math.floor(at / 3)] + (at % 3)]);
}

async function decodePaths(boxes, model, scene, z, seenObjects, count, velocity) {
  const { objects, middle, companions } = seenObjects;
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
    const own = told.subarray(9 * companions[row], 9 * companions[row] + 9);
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
