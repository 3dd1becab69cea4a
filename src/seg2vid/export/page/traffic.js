// How a drive keeps to the road, to the pace of what is in it, and apart from it, as in traffic.py.

import { FINENESS } from "./drive.js";
import { MOST_OBJECTS, ROWS, poolRows } from "./labels.js";
import { LANE } from "./objects.js";
import { clamp, round } from "./scene.js";

const GAP = 7;
const NEAR = 2.5;
const AHEAD = 10;
const BENDS = [1, 0.75, 0.5, 0.25, 0];
const CURVES = [0.01, -0.01, 0.02, -0.02];
const GAIN = 0.25;
const SLACK = 0.05;
const EASE = 0.5;

/** Let objects go their ways no faster than things of their class do. */
export function keepPace(paths, labels, rows, companions, model) {
  const { objects, steps } = paths;
  const paces = poolRows(Float32Array.from(labels, (id) => model.paces[id]), 1, rows, ROWS);
  const step = 1 / (model.framesPerSecond * FINENESS);
  for (let row = 0; row < MOST_OBJECTS; row++) {
    const way = objects.subarray(3 * row * steps, 3 * (row + 1) * steps);
    let most = 1e-6;
    for (let at = 3; at < way.length; at += 3) {
      most = Math.max(most, Math.hypot(way[at] - way[at - 3], way[at + 1] - way[at - 2]) / step);
    }
    const share = Math.min(paces[companions[row] + 1] / most, 1);
    for (let at = 0; at < way.length; at += 3) {
      way[at] *= share;
      way[at + 1] *= share;
    }
  }
}

/** Let who would drive through a vehicle, or through the camera, stand instead. */
function giveWay(paths, isVehicle) {
  const { camera, objects, pivots, steps } = paths;
  const driver = (at) => [camera[4 * at], camera[4 * at + 1]];
  const placeOf = (row) => (at) =>
    [0, 1].map((kind) => pivots[2 * row + kind] + objects[3 * (row * steps + at) + kind]);
  const lastOf = (row) => objects.subarray(3 * ((row + 1) * steps - 1), 3 * (row + 1) * steps);
  const goes = (row) => Math.hypot(lastOf(row)[0], lastOf(row)[1]);
  const passes = (one, other) => {
    const begins = one(0)[0] - other(0)[0];
    for (let at = 0; at < steps; at++) {
      const [own, its] = [one(at), other(at)];
      if ((own[0] - its[0]) * begins < 0 && Math.abs(own[1] - its[1]) < LANE) return true;
    }
    return false;
  };
  const vehicles = [...Array(MOST_OBJECTS).keys()].filter(isVehicle);
  const stands = vehicles.filter((row) => {
    const meets = (other) => goes(row) > goes(other) && passes(placeOf(row), placeOf(other));
    const comes = lastOf(row)[0] < 0 && pivots[2 * row] > NEAR;
    return vehicles.some(meets) || (comes && passes(placeOf(row), driver));
  });
  for (const row of stands) objects.fill(0, 3 * row * steps, 3 * (row + 1) * steps);
}

/** Let vehicles that the camera would run into drive ahead of it; return the rows that do. */
export function keepApart(paths, labels, rows, model) {
  const { camera, objects, pivots, steps } = paths;
  const drives = new Set();
  const vehicles = new Set(model.vehicles);
  const share = poolRows(
    Float32Array.from(labels, (id) => (vehicles.has(id) ? 1 : 0)), 1, rows, ROWS,
  );
  giveWay(paths, (row) => share[row + 1] > 0.5);
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

/** Let the camera turn as the road in the picture does, where its own way leads off it. */
export function keepToRoad(paths, labels, hidesRoad, depth, camera, model, hasBegun) {
  const { width, height } = model;
  const { steps } = paths;
  const road = new Set(model.road);
  const down = [];
  labels.forEach((id, pixel) => {
    if (!road.has(id)) return;
    const y = (Math.floor(pixel / width) - camera.y) / camera.focal;
    down.push(y / Math.max(depth[pixel], 1e-3));
  });
  if (!down.length) return;
  const elevation = down.sort((a, b) => a - b)[(down.length - 1) >> 1];
  const rates = ratesOf(paths.camera, steps);
  const step = 1 / (model.framesPerSecond * FINENESS);
  const turned = (bend, curve) => {
    const bent = rates.slice();
    for (let at = 0; at < steps - 1; at++) {
      const kept = hasBegun ? Math.exp((-at * step) / EASE) : 0;
      bent[4 * at + 1] *= bend + (1 - bend) * kept;
      bent[4 * at + 2] *= bend + (1 - bend) * kept;
      bent[4 * at + 2] += curve * (1 - kept) * rates[4 * at];
    }
    return wayOf(bent, steps);
  };
  const isRoad = (pixel) => road.has(labels[pixel]);
  const shareOf = (way, fits) => {
    let found = 0;
    for (let at = 0; at < steps; at++) {
      const [forward, rightward, turn] = way.subarray(4 * at);
      const ahead = Math.max(forward + AHEAD * Math.cos(turn), 1);
      const aside = rightward + AHEAD * Math.sin(turn);
      const column = (camera.focal * aside) / ahead + camera.x;
      const row = clamp(round((camera.focal * elevation) / ahead + camera.y), 0, height - 1);
      if (column < 0 || column > width - 1) continue;
      found += fits(row * width + round(column)) ? 1 : 0;
    }
    return found / steps;
  };
  const bestOf = (ways) => {
    const scores = ways.map((way) => shareOf(way, isRoad));
    const best = scores.findIndex((score) => score >= Math.max(...scores) - SLACK);
    return [ways[best], scores[best]];
  };
  const [own] = bestOf(BENDS.map((bend) => turned(bend, 0)));
  const [other, score] = bestOf(CURVES.map((curve) => turned(0, curve)));
  const most = shareOf(own, (pixel) => isRoad(pixel) || hidesRoad[pixel]);
  paths.camera = score > most + GAIN ? other : own;
}

/** Return the rates of a way at each step, forward and rightward where it points by then. */
function ratesOf(way, steps) {
  const rates = new Float32Array(4 * (steps - 1));
  for (let at = 0; at < steps - 1; at++) {
    const [ahead, aside, turn, pitch] = [0, 1, 2, 3].map(
      (kind) => way[4 * (at + 1) + kind] - way[4 * at + kind],
    );
    const turned = (way[4 * (at + 1) + 2] + way[4 * at + 2]) / 2;
    const [sine, cosine] = [Math.sin(turned), Math.cos(turned)];
    rates.set([cosine * ahead + sine * aside, cosine * aside - sine * ahead, turn, pitch], 4 * at);
  }
  return rates;
}

/** Return the way of rates: the inverse of `ratesOf`. */
function wayOf(rates, steps) {
  const way = new Float32Array(4 * steps);
  const covered = [0, 0, 0, 0];
  for (let at = 0; at < steps - 1; at++) {
    const [forward, rightward, turn, pitch] = rates.subarray(4 * at);
    const turned = covered[2] + turn / 2;
    const [sine, cosine] = [Math.sin(turned), Math.cos(turned)];
    covered[0] += cosine * forward - sine * rightward;
    covered[1] += sine * forward + cosine * rightward;
    covered[2] += turn;
    covered[3] += pitch;
    way.set(covered, 4 * (at + 1));
  }
  return way;
}

/** Return how many metres the camera may drive until it keeps a gap to what stands in its way. */
export function clearWay(depth, stands, camera, paths, width) {
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
export function slowDown(paths, clear) {
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
