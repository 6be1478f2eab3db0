// The circle that the outline of the lit region follows: the twin of `outlined_rim` in preprocess/rim_candidates.py.

import { consensusCircle } from "./circle.js";
import { opened } from "./filters.js";
import { clip, mean } from "./numbers.js";
import { halfPlane } from "./resize.js";
import { fitRim, noRim, RADIUS_RANGE } from "./rim.js";

const THRESHOLDS = [0.06, 0.18, 0.45];
const SHARP_WITHIN = 6;
const OVAL_SHARE = 0.25;

/** {circle, box, confidence, reason} in pixels of the float plane `signal`. An oval gets little confidence. */
export function outlinedRim(signal, levels) {
  const half = halfPlane(signal);
  const outlines = THRESHOLDS.map((share) => {
    const level = levels.above(share);
    return outline(largestRegion({ ...half, data: half.data.map((value) => (value > level ? 1 : 0)) }));
  });
  const longer = Math.max(half.height, half.width);
  const circle = consensusCircle(outlines.flat(), RADIUS_RANGE.map((share) => share * longer), 0.01);
  if (circle === null) return noRim(signal, "nothing round is brighter than its surround");
  const found = fitRim(signal, { x: 2 * circle.x, y: 2 * circle.y, radius: 2 * circle.radius }, levels);
  const points = outlines[0].map(([x, y]) => [2 * x, 2 * y]);
  if (sharpInside(signal, points, found.circle, levels) <= OVAL_SHARE) return found;
  return { ...found, confidence: 0.3 * found.confidence, reason: "the rim is not a clean circle" };
}

/** Share of the outline that lies far inside the circle and is a sharp edge, as one side of an oval does. */
function sharpInside(signal, points, circle, levels) {
  if (points.length === 0) return 0;
  const center = [mean(points.map((point) => point[0])), mean(points.map((point) => point[1]))];
  const level = levels.above(0.2);
  let count = 0;
  for (const [x, y] of points) {
    const [inX, inY] = [center[0] - x, center[1] - y];
    const scale = SHARP_WITHIN / Math.max(Math.hypot(inX, inY), 1);
    const column = clip(Math.trunc(x + scale * inX), 0, signal.width - 1);
    const row = clip(Math.trunc(y + scale * inY), 0, signal.height - 1);
    const farInside = Math.hypot(x - circle.x, y - circle.y) < 0.97 * circle.radius;
    if (farInside && signal.data[row * signal.width + column] > level) count++;
  }
  return count / points.length;
}

/** The largest connected region of a plane of 0 and 1; specks and thin writing are opened away first. */
function largestRegion(lit) {
  const { width, height, data } = opened(lit, 3);
  const labels = new Int32Array(data.length);
  let [largest, most, label] = [0, 0, 0];
  const stack = [];
  for (let start = 0; start < data.length; start++) {
    if (!data[start] || labels[start]) continue;
    label++;
    labels[start] = label;
    stack.push(start);
    let area = 0;
    while (stack.length) {
      const at = stack.pop();
      area++;
      const [x, y] = [at % width, Math.floor(at / width)];
      for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row++) {
        for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column++) {
          const next = row * width + column;
          if (!data[next] || labels[next]) continue;
          labels[next] = label;
          stack.push(next);
        }
      }
    }
    if (area > most) [largest, most] = [label, area];
  }
  return { width, height, data: labels.map((value) => (value && value === largest ? 1 : 0)) };
}

/** First and last pixel of the region in each row and column, off the frame's border and straight cuts; [x, y]. */
function outline({ width, height, data }) {
  const rows = ends(height, width, width, 1, data);
  const columns = ends(width, height, 1, width, data);
  return [
    ...offStraight(rows.map(({ line, first }) => [first, line + 0.5]), 0, width),
    ...offStraight(rows.map(({ line, last }) => [last, line + 0.5]), 0, width),
    ...offStraight(columns.map(({ line, first }) => [line + 0.5, first]), 1, height),
    ...offStraight(columns.map(({ line, last }) => [line + 0.5, last]), 1, height),
  ];
}

/** For each line that meets the region: where the first pixel of it begins and the last one ends. */
function ends(lines, length, apart, step, data) {
  const found = [];
  for (let line = 0; line < lines; line++) {
    let [first, last] = [0, length];
    while (first < length && !data[line * apart + first * step]) first++;
    if (first === length) continue;
    while (!data[line * apart + (last - 1) * step]) last--;
    found.push({ line, first, last });
  }
  return found;
}

/** The points of a side that are off the frame's border and off a straight line that holds nearly half of them. */
function offStraight(points, axis, length) {
  const counts = new Float64Array(length + 2);
  for (const point of points) counts[point[axis]] += 1 / points.length;
  let line = 0;
  for (let i = 1; i <= length; i++) {
    if (counts[i] + counts[i + 1] > counts[line] + counts[line + 1]) line = i;
  }
  const straight = counts[line] + counts[line + 1] > 0.45;
  return points.filter((point) => {
    const at = point[axis];
    return at > 1.5 && at < length - 1.5 && !(straight && Math.abs(at - line - 0.5) <= 2);
  });
}
