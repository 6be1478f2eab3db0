// Is it a picture of a retina at all? The twin of preprocess/picture_kind.py, with the same weights.

import { crop } from "./field.js";
import { clip, roundHalfEven } from "./numbers.js";
import { picture, shrink } from "./resize.js";

export const KINDS = ["fundus", "red_free", "fluorescein", "external_eye", "blank", "text", "photograph"];
const OF_THE_RETINA = 3;
const SIDE = 64;
const LAYERS = 4;
const FARTHEST = 3;
const FLAT = 0.03;
const REASONS = {
  fundus: "",
  red_free: "one colour only, dark vessels: a red-free photograph",
  fluorescein: "one colour only, bright vessels: an angiogram",
  external_eye: "it looks like an eye from outside",
  blank: "nothing is to be seen in it",
  text: "it looks like a page of text",
  photograph: "it looks like an ordinary photograph",
};

/** {kind, retina, reason}: what an RGB picture shows, and the probability that it is a retina. `field` may be null. */
export function pictureKind(image, field, weights) {
  const shares = probabilities(smallCopy(image, field), weights);
  const best = shares.indexOf(Math.max(...shares));
  const retina = shares.slice(0, OF_THE_RETINA).reduce((sum, value) => sum + value, 0);
  return { kind: KINDS[best], retina, reason: REASONS[KINDS[best]] };
}

/** The square around the field, or around the whole frame, as SIDE x SIDE pixels; black beyond the frame. */
export function smallCopy(image, field) {
  const { width, height } = image;
  const frame = { x: width / 2, y: height / 2, radius: Math.max(height, width) / 2 };
  const { x, y, radius } = field ?? frame;
  const [left, top] = [Math.max(0, Math.trunc(x - radius)), Math.max(0, Math.trunc(y - radius))];
  const right = Math.min(Math.ceil(x + radius), width);
  const bottom = Math.min(Math.ceil(y + radius), height);
  if (right <= left || bottom <= top) return smallCopy(image, null);
  let block = Math.max(Math.floor(Math.trunc(2 * radius) / SIDE), 1);
  if (Math.min(right - left, bottom - top) < block) block = 1;
  const [columns, rows] = [Math.floor((right - left) / block), Math.floor((bottom - top) / block)];
  const square = crop(image, left, top, columns * block, rows * block);
  const blocks = block > 1 ? shrink(square, columns, rows) : square;
  const scale = SIDE / (2 * radius);
  const shift = [left - (x - radius), top - (y - radius)].map((edge) => (block / 2 + edge) * scale - 0.5);
  return moved(blocks, block * scale, shift);
}

/** Scaled and shifted with linear interpolation; black beyond the picture. */
function moved({ width, height, data }, scale, [shiftX, shiftY]) {
  const out = picture(SIDE, SIDE, 3);
  const at = (column, row, c) =>
    column >= 0 && row >= 0 && column < width && row < height ? data[3 * (row * width + column) + c] : 0;
  for (let row = 0, to = 0; row < SIDE; row++) {
    for (let column = 0; column < SIDE; column++) {
      const [x, y] = [(column - shiftX) / scale, (row - shiftY) / scale];
      const [left, top] = [Math.floor(x), Math.floor(y)];
      const [right, below] = [x - left, y - top];
      for (let c = 0; c < 3; c++, to++) {
        const upper = at(left, top, c) * (1 - right) + at(left + 1, top, c) * right;
        const lower = at(left, top + 1, c) * (1 - right) + at(left + 1, top + 1, c) * right;
        out.data[to] = roundHalfEven(upper * (1 - below) + lower * below);
      }
    }
  }
  return out;
}

function probabilities(copy, weights) {
  let values = { side: SIDE, channels: 6, data: twoLooks(copy.data) };
  for (let layer = 0; layer < LAYERS; layer++) {
    values = convolved(values, weights[`${layer}.weight`].data, weights[`${layer}.bias`].data);
  }
  const hidden = dense(pooled(values), weights["hidden.weight"], weights["hidden.bias"]).map((value) => Math.max(value, 0));
  const scores = dense(hidden, weights["kinds.weight"], weights["kinds.bias"]);
  const power = scores.map((score) => Math.exp(score - Math.max(...scores)));
  const sum = power.reduce((total, value) => total + value, 0);
  return power.map((value) => value / sum);
}

/** The colours 0..1 and the same with mean 0 and spread 1 over the circle. */
function twoLooks(colors) {
  const out = new Float32Array(SIDE * SIDE * 6);
  for (let c = 0; c < 3; c++) {
    let [count, sum, squares] = [0, 0, 0];
    for (let i = 0; i < SIDE * SIDE; i++) {
      const [x, y] = [(i % SIDE) + 0.5 - SIDE / 2, Math.floor(i / SIDE) + 0.5 - SIDE / 2];
      if (x * x + y * y >= (0.47 * SIDE) ** 2) continue;
      const value = colors[3 * i + c] / 255;
      count++;
      sum += value;
      squares += value * value;
    }
    const mean = sum / count;
    const spread = Math.sqrt(Math.max(squares / count - mean * mean, 0));
    for (let i = 0; i < SIDE * SIDE; i++) {
      const value = colors[3 * i + c] / 255;
      out[6 * i + c] = value;
      out[6 * i + 3 + c] = clip((value - mean) / (spread + FLAT), -FARTHEST, FARTHEST);
    }
  }
  return out;
}

/** 3 x 3 convolution with stride 2, and what is negative cut off; `weight` is (9 channels, out). */
function convolved({ side, channels, data }, weight, bias) {
  const [half, outputs] = [side / 2, bias.length];
  const out = new Float32Array(half * half * outputs);
  for (let row = 0; row < half; row++) {
    for (let column = 0; column < half; column++) {
      const to = (row * half + column) * outputs;
      out.set(bias, to);
      for (let tap = 0; tap < 9; tap++) {
        const [y, x] = [2 * row + Math.floor(tap / 3) - 1, 2 * column + (tap % 3) - 1];
        if (y < 0 || x < 0 || y >= side || x >= side) continue;
        for (let c = 0; c < channels; c++) {
          const value = data[(y * side + x) * channels + c];
          const from = (tap * channels + c) * outputs;
          for (let o = 0; o < outputs; o++) out[to + o] += value * weight[from + o];
        }
      }
      for (let o = 0; o < outputs; o++) out[to + o] = Math.max(out[to + o], 0);
    }
  }
  return { side: half, channels: outputs, data: out };
}

/** The mean and then the maximum of each channel. */
function pooled({ side, channels, data }) {
  const means = new Array(channels).fill(0);
  const most = new Array(channels).fill(-Infinity);
  data.forEach((value, i) => {
    means[i % channels] += value / (side * side);
    most[i % channels] = Math.max(most[i % channels], value);
  });
  return [...means, ...most];
}

function dense(values, weight, bias) {
  return Array.from(bias.data, (start, o) =>
    values.reduce((sum, value, i) => sum + value * weight.data[i * bias.data.length + o], start),
  );
}
