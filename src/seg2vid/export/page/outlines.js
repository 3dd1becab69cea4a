// Outlines of surfaces between pixels: smooth curves, which stay so when they come near.

export const SPOTS = 4;

/** Return which pixel owns each spot of a picture, SPOTS by SPOTS for every pixel. */
export function findOwners(surfaces, width, height) {
  const owners = new Int32Array(SPOTS * SPOTS * width * height);
  const weights = [];
  for (let spot = 0; spot < SPOTS; spot++) {
    const place = (spot + 0.5) / SPOTS - 0.5;
    weights.push([-1, 0, 1].map((step) => {
      const gap = Math.abs(place - step);
      return 128 * (gap < 0.5 ? 0.75 - gap * gap : 0.5 * (1.5 - gap) ** 2);
    }));
  }
  const around = new Int32Array(9);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const x = pixel % width;
    const y = Math.floor(pixel / width);
    let isPlain = true;
    for (let at = 0; at < 9; at++) {
      const row = Math.min(Math.max(y + Math.floor(at / 3) - 1, 0), height - 1);
      const column = Math.min(Math.max(x + (at % 3) - 1, 0), width - 1);
      around[at] = row * width + column;
      isPlain &&= surfaces[around[at]] === surfaces[pixel];
    }
    for (let row = 0; row < SPOTS; row++) {
      for (let column = 0; column < SPOTS; column++) {
        const spot = (SPOTS * y + row) * SPOTS * width + SPOTS * x + column;
        owners[spot] = isPlain ? pixel : ownerOf(row, column, around, surfaces, weights);
      }
    }
  }
  return owners;
}

/** Return the nearest pixel of the surface that has most of what is around a spot. */
function ownerOf(row, column, around, surfaces, weights) {
  const votes = new Map();
  around.forEach((pixel, at) => {
    const vote = 2 * weights[row][Math.floor(at / 3)] * weights[column][at % 3];
    votes.set(surfaces[pixel], (votes.get(surfaces[pixel]) ?? 0) + vote);
  });
  const own = surfaces[around[4]];
  votes.set(own, votes.get(own) + 1);
  const most = Math.max(...votes.values());
  let owner = -1;
  let nearest = Infinity;
  around.forEach((pixel, at) => {
    if (votes.get(surfaces[pixel]) !== most) return;
    const down = (row + 0.5) / SPOTS - 0.5 - (Math.floor(at / 3) - 1);
    const right = (column + 0.5) / SPOTS - 0.5 - ((at % 3) - 1);
    const distance = down * down + right * right;
    if (distance < nearest) [owner, nearest] = [pixel, distance];
  });
  return owner;
}
