// What a refiner is given, as in refiner.py.

import { clamp } from "./scene.js";

/** Return a picture in which what is hidden has the colours that its class has around. */
export function spreadColours(picture, labels, visible, width, height) {
  const pixels = width * height;
  const filled = picture.slice();
  const hidden = new Set(labels.filter((_, pixel) => !visible[pixel]));
  for (const id of hidden) {
    const planes = new Float32Array(4 * pixels);
    let isAnywhere = false;
    for (let pixel = 0; pixel < pixels; pixel++) {
      if (labels[pixel] !== id || !visible[pixel]) continue;
      isAnywhere = true;
      for (let colour = 0; colour < 3; colour++) {
        planes[colour * pixels + pixel] = picture[colour * pixels + pixel];
      }
      planes[3 * pixels + pixel] = 1;
    }
    if (!isAnywhere) continue;
    const spread = pullAndPush(planes, width, height);
    for (let pixel = 0; pixel < pixels; pixel++) {
      if (labels[pixel] !== id || visible[pixel]) continue;
      for (let colour = 0; colour < 3; colour++) {
        filled[colour * pixels + pixel] = spread[colour * pixels + pixel];
      }
    }
  }
  return filled;
}

/** Fill what has no weight, the last of four planes, from means over ever larger cells. */
function pullAndPush(planes, width, height) {
  const pixels = width * height;
  const [wide, tall] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const isLast = Math.max(width, height) === 1;
  const around = isLast ? null : pullAndPush(halved(planes, width, height), wide, tall);
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

/** Return means over cells of two by two, or three at an end that is odd. */
function halved(planes, width, height) {
  const [wide, tall] = [Math.ceil(width / 2), Math.ceil(height / 2)];
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
