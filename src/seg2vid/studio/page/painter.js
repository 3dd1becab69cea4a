// The canvas: pointer and keys to tools, tools to the drawing, the drawing to the screen.

const KEYS = { b: "brush", l: "line", p: "polygon", f: "fill", e: "eraser", i: "pick", m: "move", d: "path" };
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ZOOMS = [1, 1.5, 2, 3, 4, 6, 8];
const NEAR = 4; // pixels between which a polygon closes

export class Painter extends EventTarget {
  constructor(drawing, stage) {
    super();
    Object.assign(this, { drawing, stage, tool: "brush", id: 0, size: 8, zoom: 1 });
    Object.assign(this, { mirrored: false, guided: false, horizon: 0.45, paths: new Map() });
    this.sheet = stage.querySelector("#sheet");
    this.map = stage.querySelector("#map");
    this.over = stage.querySelector("#over");
    this.map.width = drawing.width;
    this.map.height = drawing.height;
    this.image = new ImageData(drawing.width, drawing.height);
    this.pen = { x: drawing.width >> 1, y: (drawing.height * 3) >> 2 };
    this.begun = null; // what the tool is in the middle of
    this.corners = [];
    this.isDown = false; // by keys
    this.pointers = new Map();
    this.listen();
    drawing.addEventListener("change", () => this.draw());
    new ResizeObserver(() => this.drawOver()).observe(this.sheet);
    this.draw();
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  choose(tool) {
    this.giveUp();
    this.tool = tool;
    this.tell("tool");
    this.drawOver();
  }

  listen() {
    const { sheet, stage } = this;
    sheet.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      this.pointers.set(event.pointerId, event);
      if (this.pointers.size > 1) return this.giveUp(); // two fingers pan
      sheet.setPointerCapture(event.pointerId);
      this.hasKeys = false;
      this.press(this.place(event));
    });
    sheet.addEventListener("pointermove", (event) => {
      if (this.pointers.size > 1 && this.pointers.has(event.pointerId)) {
        const before = this.pointers.get(event.pointerId);
        stage.scrollBy((before.clientX - event.clientX) / 2, (before.clientY - event.clientY) / 2);
        this.pointers.set(event.pointerId, event);
        return;
      }
      const events = event.getCoalescedEvents?.() || [];
      for (const one of events.length ? events : [event]) this.drag(this.place(one));
    });
    const lift = (event) => {
      this.pointers.delete(event.pointerId);
      this.release();
    };
    sheet.addEventListener("pointerup", lift);
    sheet.addEventListener("pointercancel", (event) => {
      this.pointers.delete(event.pointerId);
      this.giveUp();
    });
    sheet.addEventListener("pointerleave", () => {
      this.hover = null;
      this.drawOver();
    });
    sheet.addEventListener("dblclick", () => this.tool === "polygon" && this.close());
    stage.addEventListener("keydown", (event) => this.key(event));
    stage.addEventListener("blur", () => this.drawOver());
    stage.addEventListener("focus", () => this.drawOver());
  }

  place(event) {
    const box = this.sheet.getBoundingClientRect();
    return {
      x: Math.floor(((event.clientX - box.left) / box.width) * this.drawing.width),
      y: Math.floor(((event.clientY - box.top) / box.height) * this.drawing.height),
    };
  }

  // Keys on the canvas. Those that hold everywhere are the page's.
  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const arrow = ARROWS[event.key];
    if (arrow) {
      const step = event.shiftKey ? 8 : 1;
      const { width, height } = this.drawing;
      this.pen.x = Math.min(width - 1, Math.max(0, this.pen.x + arrow[0] * step));
      this.pen.y = Math.min(height - 1, Math.max(0, this.pen.y + arrow[1] * step));
      this.hasKeys = true;
      this.drag({ ...this.pen });
      this.reveal();
      this.say();
    } else if (event.key === "Enter" || event.key === " ") {
      this.hasKeys = true;
      if (this.isDown) {
        this.isDown = false;
        this.release();
      } else {
        this.press({ ...this.pen });
        this.isDown = Boolean(this.begun);
      }
      this.say();
    } else if (event.key === "Escape") this.giveUp();
    else if (event.key === "c" && this.corners.length) this.close();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  static toolOf(key) {
    return KEYS[key];
  }

  say() {
    const { drawing, pen } = this;
    const name = drawing.classes[drawing.labels[drawing.at(pen.x, pen.y)]].name;
    this.tell("say", `${pen.x}, ${pen.y}: ${name}${this.isDown ? ", pen down" : ""}`);
  }

  reveal() {
    const scale = this.sheet.clientWidth / this.drawing.width;
    const { stage, pen } = this;
    const [x, y] = [pen.x * scale, pen.y * scale];
    const margin = 30;
    if (x < stage.scrollLeft + margin) stage.scrollLeft = x - margin;
    if (x > stage.scrollLeft + stage.clientWidth - margin) stage.scrollLeft = x - stage.clientWidth + margin;
    if (y < stage.scrollTop + margin) stage.scrollTop = y - margin;
    if (y > stage.scrollTop + stage.clientHeight - margin) stage.scrollTop = y - stage.clientHeight + margin;
  }

  // Tools.
  get paintId() {
    return this.tool === "eraser" ? this.drawing.voidId : this.id;
  }

  press(at) {
    const { drawing, tool } = this;
    this.hover = at;
    if (tool === "brush" || tool === "eraser") {
      drawing.remember();
      this.begun = { last: at };
      drawing.stroke(at, at, this.size, this.paintId, this.mirrored);
    } else if (tool === "line") {
      this.begun = { from: at, to: at };
    } else if (tool === "polygon") {
      const first = this.corners[0];
      const isClosing = this.corners.length > 2 && Math.hypot(first.x - at.x, first.y - at.y) <= NEAR;
      if (isClosing) return this.close();
      this.corners.push(at);
    } else if (!drawing.inside(at.x, at.y)) {
      return;
    } else if (tool === "fill") {
      drawing.remember();
      drawing.fill(at.x, at.y, this.id);
      this.finish();
    } else if (tool === "pick") {
      this.tell("pick", drawing.labels[drawing.at(at.x, at.y)]);
    } else {
      const object = drawing.object(at.x, at.y);
      if (!object) {
        const moving = drawing.classes.filter((one) => one.moves).map((one) => one.name);
        return this.tell("say", `nothing here moves by itself: take one of ${moving.slice(0, 3).join(", ")} …`);
      }
      this.begun = { object, from: at, to: at, way: [at] };
      if (tool === "move") {
        drawing.remember();
        drawing.lift(object);
        this.begun.empty = drawing.copy();
        drawing.drop(object, 0, 0);
      }
    }
    this.drawOver();
  }

  drag(at) {
    const { drawing, begun, tool } = this;
    this.hover = at;
    if (begun) {
      if (tool === "brush" || tool === "eraser") {
        drawing.stroke(begun.last, at, this.size, this.paintId, this.mirrored);
        begun.last = at;
      } else if (tool === "move") {
        drawing.labels.set(begun.empty.labels);
        drawing.objects.set(begun.empty.objects);
        drawing.drop(begun.object, at.x - begun.from.x, at.y - begun.from.y);
      } else if (tool === "path") {
        begun.way.push(at);
      }
      begun.to = at;
    }
    this.drawOver();
  }

  release() {
    const { begun, drawing, tool } = this;
    if (!begun) return;
    this.begun = null;
    if (tool === "line") {
      drawing.remember();
      drawing.stroke(begun.from, begun.to, this.size, this.id, this.mirrored);
    }
    if (tool === "path") {
      const { from, to, object } = begun;
      if (Math.hypot(to.x - from.x, to.y - from.y) >= 2) {
        const shifts = begun.way.map((one) => ({ x: one.x - from.x, y: one.y - from.y }));
        this.paths.set(object.number, thinned(shifts, 12));
        this.tell("paths");
      }
      return this.drawOver();
    }
    this.finish();
  }

  close() {
    const { corners, drawing } = this;
    this.corners = [];
    if (corners.length > 2) {
      drawing.remember();
      drawing.polygon(corners, this.id, this.mirrored);
      this.finish();
    }
    this.drawOver();
  }

  finish() {
    this.drawing.settle();
    this.drawing.tell("step");
    this.drawOver();
  }

  giveUp() {
    const { begun, tool } = this;
    this.begun = null;
    this.isDown = false;
    this.corners = [];
    if (begun && (tool === "brush" || tool === "eraser" || tool === "move")) this.drawing.giveUp();
    this.drawOver();
  }

  // The screen.
  zoomBy(step) {
    const next = ZOOMS[Math.min(ZOOMS.length - 1, Math.max(0, ZOOMS.indexOf(this.zoom) + step))];
    const { stage } = this;
    const centre = [0, 1].map((axis) => (axis ? (stage.scrollTop + stage.clientHeight / 2) / stage.scrollHeight
      : (stage.scrollLeft + stage.clientWidth / 2) / stage.scrollWidth));
    this.zoom = next;
    this.sheet.style.width = `${next * 100}%`;
    stage.scrollLeft = centre[0] * stage.scrollWidth - stage.clientWidth / 2;
    stage.scrollTop = centre[1] * stage.scrollHeight - stage.clientHeight / 2;
    this.drawOver();
  }

  draw() {
    const { labels, classes } = this.drawing;
    const pixels = new Uint32Array(this.image.data.buffer);
    const colours = classes.map(({ colour: [r, g, b] }) => (255 << 24) | (b << 16) | (g << 8) | r);
    for (let place = 0; place < labels.length; place++) pixels[place] = colours[labels[place]];
    this.map.getContext("2d").putImageData(this.image, 0, 0);
    this.drawOver();
  }

  drawOver() {
    const { over, sheet, drawing } = this;
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(sheet.clientWidth * ratio), Math.round(sheet.clientHeight * ratio)];
    if (!width || !height) return;
    if (over.width !== width || over.height !== height) Object.assign(over, { width, height });
    const scale = width / drawing.width;
    const pen = over.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const line = (points, colour = "#fff", thick = 1.5) => {
      for (const [style, wide] of [["#000a", thick + 1.5], [colour, thick]]) {
        pen.strokeStyle = style;
        pen.lineWidth = (wide * ratio) / scale;
        pen.beginPath();
        points.forEach(({ x, y }, n) => (n ? pen.lineTo(x, y) : pen.moveTo(x, y)));
        pen.stroke();
      }
    };
    if (this.guided) {
      const [x, y] = [drawing.width / 2, this.horizon * drawing.height];
      line([{ x: 0, y }, { x: drawing.width, y }], "#ffe14d", 1);
      for (const share of [-2.2, -1, -0.45, 0.45, 1, 2.2])
        line([{ x, y }, { x: x + (share * drawing.width) / 2, y: drawing.height }], "#ffe14d", 0.6);
      line([{ x, y: 0 }, { x, y: drawing.height }], "#ffe14d", 0.6);
    }
    for (const [number, shifts] of this.paths) {
      const object = drawing.objectOf(number);
      if (object) this.arrow(line, shifts.map((one) => ({ x: object.foot.x + one.x, y: object.foot.y + one.y })));
    }
    const { begun, tool } = this;
    if (begun && tool === "path") this.arrow(line, begun.way);
    if (begun && tool === "line") line([begun.from, begun.to].map(middle), "#fff", Math.max(1.5, (this.size * scale) / ratio / 2));
    if (this.corners.length) {
      line([...this.corners, this.hover || this.corners.at(-1)].map(middle));
      const first = middle(this.corners[0]);
      line(ring(first, NEAR), "#ffe14d");
    }
    const at = this.hasKeys || !this.hover ? (document.activeElement === this.stage ? this.pen : null) : this.hover;
    if (!at) return;
    const shown = middle(at);
    if (tool === "brush" || tool === "eraser" || tool === "line") {
      line(ring(shown, Math.max(this.size / 2, 0.7)));
      if (this.mirrored) line(ring({ x: drawing.width - shown.x, y: shown.y }, Math.max(this.size / 2, 0.7)));
    }
    if (this.hasKeys) {
      line([{ x: shown.x - 4, y: shown.y }, { x: shown.x + 4, y: shown.y }]);
      line([{ x: shown.x, y: shown.y - 4 }, { x: shown.x, y: shown.y + 4 }]);
    }
  }

  arrow(line, points) {
    line(points, "#ff5cc8", 2.5);
    const [before, end] = [points.at(-4) || points[0], points.at(-1)];
    const angle = Math.atan2(end.y - before.y, end.x - before.x);
    for (const side of [2.6, -2.6])
      line([end, { x: end.x + 5 * Math.cos(angle + side), y: end.y + 5 * Math.sin(angle + side) }], "#ff5cc8", 2.5);
  }
}

const middle = ({ x, y }) => ({ x: x + 0.5, y: y + 0.5 });

const ring = ({ x, y }, radius) =>
  Array.from({ length: 25 }, (_, n) => ({
    x: x + radius * Math.cos((n * Math.PI) / 12),
    y: y + radius * Math.sin((n * Math.PI) / 12),
  }));

// At most so many points of a way, ends included.
function thinned(points, count) {
  if (points.length <= count) return points;
  return Array.from({ length: count }, (_, n) => points[Math.round((n * (points.length - 1)) / (count - 1))]);
}
