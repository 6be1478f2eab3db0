// The safetensors format: eight bytes for the length of a JSON header, the header, the numbers.

/** {name: {shape, data: Float32Array}} of an ArrayBuffer; 16- and 32-bit floats. */
export function readTensors(buffer) {
  const length = Number(new DataView(buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  const tensors = {};
  for (const [name, { dtype, shape, data_offsets: offsets }] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const bytes = new DataView(buffer, 8 + length + offsets[0], offsets[1] - offsets[0]);
    if (dtype !== "F16" && dtype !== "F32") throw new Error(`the weights ${name} are ${dtype}`);
    const width = dtype === "F16" ? 2 : 4;
    const read = dtype === "F16" ? (at) => half(bytes.getUint16(at, true)) : (at) => bytes.getFloat32(at, true);
    tensors[name] = { shape, data: Float32Array.from({ length: bytes.byteLength / width }, (_, i) => read(width * i)) };
  }
  return tensors;
}

function half(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
