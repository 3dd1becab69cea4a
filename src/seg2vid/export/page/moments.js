// The pixels of a first frame, and their planes, at one moment, as in moments.py.

import { SPOTS } from "./outlines.js";
import { FOOTPRINT, NEAREST, clamp, round } from "./scene.js";

const CLOSEST = 1;
export const REACH = 2.5;
const LEVEL = 2;
const WITHIN = 0.1;

/** One moment of a scene: for every pixel of the first frame its place and its plane. */
export class Moment {
  constructor(scene, rigid, residual) {
    const { width, height, depth, rows, fixed, camera, planes, surfaces, owners } = scene;
    const pixels = width * height;
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

  isNearer(one, other) {
    const { inverse } = this;
    return inverse[one] > inverse[other] || (inverse[one] === inverse[other] && one > other);
  }

  /** Return whether a pixel's plane lies like the ground. */
  isLevel(pixel) {
    const most = Math.max(Math.abs(this.planeX[pixel]), Math.abs(this.planeZ[pixel]));
    return this.planeY[pixel] > LEVEL * most;
  }
}
