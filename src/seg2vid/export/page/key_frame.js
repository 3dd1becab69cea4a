// A frame that later ones are read from, and all that was painted since, as in key_frame.py.

import { completeObjects } from "./amodal.js";
import { driveAt } from "./drive.js";
import { around, fillSpecks, matchColours, softenOutlines, spreadColours } from "./holes.js";
import { liftPoints, movePoints } from "./points.js";
import { moveScene, standsBefore } from "./rendering.js";
import { clamp, round } from "./scene.js";

const FRINGE = 2;
const CLEAR = 8;
const BARE = 0.006;

export class KeyFrame {
  constructor(boxes, model, drive, picture, labels) {
    Object.assign(this, { boxes, model, drive, picture, labels });
    this.painted = [];
    if (boxes.refiner && model.hasGround) {
      const { rows, depth } = drive.standing;
      const whole = completeObjects(drive, rows, depth, picture, labels, model.cars);
      if (whole.pixels.length) this.painted.push(whole);
    }
    drive.before ??= standsBefore(drive);
    this.fringe = grown(drive.before, model.width, model.height);
    drive.before.forEach((one, pixel) => one && (this.fringe[pixel] = 0));
  }

  /** Return the frames of some times after the key, and the motion of the last of them. */
  async show(times) {
    const { drive, model } = this;
    const frames = times.map((time) => {
      const moment = driveAt(drive, time);
      const moved = moveScene(drive, moment.rigid, moment.residual);
      const { flow } = moved;
      if (model.isGated) {
        moved.source.forEach((source, pixel) => {
          if (source < 0) flow[pixel] = flow[pixel + drive.pixels] = 0;
        });
      }
      const picture = warpBicubic(this.picture, flow, model.width, model.height);
      const labels = warpLabels(this.labels, flow, model.width, model.height);
      // Beside a hole, pixels that were stained by what has left it are painted with it.
      const hole = Uint8Array.from(moved.source, (source) => (source < 0 ? 1 : 0));
      const beside = grown(hole, model.width, model.height);
      const stained = hole.map((one, pixel) =>
        !one && beside[pixel] && this.fringe[moved.source[pixel]] ? 1 : 0,
      );
      const hidden = hole.map((one, pixel) => one | stained[pixel]);
      return { time, moment, moved, picture, labels, hidden, stained };
    });
    if (this.boxes.refiner) {
      for (const number of halving(times.length)) await this.finish(frames[number]);
      for (const frame of frames) softenOutlines(frame, model.width, model.height);
    }
    return frames;
  }

  /** Finish a frame; whatever its colour, what a stained pixel shows is known. */
  async finish(frame) {
    const known = frame.labels.slice();
    await this.paint(frame);
    frame.stained.forEach((one, pixel) => one && (frame.labels[pixel] = known[pixel]));
  }

  /** Show what was painted before, and paint what is still bare. */
  async paint(frame) {
    const { width, height } = this.model;
    const pixels = width * height;
    this.recall(frame);
    const bare = [];
    frame.hidden.forEach((one, pixel) => one && bare.push(pixel));
    if (!bare.length) return;
    if (bare.length / pixels <= BARE) {
      fillSpecks(frame, width, height);
      return;
    }
    // What lies behind, not what the key frame shows where its plane goes on: the thing itself.
    for (const pixel of bare) frame.labels[pixel] = this.labels[frame.moved.behind[pixel]];
    const { labels, hidden } = this.without(frame);
    const visible = Float32Array.from(hidden, (one) => 1 - one);
    const { ground, sky } = this.model;
    const guess = spreadColours(frame.picture, labels, visible, width, height, ground, sky);
    const given = { warped: guess, visible, labels };
    const found = await this.boxes.refiner({ ...given, first_frame: this.picture });
    const matched = matchColours(found.picture, guess, visible, width, height);
    const classes = found.logits.length / (pixels / 4);
    const things = [...this.model.foreground, ...this.model.thin];
    for (const pixel of bare) {
      // The sky is as it is around: a refiner sees walls in what it cannot know.
      const isSky = this.model.hasGround && !this.drive.depth[frame.moved.behind[pixel]];
      for (let colour = 0; colour < 3; colour++) {
        const at = colour * pixels + pixel;
        frame.picture[at] = (isSky ? guess : matched)[at];
      }
      if (isSky) continue;
      // Where no object or pole lies behind none is painted: it would be more of what left the hole.
      const mayBeThing = things.includes(this.labels[frame.moved.behind[pixel]]);
      const read = readHalf(pixel, width, height);
      let best = -1;
      let most = -Infinity;
      for (let one = 0; one < classes; one++) {
        if (one === this.model.void || (!mayBeThing && things.includes(one))) continue;
        const plane = (one * pixels) / 4;
        const score = read.reduce((sum, [at, share]) => sum + found.logits[plane + at] * share, 0);
        if (score > most) [best, most] = [one, score];
      }
      frame.labels[pixel] = best;
    }
    const points = liftPoints(this.drive, frame.moment.rigid, frame.moved, bare);
    const picture = this.cleaned(frame, bare);
    this.painted.push({ picture, labels: frame.labels.slice(), points, pixels: bare });
  }

  /** Let a hole grow into objects beside it; return the labels, and what is hidden then. */
  without(frame) {
    const { width, height } = this.model;
    const isObject = (pixel) => this.drive.rows[frame.moved.source[pixel]] > 0;
    const hidden = frame.hidden.slice();
    const labels = frame.labels.slice();
    const origin = Int32Array.from(labels, (_, pixel) => pixel); // whose label each takes
    let edge = [];
    hidden.forEach((one, pixel) => one && edge.push(pixel));
    for (let step = 0; step < CLEAR; step++) {
      const grown = new Map();
      for (const pixel of edge) {
        for (const other of around(pixel, width, height)) {
          if (hidden[other] || !isObject(other)) continue;
          grown.set(other, Math.max(grown.get(other) ?? 0, origin[pixel]));
        }
      }
      for (const [pixel, from] of grown) {
        [hidden[pixel], origin[pixel], labels[pixel]] = [1, from, labels[from]];
      }
      edge = [...grown.keys()];
    }
    return { labels, hidden };
  }

  /** Between pixels, what was painted must not mix with what hid it. */
  cleaned(frame, bare) {
    const { width, height } = this.model;
    const pixels = width * height;
    const picture = frame.picture.slice();
    const own = new Uint8Array(pixels);
    for (const pixel of bare) own[pixel] = 1;
    frame.moved.source.forEach((source, pixel) => {
      if (own[pixel] || !this.drive.before[Math.max(source, 0)]) return;
      const near = around(pixel, width, height).filter((one) => own[one]);
      for (let colour = 0; near.length && colour < 3; colour++) {
        const sum = near.reduce((total, one) => total + frame.picture[colour * pixels + one], 0);
        picture[colour * pixels + pixel] = sum / near.length;
      }
    });
    return picture;
  }

  /** Show in hidden pixels what was painted at other times; these are hidden no more. */
  recall(frame) {
    if (!this.painted.length || !frame.hidden.includes(1)) return;
    const { width, height } = this.model;
    const pixels = width * height;
    const all = { rows: [], x: [], y: [], z: [], depth: [] };
    const origin = [];
    this.painted.forEach((one, layer) => {
      for (const name of Object.keys(all)) for (const v of one.points[name]) all[name].push(v);
      for (const pixel of one.pixels) origin.push([layer, pixel]);
    });
    const { found, offset } = movePoints(this.drive, frame.moment.rigid, all);
    for (let pixel = 0; pixel < pixels; pixel++) {
      if (!frame.hidden[pixel] || found[pixel] < 0) continue;
      const [layer, own] = origin[found[pixel]];
      const painted = this.painted[layer];
      let x = clamp((own % width) + offset[pixel], 0, width - 1);
      let y = clamp(Math.floor(own / width) + offset[pixels + pixel], 0, height - 1);
      // Beside its own place is what is beside it in the painted frame, unless it is another thing.
      if (painted.labels[round(y) * width + round(x)] !== painted.labels[own]) {
        [x, y] = [own % width, Math.floor(own / width)];
      }
      const [x0, y0] = [Math.floor(x), Math.floor(y)];
      const [x1, y1] = [Math.min(x0 + 1, width - 1), Math.min(y0 + 1, height - 1)];
      for (let colour = 0; colour < 3; colour++) {
        const plane = painted.picture.subarray(colour * pixels, (colour + 1) * pixels);
        const top = plane[y0 * width + x0] * (1 - x + x0) + plane[y0 * width + x1] * (x - x0);
        const low = plane[y1 * width + x0] * (1 - x + x0) + plane[y1 * width + x1] * (x - x0);
        frame.picture[colour * pixels + pixel] = top * (1 - y + y0) + low * (y - y0);
      }
      frame.labels[pixel] = painted.labels[own];
      frame.hidden[pixel] = 0;
    }
  }
}

/** Return the four places of a grid half as fine that a pixel lies between, and their shares. */
function readHalf(pixel, width, height) {
  const [wide, tall] = [width / 2, height / 2];
  const x = clamp(((pixel % width) + 0.5) / 2 - 0.5, 0, wide - 1);
  const y = clamp((Math.floor(pixel / width) + 0.5) / 2 - 0.5, 0, tall - 1);
  const [left, top] = [Math.floor(x), Math.floor(y)];
  return [0, 1, 2, 3].map((corner) => {
    const [low, right] = [corner >> 1, corner & 1];
    const at = Math.min(top + low, tall - 1) * wide + Math.min(left + right, wide - 1);
    const down = low ? y - top : 1 - y + top;
    return [at, down * (right ? x - left : 1 - x + left)];
  });
}

/** Return a mask with all that is within reach of a fringe of it. */
function grown(mask, width, height) {
  const reach = (given, stride, size, along) =>
    given.map((_, pixel) => {
      const at = along(pixel);
      for (let step = Math.max(-FRINGE, -at); step <= Math.min(FRINGE, size - 1 - at); step++) {
        if (given[pixel + step * stride]) return 1;
      }
      return 0;
    });
  const wide = reach(mask, 1, width, (pixel) => pixel % width);
  return reach(wide, width, height, (pixel) => Math.floor(pixel / width));
}

/** Return the order of a pass: the last of `count` times, the one midway, then those between. */
function halving(count) {
  const order = [count - 1];
  const spans = [[-1, count - 1]];
  while (spans.length) {
    const [begin, end] = spans.shift();
    const middle = Math.floor((begin + end) / 2);
    if (middle <= begin) continue;
    order.push(middle);
    spans.push([begin, middle], [middle, end]);
  }
  return order;
}

/** Read a picture of three planes where flow says, with a cubic kernel; beyond it its border. */
function warpBicubic(picture, flow, width, height) {
  const pixels = width * height;
  const warped = new Float32Array(3 * pixels);
  const weights = (t) => {
    const near = (d) => (1.25 * d - 2.25) * d * d + 1;
    const far = (d) => ((-0.75 * d + 3.75) * d - 6) * d + 3;
    return [far(1 + t), near(t), near(1 - t), far(2 - t)];
  };
  for (let pixel = 0; pixel < pixels; pixel++) {
    const x = (pixel % width) + flow[pixel];
    const y = Math.floor(pixel / width) + flow[pixels + pixel];
    const left = Math.floor(x);
    const top = Math.floor(y);
    const across = weights(x - left);
    const down = weights(y - top);
    for (let row = 0; row < 4; row++) {
      const line = clamp(top + row - 1, 0, height - 1) * width;
      for (let column = 0; column < 4; column++) {
        const weight = down[row] * across[column];
        const at = line + clamp(left + column - 1, 0, width - 1);
        warped[pixel] += weight * picture[at];
        warped[pixels + pixel] += weight * picture[pixels + at];
        warped[2 * pixels + pixel] += weight * picture[2 * pixels + at];
      }
    }
  }
  return warped.map((one) => clamp(one, 0, 1));
}

/** Read the nearest id where flow says. */
function warpLabels(labels, flow, width, height) {
  const pixels = width * height;
  return labels.map((_, pixel) => {
    const x = clamp(round((pixel % width) + flow[pixel]), 0, width - 1);
    const y = clamp(round(Math.floor(pixel / width) + flow[pixels + pixel]), 0, height - 1);
    return labels[y * width + x];
  });
}
