// Looks of first frames, drawn about those of training pictures: models/looks.py.

import { MOST_OBJECTS, objectClasses, segmentsOf } from "./labels.js";
import { drawNormal } from "./random.js";

const LEAST = 1e-6; // share of a picture

/** Draw the look of a first frame, about looks of training pictures where the model has these. */
export function drawLook(model, labels, rows, dice) {
  const { channels, wholeNoise, segmentNoise, grainSize, known } = model;
  const look = {
    whole: drawNormal(wholeNoise, dice),
    looks: drawNormal((channels + MOST_OBJECTS) * segmentNoise, dice),
  };
  if (known && known.pictures) {
    wearWhole(model, look, dice);
    wearSegments(model, look, labels, rows, dice);
  }
  if (grainSize) look.grain = drawNormal(grainSize[0] * grainSize[1], dice);
  return look;
}

function wearWhole({ wholeNoise, known }, look, dice) {
  const { pictures, whole, spread } = known;
  const picture = Math.floor(dice() * pictures);
  for (let at = 0; at < wholeNoise; at++) {
    const looks = range(pictures).map((one) => whole[one * wholeNoise + at]);
    const mean = looks.reduce((sum, one) => sum + one, 0) / pictures;
    const near = whole[picture * wholeNoise + at] + look.whole[at] * spread[at];
    look.whole[at] = mean + known.pictureRange * (near - mean);
  }
}

/** Each class and object is like one that was as large; what was never seen stays as drawn. */
function wearSegments(model, look, labels, rows, dice) {
  const { channels, wholeNoise, segmentNoise, known } = model;
  const areas = new Float64Array(channels + MOST_OBJECTS);
  for (const row of segmentsOf(labels, rows, model)) areas[row] += 1 / labels.length;
  const kinds = [...range(channels), ...objectClasses(labels, rows, model)];
  kinds.forEach((kind, row) => {
    const isThing = row >= channels;
    const count = isThing ? known.filled[kind] : known.pictures;
    const chance = dice();
    if (!count || !areas[row]) return; // what nobody sees, too
    const alike = largeAs(known, areas[row], isThing, kind, count, channels);
    const chosen = alike[Math.floor(chance * alike.length)] * segmentNoise;
    for (let number = 0; number < segmentNoise; number++) {
      const at = row * segmentNoise + number;
      const near = known.segments[chosen + number];
      if (isThing) {
        const wide = known.objectRange * known.spread[wholeNoise + number];
        look.looks[at] = near + wide * look.looks[at];
      } else {
        const looks = alike.map((place) => known.segments[place * segmentNoise + number]);
        look.looks[at] = farther(near, looks, known);
      }
    }
  });
}

/** Move a number of a look away from the mean of those that are alike, but none that is odd. */
function farther(number, alike, { classRange, mostOff }) {
  const mean = alike.reduce((sum, one) => sum + one, 0) / alike.length;
  const square = alike.reduce((sum, one) => sum + (one - mean) ** 2, 0) / alike.length;
  const most = mostOff * Math.sqrt(square);
  return mean + classRange * Math.min(Math.max(number - mean, -most), most);
}

/** Return the places of known looks of a class, of the share of them that were about as large. */
function largeAs({ areas, alike, fewest, count: room }, area, isThing, kind, count, channels) {
  const placeOf = (one) => ((isThing ? room : 0) + one) * channels + kind;
  const sizeOf = (share) => Math.log(Math.max(share, LEAST));
  const off = (place) => Math.abs(sizeOf(areas[place]) - sizeOf(area));
  // Where a picture lacked a class there is a place without a look: zeros.
  const places = range(count).map(placeOf).filter((place) => areas[place] > 0);
  if (!places.length) return [placeOf(0)];
  const most = Math.max(Math.ceil(count * alike), fewest);
  return places.sort((one, other) => off(one) - off(other)).slice(0, most);
}

function range(count) {
  return Array.from({ length: count }, (_, one) => one);
}
