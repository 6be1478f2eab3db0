// The circular field of view of a camera frame, and the standardised square: the twins of preprocess/field_of_view.py and
// preprocess/standardize.py. Where Python would go on to its other ways of finding a rim, the page asks for another
// photograph, so that what it does find is what Python finds.

import { blurBytes } from "./filters.js";
import { roundHalfEven } from "./numbers.js";
import { outlinedRim } from "./outline.js";
import { enlarge, halve, picture, shrink } from "./resize.js";
import { measureLevels, noRim } from "./rim.js";

/** Below this confidence the photograph is to be taken again. */
export const UNSURE = 0.7;

const SMALL_COPY = 512;
const SMALLEST = 24;
const SNAP = 0.0075;

/** {x, y, radius, confidence, reason, box} in pixels of an RGB picture; the frame's corner is (0, 0). */
export function findFieldOfView(image) {
  let [small, scale] = [image, 1];
  while (Math.max(small.width, small.height) > SMALL_COPY && Math.min(small.width, small.height) > 1) {
    small = halve(small);
    scale *= 2;
  }
  if (Math.min(small.width, small.height) < SMALLEST) {
    return inCameraPixels(noRim(small, "the picture is too small or too narrow"), scale, image);
  }
  const bytes = blurBytes(brightest(small));
  const signal = { ...bytes, data: new Float32Array(bytes.data) };
  return inCameraPixels(snapped(outlinedRim(signal, measureLevels(signal)), small), scale, image);
}

/** The brightest channel of an RGB picture. */
export function brightest({ width, height, data }) {
  const out = new Uint8ClampedArray(width * height);
  for (let i = 0, from = 0; i < out.length; i++, from += 3) {
    out[i] = Math.max(data[from], data[from + 1], data[from + 2]);
  }
  return { width, height, data: out };
}

function snapped(found, { width, height }) {
  const { x, y, radius } = found.circle;
  const half = width / 2;
  const off = Math.max(Math.abs(x - half), Math.abs(y - half), Math.abs(radius - half));
  return width !== height || off > SNAP * width ? found : { ...found, circle: { x: half, y: half, radius: half } };
}

function inCameraPixels({ circle, box, confidence, reason }, scale, { width, height }) {
  const [left, top, right, bottom] = box.map((value) => value * scale);
  return {
    x: scale * circle.x,
    y: scale * circle.y,
    radius: scale * circle.radius,
    confidence,
    reason,
    // The small copy lacks the last lines that did not fill a pixel.
    box: [left, top, right > width - scale ? width : right, bottom > height - scale ? height : bottom],
  };
}

/** {image, mask, field}: the circle as `size` x `size` RGB pixels, black outside; its mask, 255 inside. */
export function standardize(image, field, size) {
  const whole = onWholePixels(field);
  const square = resample(image, whole, size);
  const mask = fieldMask(whole, image, size);
  for (let i = 0; i < mask.length; i++) {
    if (!mask[i]) square.data.fill(0, 3 * i, 3 * i + 3);
  }
  return { image: square, mask, field: whole };
}

function onWholePixels(field) {
  const side = Math.max(1, roundHalfEven(2 * field.radius));
  const [left, top] = [roundHalfEven(field.x - side / 2), roundHalfEven(field.y - side / 2)];
  return { ...field, x: left + side / 2, y: top + side / 2, radius: side / 2 };
}

function resample(image, field, size) {
  const side = roundHalfEven(2 * field.radius);
  const square = crop(image, roundHalfEven(field.x - field.radius), roundHalfEven(field.y - field.radius), side, side);
  if (side === size) return square;
  return side > size ? shrink(square, size, size) : enlarge(square, size, size);
}

/** A rectangle of an RGB picture; what lies beyond it is black. */
export function crop(image, left, top, width, height) {
  const out = picture(width, height, 3);
  const [first, last] = [Math.max(left, 0), Math.min(left + width, image.width)];
  for (let y = Math.max(top, 0); y < Math.min(top + height, image.height) && first < last; y++) {
    const line = image.data.subarray(3 * (y * image.width + first), 3 * (y * image.width + last));
    out.data.set(line, 3 * ((y - top) * width + first - left));
  }
  return out;
}

/** 255 where a pixel of the standardised square shows a recorded part of the circle. */
function fieldMask(field, frame, size) {
  const scale = size / (2 * field.radius);
  const [cornerX, cornerY] = [field.x - field.radius, field.y - field.radius];
  const left = (Math.max(field.box[0], 0) - cornerX) * scale;
  const top = (Math.max(field.box[1], 0) - cornerY) * scale;
  const right = (Math.min(field.box[2], frame.width) - cornerX) * scale;
  const bottom = (Math.min(field.box[3], frame.height) - cornerY) * scale;
  const mask = new Uint8Array(size * size);
  for (let row = 0; row < size; row++) {
    const y = row + 0.5;
    if (y <= top || y >= bottom) continue;
    for (let column = 0; column < size; column++) {
      const x = column + 0.5;
      const within = (x - size / 2) ** 2 + (y - size / 2) ** 2 <= (size / 2) ** 2;
      if (within && x > left && x < right) mask[row * size + column] = 255;
    }
  }
  return mask;
}
