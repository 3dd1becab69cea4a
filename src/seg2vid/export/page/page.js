// What a visitor sees and does; the worker computes.

const $ = (id) => document.getElementById(id);
const map = $("map");
const video = $("video");
const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
const MOST_UNDONE = 50;

let model = null;
let labels = null;
let undone = [];
let cursor = null; // where keys have moved the brush to
let frames = [];
let shown = 0;
let isPlaying = true;
let making = 0;
let backend = "";
const waiting = new Map(); // makes of the page's own interface, by number

// ---------------------------------------------------------------- the label map

function paintPixels(canvas, ids, width, height) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  ids.forEach((id, pixel) => {
    image.data.set([...model.classes[id].colour, 255], 4 * pixel);
  });
  context.putImageData(image, 0, 0);
}

function drawMap() {
  paintPixels(map, labels, model.width, model.height);
  if (!cursor) return;
  const context = map.getContext("2d");
  const radius = Number($("size").value) / 2;
  for (const [colour, more] of [["#000", 1], ["#fff", 0]]) {
    context.strokeStyle = colour;
    context.strokeRect(
      cursor.x - radius - more, cursor.y - radius - more, 2 * (radius + more), 2 * (radius + more),
    );
  }
}

const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value;

function remember() {
  undone.push(labels.slice());
  if (undone.length > MOST_UNDONE) undone.shift();
  $("undo").disabled = false;
}

/** Paint a line of round dabs. */
function brush(from, to) {
  const radius = Number($("size").value) / 2;
  const id = Number(chosen("class"));
  const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y)));
  for (let step = 0; step <= steps; step++) {
    const x = from.x + ((to.x - from.x) * step) / steps;
    const y = from.y + ((to.y - from.y) * step) / steps;
    for (let row = Math.ceil(y - radius); row <= y + radius; row++) {
      for (let column = Math.ceil(x - radius); column <= x + radius; column++) {
        const isOutside = row < 0 || row >= model.height || column < 0 || column >= model.width;
        if (isOutside || Math.hypot(column - x, row - y) > radius) continue;
        labels[row * model.width + column] = id;
      }
    }
  }
}

/** Give a connected area of one class another. */
function fill({ x, y }) {
  const { width } = model;
  const start = Math.floor(y) * width + Math.floor(x);
  const [old, id] = [labels[start], Number(chosen("class"))];
  if (old === id) return;
  const open = [start];
  labels[start] = id;
  while (open.length) {
    const pixel = open.pop();
    const near = [pixel - width, pixel + width];
    if (pixel % width > 0) near.push(pixel - 1);
    if (pixel % width < width - 1) near.push(pixel + 1);
    for (const other of near) {
      if (labels[other] !== old) continue;
      labels[other] = id;
      open.push(other);
    }
  }
}

function place(event) {
  const box = map.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * model.width - 0.5;
  const y = ((event.clientY - box.top) / box.height) * model.height - 0.5;
  const within = (one, size) => Math.min(Math.max(one, 0), size - 1);
  return { x: within(x, model.width), y: within(y, model.height) };
}

function use(from, to) {
  if (chosen("tool") === "fill") fill({ x: to.x + 0.5, y: to.y + 0.5 });
  else brush(from, to);
  drawMap();
}

let stroke = null;
map.addEventListener("pointerdown", (event) => {
  if (!labels || event.button) return;
  map.setPointerCapture(event.pointerId);
  cursor = null;
  remember();
  stroke = place(event);
  use(stroke, stroke);
});
map.addEventListener("pointermove", (event) => {
  if (!stroke || chosen("tool") === "fill") return;
  const next = place(event);
  use(stroke, next);
  stroke = next;
});
for (const name of ["pointerup", "pointercancel"]) {
  map.addEventListener(name, () => (stroke = null));
}
map.addEventListener("keydown", (event) => {
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const way = ways[event.key];
  if (!labels || !(way || event.key === " " || event.key === "Enter")) return;
  event.preventDefault();
  cursor ??= { x: model.width / 2, y: model.height / 2 };
  if (way) {
    const far = event.shiftKey ? 10 : 1;
    cursor.x = Math.min(Math.max(cursor.x + far * way[0], 0), model.width - 1);
    cursor.y = Math.min(Math.max(cursor.y + far * way[1], 0), model.height - 1);
    drawMap();
  } else {
    remember();
    use(cursor, cursor);
  }
});
map.addEventListener("blur", () => {
  cursor = null;
  if (labels) drawMap();
});
$("undo").addEventListener("click", () => {
  labels = undone.pop() ?? labels;
  $("undo").disabled = !undone.length;
  drawMap();
});

function takeMap(ids) {
  if (labels) remember();
  labels = ids.slice();
  drawMap();
}

function listClasses() {
  const usual = model.classes.findIndex((one) => one.name === "car");
  model.classes.forEach(({ name, colour }, id) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "class" });
    input.value = id;
    input.checked = id === Math.max(usual, 0);
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${colour})`;
    label.append(input, swatch, name);
    $("classes").append(label);
  });
}

function listMaps(maps) {
  for (const { name, ids } of maps) {
    const button = Object.assign(document.createElement("button"), { type: "button" });
    button.title = name;
    button.setAttribute("aria-label", name);
    const canvas = document.createElement("canvas");
    paintPixels(canvas, ids, model.width, model.height);
    button.append(canvas);
    button.addEventListener("click", () => {
      takeMap(ids);
      make();
    });
    $("maps").append(button);
  }
}

// ---------------------------------------------------------------- the video

function show(number) {
  shown = number;
  if (!frames.length) return;
  video.getContext("2d").putImageData(frames[number], 0, 0);
  $("frame").value = number;
  $("number").textContent = `${number + 1} of ${frames.length}`;
}

let due = 0;
function tick(now) {
  requestAnimationFrame(tick);
  if (!isPlaying || frames.length < 2 || now < due) return;
  due = Math.max(due + 1000 / model.framesPerSecond, now - 100);
  // While more is being made the last frame waits for the next.
  if (shown + 1 < frames.length) show(shown + 1);
  else if (!making) show(0);
}
requestAnimationFrame(tick);

function setPlaying(value) {
  isPlaying = value;
  $("play").textContent = value ? "Pause" : "Play";
}
$("play").addEventListener("click", () => setPlaying(!isPlaying));
$("frame").addEventListener("input", () => {
  setPlaying(false);
  show(Number($("frame").value));
});

let count = 0;
function make() {
  if (!backend) return;
  const seed = Number($("seed").value);
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffffffff) {
    fail("The seed has to be a whole number from 0 to 4294967295.");
    return;
  }
  $("error").hidden = true;
  making = ++count;
  frames = [];
  const wanted = 1 + model.numFrames * Number($("length").value);
  Object.assign($("progress"), { max: wanted, value: 0 });
  setPlaying(true);
  $("stop").hidden = false;
  $("status").textContent = "Painting the first frame…";
  worker.postMessage({ kind: "make", id: making, labels, options: { frames: wanted, seed } });
}
$("make").addEventListener("click", make);
$("another").addEventListener("click", () => {
  $("seed").value = (Number($("seed").value) + 1) % 0x100000000;
  make();
});
$("stop").addEventListener("click", () => {
  worker.postMessage({ kind: "stop" });
  finish(`Stopped after ${frames.length} frames.`);
});

function finish(text) {
  making = 0;
  $("stop").hidden = true;
  $("status").textContent = text;
}

function fail(text) {
  $("error").textContent = text;
  $("error").hidden = false;
  finish("");
}

function take({ number, pixels }) {
  frames.push(new ImageData(pixels, model.width, model.height));
  $("frame").max = frames.length - 1;
  $("frame").disabled = $("play").disabled = frames.length < 2;
  $("progress").value = frames.length;
  $("status").textContent = `Frame ${frames.length} of ${$("progress").max}`;
  if (number === 0) {
    due = performance.now() + 500;
    show(0);
    video.setAttribute("aria-label", "The video of this label map");
  }
}

// ---------------------------------------------------------------- the worker

const heard = {
  progress: ({ text }) => ($("status").textContent = `${text}…`),
  model({ model: told, maps }) {
    model = told;
    video.width = model.width;
    video.height = model.height;
    map.style.aspectRatio = video.style.aspectRatio = `${model.width} / ${model.height}`;
    for (const option of $("length").options) {
      option.textContent = `${1 + model.numFrames * Number(option.value)} frames`;
    }
    listClasses();
    listMaps(maps);
    takeMap(maps[0].ids);
    const licence = model.licence ? ` Its weights: ${model.licence}.` : "";
    $("about").textContent = `Model ${model.name}, ${model.width} × ${model.height}.${licence}`;
  },
  ready(told) {
    const threads = told.threads > 1 ? `, ${told.threads} threads` : "";
    backend = told.backend === "webgpu" ? "WebGPU" : `WebAssembly${threads}`;
    $("make").disabled = $("another").disabled = false;
    if (!making && !waiting.size) make();
  },
  frame(told) {
    waiting.get(told.id)?.frames.push(told);
    if (told.id === making) take(told);
  },
  done({ id, seconds }) {
    if (waiting.has(id)) {
      waiting.get(id).resolve({ frames: waiting.get(id).frames, seconds });
      waiting.delete(id);
      finish("");
    }
    if (id !== making) return;
    finish(`${frames.length} frames in ${seconds.toFixed(1)} s with ${backend}.`);
  },
  error({ id, text }) {
    waiting.get(id)?.reject(new Error(text));
    waiting.delete(id);
    fail(`That did not work: ${text}. Reload the page to try again.`);
  },
};
worker.onmessage = ({ data }) => heard[data.kind](data);
worker.onerror = (event) => {
  fail(`This browser cannot run the page: ${event.message ?? "its worker did not start"}.`);
};
const address = new URL(location.href);
worker.postMessage({ kind: "begin", backend: address.searchParams.get("backend") });

/**
 * Make a video from a script: labels as ids; options {frames, seed, look, z} as in video.js.
 * Resolves to {frames: [{picture, labels, depth}], seconds}.
 */
globalThis.seg2vid = {
  make: (ids, options) =>
    new Promise((resolve, reject) => {
      finish("Making a video for a script…");
      const id = ++count;
      waiting.set(id, { frames: [], resolve, reject });
      worker.postMessage({ kind: "make", id, labels: ids, options, exact: true });
    }),
  isReady: () => Boolean(backend),
  backend: () => backend,
};
