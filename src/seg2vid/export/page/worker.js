// Computes videos beside the page, so that it stays quick: networks by ONNX Runtime, the rest here.

import { makeVideo } from "./video.js";

const HERE = new URL("./", import.meta.url);
let ort = null;
let model = null;
let boxes = null;
let kind = "wasm";
let wanted = 0;

async function load(path) {
  const answer = await fetch(new URL(path, HERE));
  if (!answer.ok) throw new Error(`${path} cannot be fetched (${answer.status})`);
  return answer;
}

/** Say whether this browser computes on a graphics card. */
async function findKind(asked) {
  if (asked) return asked;
  try {
    return (await navigator.gpu?.requestAdapter()) ? "webgpu" : "wasm";
  } catch {
    return "wasm";
  }
}

async function openBoxes(asked) {
  kind = await findKind(asked);
  const [module, binary] = model.runtime.map((name) => new URL(`ort/${name}`, HERE).href);
  ort = await import(module);
  ort.env.wasm.wasmPaths = { wasm: binary };
  // More threads than one share memory, which needs headers that a plain server does not send.
  const threads = Math.min(navigator.hardwareConcurrency || 1, 4);
  ort.env.wasm.numThreads = globalThis.crossOriginIsolated ? threads : 1;
  ort.env.logLevel = "error";
  const names = Object.keys(model.boxes);
  const opened = {};
  for (const [number, name] of names.entries()) {
    say({ kind: "progress", text: `Loading network ${number + 1} of ${names.length}` });
    const graph = new Uint8Array(await (await load(model.boxes[name].file)).arrayBuffer());
    opened[name] = await openBox(graph, model.boxes[name].inputs);
  }
  boxes = opened;
}

async function openBox(graph, shapes) {
  const options = { executionProviders: [kind], logSeverityLevel: 3 };
  const session = await ort.InferenceSession.create(graph, options);
  return async (given) => {
    const feeds = {};
    for (const [name, [, ...shape]] of Object.entries(shapes)) {
      const isFloat = given[name] instanceof Float32Array;
      feeds[name] = isFloat
        ? new ort.Tensor("float32", given[name], [1, ...shape])
        : new ort.Tensor("int64", BigInt64Array.from(given[name], BigInt), [1, ...shape]);
    }
    const found = await session.run(feeds);
    const outputs = {};
    for (const name of session.outputNames) outputs[name] = await found[name].getData();
    return outputs;
  };
}

async function begin({ backend }) {
  model = await (await load("model.json")).json();
  const ids = new Uint8Array(await (await load("maps.bin")).arrayBuffer());
  const size = model.width * model.height;
  const maps = model.maps.map((name, at) => ({ name, ids: ids.slice(at * size, (at + 1) * size) }));
  if (model.known) {
    const numbers = new Float32Array(await (await load("looks.bin")).arrayBuffer());
    let start = 0;
    for (const name of ["whole", "segments", "areas", "spread"]) {
      const end = start + model.known[name];
      model.known[name] = numbers.subarray(start, end);
      start = end;
    }
  }
  say({ kind: "model", model: { ...model, known: null }, maps });
  try {
    await openBoxes(backend);
  } catch (error) {
    if (kind === "wasm") throw error;
    await openBoxes("wasm");
  }
  say({ kind: "ready", backend: kind, threads: ort.env.wasm.numThreads });
}

async function make({ id, labels, options, exact }) {
  wanted = id;
  const start = performance.now();
  let number = 0;
  for await (const frame of makeVideo(boxes, model, Int32Array.from(labels), options)) {
    const pixels = toPixels(frame.picture);
    const about = exact ? { picture: frame.picture, depth: frame.depth, labels: frame.labels } : {};
    say({ kind: "frame", id, number, pixels, ...about });
    number += 1;
    await new Promise((resolve) => setTimeout(resolve)); // another wish may have come
    if (wanted !== id) return;
  }
  say({ kind: "done", id, seconds: (performance.now() - start) / 1e3 });
}

function toPixels(picture) {
  const count = picture.length / 3;
  const pixels = new Uint8ClampedArray(4 * count).fill(255);
  for (let pixel = 0; pixel < count; pixel++) {
    for (let colour = 0; colour < 3; colour++) {
      pixels[4 * pixel + colour] = 255 * picture[colour * count + pixel];
    }
  }
  return pixels;
}

const say = (message) => postMessage(message);

let queue = Promise.resolve();

onmessage = ({ data }) => {
  if (data.kind !== "begin") wanted = data.id ?? 0; // what is being made is no longer wanted
  if (data.kind === "stop") return;
  queue = queue.then(async () => {
    try {
      if (data.kind === "begin") await begin(data);
      else if (data.id === wanted) await makeAnyway(data);
    } catch (error) {
      say({ kind: "error", id: data.id, text: String(error?.message ?? error) });
    }
  });
};

/** Make a video; where the graphics card fails at it, on the processor. */
async function makeAnyway(data) {
  try {
    await make(data);
  } catch (error) {
    if (kind === "wasm") throw error;
    await openBoxes("wasm");
    say({ kind: "ready", backend: kind, threads: ort.env.wasm.numThreads });
    await make(data);
  }
}
