// What is wished for, beside the map: from the panels to what the server is asked.

const USUAL_GROUND = { focal: 1.08, horizon: 0.45, height: 1.5 }; // in widths, heights, metres
const NEAREST_ROW = 2; // pixels below the horizon: farther away nothing can be placed

export const START = {
  seed: 0,
  first: 0, // of the four futures
  seconds: 2,
  loop: false,
  speed: 1,
  steers: false,
  forward: 5,
  turn: 0,
  shares: {},
  freeze: [],
  anew: [],
  anewSeed: 0,
  begins: false,
};

const number = (value, low, high, usual) =>
  typeof value === "number" && Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : usual;

// A state that came in a link, or from an older page: what does not fit is left out.
export function tidied(given, classes) {
  const names = new Set(classes.map((one) => one.name));
  const known = (list) => (Array.isArray(list) ? list.filter((name) => names.has(name)) : []);
  const shares = Object.entries(given.shares || {}).filter(([name]) => names.has(name));
  const seed = Math.floor(number(given.seed, 0, 999999999, START.seed));
  return {
    seed,
    first: Math.floor(number(given.first, Math.max(0, seed - 3), seed, seed)),
    seconds: number(given.seconds, 1, 10, START.seconds),
    loop: given.loop === true,
    speed: number(given.speed, 0.1, 3, START.speed),
    steers: given.steers === true,
    forward: number(given.forward, -5, 20, START.forward),
    turn: number(given.turn, -30, 30, START.turn),
    shares: Object.fromEntries(shares.map(([name, value]) => [name, number(value, 0, 3, 1)])),
    freeze: known(given.freeze),
    anew: known(given.anew),
    anewSeed: Math.floor(number(given.anewSeed, 0, 999999, 0)),
    begins: given.begins === true,
  };
}

export function tidiedPaths(given) {
  const isShift = (one) => one && Number.isFinite(one.x) && Number.isFinite(one.y);
  const paths = Array.isArray(given) ? given : [];
  return new Map(
    paths.filter((pair) => Array.isArray(pair) && Array.isArray(pair[1]) && pair[1].length > 1)
      .map(([name, shifts]) => [Number(name), shifts.filter(isShift).slice(0, 100)]),
  );
}

// Where a pixel of the ground lies, in metres ahead and to the right.
function onGround(ground, { x, y }) {
  const row = Math.max(y - ground.horizon, NEAREST_ROW);
  const ahead = (ground.focal_length * ground.height) / row;
  return { forward: ahead, right: ((x - ground.column) * ahead) / ground.focal_length };
}

export function usualGround({ width, height }) {
  return {
    focal_length: USUAL_GROUND.focal * width,
    column: (width - 1) / 2,
    horizon: USUAL_GROUND.horizon * height,
    height: USUAL_GROUND.height,
  };
}

const round = (value) => Math.round(value * 1000) / 1000;

// The poses of an object whose foot is dragged over the picture.
function poses(object, shifts, seconds, ground, hasGround) {
  const places = shifts.map((one) => {
    if (!hasGround) return { forward: -one.y, right: one.x }; // in pixels
    return onGround(ground, { x: object.foot.x + one.x, y: object.foot.y + one.y });
  });
  return places.map((one, n) => ({
    time: round((seconds * n) / (places.length - 1)),
    forward: round(one.forward - places[0].forward),
    right: round(one.right - places[0].right),
  }));
}

// The JSON that POST /api/videos takes as its wishes.
export function toWishes(state, drawing, paths, about, ground) {
  const present = drawing.present();
  const isThere = (name) => present.has(about.classes.findIndex((one) => one.name === name));
  const frames = Math.min(about.most_frames, Math.round(state.seconds * about.frames_per_second) + 1);
  const wishes = { frames, seed: state.seed };
  if (state.loop) wishes.loop = true;
  if (state.speed !== 1) wishes.speed = state.speed;
  const hasGround = about.camera_words.length > 0;
  if (state.steers && hasGround) wishes.camera = `forward=${state.forward},turn=${state.turn}`;
  const told = Object.entries(state.shares).filter(([name, share]) => share !== 1 && isThere(name));
  const move = Object.fromEntries(told.map(([name, share]) => [name, share ? `x${share}` : "still"]));
  if (told.length) wishes.move = move;
  const ways = {};
  for (const [number, shifts] of paths) {
    const object = drawing.objectOf(number);
    if (object) ways[object.name] = poses(object, shifts, state.seconds, ground, hasGround);
  }
  if (Object.keys(ways).length) wishes.paths = ways;
  const freeze = state.freeze.filter(isThere);
  if (freeze.length) wishes.freeze = freeze;
  if (state.anew.length) Object.assign(wishes, { resample: state.anew, resample_seed: state.anewSeed });
  return wishes;
}
