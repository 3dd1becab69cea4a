// The main path: labels → first frame → z → motion → warp → refine, as in pipeline.py.

import { lastVelocity } from "./drive.js";
import { KeyFrame } from "./key_frame.js";
import { CELL, ROWS, findObjects, poolRows, rowsOf, segmentsOf } from "./labels.js";
import { drawLook } from "./looks.js";
import { KEY_PASSES, decodeDrive } from "./motion.js";
import { drawNormal, makeDice } from "./random.js";
import { round } from "./scene.js";

/** Draw z: one code for the background, one for each object. */
function drawMotion(model, objects, dice) {
  const cells = objects.length;
  const foreground = new Float32Array(model.foregroundCode * cells);
  const background = drawNormal(model.backgroundCode, dice);
  const table = drawNormal(ROWS * model.foregroundCode, dice);
  objects.forEach((row, cell) => {
    for (let number = 0; row > 0 && number < model.foregroundCode; number++) {
      foreground[number * cells + cell] = table[row * model.foregroundCode + number];
    }
  });
  return { background, foreground };
}

/** Carry z to the last frame of a key: objects take their codes along. */
function continueMotion(model, z, flow, objects) {
  const { width, height } = model;
  const wide = width / CELL;
  const cells = objects.length;
  const codes = z.foreground.length / cells;
  const moved = new Float32Array(z.foreground.length);
  const carries = new Float32Array(cells);
  for (let cell = 0; cell < cells; cell++) {
    const [column, row] = [cell % wide, Math.floor(cell / wide)];
    const mean = [0, 0];
    for (let y = row * CELL; y < (row + 1) * CELL; y++) {
      for (let x = column * CELL; x < (column + 1) * CELL; x++) {
        mean[0] += flow[y * width + x];
        mean[1] += flow[width * height + y * width + x];
      }
    }
    const [dx, dy] = mean.map((sum) => sum / CELL ** 3);
    const x = Math.min(Math.max(round(column + dx), 0), wide - 1);
    const y = Math.min(Math.max(round(row + dy), 0), cells / wide - 1);
    for (let code = 0; code < codes; code++) {
      const value = z.foreground[code * cells + y * wide + x];
      moved[code * cells + cell] = value;
      if (value !== 0) carries[cell] = 1;
    }
  }
  const table = poolRows(moved, codes, objects, ROWS);
  const share = poolRows(carries, 1, objects, ROWS);
  const foreground = new Float32Array(moved.length);
  objects.forEach((row, cell) => {
    for (let code = 0; row > 0 && code < codes; code++) {
      foreground[code * cells + cell] = table[row * codes + code] / Math.max(share[row], 1e-3);
    }
  });
  return { background: z.background, foreground };
}

/**
 * Make a video; yields the first frame, then each frame as it is finished.
 *
 * `frames` counts the first one too. `seed` draws look and z, unless they are given:
 * look {whole, looks, grain?}, z {background, foreground}. Pictures are three planes in [0, 1].
 */
export async function* makeVideo(boxes, model, labels, { frames, seed = 0, look, z }) {
  let objects = findObjects(labels, model);
  const rows = rowsOf(labels, objects, model);
  // Two dice: with another number of looks the same seed still moves alike.
  const worn = look ?? drawLook(model, labels, rows, makeDice(seed));
  let code = z ?? drawMotion(model, objects, makeDice(seed ^ 0x5eed));
  const segments = segmentsOf(labels, rows, model);
  let { picture } = await boxes.first_frame({ labels, segments, ...worn });
  yield { picture, labels };
  const reach = KEY_PASSES * model.numFrames;
  const before = { until: reach };
  for (let begin = 0; begin < frames - 1; begin += reach) {
    const drive = await decodeDrive(boxes, model, picture, labels, objects, code, before);
    const key = new KeyFrame(boxes, model, drive, picture, labels);
    let shown = [];
    for (let start = begin; start < Math.min(begin + reach, frames - 1); start += model.numFrames) {
      const times = Array.from({ length: model.numFrames }, (_, at) => start - begin + at);
      shown = await key.show(times);
      for (const frame of shown.slice(0, frames - 1 - start)) {
        yield { picture: frame.picture, labels: frame.labels, depth: drive.depth };
      }
    }
    const last = shown.at(-1);
    const previous = shown.at(-2)?.moment.camera ?? [0, 0, 0, 0]; // as the key itself
    ({ picture, labels } = last);
    objects = findObjects(labels, model);
    code = continueMotion(model, code, last.moved.flow, objects);
    before.known = last.moved.distance;
    before.horizon = drive.camera.y / model.height;
    const seconds = (shown.length > 1 ? 1 : reach) / model.framesPerSecond;
    before.velocity = lastVelocity(previous, [...last.moment.camera], seconds);
  }
}
