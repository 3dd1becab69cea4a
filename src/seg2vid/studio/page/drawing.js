// What is painted: a class and an object number for every pixel, and the way back.

const MOST_STEPS = 100;
const NO_OBJECT = 255; // files take this number for none
const MOST_OBJECTS = 999;

export class Drawing extends EventTarget {
  constructor(width, height, classes) {
    super();
    Object.assign(this, { width, height, classes });
    this.voidId = classes.length - 1;
    this.labels = new Uint8Array(width * height).fill(this.voidId);
    this.objects = new Uint16Array(width * height);
    this.done = [];
    this.undone = [];
  }

  moves(id) {
    return this.classes[id].moves;
  }

  at(x, y) {
    return y * this.width + x;
  }

  inside(x, y) {
    return x >= 0 && y >= 0 && x < this.width && y < this.height;
  }

  copy() {
    return { labels: this.labels.slice(), objects: this.objects.slice() };
  }

  // Steps: remember before a change, settle after it.
  remember() {
    this.done.push(this.copy());
    if (this.done.length > MOST_STEPS) this.done.shift();
    this.undone = [];
  }

  tell(name = "change") {
    this.dispatchEvent(new Event(name));
  }

  restore(state) {
    this.labels.set(state.labels);
    this.objects.set(state.objects);
    this.tell();
    this.tell("step");
  }

  undo() {
    if (!this.done.length) return;
    this.undone.push(this.copy());
    this.restore(this.done.pop());
  }

  redo() {
    if (!this.undone.length) return;
    this.done.push(this.copy());
    this.restore(this.undone.pop());
  }

  giveUp() {
    this.restore(this.done.pop());
  }

  replace(labels, objects) {
    this.remember();
    this.labels.set(labels);
    this.objects.set(objects);
    this.settle();
    this.tell();
    this.tell("step");
  }

  // Painting. Pixels that are painted belong to no object until they settle.
  put(place, id) {
    if (this.labels[place] === id) return;
    this.labels[place] = id;
    this.objects[place] = 0;
  }

  dab(x, y, size, id, mirrored) {
    const radius = size / 2;
    const reach = Math.ceil(radius);
    for (let dy = -reach; dy <= reach; dy++)
      for (let dx = -reach; dx <= reach; dx++) {
        if (size > 1 && dx * dx + dy * dy > radius * radius) continue;
        if (size === 1 && (dx || dy)) continue;
        if (!this.inside(x + dx, y + dy)) continue;
        this.put(this.at(x + dx, y + dy), id);
        if (mirrored) this.put(this.at(this.width - 1 - x - dx, y + dy), id);
      }
  }

  stroke(from, to, size, id, mirrored) {
    const steps = Math.max(Math.abs(to.x - from.x), Math.abs(to.y - from.y), 1);
    for (let n = 0; n <= steps; n++) {
      const share = n / steps;
      const x = Math.round(from.x + (to.x - from.x) * share);
      const y = Math.round(from.y + (to.y - from.y) * share);
      this.dab(x, y, size, id, mirrored);
    }
    this.tell();
  }

  polygon(corners, id, mirrored) {
    for (let y = 0; y < this.height; y++) {
      const crossings = [];
      corners.forEach((a, n) => {
        const b = corners[(n + 1) % corners.length];
        const [low, high] = a.y < b.y ? [a, b] : [b, a];
        if (y < low.y || y >= high.y) return;
        crossings.push(low.x + ((y - low.y) / (high.y - low.y)) * (high.x - low.x));
      });
      crossings.sort((a, b) => a - b);
      for (let n = 0; n + 1 < crossings.length; n += 2)
        for (let x = Math.ceil(crossings[n]); x <= crossings[n + 1]; x++) {
          if (!this.inside(x, y)) continue;
          this.put(this.at(x, y), id);
          if (mirrored) this.put(this.at(this.width - 1 - x, y), id);
        }
    }
    this.tell();
  }

  // All pixels joined to one of the same value of a plane.
  region(start, plane) {
    const found = [start];
    const seen = new Uint8Array(plane.length);
    seen[start] = 1;
    for (let n = 0; n < found.length; n++) this.around(found[n], (next) => {
      if (seen[next] || plane[next] !== plane[start]) return;
      seen[next] = 1;
      found.push(next);
    });
    return found;
  }

  around(place, visit) {
    const x = place % this.width;
    if (x > 0) visit(place - 1);
    if (x < this.width - 1) visit(place + 1);
    if (place >= this.width) visit(place - this.width);
    if (place < this.labels.length - this.width) visit(place + this.width);
  }

  fill(x, y, id) {
    for (const place of this.region(this.at(x, y), this.labels)) this.put(place, id);
    this.tell();
  }

  // Objects.
  settle() {
    const { labels, objects } = this;
    const used = new Set();
    for (let place = 0; place < labels.length; place++) {
      if (!this.moves(labels[place])) objects[place] = 0;
      else if (objects[place]) used.add(objects[place]);
    }
    let next = 1;
    const isFresh = Uint8Array.from(labels, (id, place) => (this.moves(id) && !objects[place] ? id + 1 : 0));
    for (let place = 0; place < labels.length; place++) {
      if (!isFresh[place] || objects[place]) continue;
      const pixels = this.region(place, isFresh);
      let number = 0;
      for (const pixel of pixels)
        this.around(pixel, (near) => {
          if (objects[near] && labels[near] === labels[place]) number = number || objects[near];
        });
      if (!number) {
        while ((used.has(next) || next === NO_OBJECT) && next < MOST_OBJECTS) next++;
        number = next;
        used.add(number);
      }
      for (const pixel of pixels) objects[pixel] = number;
    }
  }

  // The object at a pixel: its number, class, pixels and foot; null where none is.
  object(x, y) {
    const number = this.inside(x, y) ? this.objects[this.at(x, y)] : 0;
    return number ? this.objectOf(number) : null;
  }

  objectOf(number) {
    const pixels = [];
    for (let place = 0; place < this.objects.length; place++) if (this.objects[place] === number) pixels.push(place);
    if (!pixels.length) return null;
    const last = Math.floor(pixels[pixels.length - 1] / this.width);
    const low = pixels.filter((place) => Math.floor(place / this.width) >= last - 2);
    const x = low.reduce((sum, place) => sum + (place % this.width), 0) / low.length;
    const id = this.labels[pixels[0]];
    return { number, id, pixels, foot: { x, y: last }, name: `${this.classes[id].name}#${number}` };
  }

  // Take an object out: what was beside it, row by row, closes the hole.
  lift(object) {
    const hole = new Set(object.pixels);
    for (const place of object.pixels) {
      const row = Math.floor(place / this.width);
      let [left, right] = [place - 1, place + 1];
      while (left >= row * this.width && hole.has(left)) left--;
      while (right < (row + 1) * this.width && hole.has(right)) right++;
      const hasLeft = left >= row * this.width;
      const hasRight = right < (row + 1) * this.width;
      const isNearLeft = hasLeft && (!hasRight || place - left <= right - place);
      const from = isNearLeft ? left : hasRight ? right : -1;
      const isThing = from >= 0 && this.moves(this.labels[from]);
      object.under = object.under || new Map();
      object.under.set(place, from < 0 || isThing ? this.ground(row) : this.labels[from]);
    }
    for (const [place, id] of object.under) this.put(place, id);
  }

  // The commonest class of a row that does not move.
  ground(row) {
    const counts = new Map();
    for (let x = 0; x < this.width; x++) {
      const id = this.labels[this.at(x, row)];
      if (!this.moves(id)) counts.set(id, (counts.get(id) || 0) + 1);
    }
    return [...counts].sort((a, b) => b[1] - a[1])[0]?.[0] ?? this.voidId;
  }

  drop(object, dx, dy) {
    for (const place of object.pixels) {
      const x = (place % this.width) + dx;
      const y = Math.floor(place / this.width) + dy;
      if (!this.inside(x, y)) continue;
      this.labels[this.at(x, y)] = object.id;
      this.objects[this.at(x, y)] = object.number;
    }
    this.tell();
  }

  present() {
    const counts = new Map();
    for (const id of this.labels) counts.set(id, (counts.get(id) || 0) + 1);
    return counts;
  }

  values() {
    return Uint8Array.from(this.labels, (id) => this.classes[id].value);
  }
}

// Sky, houses and a road to the horizon: where a street begins.
export function emptyRoad(drawing, ids) {
  const { width, height } = drawing;
  const horizon = Math.round(0.45 * height);
  const labels = new Uint8Array(width * height).fill(ids.sky);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const side = Math.abs(x + 0.5 - width / 2) / (width / 2);
      const below = (y - horizon) / (height - horizon);
      let id = ids.sky;
      if (y >= horizon) id = side < 0.04 + 0.95 * below ? ids.road : side < 0.1 + 1.6 * below ? ids.sidewalk : ids.building;
      else if (y > horizon - (side - 0.06) * 0.95 * height && side > 0.06) id = ids.building;
      labels[y * width + x] = id;
    }
  return labels;
}
