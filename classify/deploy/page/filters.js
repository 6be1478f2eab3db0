// Gaussian blur and morphology of one-channel planes {width, height, data}, as OpenCV does them.

/** 3 x 3 Gaussian, sigma 0.8, of an 8-bit plane: whole numbers of 1/256, the border mirrored about the outermost pixel. */
export function blurBytes(plane, [side, middle] = [61, 134]) {
  const { width, height, data } = plane;
  const across = new Uint16Array(data.length);
  const out = new Uint8ClampedArray(data.length);
  const mirror = (i, length) => (i < 0 ? Math.min(1, length - 1) : i >= length ? Math.max(length - 2, 0) : i);
  for (let y = 0; y < height; y++) {
    const line = y * width;
    for (let x = 0; x < width; x++) {
      const [left, right] = [data[line + mirror(x - 1, width)], data[line + mirror(x + 1, width)]];
      across[line + x] = side * (left + right) + middle * data[line + x];
    }
  }
  for (let y = 0; y < height; y++) {
    const [above, below] = [mirror(y - 1, height) * width, mirror(y + 1, height) * width];
    for (let x = 0; x < width; x++) {
      const sum = side * (across[above + x] + across[below + x]) + middle * across[y * width + x];
      out[y * width + x] = (sum + 0x8000) >> 16;
    }
  }
  return { width, height, data: out };
}

/** Gaussian of a float plane with an odd number of taps, the border mirrored about the outermost pixel. */
export function blur(plane, sigma, taps) {
  const half = taps >> 1;
  const weights = Float64Array.from({ length: taps }, (_, i) => Math.exp(-((i - half) ** 2) / (2 * sigma * sigma)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const kernel = weights.map((weight) => weight / total);
  const { width, height } = plane;
  const across = convolved(plane.data, kernel, height, width, width, 1);
  return { width, height, data: convolved(across, kernel, width, height, 1, width) };
}

/** Along one axis: `lines` lines `apart` from each other, of `length` values that are `step` apart. */
function convolved(data, kernel, lines, length, apart, step) {
  const half = kernel.length >> 1;
  const out = new Float32Array(data.length);
  const padded = new Float32Array(length + 2 * half);
  for (let line = 0; line < lines; line++) {
    const start = line * apart;
    for (let i = -half; i < length + half; i++) padded[i + half] = data[start + step * mirrored(i, length)];
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (let k = 0; k < kernel.length; k++) sum += kernel[k] * padded[i + k];
      out[start + step * i] = sum;
    }
  }
  return out;
}

function mirrored(i, length) {
  while (i < 0 || i >= length) i = i < 0 ? -i : 2 * length - 2 - i;
  return i;
}

/** Whether all of the `side` x `side` pixels around each are set; beyond the border counts as `beyond`. 0 or 1. */
export function eroded(plane, side, beyond = 1) {
  return morphed(plane, side, 1, beyond);
}

/** Whether any of the `side` x `side` pixels around each is set. 0 or 1. */
export function dilated(plane, side) {
  return morphed(plane, side, 0, 0);
}

export function opened(plane, side) {
  return dilated(eroded(plane, side), side);
}

export function closed(plane, side) {
  return eroded(dilated(plane, side), side);
}

function morphed(plane, side, keep, beyond) {
  const { width, height, data } = plane;
  const flags = data.map((value) => (value ? 1 : 0));
  const across = extended(flags, side, keep, beyond, height, width, width, 1);
  return { width, height, data: extended(across, side, keep, beyond, width, height, 1, width) };
}

/** `keep` where all in reach are `keep`, otherwise the other value. */
function extended(flags, side, keep, beyond, lines, length, apart, step) {
  const half = side >> 1;
  const out = new Uint8Array(flags.length);
  for (let line = 0; line < lines; line++) {
    for (let i = 0; i < length; i++) {
      let value = keep;
      for (let k = i - half; k <= i + half && value === keep; k++) {
        value = k < 0 || k >= length ? beyond : flags[line * apart + k * step];
      }
      out[line * apart + i * step] = value;
    }
  }
  return out;
}
