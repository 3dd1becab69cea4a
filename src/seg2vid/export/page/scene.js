// Camera, depth and how things move: the same geometry as in Python (the room geometry tells why).
//
// Axes: x right, y down, z forward, in metres, of the first camera. Inverse depth is 0 on the sky.

export const NEAREST = 1e-3;
export const FOOTPRINT = 0.6;
const STEEPEST = 0.5;
export const AROUND = [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 1], [1, -1], [1, 0], [1, 1]];

/** Round to the nearest whole number, halves to the even one. */
export function round(value) {
  const nearest = Math.round(value);
  return nearest - value === 0.5 && nearest % 2 ? nearest - 1 : nearest;
}

export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Give every pixel its plane n: inverse depth is n · ray there, exact on planes. */
export function surfacePlanes(depth, surfaces, camera, width, height) {
  const pixels = width * height;
  const planes = new Float32Array(3 * pixels);
  for (let axis = 0; axis < 2; axis++) {
    const [stride, size] = axis ? [width, height] : [1, width];
    for (let pixel = 0; pixel < pixels; pixel++) {
      const at = axis ? Math.floor(pixel / width) : pixel % width;
      let before = Infinity;
      let after = Infinity;
      if (at > 0 && surfaces[pixel] === surfaces[pixel - stride]) {
        before = depth[pixel] - depth[pixel - stride];
      }
      if (at < size - 1 && surfaces[pixel] === surfaces[pixel + stride]) {
        after = depth[pixel + stride] - depth[pixel];
      }
      const isBefore = Math.abs(before) <= Math.abs(after);
      const near = isBefore ? before : after;
      const far = isBefore ? after : before;
      const agree = near * far > 0 && Math.abs(far) < 1.25 * Math.abs(near);
      const slope = agree ? (near + far) / 2 : near;
      const isEdge = !(Math.abs(slope) <= STEEPEST * depth[pixel]);
      planes[axis * pixels + pixel] = isEdge ? 0 : slope * camera.focal;
    }
  }
  for (let pixel = 0; pixel < pixels; pixel++) {
    const x = ((pixel % width) - camera.x) / camera.focal;
    const y = (Math.floor(pixel / width) - camera.y) / camera.focal;
    planes[2 * pixels + pixel] =
      depth[pixel] - planes[pixel] * x - planes[pixels + pixel] * y;
  }
  return planes;
}

/** Join camera and objects at one time: how the points of each row move. Row 0 is the ground. */
export function rigidMotion(camera, objects, pivots) {
  const [forward, rightward, yaw, pitch] = camera;
  const rows = objects.length / 3 + 1;
  const rigid = { pitch };
  for (const name of ["cosine", "sine", "right", "ahead"]) rigid[name] = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    let [along, aside, turn, ahead, beside] = [0, 0, 0, 0, 0];
    if (row) {
      [along, aside, turn] = objects.subarray(3 * row - 3, 3 * row);
      [ahead, beside] = pivots.subarray(2 * row - 2, 2 * row);
    }
    const sine = Math.sin(turn);
    const cosine = Math.cos(turn);
    const x = beside + aside - (cosine * beside + sine * ahead) - rightward;
    const z = ahead + along - (cosine * ahead - sine * beside) - forward;
    const away = Math.sin(yaw);
    const towards = Math.cos(yaw);
    rigid.cosine[row] = Math.cos(turn - yaw);
    rigid.sine[row] = Math.sin(turn - yaw);
    rigid.right[row] = towards * x - away * z;
    rigid.ahead[row] = away * x + towards * z;
  }
  return rigid;
}
