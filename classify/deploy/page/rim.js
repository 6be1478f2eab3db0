// The rim of a field of view: how dark the surround is, where the edge lies, how well a circle explains it.
// The twin of preprocess/rim.py, which says why. `signal` is a float plane {width, height, data} of grey levels.

import { refineCircle } from "./circle.js";
import { clip, mean, median, percentile } from "./numbers.js";

const ANGLES = 180;
const TOLERANCE = 0.012;
const FULL_TRUST_ARC = 60;
const SECTOR = 5;
const WIDEST_RIM = 0.035;
const WIDEST_RIM_PIXELS = 2.3;
const NO_EDGE = "no round edge between a dark surround and the eye was found";
export const RADIUS_RANGE = [0.1, 0.95];

/** Grey levels of the black surround, of its noise, and of the bright parts of the eye. */
export class Levels {
  constructor(surround, noise, bright) {
    Object.assign(this, { surround, noise, bright });
  }

  get leastStep() {
    return Math.max(3 * this.noise, 1.5, 0.02 * (this.bright - this.surround));
  }

  above(share) {
    return this.surround + Math.max(share * (this.bright - this.surround), 4 * this.noise + 1.5);
  }
}

export function measureLevels(signal) {
  const { width, height, data } = signal;
  const side = Math.max(4, Math.round(0.04 * Math.min(height, width)));
  const corners = [[0, 0], [width - side, 0], [0, height - side], [width - side, height - side]].map(([left, top]) => {
    const values = [];
    for (let y = top; y < top + side; y++) values.push(...data.subarray(y * width + left, y * width + left + side));
    return values;
  });
  const medians = corners.map(median);
  const darkest = corners[medians.indexOf(Math.min(...medians))];
  const surround = percentile(darkest, 35);
  const noise = 1.4826 * median(darkest.map((value) => Math.abs(value - surround)));
  const lit = [];
  let sampled = 0;
  for (let y = 0; y < height; y += 4) {
    for (let x = 0; x < width; x += 4, sampled++) {
      const value = data[y * width + x];
      if (value > surround + 4 * noise + 1.5) lit.push(value);
    }
  }
  return new Levels(surround, noise, lit.length > 0.01 * sampled ? percentile(lit, 75) : surround);
}

export function wholeFrame({ width, height }) {
  return [0, 0, width, height];
}

/** The frame's inscribed circle, without any confidence. */
export function noRim(signal, reason) {
  const { width, height } = signal;
  const circle = { x: width / 2, y: height / 2, radius: Math.min(width, height) / 2 };
  return { circle, box: wholeFrame(signal), confidence: 0, reason };
}

/** {circle, box, confidence, reason}: the circle refined on the sub-pixel edges of the rim, and judged. */
export function fitRim(signal, start, levels) {
  let circle = start;
  for (const reach of [0.08, 0.03]) {
    const rim = rimProfiles(signal, circle, levels, reach, wholeFrame(signal));
    const edge = rim.points.filter((_, i) => rim.edge[i]);
    if (edge.length < 3) return noRim(signal, NO_EDGE);
    const center = [signal.width / 2, signal.height / 2];
    circle = refineCircle(circle, edge, center, 0.05 * Math.max(signal.height, signal.width));
    if (!plausible(circle, signal)) return noRim(signal, NO_EDGE);
  }
  const box = recordedBox(signal, circle, levels);
  return { circle, box, ...judge(signal, circle, levels, box) };
}

function plausible(circle, { width, height }) {
  const [smallest, largest] = RADIUS_RANGE.map((share) => share * Math.max(height, width));
  const reaches = Math.abs(circle.x - width / 2) < width && Math.abs(circle.y - height / 2) < height;
  return smallest < circle.radius && circle.radius < largest && reaches;
}

/** Values every half pixel along rays across the circle, from `half` pixels inside it to `half` pixels outside it. */
function castRays(signal, circle, half, box) {
  const count = 2 * Math.ceil(2 * half) + 1;
  const offsets = Float64Array.from({ length: count }, (_, i) => -half + (2 * half * i) / (count - 1));
  return {
    offsets,
    rays: Array.from({ length: ANGLES }, (_, i) => {
      const angle = (i * 2 * Math.PI) / ANGLES;
      const direction = [Math.cos(angle), Math.sin(angle)];
      const values = offsets.map((offset) => {
        const radius = circle.radius + offset;
        // Pixel i of the picture is centred on i + 0.5.
        return sample(signal, circle.x - 0.5 + direction[0] * radius, circle.y - 0.5 + direction[1] * radius);
      });
      const [x, y] = [circle.x + direction[0] * circle.radius, circle.y + direction[1] * circle.radius];
      const seen = x > box[0] + 2 && x < box[2] - 2 && y > box[1] + 2 && y < box[3] - 2;
      return { values, direction, seen };
    }),
  };
}

/** Linear interpolation, beyond the border the outermost pixel. */
function sample({ width, height, data }, x, y) {
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, below] = [x - left, y - top];
  const column = (i) => clip(i, 0, width - 1);
  const row = (i) => clip(i, 0, height - 1) * width;
  const upper = data[row(top) + column(left)] * (1 - right) + data[row(top) + column(left + 1)] * right;
  const lower = data[row(top + 1) + column(left)] * (1 - right) + data[row(top + 1) + column(left + 1)] * right;
  return upper * (1 - below) + lower * below;
}

/** Where each of the rays steps from the surround into the eye, and whether it does. */
function rimProfiles(signal, circle, levels, reach, box) {
  const { rays, offsets } = castRays(signal, circle, Math.max(4, reach * circle.radius), box);
  const third = Math.floor(offsets.length / 3);
  const least = levels.leastStep;
  const rim = { points: [], edge: [], dark: [], seen: [] };
  for (const { values, direction, seen } of rays) {
    const inside = median(values.subarray(0, third));
    const outside = median(values.subarray(values.length - third));
    const light = outside - levels.surround;
    const plain = light < Math.max(0.4 * (inside - levels.surround), least) && light > -least;
    const position = outermostCrossing(values, (inside + outside) / 2, offsets);
    const radius = circle.radius + (position ?? 0);
    rim.points.push([circle.x + direction[0] * radius, circle.y + direction[1] * radius]);
    rim.edge.push(inside - outside > least && plain && seen && position !== null);
    rim.dark.push(inside - levels.surround <= least && seen);
    rim.seen.push(seen);
  }
  return rim;
}

/** Offset at which a ray, coming from outside, first rises to the level; null where it never does. */
function outermostCrossing(values, level, offsets) {
  let last = values.length - 1;
  while (last >= 0 && values[last] < level) last--;
  if (last < 0 || last === values.length - 1) return null;
  const share = (values[last] - level) / Math.max(values[last] - values[last + 1], 1e-6);
  return offsets[last] + share * (offsets[1] - offsets[0]);
}

/** Over how many pixels the brightness falls from 3/4 to 1/4 at the rim: the median of its sectors; NaN without any. */
function rimWidth(signal, circle, levels, box) {
  const { rays, offsets } = castRays(signal, circle, 0.08 * circle.radius, box);
  const fifth = Math.max(Math.floor(offsets.length / 5), 1);
  const widths = [];
  for (let first = 0; first < rays.length; first += SECTOR) {
    const usable = rays.slice(first, first + SECTOR).filter((ray) => ray.seen);
    if (usable.length < 2) continue;
    const profile = offsets.map((_, i) => mean(usable.map((ray) => ray.values[i])));
    const inside = mean(profile.subarray(0, fifth));
    const outside = mean(profile.subarray(profile.length - fifth));
    if (inside - outside <= Math.max(levels.leastStep, 2)) continue;
    const last = (part) => 1 + profile.findLastIndex((value) => value >= outside + part * (inside - outside));
    widths.push(last(0.25) - last(0.75));
  }
  return widths.length ? median(widths) * (offsets[1] - offsets[0]) : NaN;
}

/** [left, top, right, bottom] of what the camera recorded: straight black cuts through the circle move its sides. */
function recordedBox(signal, circle, levels) {
  const { width, height, data } = signal;
  const level = levels.above(0.08);
  const lines = { across: empty(height), down: empty(width) };
  forEachInside(signal, circle, 0.985, (x, y, at) => {
    for (const line of [lines.down[x], lines.across[y]]) {
      line.chord++;
      line.light += data[at];
      if (data[at] > level) line.lit++;
    }
  });
  const [left, right] = cutSides(lines.down, circle.radius, levels.surround);
  const [top, bottom] = cutSides(lines.across, circle.radius, levels.surround);
  return [left, top, right, bottom];
}

function empty(length) {
  return Array.from({ length }, () => ({ chord: 0, light: 0, lit: 0 }));
}

function cutSides(lines, radius, surround) {
  const first = lines.findIndex((line) => line.chord > 0);
  const last = lines.findLastIndex((line) => line.chord > 0);
  const chords = lines.slice(Math.max(first, 0), last + 1).map(({ chord, light, lit }) => {
    return { lit: lit / chord, mean: light / chord - surround };
  });
  const near = blackLines(chords, radius);
  const far = blackLines(chords.toReversed(), radius);
  return [near ? first + near : 0, far ? last + 1 - far : lines.length];
}

/** Chords before a straight cut: black up to it, then mostly lit within three lines; 0 when there is no such cut. */
function blackLines(chords, radius) {
  const first = chords.findIndex((chord) => chord.lit > 0.2);
  if (first < 0 || first < 0.01 * radius) return 0;
  const after = Math.min(first + 3, chords.length - 1);
  const before = Math.max(...chords.slice(0, Math.max(first - 1, 1)).map((chord) => chord.lit));
  if (before > 0.1 || chords[after].lit < 0.7) return 0;
  return first + chords.slice(first, after + 1).findIndex((chord) => chord.mean > 0.5 * chords[after].mean);
}

/** {confidence, reason} of a fitted circle. */
function judge(signal, circle, levels, box) {
  const rim = rimProfiles(signal, circle, levels, 0.03, box);
  const limit = Math.max(1, TOLERANCE * circle.radius);
  let [good, contrary, dark] = [0, 0, 0];
  rim.points.forEach(([x, y], i) => {
    const fits = rim.edge[i] && Math.abs(Math.hypot(x - circle.x, y - circle.y) - circle.radius) < limit;
    if (fits) good++;
    if (rim.seen[i] && !fits && !rim.dark[i]) contrary++;
    if (rim.dark[i]) dark++;
  });
  const agreement = good / Math.max(good + contrary + 0.35 * dark, 1);
  const clean = surroundCleanness(signal, circle, levels);
  const enough = Math.min((good * 360) / ANGLES / FULL_TRUST_ARC, 1);
  const width = rimWidth(signal, circle, levels, box);
  const widest = Math.max(WIDEST_RIM_PIXELS, WIDEST_RIM * circle.radius);
  const sharp = width > widest ? (widest / width) ** 2 : 1;
  const confidence = agreement * clean * enough * sharp;
  if (confidence >= 0.7) return { confidence, reason: "" };
  const weakest = [
    [agreement, dark > contrary ? "much of the rim is too dark to see" : "the rim is not a clean circle"],
    [enough, "only a short arc of the rim is visible"],
    [clean, "not only the circle is brighter than the surround"],
    [sharp, "the light fails towards the rim, so that its place is uncertain"],
  ].reduce((least, part) => (part[0] < least[0] ? part : least));
  return { confidence, reason: weakest[1] };
}

/** 1 when all outside the circle is as dark as the surround, 0 when 30 % of it is not. */
function surroundCleanness(signal, circle, levels) {
  const { width, height, data } = signal;
  const level = levels.above(0.15);
  let count = width * height;
  let lit = data.reduce((sum, value) => sum + (value > level), 0);
  forEachInside(signal, circle, 1.03, (x, y, at) => {
    count--;
    if (data[at] > level) lit--;
  });
  if (count < 0.002 * width * height) return 1;
  return clip(1.2 - (4 * lit) / count, 0, 1);
}

/** Every pixel whose centre lies within `share` of the circle's radius. */
function forEachInside({ width, height }, circle, share, visit) {
  const radius = share * circle.radius;
  for (let y = Math.max(Math.floor(circle.y - radius), 0); y < Math.min(circle.y + radius, height); y++) {
    const half = Math.sqrt(Math.max(radius ** 2 - (y + 0.5 - circle.y) ** 2, -1));
    if (Number.isNaN(half)) continue;
    const first = Math.max(Math.ceil(circle.x - 0.5 - half), 0);
    const last = Math.min(Math.floor(circle.x - 0.5 + half), width - 1);
    for (let x = first; x <= last; x++) visit(x, y, y * width + x);
  }
}
