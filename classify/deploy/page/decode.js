// A file that somebody chose -> an upright RGB picture in sRGB, as data/image_file.py reads it.

import { readHeader } from "./header.js";
import { picture } from "./resize.js";

export const MAX_BYTES = 50e6;
export const MAX_PIXELS = 64e6;
const STRIP = 1 << 22; // pixels at a time: a canvas of a whole photograph is larger than some phones allow

/** Errors that are shown as they are. */
export class PictureError extends Error {}

/** {width, height, channels: 3, data} of a File or Blob. */
export async function decode(file) {
  if (file.size > MAX_BYTES) throw new PictureError(`The file is larger than ${MAX_BYTES / 1e6} MB.`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const header = readHeader(bytes);
  if (header === null) throw new PictureError("The file is not a picture that can be read: JPEG, PNG or WebP.");
  if (header.width * header.height > MAX_PIXELS) {
    throw new PictureError(`The picture has more than ${MAX_PIXELS / 1e6} megapixels.`);
  }
  return readPixels(await bitmapOf(bytes, header.type));
}

async function bitmapOf(bytes, type) {
  try {
    // Turned as its EXIF data say, and its colours converted to sRGB.
    return await createImageBitmap(new Blob([bytes], { type }), {
      imageOrientation: "from-image",
      colorSpaceConversion: "default",
    });
  } catch {
    throw new PictureError("The picture is damaged and cannot be read.");
  }
}

function readPixels(bitmap) {
  const { width, height } = bitmap;
  const rows = Math.max(Math.floor(STRIP / width), 1);
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, Math.min(rows, height)];
  // Opaque: what is transparent lies over black.
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true, colorSpace: "srgb" });
  const out = picture(width, height, 3);
  for (let top = 0, to = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.fillRect(0, 0, width, count);
    context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
    const { data } = context.getImageData(0, 0, width, count);
    for (let from = 0; from < data.length; from += 4) {
      out.data[to++] = data[from];
      out.data[to++] = data[from + 1];
      out.data[to++] = data[from + 2];
    }
  }
  bitmap.close();
  return out;
}
