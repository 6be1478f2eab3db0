// What a file is and how large its picture, from its first bytes: before anything is decoded.

/** {type, width, height} of a JPEG, PNG or WebP; null for anything else. `bytes` is a Uint8Array of the whole file. */
export function readHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (starts(bytes, [0xff, 0xd8, 0xff])) return jpeg(view);
    if (starts(bytes, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) {
      return { type: "image/png", width: view.getUint32(16), height: view.getUint32(20) };
    }
    if (text(bytes, 0) === "RIFF" && text(bytes, 8) === "WEBP") return webp(bytes, view);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // it ends too soon
  }
  return null;
}

function starts(bytes, magic) {
  return magic.every((value, i) => bytes[i] === value);
}

function text(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

function jpeg(view) {
  for (let at = 2; ; ) {
    if (view.getUint8(at) !== 0xff) return null;
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at++; // filling
      continue;
    }
    // Start of frame, but neither Huffman (C4) nor arithmetic tables (CC) nor an extension (C8).
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      return { type: "image/jpeg", width: view.getUint16(at + 7), height: view.getUint16(at + 5) };
    }
    if (marker === 0xd9 || marker === 0xda) return null;
    at += 2 + view.getUint16(at + 2);
  }
}

function webp(bytes, view) {
  const size = { VP8X: extended, "VP8L": lossless, "VP8 ": lossy }[text(bytes, 12)];
  return size ? { type: "image/webp", ...size(view) } : null;
}

function extended(view) {
  const three = (at) => view.getUint16(at, true) + 65536 * view.getUint8(at + 2);
  return { width: 1 + three(24), height: 1 + three(27) };
}

function lossless(view) {
  const bits = view.getUint32(21, true);
  return { width: 1 + (bits & 0x3fff), height: 1 + ((bits >>> 14) & 0x3fff) };
}

function lossy(view) {
  return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
}
