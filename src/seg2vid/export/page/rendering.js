// A moved scene seen by the moved camera, as in rendering.py and sources.py.

import { SPOTS } from "./outlines.js";
import { AROUND, FOOTPRINT, NEAREST, clamp, round } from "./scene.js";

const CLOSEST = 1;
const CELL_LEVELS = 3;
const BEHIND_LEVELS = 6;
const EDGE = 3;
const NEARER = 1.15;
const REACH = 2.5;
const WALKS = 3;
const GROWN = [1.3, 64];
const LEVEL = 2;
const WITHIN = 0.1;

/**
 * Move a scene to one time: where every pixel of that frame reads, and from which surface.
 *
 * Returns flow (dx, dy planes), inverse depth now, source (-1 where nothing is seen) and behind:
 * the same, but what lies behind where nothing is seen.
 */
export function moveScene(scene, rigid, residual) {
  const moment = new Moment(scene, rigid, residual);
  const { own, behind } = moment.findSources();
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

/** One moment of a scene: for every pixel of the first frame its place and its plane. */
class Moment {
  constructor(scene, rigid, residual) {
    const { width, height, depth, rows, fixed, camera, planes, surfaces, owners } = scene;
    const pixels = width * height;
    scene.before ??= standsBefore(scene);
    Object.assign(this, { width, height, pixels, camera, depth, before: scene.before });
    Object.assign(this, { surfaces, owners });
    for (const name of ["placeX", "placeY", "inverse", "gain"]) {
      this[name] = new Float32Array(pixels);
    }
    for (const name of ["cosine", "sine", "shiftX", "shiftZ", "planeX", "planeY", "planeZ"]) {
      this[name] = new Float32Array(pixels);
    }
    for (const name of ["besideX", "besideY", "besideZ", "rayX", "rayY", "rayZ"]) {
      this[name] = new Float32Array(pixels);
    }
    this.shown = new Uint8Array(pixels);
    const up = Math.sin(rigid.pitch);
    const level = Math.cos(rigid.pitch);
    for (let pixel = 0; pixel < pixels; pixel++) {
      const x = ((pixel % width) - camera.x) / camera.focal;
      const y = (Math.floor(pixel / width) - camera.y) / camera.focal;
      const row = rows[pixel];
      const cosine = rigid.cosine[row];
      const sine = rigid.sine[row];
      const right = rigid.right[row];
      const ahead = rigid.ahead[row];
      const own = depth[pixel];
      const column = cosine * x + sine + own * right;
      let z = cosine - sine * x + own * ahead;
      const down = level * y + up * z;
      z = level * z - up * y;
      const isShown = z > NEAREST && !fixed[pixel];
      z = Math.max(z, NEAREST);
      this.shown[pixel] = isShown && own < CLOSEST * z ? 1 : 0;
      const asideX = residual ? residual[pixel] : 0;
      const asideY = residual ? residual[pixels + pixel] : 0;
      this.placeX[pixel] = (column * camera.focal) / z + camera.x + asideX;
      this.placeY[pixel] = (down * camera.focal) / z + camera.y + asideY;
      this.inverse[pixel] = own / z;
      const shiftX = cosine * right - sine * ahead;
      const shiftZ = sine * right + cosine * ahead;
      let [n0, n1, n2] = [planes[pixel], planes[pixels + pixel], planes[2 * pixels + pixel]];
      const facing = 1 + n0 * shiftX + n2 * shiftZ;
      const share = 1 / Math.max(facing, NEAREST);
      if (fixed[pixel]) [n0, n1, n2] = [0, 0, 1];
      this.gain[pixel] = facing > NEAREST && !fixed[pixel] ? share : -1;
      this.cosine[pixel] = cosine;
      this.sine[pixel] = sine;
      this.shiftX[pixel] = shiftX * share;
      this.shiftZ[pixel] = shiftZ * share;
      this.planeX[pixel] = n0 * cosine + n2 * sine;
      this.planeY[pixel] = n1;
      this.planeZ[pixel] = n2 * cosine - n0 * sine;
      this.besideX[pixel] = asideX / camera.focal;
      this.besideY[pixel] = (level * asideY) / camera.focal;
      this.besideZ[pixel] = (up * asideY) / camera.focal;
      this.rayX[pixel] = x;
      this.rayY[pixel] = level * y - up;
      this.rayZ[pixel] = up * y + level;
    }
  }

  /** Follow a pixel's ray back through a plane: sets x, y and distance, -1 where it misses. */
  land(pixel, plane) {
    let x = this.rayX[pixel] - this.besideX[plane];
    const y = this.rayY[pixel] - this.besideY[plane];
    let z = this.rayZ[pixel] - this.besideZ[plane];
    const rise = this.planeX[plane] * x + this.planeY[plane] * y + this.planeZ[plane] * z;
    const turn = this.cosine[plane];
    const away = this.sine[plane];
    const turned = turn * x - away * z - this.shiftX[plane] * rise;
    z = away * x + turn * z - this.shiftZ[plane] * rise;
    x = turned;
    const distance = rise * this.gain[plane];
    const scale = this.camera.focal / Math.max(z, NEAREST);
    this.x = x * scale + this.camera.x;
    this.y = y * scale + this.camera.y;
    this.distance = z > NEAREST && distance < CLOSEST ? Math.fround(distance) : -1;
  }

  /** Follow a ray through the plane of `source`: sets whether it fits there, and what is next. */
  visit(pixel, source) {
    this.land(pixel, source);
    const { width, height } = this;
    const offX = this.x - (source % width);
    const offY = this.y - Math.floor(source / width);
    // What lies a little beyond an edge still counts as before it.
    const x = this.x - clamp(offX, 0.5 - FOOTPRINT, FOOTPRINT - 0.5);
    const y = this.y - clamp(offY, 0.5 - FOOTPRINT, FOOTPRINT - 0.5);
    const column = Math.floor(SPOTS * (x + 0.5));
    const row = Math.floor(SPOTS * (y + 0.5));
    const nearColumn = clamp(column, 0, SPOTS * width - 1);
    const nearRow = clamp(row, 0, SPOTS * height - 1);
    this.next = this.owners[nearRow * SPOTS * width + nearColumn];
    const isNear = Math.max(Math.abs(offX), Math.abs(offY)) <= FOOTPRINT;
    const isSame = this.surfaces[this.next] === this.surfaces[source];
    const isInside = column === nearColumn && row === nearRow && this.distance >= 0;
    this.fits = ((isNear && isSame) || this.next === source) && isInside;
  }

  /** Return whether a ray that went from `before` to `source` passes between them. */
  bridges(pixel, before, source) {
    const { width, height, surfaces, next } = this;
    const [x, y] = [source % width, Math.floor(source / width)];
    const fromX = x - (before % width);
    const fromY = y - Math.floor(before / width);
    const toX = (next % width) - x;
    const toY = Math.floor(next / width) - y;
    if (fromX * toX + fromY * toY >= 0 || this.distance < 0) return false;
    const farthest = Math.max(Math.abs(fromX), Math.abs(fromY), Math.abs(toX), Math.abs(toY));
    // A ray that leaves the picture goes back and forth along its edge, and shows nothing.
    const isBeside = this.x < -0.5 || this.x >= width - 0.5;
    if (isBeside || this.y < -0.5 || this.y >= height - 0.5 || farthest > REACH) return false;
    const surface = surfaces[source];
    return surfaces[before] === surface && surfaces[next] === surface;
  }

  /** Walk from a surface to the one where a ray lands; return it, or -1 where it is lost. */
  walk(pixel, source, visits) {
    let before = source;
    for (let visit = 1; visit <= visits; visit++) {
      this.visit(pixel, source);
      if (this.fits) return source;
      if (visit === visits) return this.bridges(pixel, before, source) ? source : -1;
      before = source;
      source = this.next;
    }
    return -1;
  }

  /** Read what landed within an outline, but on a pixel of another surface, in the own pixel. */
  keepOnSurface(source) {
    const { width, height, surfaces } = this;
    const column = clamp(round(this.x), 0, width - 1);
    const row = clamp(round(this.y), 0, height - 1);
    if (surfaces[row * width + column] === surfaces[source]) return;
    const [x, y] = [source % width, Math.floor(source / width)];
    this.x = x + clamp(this.x - x, -WITHIN, WITHIN);
    this.y = y + clamp(this.y - y, -WITHIN, WITHIN);
  }

  /** Put each pixel where its centre falls, the nearest on top; and so for cells of 2, 4, 8. */
  splat() {
    const { width, height, pixels, inverse } = this;
    const buffer = new Int32Array(pixels).fill(-1);
    for (let pixel = 0; pixel < pixels; pixel++) {
      if (!this.shown[pixel]) continue;
      const column = round(this.placeX[pixel]);
      const row = round(this.placeY[pixel]);
      if (column < 0 || column >= width || row < 0 || row >= height) continue;
      const target = row * width + column;
      if (buffer[target] < 0 || this.isNearer(pixel, buffer[target])) buffer[target] = pixel;
    }
    this.cover(buffer);
    const levels = [{ cells: buffer, wide: width, tall: height }];
    for (let level = 0; level < CELL_LEVELS; level++) {
      const below = levels[level];
      const wide = Math.ceil(below.wide / 2);
      const tall = Math.ceil(below.tall / 2);
      const cells = new Int32Array(wide * tall).fill(-1);
      below.cells.forEach((source, at) => {
        if (source < 0) return;
        const x = (at % below.wide) >> 1;
        const y = Math.floor(at / below.wide) >> 1;
        const cell = y * wide + x;
        if (cells[cell] < 0 || this.isNearer(source, cells[cell])) cells[cell] = source;
      });
      levels.push({ cells, wide, tall });
    }
    return levels;
  }

  /** Put what has grown on all that it may cover: as wide as its neighbours have come apart. */
  cover(buffer) {
    const { width, height, pixels, inverse, depth, surfaces } = this;
    for (let pixel = 0; pixel < pixels; pixel++) {
      const growth = inverse[pixel] / depth[pixel];
      if (!this.before[pixel] || !this.shown[pixel] || !(growth > GROWN[0])) continue;
      let wide = growth;
      for (const beside of [pixel - 1, pixel + 1]) {
        if (Math.floor(beside / width) !== Math.floor(pixel / width)) continue;
        if (!this.shown[beside] || surfaces[beside] !== surfaces[pixel]) continue;
        wide = Math.max(wide, Math.abs(this.placeX[beside] - this.placeX[pixel]));
      }
      const half = Math.min(growth, GROWN[1]) / 2;
      const reach = Math.min(wide, GROWN[1]) / 2;
      const left = Math.max(Math.ceil(this.placeX[pixel] - reach), 0);
      const right = Math.min(Math.floor(this.placeX[pixel] + reach), width - 1);
      const bottom = Math.min(Math.floor(this.placeY[pixel] + half), height - 1);
      for (let y = Math.max(Math.ceil(this.placeY[pixel] - half), 0); y <= bottom; y++) {
        for (let at = y * width + left; at <= y * width + right; at++) {
          if (buffer[at] < 0 || this.isNearer(pixel, buffer[at])) buffer[at] = pixel;
        }
      }
    }
  }

  isNearer(one, other) {
    const { inverse } = this;
    return inverse[one] > inverse[other] || (inverse[one] === inverse[other] && one > other);
  }

  findSources() {
    const { width, height, pixels } = this;
    const levels = this.splat();
    const buffer = levels[0].cells;
    const cellAt = (level, pixel) => {
      const { cells, wide } = levels[level];
      const x = (pixel % width) >> level;
      return cells[(Math.floor(pixel / width) >> level) * wide + x];
    };
    const first = new Int32Array(pixels);
    for (let pixel = 0; pixel < pixels; pixel++) {
      let source = buffer[pixel];
      for (let level = 1; source < 0 && level <= CELL_LEVELS; level++) {
        source = cellAt(level, pixel);
      }
      first[pixel] = source < 0 ? pixel : source;
    }
    const apart = this.tornApart(first, cellAt);
    const own = new Int32Array(pixels).fill(-1);
    const candidates = new Int32Array(5 + CELL_LEVELS);
    for (let pixel = 0; pixel < pixels; pixel++) {
      let best = this.walk(pixel, first[pixel], WALKS);
      let nearest = this.distance;
      if (best < 0 || apart[pixel]) {
        const x = pixel % width;
        const y = Math.floor(pixel / width);
        candidates[0] = first[pixel];
        candidates[1] = buffer[y * width + Math.max(x - 1, 0)];
        candidates[2] = buffer[y * width + Math.min(x + 1, width - 1)];
        candidates[3] = buffer[Math.max(y - 1, 0) * width + x];
        candidates[4] = buffer[Math.min(y + 1, height - 1) * width + x];
        for (let level = 1; level <= CELL_LEVELS; level++) {
          candidates[4 + level] = cellAt(level, pixel);
        }
        for (let one = 1; one < candidates.length; one++) {
          if (candidates[one] < 0) candidates[one] = first[pixel];
          if (candidates.indexOf(candidates[one]) < one) continue;
          const source = this.walk(pixel, candidates[one], WALKS - 1);
          if (source < 0) continue;
          const isNearer =
            this.distance > nearest || (this.distance === nearest && source > best);
          if (best < 0 || isNearer) {
            best = source;
            nearest = this.distance;
          }
        }
      }
      own[pixel] = best;
    }
    const closed = this.closeCracks(own);
    return { own: closed, behind: this.lookBehind(closed, first) };
  }

  /**
   * Return what each pixel shows or, where it shows nothing, what lies behind: the farthest of what
   * is around, but the ground where its ray meets that first.
   */
  lookBehind(own, first) {
    const { depth, before } = this;
    const behind = own.slice();
    const holes = [];
    own.forEach((source, pixel) => source < 0 && holes.push(pixel));
    const far = own.map((source) => (source >= 0 && before[source] ? -1 : source));
    const found = this.firstAround(far, (source) => depth[source], holes);
    holes.forEach((pixel, at) => (behind[pixel] = found[at] < 0 ? first[pixel] : found[at]));
    const sunk = holes.filter((pixel) => this.rayY[pixel] > 0 && !this.isLevel(behind[pixel]));
    if (!sunk.length) return behind;
    // The nearest ground is known best.
    const level = far.map((source) => (source >= 0 && this.isLevel(source) ? source : -1));
    const away = (source) => Math.fround(1 / Math.max(depth[source], Math.fround(NEAREST)));
    const grounds = this.firstAround(level, away, sunk);
    sunk.forEach((pixel, at) => {
      if (grounds[at] < 0) return;
      this.land(pixel, behind[pixel]);
      const other = this.distance;
      this.land(pixel, grounds[at]);
      if (this.distance > other) behind[pixel] = grounds[at];
    });
    return behind;
  }

  /** Return whether a pixel's plane lies like the ground. */
  isLevel(pixel) {
    const most = Math.max(Math.abs(this.planeX[pixel]), Math.abs(this.planeZ[pixel]));
    return this.planeY[pixel] > LEVEL * most;
  }

  /**
   * Return for each hole the one of the sources with the least key that is within a cell or beside
   * it, of the smallest cells where anything is; -1 where nothing is.
   */
  firstAround(sources, keyOf, holes) {
    const { width, height } = this;
    const isLess = (one, other) =>
      keyOf(one) < keyOf(other) || (keyOf(one) === keyOf(other) && one < other);
    const found = new Int32Array(holes.length).fill(-1);
    let cells = sources;
    let [wide, tall] = [width, height];
    let missing = holes.map((_, at) => at);
    for (let level = 1; level <= BEHIND_LEVELS && missing.length; level++) {
      const below = cells;
      const [across, down] = [wide, tall];
      wide = Math.ceil(wide / 2);
      tall = Math.ceil(tall / 2);
      cells = new Int32Array(wide * tall).fill(-1);
      for (let y = 0; y < down; y++) {
        for (let x = 0; x < across; x++) {
          const source = below[y * across + x];
          const cell = (y >> 1) * wide + (x >> 1);
          if (source < 0) continue;
          if (cells[cell] < 0 || isLess(source, cells[cell])) cells[cell] = source;
        }
      }
      missing = missing.filter((at) => {
        const [x, y] = [(holes[at] % width) >> level, Math.floor(holes[at] / width) >> level];
        for (const [row, column] of [[0, 0], ...AROUND]) {
          const line = clamp(y + row, 0, tall - 1) * wide;
          const source = cells[line + clamp(x + column, 0, wide - 1)];
          if (source < 0) continue;
          if (found[at] < 0 || isLess(source, found[at])) found[at] = source;
        }
        return found[at] < 0;
      });
    }
    return found;
  }

  /** Mark where surfaces that fell nearby are no neighbours in the first frame. */
  tornApart(first, cellAt) {
    const { width, height, pixels, surfaces } = this;
    const apart = new Uint8Array(pixels);
    // Between two pixels of another surface, whose rows or columns have come apart.
    const isBetween = (pixel, step) => {
      const [one, other] = [surfaces[first[pixel - step]], surfaces[first[pixel + step]]];
      return one === other && surfaces[first[pixel]] !== one;
    };
    const columnOf = (source) => source % width;
    const rowOf = (source) => Math.floor(source / width);
    for (let pixel = 0; pixel < pixels; pixel++) {
      const x = columnOf(first[pixel]);
      const y = rowOf(first[pixel]);
      const beside = pixel % width < width - 1 ? pixel + 1 : -1;
      const below = pixel + width < pixels ? pixel + width : -1;
      if (beside >= 0 && pixel % width && isBetween(pixel, 1)) apart[pixel] = 1;
      if (below >= 0 && pixel >= width && isBetween(pixel, width)) apart[pixel] = 1;
      for (const other of [beside, below]) {
        if (other < 0) continue;
        const gapX = Math.abs(columnOf(first[other]) - x);
        if (gapX > REACH || Math.abs(rowOf(first[other]) - y) > REACH) {
          apart[pixel] = apart[other] = 1;
        }
      }
      for (let level = 1; level <= CELL_LEVELS; level++) {
        const cell = cellAt(level, pixel);
        if (cell < 0) continue;
        const far = 1.5 * (2 ** level + 1);
        if (Math.abs(columnOf(cell) - x) > far || Math.abs(rowOf(cell) - y) > far) {
          apart[pixel] = 1;
        }
      }
    }
    return apart;
  }

  /** Give a pixel that shows nothing, while nearly all around do, the best of their planes. */
  closeCracks(own) {
    const { width, height, pixels } = this;
    const closed = own.slice();
    for (let pixel = 0; pixel < pixels; pixel++) {
      if (own[pixel] >= 0) continue;
      const x = pixel % width;
      const y = Math.floor(pixel / width);
      const near = [];
      for (const [down, right] of AROUND) {
        if (y + down < 0 || y + down >= height || x + right < 0 || x + right >= width) continue;
        const source = own[pixel + down * width + right];
        if (source >= 0) near.push(source);
      }
      if (near.length < 6) continue;
      let nearest = Infinity;
      for (const source of near) {
        this.land(pixel, source);
        const offX = Math.abs(this.x - (source % width));
        const off = Math.max(offX, Math.abs(this.y - Math.floor(source / width)));
        if (this.distance >= 0 && off < nearest) {
          nearest = off;
          closed[pixel] = source;
        }
      }
    }
    return closed;
  }
}
