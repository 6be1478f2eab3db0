"""One image file, read and written. Whatever a camera or a table of files throws at us becomes 8-bit RGB or a clear error."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from ..runtime.errors import UserError
from ..runtime.files import atomic_path
from .color_profile import to_srgb
from .dicom import decode_dicom, has_dicom_magic, is_dicom

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".dcm")
MAX_PIXELS = 100_000_000  # the largest fundus cameras make 50 megapixels; beyond this it is a decompression bomb

# Pillow would also try PostScript, which starts an interpreter, and thirty more that no camera writes.
_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF")  # an MPO opens as JPEG
_MOST_SCANS = 500  # a progressive JPEG has about ten; each goes over the whole picture, so that few bytes cost minutes
_ORIENTATION = 0x0112
_LARGEST_SHRINKING = 8
# Grey pictures are masks, runs of one value: to look for runs only takes a third of the time, and the files are smaller.
_RUNS = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12
    _RUNS += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]

Image.MAX_IMAGE_PIXELS = MAX_PIXELS


@dataclass(frozen=True)
class Photograph:
    """An image file as read.

    Attributes:
        pixels: uint8 (height, width, 3) RGB, upright, perhaps shrunk.
        width, height: of the file itself, upright, pixels.
        shrinking: 1, 2, 4 or 8. Pixel i of `pixels` covers pixels [i * shrinking, (i + 1) * shrinking) of the file; the
            last one may reach beyond its edge.
        columns: what the file itself says of patient and eye (DICOM), as columns of metadata.csv.
        note: what was wrong and could be passed over, one short sentence; mostly empty.
    """

    pixels: np.ndarray
    width: int
    height: int
    shrinking: int = 1
    columns: dict[str, object] = field(default_factory=dict)
    note: str = ""


def is_image_name(path: Path) -> bool:
    """True when the file's suffix is one we read (and it is not a hidden file), or it has none and holds DICOM."""
    if path.name.startswith("."):
        return False
    suffix = path.suffix.lower()
    # Archives of hospitals name files "IM000001" or by a number with dots.
    return suffix in SUFFIXES or ((not suffix or suffix[1:].isdigit()) and has_dicom_magic(path))


def image_files(path: Path) -> list[Path]:
    """The file, or every image file of the folder, sorted.

    Raises:
        UserError: a folder without one.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if is_image_name(file))
    if not found:
        raise UserError(f"holds no image file ({', '.join(SUFFIXES)})", path=path)
    return found


def read_image(path: Path | str) -> np.ndarray:
    """Decode an image file, turned upright.

    EXIF orientation and colour profile are applied; grey, palette, CMYK, RGBA (over black) and 16-bit files are converted
    to 8-bit RGB. Of several pages or frames the first is read.

    Returns:
        uint8 array (height, width, 3), RGB.

    Raises:
        UserError: the file is missing, empty, truncated, not an image, or absurdly large.
    """
    return read_photograph(path).pixels


def read_photograph(path: Path | str, at_least: int | None = None) -> Photograph:
    """As `read_image`, with the size of the file; a JPEG is decoded at the smallest sufficient scale.

    Args:
        at_least: the shorter side that is needed, pixels. A JPEG is then decoded at 1/2, 1/4 or 1/8 where that leaves it so
            long; other formats come whole.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", path=path) from error
    return decode_photograph(content, path, at_least)


def decode_image(content: bytes, path: Path | str) -> np.ndarray:
    """As `read_image`, from the file's bytes; `path` is for the error message."""
    return decode_photograph(content, path).pixels


def decode_photograph(content: bytes, path: Path | str, at_least: int | None = None) -> Photograph:
    """As `read_photograph`, from the file's bytes; `path` is for the error message."""
    if not content:
        raise UserError("is empty (0 bytes); expected an image", path=path)
    try:
        with warnings.catch_warnings():
            # What Pillow mutters about metadata would tear the progress bar; between MAX_PIXELS and twice that it only
            # warns, and for us it is an error.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if is_dicom(content):
                pixels, columns = decode_dicom(content, path, MAX_PIXELS)
                return Photograph(pixels, pixels.shape[1], pixels.shape[0], columns=columns)
            with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
                if image.format in ("JPEG", "MPO") and _scans(content) > _MOST_SCANS:
                    raise UserError(f"is a JPEG of more than {_MOST_SCANS} scans; not a photograph", path=path)
                return _decoded(image, at_least)
    except UnidentifiedImageError as error:
        raise UserError(
            f"is not an image ({_kind(content)}); expected PNG, JPEG, WebP, TIFF or DICOM", path=path
        ) from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UserError(f"has more than {MAX_PIXELS // 10**6} megapixels; not a photograph", path=path) from error
    except UserError:
        raise
    except MemoryError as error:
        raise UserError("needs more memory than there is", path=path) from error
    except Exception as error:
        # Pillow's decoders raise whatever the damage leads them to, from OSError to struct.error.
        message = " ".join(str(error).split())[:120] or type(error).__name__
        raise UserError(f"is damaged or truncated ({message})", path=path, hint="Copy the file again.") from error


def _decoded(image: Image.Image, at_least: int | None) -> Photograph:
    whole = image.size
    shrinking = _shrink(image, at_least) if at_least else 1
    image.load()
    narrow = image.size[0] < image.size[1]
    # In place, for otherwise also a picture that is upright already is copied.
    ImageOps.exif_transpose(image, in_place=True)
    width, height = whole if (image.size[0] < image.size[1]) == narrow else whole[::-1]
    rgb, note = to_srgb(_plain(image), image.info.get("icc_profile"))
    return Photograph(np.asarray(rgb), width, height, shrinking, note=note)


def _shrink(image: Image.Image, at_least: int) -> int:
    """Have a JPEG decoded smaller, its shorter side still `at_least` pixels; returns by how much."""
    width, height = image.size
    # Turned round, a last pixel that reaches beyond the edge would come first, and positions would be off by it.
    turned = image.getexif().get(_ORIENTATION, 1) != 1 if image.format in ("JPEG", "MPO") else True
    if turned and (width % _LARGEST_SHRINKING or height % _LARGEST_SHRINKING):
        return 1
    drafted = image.draft(image.mode, (at_least, at_least))
    return round(width / drafted[1][2]) if drafted else 1


def _scans(content: bytes) -> int:
    """How many scans a JPEG can have at most: markers FF DA in its bytes, as `bytes.count` in a fifth of its time."""
    pairs = (np.frombuffer(content, "<u2", (len(content) - first) // 2, first) for first in (0, 1))
    return sum(int(np.count_nonzero(pair == 0xDAFF)) for pair in pairs)


def _kind(content: bytes) -> str:
    try:
        content[:512].decode("utf-8")
    except UnicodeDecodeError:
        return "unknown binary content"
    return "it holds text"


def _plain(image: Image.Image) -> Image.Image:
    """The picture in a mode that a colour profile speaks of: RGB, CMYK or 8-bit grey."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I", "F"):
        values = np.asarray(image).astype(np.float32)
        # 12-bit cameras store 0..4095 in 16 bits; scale by what the file can hold, not by its maximum.
        top = 255 if values.max() <= 255 else 4095 if values.max() <= 4095 else 65535
        # In place: of the largest picture that is taken, every copy is 800 MB.
        np.clip(values, 0, top, out=values)
        values *= 255 / top
        return Image.fromarray(np.rint(values, out=values).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return image if image.mode in ("RGB", "CMYK", "L") else image.convert("RGB")


def encode_image(array: np.ndarray, suffix: str, text: dict[str, str] | None = None) -> bytes:
    """Encode a uint8 image (H, W, 3) RGB or (H, W) grey as ".png", ".jpg" or ".webp".

    JPEG and WebP are lossy, quality 95; JPEG keeps its colours at full resolution (4:4:4), for red lesions are small.
    A grey PNG is meant for masks; of a grey photograph it is larger than need be.

    Args:
        text: written into the PNG as tEXt/iTXt chunks, e.g. {"Software": "fundus-synth 0.1.0"}; PNG only.
    """
    image = Image.fromarray(array)
    options: dict = {"quality": 95, "subsampling": 0} if suffix in (".jpg", ".jpeg") else {"quality": 95}
    if suffix == ".png":
        if array.ndim == 2 and not text:
            return cv2.imencode(suffix, array, _RUNS)[1].tobytes()
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
