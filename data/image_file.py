"""One image file, read and written. Whatever a camera or a table of files throws at us becomes 8-bit RGB or a clear error."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from ..runtime.errors import UserError
from ..runtime.files import atomic_path

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
MAX_PIXELS = 200_000_000  # the largest fundus cameras make 50 megapixels; beyond this it is a decompression bomb

Image.MAX_IMAGE_PIXELS = MAX_PIXELS


def is_image_name(path: Path) -> bool:
    """True when the file's suffix is one we read (and it is not a hidden file)."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def read_image(path: Path | str) -> np.ndarray:
    """Decode an image file, turned upright.

    EXIF orientation is applied; grey, palette, CMYK, RGBA (over black) and 16-bit files are converted to 8-bit RGB.

    Returns:
        uint8 array (height, width, 3), RGB.

    Raises:
        UserError: the file is missing, empty, truncated, not an image, or absurdly large.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path=path) from error
    return decode_image(content, path)


def decode_image(content: bytes, path: Path | str) -> np.ndarray:
    """As `read_image`, from the file's bytes; `path` is for the error message."""
    if not content:
        raise UserError("is empty (0 bytes); expected an image", path=path)
    try:
        with warnings.catch_warnings():
            # What Pillow mutters about metadata would tear the progress bar; between MAX_PIXELS and twice that it only
            # warns, and for us it is an error.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(content)) as image:
                image.load()
                return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    except UnidentifiedImageError as error:
        raise UserError(f"is not an image ({_kind(content)}); expected PNG, JPEG, WebP or TIFF", path=path) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"has more than {MAX_PIXELS // 10**6} megapixels; not a photograph", path=path) from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, KeyError) as error:
        # Pillow's decoders raise any of these on damaged files, depending on where the damage is.
        raise UserError(f"is damaged or truncated ({error})", path=path, hint="Copy the file again.") from error


def _kind(content: bytes) -> str:
    try:
        content[:512].decode("utf-8")
    except UnicodeDecodeError:
        return "unknown binary content"
    return "it holds text"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(image).astype(np.float64)
        # 12-bit cameras store 0..4095 in 16 bits; scale by what the file can hold, not by its maximum.
        top = 255 if values.max() <= 255 else 4095 if values.max() <= 4095 else 65535
        return Image.fromarray(np.rint(values.clip(0, top) * (255 / top)).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def encode_image(array: np.ndarray, suffix: str, text: dict[str, str] | None = None) -> bytes:
    """Encode a uint8 image (H, W, 3) RGB or (H, W) grey as ".png", ".jpg" (quality 95) or ".webp" (quality 95).

    Args:
        text: written into the PNG as tEXt/iTXt chunks, e.g. {"Software": "fundus-synth 0.1.0"}; PNG only.
    """
    image = Image.fromarray(array)
    options: dict = {"quality": 95}
    if suffix == ".png":
        # Level 4 costs a third of the default's time for 2 % larger files.
        options = {"compress_level": 4}
        if text:
            info = PngImagePlugin.PngInfo()
            for key, value in text.items():
                info.add_text(key, value) if value.isascii() else info.add_itxt(key, value)
            options["pnginfo"] = info
    elif text:
        raise ValueError(f"text chunks are for .png, not {suffix}")
    stream = io.BytesIO()
    image.save(stream, Image.registered_extensions()[suffix], **options)
    return stream.getvalue()


def write_image(path: Path | str, array: np.ndarray, text: dict[str, str] | None = None) -> bytes:
    """Encode by the path's suffix and write atomically; returns the bytes written."""
    path = Path(path)
    content = encode_image(array, path.suffix.lower(), text)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return content
