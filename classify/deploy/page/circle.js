// A circle {x, y, radius} through edge points [x, y] of which many are wrong: random consensus, then a robust fit.
// The twin of preprocess/circle_fit.py, which says why.

import { clip, median } from "./numbers.js";
import { SeedZero } from "./random.js";

const HYPOTHESES = 200;
const SCORED_POINTS = 160;
const KEPT = 30;
const ANGLES = 180;

/** The circle that the longest arc of the points agrees with (RANSAC); null when there is none in the range. */
export function consensusCircle(points, [smallest, largest], tolerance) {
  if (points.length < 3) return null;
  const random = new SeedZero();
  const drawn = random.integers(points.length, 3 * HYPOTHESES);
  let circles = [];
  for (let i = 0; i < drawn.length; i += 3) {
    const circle = throughThree(points[drawn[i]], points[drawn[i + 1]], points[drawn[i + 2]]);
    if (circle && circle.radius > smallest && circle.radius < largest) circles.push(circle);
  }
  if (circles.length === 0) return null;
  const scored = random.permutation(points.length).slice(0, SCORED_POINTS).map((i) => points[i]);
  // A quarter of the points tells the hopeless ones.
  const arcs = circles.map((circle) => supportedArc(circle, scored.slice(0, SCORED_POINTS / 4), tolerance));
  const order = circles.map((_, i) => i).sort((a, b) => arcs[b] - arcs[a]);
  circles = order.slice(0, KEPT).map((i) => circles[i]);
  const finals = circles.map((circle) => supportedArc(circle, scored, tolerance));
  return circles[finals.indexOf(Math.max(...finals))];
}

function throughThree(origin, second, third) {
  const [bx, by] = [second[0] - origin[0], second[1] - origin[1]];
  const [cx, cy] = [third[0] - origin[0], third[1] - origin[1]];
  const determinant = 2 * (bx * cy - by * cx);
  if (Math.abs(determinant) <= 1e-6) return null;
  const [b2, c2] = [bx * bx + by * by, cx * cx + cy * cy];
  const x = (cy * b2 - by * c2) / determinant;
  const y = (bx * c2 - cx * b2) / determinant;
  return { x: x + origin[0], y: y + origin[1], radius: Math.hypot(x, y) };
}

function supportedArc(circle, points, tolerance) {
  const within = Math.max(tolerance * circle.radius, 1);
  const hit = new Set();
  for (const [x, y] of points) {
    const [dx, dy] = [x - circle.x, y - circle.y];
    if (Math.abs(Math.hypot(dx, dy) - circle.radius) < within) {
      hit.add(Math.trunc((Math.atan2(dy, dx) + Math.PI) * (ANGLES / (2 * Math.PI))) % ANGLES);
    }
  }
  return hit.size * circle.radius;
}

/** Geometric least squares with Tukey's biweight from `circle` on; the centre is drawn, weakly, to `center`. */
export function refineCircle(circle, points, center, centerSpread) {
  let { x, y, radius } = circle;
  const pull = 0.25 / centerSpread ** 2;
  for (let round = 0; round < 12; round++) {
    const distance = points.map(([px, py]) => Math.max(Math.hypot(px - x, py - y), 1e-9));
    const robust = tukey(distance.map((value) => value - radius));
    const normal = [[pull, 0, 0], [0, pull, 0], [0, 0, 0]];
    const gradient = [pull * (x - center[0]), pull * (y - center[1]), 0];
    points.forEach(([px, py], i) => {
      const row = [-(px - x) / distance[i], -(py - y) / distance[i], -1];
      for (let j = 0; j < 3; j++) {
        gradient[j] += row[j] * robust[i] * (distance[i] - radius);
        for (let k = 0; k < 3; k++) normal[j][k] += row[j] * row[k] * robust[i];
      }
    });
    for (let j = 0; j < 3; j++) normal[j][j] += 1e-9;
    const step = solve(normal, gradient);
    [x, y, radius] = [x - step[0], y - step[1], radius - step[2]];
    if (Math.max(...step.map(Math.abs)) < 1e-3) break;
  }
  return { x, y, radius };
}

function tukey(residual) {
  const scale = Math.max(residual.length ? 1.4826 * median(residual.map(Math.abs)) : 1, 0.25);
  return residual.map((value) => clip(1 - (value / (4.685 * scale)) ** 2, 0, 1) ** 2);
}

/** Three equations by Cramer's rule. */
function solve(m, v) {
  const minor = (a, b, c) => a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0]);
  const columns = [0, 1, 2].map((k) => m.map((row) => row[k]));
  const whole = minor(...columns);
  return [0, 1, 2].map((k) => minor(...columns.map((column, i) => (i === k ? v : column))) / whole);
}
