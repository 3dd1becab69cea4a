// What follows from a label map alone: objects, segments, feet, the own car.
//
// Maps are typed arrays, row after row. `model` is what model.json holds.

export const CELL = 8; // the grid of objects is so many times coarser
export const MOST_OBJECTS = 64;
export const ROWS = MOST_OBJECTS + 1; // the background, and each object
const BONNET = 1 / 6; // share of the picture's height that it takes at most

/** Number connected areas of one foreground class on the coarse grid, from 1; 0 is background. */
export function findObjects(labels, model) {
  const { width, height } = model;
  const wide = width / CELL;
  const tall = height / CELL;
  const isThing = new Set(model.foreground);
  const cells = new Int32Array(wide * tall);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const id = labels[y * width + x];
      const cell = Math.floor(y / CELL) * wide + Math.floor(x / CELL);
      if (isThing.has(id) && id + 1 > cells[cell]) cells[cell] = id + 1;
    }
  }
  // An area's number is its largest cell at first.
  const area = new Int32Array(cells.length);
  for (let last = cells.length - 1; last >= 0; last--) {
    if (!cells[last] || area[last]) continue;
    const open = [last];
    area[last] = last + 1;
    while (open.length) {
      const cell = open.pop();
      const x = cell % wide;
      const near = [x > 0 ? cell - 1 : -1, x < wide - 1 ? cell + 1 : -1, cell - wide, cell + wide];
      for (const other of near) {
        if (other < 0 || other >= cells.length || area[other]) continue;
        if (cells[other] !== cells[cell]) continue;
        area[other] = last + 1;
        open.push(other);
      }
    }
  }
  const order = [...new Set(area)].filter((one) => one > 0).sort((a, b) => a - b);
  const number = new Map(order.map((one, index) => [one, (index % MOST_OBJECTS) + 1]));
  return area.map((one) => number.get(one) ?? 0);
}

/** Return each pixel's object where it is foreground, else 0. */
export function rowsOf(labels, objects, model) {
  const { width } = model;
  const isThing = new Set(model.foreground);
  return Int32Array.from(labels, (id, pixel) => {
    if (!isThing.has(id)) return 0;
    const x = Math.floor((pixel % width) / CELL);
    return objects[Math.floor(pixel / width / CELL) * (width / CELL) + x];
  });
}

/** Return each pixel's row of a look: its object's, or else its class's. */
export function segmentsOf(labels, rows, model) {
  return Int32Array.from(labels, (id, pixel) =>
    rows[pixel] > 0 ? model.channels + rows[pixel] - 1 : id,
  );
}

/** Return the class of each object, void for numbers without pixels. */
export function objectClasses(labels, rows, model) {
  const classes = new Int32Array(MOST_OBJECTS).fill(model.channels - 1);
  labels.forEach((id, pixel) => {
    if (rows[pixel] > 0) classes[rows[pixel] - 1] = id;
  });
  return classes;
}

/** Say where what each pixel shows may stand: three planes, as the depth network is shown. */
export function feetOf(labels, model) {
  const { width, height } = model;
  const pixels = width * height;
  const ground = new Set(model.ground);
  const feet = new Float32Array(3 * pixels);
  const distance = (row) => Math.log(Math.max(row / height - 0.45, 1 / 256)) / 2 + 1;
  for (let x = 0; x < width; x++) {
    let below = -1; // the class of the pixel below
    let foot = height - 1; // the last row of this pixel's own class, downwards
    let next = height - 1; // the next ground
    for (let y = height - 1; y >= 0; y--) {
      const pixel = y * width + x;
      const id = labels[pixel];
      if (id !== below) foot = y;
      const isGround = ground.has(id);
      if (isGround) next = y;
      const stand = Math.min(foot + 1, height - 1);
      const stands = isGround || ground.has(labels[stand * width + x]);
      feet[pixel] = distance(next);
      feet[pixels + pixel] = stands ? distance(isGround ? y : stand) : 0;
      feet[2 * pixels + pixel] = stands ? 1 : 0;
      below = id;
    }
  }
  return feet;
}

/** Mark what goes with the camera: void from the lower border up, and a bonnet called a thing. */
export function ownCar(labels, model) {
  const { width, height } = model;
  const fixed = new Uint8Array(labels.length);
  if (!model.hasGround) return fixed;
  const things = new Set(model.foreground);
  const isVoid = (id) => id === model.void;
  const run = (x, fits) => {
    let y = height;
    while (y > 0 && fits(labels[(y - 1) * width + x])) y--;
    return height - y;
  };
  const fix = (x, length) => {
    for (let y = height - length; y < height; y++) fixed[y * width + x] = 1;
  };
  for (let x = 0; x < width; x++) fix(x, run(x, isVoid));
  const isLowest = (x) => x < width && things.has(labels[(height - 1) * width + x]);
  for (let first = 0; first < width; first++) {
    if (!isLowest(first)) continue;
    let last = first;
    while (isLowest(last + 1)) last++;
    const tall = [];
    for (let x = first; x <= last; x++) tall.push(run(x, (id) => isVoid(id) || things.has(id)));
    const aside = Math.abs(first + last + 1 - width);
    const isInside = first > 0 && last < width - 1 && 2 * aside <= width;
    if (isInside && Math.max(...tall) <= BONNET * height) {
      tall.forEach((length, number) => fix(first + number, length));
    }
    first = last;
  }
  return fixed;
}

/** Average planes over the pixels of each row number below `count`; 0 for one without pixels. */
export function poolRows(planes, channels, rows, count) {
  const pixels = rows.length;
  const total = new Float64Array(count * channels);
  const share = new Float64Array(count);
  for (let pixel = 0; pixel < pixels; pixel++) {
    const row = rows[pixel];
    share[row] += 1;
    for (let channel = 0; channel < channels; channel++) {
      total[row * channels + channel] += planes[channel * pixels + pixel];
    }
  }
  return Float32Array.from(total, (sum, at) => sum / Math.max(share[Math.floor(at / channels)], 1));
}
