// Gradability of a standardised picture: the twin of preprocess/quality.py, which says what is measured and why.

import { brightest } from "./field.js";
import { blur, closed, eroded } from "./filters.js";
import { median } from "./numbers.js";
import { interpolate, interpolateBytes, shrink } from "./resize.js";

const SIDE = 224;
const FLARE = 8;
const [DARK, BRIGHT, BLACK, BURNT, UNLIT] = [50, 215, 16, 250, 12];
const [CELLS, DETAIL, GRAIN] = [14, 0.006, 0.02];
const FINEST = 1.15;
// name: [mean of gradable pictures, standard deviation of all, weight]
const MODEL = {
  sharpness: [-0.0913, 0.5265, 1.4874],
  detail: [0.7414, 0.3611, 1.4514],
  contrast: [-2.981, 1.2679, 1.6721],
  haze: [-1.1138, 0.5446, -0.2004],
  dark: [0.0142, 0.347, -2.2119],
  light: [4.995, 0.7293, 0.8654],
  bright: [0.0072, 0.3128, -3.0135],
  noise: [0.0019, 0.5095, -3.9548],
};
const BIAS = 1.6686;
const VEIL = { sharpness: 4.8316, contrast: -3.1862, haze: 3.2839 };
const VEIL_BIAS = -1.256;
const UNSEEN = "much of the field is not visible";

/** {score, reason} of a standardised RGB picture and its mask (255 inside). */
export function measureQuality(image, mask) {
  const found = measureFeatures(image, mask);
  const standard = {};
  const parts = {};
  let sum = BIAS;
  for (const [name, [mean, spread, weight]] of Object.entries(MODEL)) {
    standard[name] = (found[name] - mean) / spread;
    parts[name] = weight * standard[name];
    sum += parts[name];
  }
  const gradable = 1 / (1 + Math.exp(-Math.min(Math.max(sum, -30), 30)));
  const score = gradable * found.visible;
  if (score >= 0.5) return { score, reason: "" };
  const unseen = found.visible < gradable && found.bright < 0.5;
  return { score, reason: unseen ? UNSEEN : worstFault(parts, standard) };
}

function worstFault(parts, standard) {
  const veil = Object.entries(VEIL).reduce((sum, [name, weight]) => sum + weight * standard[name], VEIL_BIAS);
  const faults = [
    ["too dark", parts.dark + parts.light],
    ["overexposed", 2 * parts.bright],
    ["noisy", parts.noise],
    [
      veil > 0 ? "hazy or with little contrast" : "blurred",
      parts.sharpness + parts.detail + parts.contrast + parts.haze,
    ],
  ];
  return faults.reduce((worst, fault) => (fault[1] < worst[1] ? fault : worst))[0];
}

function measureFeatures(image, mask) {
  const { small, spread } = fixedSize(image);
  const [bright, dark] = [brightest(small).data, darkest(small)];
  const green = bright.map((_, i) => small.data[3 * i + 1]);
  const inside = lit(bright, recorded(mask, image.width));
  return { ...structures(green, inside, spread), ...light(green, bright, dark, inside) };
}

function darkest({ width, height, data }) {
  return new Uint8Array(width * height).map((_, i) => Math.min(data[3 * i], data[3 * i + 1], data[3 * i + 2]));
}

/** Bresenham's disc, two pixels less than the circle: the outermost ones are mixed with the surround. */
function disc() {
  const data = new Uint8Array(SIDE * SIDE);
  const center = SIDE / 2;
  const row = (y, half) => data.fill(1, y * SIDE + center - half, y * SIDE + center + half + 1);
  let [dx, dy, error, plus, minus] = [center - 2, 0, 0, 1, 2 * (center - 2) - 1];
  while (dx >= dy) {
    for (const sign of [-1, 1]) {
      row(center + sign * dy, dx);
      row(center + sign * dx, dy);
    }
    dy++;
    error += plus;
    plus += 2;
    if (error > 0) {
      error -= minus;
      dx--;
      minus -= 2;
    }
  }
  return data;
}

const DISC = disc();
const DISC_AREA = DISC.reduce((sum, value) => sum + value, 0);

function recorded(mask, side) {
  return DISC.map((value, i) => {
    // Between two pixels OpenCV takes the first one.
    const nearest = (at) => Math.ceil(((at + 0.5) * side) / SIDE) - 1;
    return value && mask[nearest(Math.floor(i / SIDE)) * side + nearest(i % SIDE)] > 127 ? 1 : 0;
  });
}

/** The inside without what is black; all of it in a black picture. */
function lit(bright, inside) {
  const count = total(inside);
  const both = inside.map((value, i) => (value && bright[i] >= UNLIT ? 1 : 0));
  if (total(both) === count) return inside;
  const light = bright.map((value) => (value >= UNLIT ? 1 : 0));
  const whole = closed({ width: SIDE, height: SIDE, data: light }, 5).data;
  const left = inside.map((value, i) => (value && whole[i] ? 1 : 0));
  return total(left) > 0.1 * count ? left : inside;
}

/** The picture at `SIDE` and the variance, in its squared pixels, that averaging has spread each point by. */
function fixedSize(image) {
  let block = Math.max(Math.floor(image.width / SIDE), 1);
  while (image.width % block) block--;
  const side = image.width / block;
  const whole = block > 1 ? shrink(image, side, side) : image;
  const pixel = (SIDE / side) ** 2 / 12;
  if (side === SIDE) return { small: whole, spread: pixel };
  if (side > 1.5 * SIDE) return { small: shrink(whole, SIDE, SIDE), spread: 2 * pixel + 1 / 12 };
  return { small: interpolateBytes(whole, SIDE, SIDE), spread: 3 * pixel };
}

function structures(green, inside, spread) {
  const within = plane(new Float32Array(inside));
  const logarithm = new Float32Array(green).map((value) => Math.log(value + FLARE));
  const level = dot(logarithm, within.data) / total(within.data);
  const density = plane(logarithm.map((value, i) => (value - level) * within.data[i]));
  let inner = eroded(plane(inside), 13, 0).data;
  if (!inner.some((value) => value)) inner = inside;
  const fine = blurred(density, Math.sqrt(Math.max(FINEST - spread, 0.05)));
  const middle = blurred(fine, Math.sqrt(3));
  const [weight, middleHalf] = [halved(within), halved(middle)];
  const coarse = average(middleHalf, weight, Math.sqrt(12) / 2);
  const coarsest = average(halved(coarse), halved(weight), Math.sqrt(48) / 4);
  const base = interpolate({ ...coarsest, channels: 1 }, coarse.width, coarse.height);
  const counted = new Float32Array(inner);
  const countedHalf = everySecond(counted);
  const detail = minus(fine, middle);
  const grain = 1.4826 * medianOf(everySecond(detail.data.map(Math.abs)), countedHalf);
  return {
    sharpness: Math.log(rms(detail, counted) / rms(minus(middleHalf, coarse), countedHalf)),
    detail: share(detail, counted),
    contrast: Math.log(rms(minus(halved(fine), base), countedHalf)),
    noise: Math.log(Math.max(grain / GRAIN, 1)),
  };
}

/** The mean over cells of p / (p + DETAIL^2), p the mean square of the detail in a cell. */
function share(detail, counted) {
  const area = cells(counted);
  const power = cells(counted.map((value, i) => value * detail.data[i] ** 2));
  const parts = area.map((value, i) => (value * power[i]) / (power[i] + value * DETAIL ** 2 + 1e-12));
  return total(parts) / total(area);
}

function light(green, bright, dark, inside) {
  const count = total(inside);
  const level = dot(bright, inside) / count;
  const where = (values, test) => values.reduce((sum, value, i) => sum + (inside[i] && test(value, i) ? 1 : 0), 0);
  return {
    haze: Math.log((dot(dark, inside) / count + 2) / (level + 2)),
    dark: where(bright, (value) => value < DARK) / count,
    light: Math.log(level + 2),
    bright: where(green, (value) => value > BRIGHT) / count,
    visible: Math.min(where(bright, (value, i) => value >= BLACK && dark[i] < BURNT) / DISC_AREA, 1),
  };
}

function plane(data) {
  return { width: SIDE, height: SIDE, data };
}

function halved({ width, height, data }) {
  return shrink({ width, height, channels: 1, data }, width / 2, height / 2);
}

function blurred(values, sigma) {
  return blur(values, sigma, 2 * Math.ceil(3 * sigma) + 1);
}

/** Gaussian average over where `weight` is 1; towards 0 far from it. */
function average(values, weight, sigma) {
  const sum = blurred({ ...values, data: values.data.map((value, i) => value * weight.data[i]) }, sigma);
  const mass = blurred(weight, sigma).data;
  return { ...sum, data: sum.data.map((value, i) => value / Math.max(mass[i], 0.05)) };
}

function cells(data) {
  return shrink({ width: SIDE, height: SIDE, channels: 1, data }, CELLS, CELLS).data;
}

function minus(plane, other) {
  return { ...plane, data: plane.data.map((value, i) => value - other.data[i]) };
}

function everySecond(data) {
  const half = SIDE / 2;
  return new Float32Array(half * half).map((_, i) => data[2 * Math.floor(i / half) * SIDE + 2 * (i % half)]);
}

function medianOf(values, counted) {
  const chosen = values.filter((_, i) => counted[i] > 0);
  return chosen.length ? median(chosen) : 0;
}

function rms({ data }, counted) {
  const sum = data.reduce((total, value, i) => total + value * value * counted[i], 0);
  return Math.sqrt(sum / Math.max(total(counted), 1)) + 1e-4;
}

function total(values) {
  return values.reduce((sum, value) => sum + value, 0);
}

function dot(values, weights) {
  return values.reduce((sum, value, i) => sum + value * weights[i], 0);
}
