// A key frame as a scene that drives: where camera and objects are at any moment, as in drive.py.

import { MOST_OBJECTS } from "./labels.js";
import { rigidMotion } from "./scene.js";

export const FINENESS = 4;

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
