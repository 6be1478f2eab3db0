// What an answer rests on, as a plane of 0..1: class activation maps of the network, or occlusion where it has none. The twin of
// classify/deploy/overlay.py.

import { clip } from "./numbers.js";
import { interpolate } from "./resize.js";

const GRID = 9;
const PATCH = 1 / 6; // of the picture's width

/** The map of class `k` at `side` pixels, what speaks against it cut off, the largest value 1. */
export function activationMap({ shape, data }, k, side) {
  const [, height, width] = shape;
  const one = data.slice(k * width * height, (k + 1) * width * height);
  return scaled(interpolate({ width, height, channels: 1, data: one }, side, side).data);
}

/**
 * How much the value of class `k` falls where a grey patch hides a part of the picture; `look` is the network.
 * `progress` is awaited with 0..1; when it says false, the map is given up and null.
 */
export async function occlusionMap(image, look, k, progress) {
  const falls = await occlusion(image, look, k, progress);
  if (!falls) return null;
  return scaled(interpolate({ width: GRID, height: GRID, channels: 1, data: falls }, image.width, image.width).data);
}

/** The falls themselves, one a patch, row by row; what rises is 0. */
export async function occlusion(image, look, k, progress = async () => true) {
  const { width: side } = image;
  const whole = (await look(image)).probabilities[k];
  const grey = meanColor(image);
  const falls = new Float32Array(GRID * GRID);
  for (let i = 0; i < falls.length; i++) {
    const center = [i % GRID, Math.floor(i / GRID)].map((cell) => ((cell + 0.5) / GRID) * side);
    if (Math.hypot(center[0] - side / 2, center[1] - side / 2) > side / 2) continue;
    if (!(await progress(i / falls.length))) return null;
    falls[i] = Math.max(whole - (await look(withPatch(image, center, grey))).probabilities[k], 0);
  }
  return falls;
}

function scaled(values) {
  const most = values.reduce((largest, value) => Math.max(largest, value), 0);
  return most > 0 ? values.map((value) => Math.max(value, 0) / most) : values.map(() => 0);
}

function meanColor({ data }) {
  const sums = [0, 0, 0];
  let count = 0;
  for (let i = 0; i < data.length; i += 3) {
    if (data[i] + data[i + 1] + data[i + 2] === 0) continue; // outside the field
    for (let c = 0; c < 3; c++) sums[c] += data[i + c];
    count++;
  }
  return sums.map((sum) => sum / Math.max(count, 1));
}

function withPatch(image, [x, y], color) {
  const half = (PATCH * image.width) / 2;
  const [left, top, right, bottom] = [x - half, y - half, x + half, y + half].map((edge) =>
    clip(Math.round(edge), 0, image.width),
  );
  const data = image.data.slice();
  for (let row = top; row < bottom; row++) {
    for (let at = 3 * (row * image.width + left); at < 3 * (row * image.width + right); at += 3) {
      const black = data[at] + data[at + 1] + data[at + 2] === 0;
      if (!black) data.set(color, at);
    }
  }
  return { ...image, data };
}
