// OpenCV's resampling. A picture is {width, height, channels, data}; 8-bit data are rounded as OpenCV rounds them.

import { clip, roundHalfEven } from "./numbers.js";

const CUBIC_A = -0.75;
const SCALE = 2048; // OpenCV's weights of 8-bit pictures are whole numbers of 1/2048

export function picture(width, height, channels, data = new Uint8ClampedArray(width * height * channels)) {
  return { width, height, channels, data };
}

/** 2 x 2 pixels become one, an odd last row or column being left out; 8 bits, halves rounded up. */
export function halve(image) {
  const { channels, data } = image;
  const width = image.width >> 1;
  const height = image.height >> 1;
  const out = picture(width, height, channels);
  const line = image.width * channels;
  for (let y = 0, to = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let from = 2 * y * line + 2 * x * channels;
      for (let c = 0; c < channels; c++, from++, to++) {
        out.data[to] = (data[from] + data[from + channels] + data[from + line] + data[from + line + channels] + 2) >> 2;
      }
    }
  }
  return out;
}

/** Mean over areas (INTER_AREA, shrinking only). Float data stay float, 8-bit data are rounded. */
export function shrink(image, width, height) {
  const { channels, data } = image;
  const exact = data instanceof Float32Array;
  if (!exact && image.width === 2 * width && image.height === 2 * height) return halve(image);
  const out = picture(width, height, channels, exact ? new Float32Array(width * height * channels) : undefined);
  const columns = coverage(image.width, width);
  const rows = coverage(image.height, height);
  const line = new Float64Array(image.width * channels);
  for (let y = 0, to = 0; y < height; y++) {
    line.fill(0);
    for (let row = rows.first[y]; row <= rows.last[y]; row++) {
      const share = shareOf(rows, y, row);
      for (let i = 0, from = row * line.length; i < line.length; i++, from++) line[i] += share * data[from];
    }
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++, to++) {
        let sum = 0;
        for (let column = columns.first[x]; column <= columns.last[x]; column++) {
          sum += shareOf(columns, x, column) * line[column * channels + c];
        }
        out.data[to] = exact ? sum : roundHalfEven(sum);
      }
    }
  }
  return out;
}

/** For each pixel of the result: the first and the last pixel that it covers, and what part of it each of them makes up. */
function coverage(from, to) {
  const scale = from / to;
  const [first, last] = [new Int32Array(to), new Int32Array(to)];
  const [start, end] = [new Float64Array(to), new Float64Array(to)];
  for (let i = 0; i < to; i++) {
    start[i] = i * scale;
    end[i] = Math.min(start[i] + scale, from);
    // OpenCV, too, leaves out what is less than a thousandth of a pixel.
    first[i] = Math.floor(start[i] + 1e-3);
    last[i] = Math.max(Math.ceil(end[i] - 1e-3) - 1, first[i]);
  }
  return { first, last, start, end };
}

function shareOf({ start, end }, i, pixel) {
  return (Math.min(pixel + 1, end[i]) - Math.max(pixel, start[i])) / (end[i] - start[i]);
}

/** A float plane {width, height, data} at half its size (INTER_AREA by fx = fy = 0.5); an odd last line counts for itself. */
export function halfPlane(plane) {
  const [width, height] = [roundHalfEven(plane.width / 2), roundHalfEven(plane.height / 2)];
  const data = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let [sum, count] = [0, 0];
      for (let row = 2 * y; row < Math.min(2 * y + 2, plane.height); row++) {
        for (let column = 2 * x; column < Math.min(2 * x + 2, plane.width); column++, count++) {
          sum += plane.data[row * plane.width + column];
        }
      }
      data[y * width + x] = sum / count;
    }
  }
  return { width, height, data };
}

/** Enlarged by bicubic interpolation (INTER_CUBIC), 8 bits. */
export function enlarge(image, width, height) {
  const { channels } = image;
  const sums = separable(image, taps(image.width, width, cubic), taps(image.height, height, cubic));
  const out = picture(width, height, channels);
  for (let i = 0; i < sums.length; i++) out.data[i] = roundHalfEven(sums[i]);
  return out;
}

/** A float picture by linear interpolation (INTER_LINEAR). */
export function interpolate(image, width, height) {
  const sums = separable(image, taps(image.width, width, linear), taps(image.height, height, linear));
  return picture(width, height, image.channels, sums);
}

/** An 8-bit picture by linear interpolation, with the whole-number arithmetic of OpenCV, which rounds down a little. */
export function interpolateBytes(image, width, height) {
  const { channels, data } = image;
  const [columns, rows] = [taps(image.width, width, linear), taps(image.height, height, linear)];
  const out = picture(width, height, channels);
  const line = image.width * channels;
  const across = new Int32Array(image.height * width * channels);
  for (let x = 0; x < width; x++) {
    const [[left, first], [right, second]] = columns[x].map(([column, weight]) => [column * channels, fixed(weight)]);
    for (let y = 0; y < image.height; y++) {
      const [from, to] = [y * line, (y * width + x) * channels];
      for (let c = 0; c < channels; c++) {
        across[to + c] = (first * data[from + left + c] + second * data[from + right + c]) >> 4;
      }
    }
  }
  for (let y = 0, to = 0; y < height; y++) {
    const [[above, first], [below, second]] = rows[y].map(([row, weight]) => [row * width * channels, fixed(weight)]);
    for (let i = 0; i < width * channels; i++, to++) {
      out.data[to] = (((first * across[above + i]) >> 16) + ((second * across[below + i]) >> 16) + 2) >> 2;
    }
  }
  return out;
}

function fixed(weight) {
  return roundHalfEven(weight * SCALE);
}

function linear(t) {
  return { first: 0, weights: [1 - t, t] };
}

function cubic(t) {
  const a = CUBIC_A;
  const near = (d) => ((a + 2) * d - (a + 3)) * d * d + 1;
  const far = (d) => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  const weights = [far(1 + t), near(t), near(1 - t)];
  return { first: -1, weights: [...weights, 1 - weights[0] - weights[1] - weights[2]] };
}

/** For each pixel of the result: [pixel, weight] of those that it is made of; beyond the border the outermost one. */
function taps(from, to, kernel) {
  return Array.from({ length: to }, (_, i) => {
    const at = ((i + 0.5) * from) / to - 0.5;
    const { first, weights } = kernel(at - Math.floor(at));
    return weights.map((weight, k) => [clip(Math.floor(at) + first + k, 0, from - 1), weight]);
  });
}

/** Weighted sums along the lines, then along the columns: Float32Array. */
function separable({ width: from, height: lines, channels, data }, columns, rows) {
  const line = columns.length * channels;
  const across = new Float32Array(lines * line);
  for (let y = 0; y < lines; y++) {
    columns.forEach((parts, x) => {
      for (let c = 0; c < channels; c++) {
        let sum = 0;
        for (let k = 0; k < parts.length; k++) sum += parts[k][1] * data[(y * from + parts[k][0]) * channels + c];
        across[y * line + x * channels + c] = sum;
      }
    });
  }
  const out = new Float32Array(rows.length * line);
  rows.forEach((parts, y) => {
    for (const [row, weight] of parts) {
      for (let i = 0; i < line; i++) out[y * line + i] += weight * across[row * line + i];
    }
  });
  return out;
}
