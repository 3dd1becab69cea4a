// What lies around holes, and how what is painted in them fits, as in holes.py.

import { CELL } from "./labels.js";
import { clamp } from "./scene.js";

const ALIKE = 0.3;
const SHADE = 0.15;
const TORN = 2.5;
const SOFT = 0.75;

/**
 * Return a picture in which what is hidden has the colours that its class, or `alike`, has around:
 * the `sky` those beside in its row.
 */
export function spreadColours(picture, labels, visible, width, height, alike, sky) {
  const pixels = width * height;
  const filled = picture.slice();
  const hidden = new Set(labels.filter((_, pixel) => !visible[pixel]));
  for (const id of hidden) {
    const planes = new Float32Array(4 * pixels);
    let isAnywhere = false;
    for (let pixel = 0; pixel < pixels; pixel++) {
      const isAlike = alike.includes(id) && alike.includes(labels[pixel]);
      if ((labels[pixel] !== id && !isAlike) || !visible[pixel]) continue;
      isAnywhere = true;
      const weight = labels[pixel] === id ? 1 : ALIKE;
      for (let colour = 0; colour < 3; colour++) {
        planes[colour * pixels + pixel] = weight * picture[colour * pixels + pixel];
      }
      planes[3 * pixels + pixel] = weight;
    }
    if (!isAnywhere) continue;
    const spread = (id === sky ? fillInRows : pullAndPush)(planes, width, height);
    for (let pixel = 0; pixel < pixels; pixel++) {
      if (labels[pixel] !== id || visible[pixel]) continue;
      for (let colour = 0; colour < 3; colour++) {
        filled[colour * pixels + pixel] = spread[colour * pixels + pixel];
      }
    }
  }
  return filled;
}

/** Return what was painted with the colours of a guess, but for what is finer than cells. */
export function matchColours(painted, guess, visible, width, height) {
  const [pixels, wide, tall] = [width * height, width / CELL, height / CELL];
  const cells = new Float32Array(4 * wide * tall);
  for (let pixel = 0; pixel < pixels; pixel++) {
    if (visible[pixel]) continue;
    const cell = Math.floor(pixel / width / CELL) * wide + Math.floor((pixel % width) / CELL);
    for (let colour = 0; colour < 3; colour++) {
      const at = colour * pixels + pixel;
      cells[colour * wide * tall + cell] += guess[at] - painted[at];
    }
    cells[3 * wide * tall + cell] += 1;
  }
  const smooth = new Float32Array(cells.length);
  smooth.forEach((_, at) => {
    const [plane, cell] = [Math.floor(at / (wide * tall)), at % (wide * tall)];
    const [x, y] = [cell % wide, Math.floor(cell / wide)];
    for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, tall - 1); row++) {
      for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, wide - 1); column++) {
        smooth[at] += cells[(plane * tall + row) * wide + column] / (9 * CELL * CELL);
      }
    }
  });
  const matched = painted.slice();
  for (let pixel = 0; pixel < pixels; pixel++) {
    const places = read(pixel, width, height, wide, tall);
    const [red, green, blue, weight] = [0, 1, 2, 3].map((plane) =>
      places.reduce((sum, [at, share]) => sum + smooth[plane * wide * tall + at] * share, 0),
    );
    const off = [red, green, blue].map((one) => one / Math.max(weight, 1e-6));
    const lighter = (off[0] + off[1] + off[2]) / 3;
    for (let colour = 0; colour < 3; colour++) {
      const own = painted[colour * pixels + pixel] + off[colour] - clamp(lighter, -SHADE, SHADE);
      matched[colour * pixels + pixel] = clamp(own, 0, 1);
    }
  }
  return matched;
}

/**
 * Fill what has no weight, the last of four planes, from means over ever larger cells; `inRows` they
 * are of one row each, and what has nothing in its row is 0.
 */
export function pullAndPush(planes, width, height, inRows = false) {
  const pixels = width * height;
  const [wide, tall] = [Math.ceil(width / 2), inRows ? height : Math.ceil(height / 2)];
  const isLast = Math.max(width, inRows ? 1 : height) === 1;
  const coarse = isLast ? null : halved(planes, width, height, tall);
  const around = isLast ? null : pullAndPush(coarse, wide, tall, inRows);
  const filled = new Float32Array(3 * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const weight = planes[3 * pixels + pixel];
    const places = isLast ? [] : read(pixel, width, height, wide, tall);
    for (let colour = 0; colour < 3; colour++) {
      const mean = planes[colour * pixels + pixel] / Math.max(weight, 1e-6);
      const plane = colour * wide * tall;
      const beyond = places.reduce((sum, [at, share]) => sum + around[plane + at] * share, 0);
      filled[colour * pixels + pixel] = isLast ? mean : beyond + (mean - beyond) * weight;
    }
  }
  return filled;
}

/** Fill as above, from what is beside in its row, or else above and below. */
export function fillInRows(planes, width, height) {
  const pixels = width * height;
  const filled = pullAndPush(planes, width, height, true);
  const isKnown = new Uint8Array(height);
  for (let pixel = 0; pixel < pixels; pixel++) {
    if (planes[3 * pixels + pixel] > 0) isKnown[Math.floor(pixel / width)] = 1;
  }
  if (!isKnown.includes(0)) return filled;
  const rows = new Float32Array(4 * pixels);
  for (let at = 0; at < 4 * pixels; at++) {
    const weight = isKnown[Math.floor((at % pixels) / width)];
    rows[at] = at < 3 * pixels ? filled[at] * weight : weight;
  }
  return pullAndPush(rows, width, height);
}

/** Return means over cells of two columns, and rows to make so many lines; three at an odd end. */
function halved(planes, width, height, tall) {
  const wide = Math.ceil(width / 2);
  const cells = new Float32Array(4 * wide * tall);
  const span = (at, size, cellCount) => [
    Math.floor((at * size) / cellCount),
    Math.ceil(((at + 1) * size) / cellCount),
  ];
  for (let plane = 0; plane < 4; plane++) {
    for (let cell = 0; cell < wide * tall; cell++) {
      const [left, right] = span(cell % wide, width, wide);
      const [top, bottom] = span(Math.floor(cell / wide), height, tall);
      let sum = 0;
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) sum += planes[(plane * height + y) * width + x];
      }
      cells[plane * wide * tall + cell] = sum / ((right - left) * (bottom - top));
    }
  }
  return cells;
}

/** Return the four cells that a pixel lies between, and their shares. */
function read(pixel, width, height, wide, tall) {
  const x = clamp((((pixel % width) + 0.5) * wide) / width - 0.5, 0, wide - 1);
  const y = clamp(((Math.floor(pixel / width) + 0.5) * tall) / height - 0.5, 0, tall - 1);
  const [left, top] = [Math.floor(x), Math.floor(y)];
  return [0, 1, 2, 3].map((corner) => {
    const [low, right] = [corner >> 1, corner & 1];
    const at = Math.min(top + low, tall - 1) * wide + Math.min(left + right, wide - 1);
    return [at, (low ? y - top : 1 - y + top) * (right ? x - left : 1 - x + left)];
  });
}

/** Fill a few hidden pixels with the mean of what is around, and the largest label there. */
export function fillSpecks(frame, width, height) {
  const pixels = width * height;
  const { picture, labels, hidden } = frame;
  let bare = [];
  hidden.forEach((one, pixel) => one && bare.push(pixel));
  while (bare.length) {
    const ready = [];
    for (const pixel of bare) {
      const x = pixel % width;
      const y = Math.floor(pixel / width);
      const sum = [0, 0, 0];
      let [count, label] = [0, -1];
      for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
        for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column++) {
          const at = row * width + column;
          if (hidden[at]) continue;
          count += 1;
          label = Math.max(label, labels[at]);
          sum.forEach((_, colour) => (sum[colour] += picture[colour * pixels + at]));
        }
      }
      if (count) ready.push([pixel, label, sum.map((one) => one / count)]);
    }
    if (!ready.length) return;
    for (const [pixel, label, colours] of ready) {
      labels[pixel] = label;
      colours.forEach((one, colour) => (picture[colour * pixels + pixel] = one));
      hidden[pixel] = 0;
    }
    bare = bare.filter((pixel) => hidden[pixel]);
  }
}

/** Mix colours across outlines as a camera does, where two parts of a key frame now meet. */
export function softenOutlines({ picture, moved }, width, height) {
  const pixels = width * height;
  const { source } = moved;
  const isTorn = (one, other) =>
    (source[one] < 0) !== (source[other] < 0) ||
    (source[one] >= 0 &&
      (Math.abs((source[one] % width) - (source[other] % width)) > TORN ||
        Math.abs(Math.floor(source[one] / width) - Math.floor(source[other] / width)) > TORN));
  const whole = picture.slice();
  const weights = [0.25, 0.5, 0.25];
  for (let pixel = 0; pixel < pixels; pixel++) {
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    const columns = [Math.max(x - 1, 0), x, Math.min(x + 1, width - 1)];
    const lines = [Math.max(y - 1, 0), y, Math.min(y + 1, height - 1)].map((row) => row * width);
    const beside = [lines[0] + x, lines[2] + x, lines[1] + columns[0], lines[1] + columns[2]];
    if (!beside.some((other) => isTorn(pixel, other))) continue;
    for (let plane = 0; plane < 3 * pixels; plane += pixels) {
      let mean = 0;
      lines.forEach((line, row) =>
        columns.forEach((column, at) => {
          mean += weights[row] * weights[at] * whole[plane + line + column];
        }),
      );
      picture[plane + pixel] += SOFT * (mean - picture[plane + pixel]);
    }
  }
}

/** Return the pixels at and beside one. */
export function around(pixel, width, height) {
  const [x, y] = [pixel % width, Math.floor(pixel / width)];
  const found = [];
  for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
    for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column++) {
      found.push(row * width + column);
    }
  }
  return found;
}
