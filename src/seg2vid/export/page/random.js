// Numbers from N(0, 1) that follow from a seed.

/** Return a function that draws from [0, 1) (mulberry32). */
export function makeDice(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Draw `count` numbers from N(0, 1) (Box and Muller). */
export function drawNormal(count, dice) {
  return Float32Array.from({ length: count }, () => {
    const radius = Math.sqrt(-2 * Math.log(1 - dice()));
    return radius * Math.cos(2 * Math.PI * dice());
  });
}
