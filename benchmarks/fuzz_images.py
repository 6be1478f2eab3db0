"""python benchmarks/fuzz_images.py [--count 10000] [--seed 0] [--workers 2] [--time-limit 60] [--keep-failures FOLDER]

Damaged image files through the reader and the whole recipe of a camera file, in worker processes with the limits of a real
run. Phantoms are written in every format that is read; each file is then damaged in one of eleven ways, and one in 250 is a
decompression bomb. Every file must be read or rejected with a reason of one line. Anything else is a crash: another
exception, a dead worker, a reason of many lines. A hang is a file that takes longer than the time limit. Exits with 1 when
there is either; `--keep-failures` keeps those files.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import resource
import statistics
import struct
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

from fundus_synth.data.image_file import read_photograph
from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.preprocess.camera_file import Recipe, Task, process
from fundus_synth.preprocess.spread import WORKER_MEMORY
from fundus_synth.runtime.errors import UserError
from fundus_synth.runtime.progress import Progress
from fundus_synth.runtime.workers import Limits, map_in_order

HEIGHT, WIDTH = 130, 194  # different, and neither a common number, so that they are found in a file's header
BOMB_EVERY = 250
_LARGE = 2
_LONGEST_REASON = 300
_ABSURD = (0, 1, 2, 0x7FFF, 0x8000, 0xFFFF, 14_000, 65_000, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass(frozen=True)
class Finding:
    """What became of one file."""

    number: int
    kind: str
    damage: str
    verdict: str  # read, rejected, crash or hang
    reason: str = ""
    seconds: float = 0.0
    memory: int = 0  # bytes, the most that the process held meanwhile
    standardized: bool = False


# Whole files


def whole_files(height: int = HEIGHT, width: int = WIDTH) -> dict[str, bytes]:
    """A phantom in every format, by name."""
    _, frame, _ = next(render_cohort(1, height, seed=3, standardized=False, classes=("normal",)))
    picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BOX)
    grey = Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "phantom camera"
    tags = {"icc_profile": _foreign_profile(), "exif": exif.tobytes()}
    files = {
        "PNG": _saved(picture, "PNG", compress_level=4, **tags),
        "PNG 16-bit": _saved(grey, "PNG"),
        "PNG palette": _saved(picture.quantize(64), "PNG", transparency=3),
        "GIF named .png": _saved(picture, "GIF"),
        "JPEG": _saved(picture, "JPEG", quality=90, **tags),
        "JPEG progressive": _saved(picture, "JPEG", quality=90, progressive=True),
        "JPEG CMYK": _saved(picture.convert("CMYK"), "JPEG", quality=90),
        "JPEG large": _saved(picture.resize((width * _LARGE, height * _LARGE)), "JPEG", quality=80),
        "WebP": _saved(picture, "WEBP", quality=90, **tags),
        "WebP lossless": _saved(picture, "WEBP", lossless=True, method=0),
        "TIFF": _saved(picture, "TIFF", **tags),
        "TIFF LZW": _saved(picture, "TIFF", compression="tiff_lzw"),
        "TIFF 16-bit": _saved(grey, "TIFF", compression="tiff_lzw"),
        "TIFF deflate": _saved(picture, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF JPEG": _saved(picture, "TIFF", compression="jpeg"),
        "BMP": _saved(picture, "BMP"),
        "PPM": _saved(picture, "PPM"),
        "PPM text": f"P3\n{width} {height}\n255\n".encode() + " ".join(map(str, np.asarray(picture).flat)).encode(),
    }
    return files | _dicom_files(np.asarray(picture))


def _saved(image: Image.Image, format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _foreign_profile() -> bytes:
    """A colour profile that does not call itself sRGB, so that it is used."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace("sRGB".encode("utf-16-be"), "eRGB".encode("utf-16-be"))


def _dicom_files(pixels: np.ndarray) -> dict[str, bytes]:
    try:
        import pydicom
    except ImportError:
        return {}
    jpeg = _saved(Image.fromarray(pixels), "JPEG", quality=90, subsampling=0)
    return {
        "DICOM": _dicom(pixels, pydicom.uid.ExplicitVRLittleEndian, "RGB", pixels.tobytes()),
        "DICOM JPEG": _dicom(
            pixels, pydicom.uid.JPEGBaseline8Bit, "YBR_FULL", pydicom.encaps.encapsulate([jpeg])
        ),
    }  # fmt: skip


def _dicom(pixels: np.ndarray, syntax: str, photometric: str, data: bytes) -> bytes:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import OphthalmicPhotography8BitImageStorage

    dataset, meta = Dataset(), FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID = syntax, "1.2.3"
    meta.MediaStorageSOPClassUID = OphthalmicPhotography8BitImageStorage
    dataset.file_meta = meta
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = *pixels.shape[:2], 3
    dataset.PhotometricInterpretation, dataset.PlanarConfiguration = photometric, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PatientID, dataset.PatientAge, dataset.ImageLaterality = "4711", "045Y", "R"
    dataset.PixelData = data
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = photometric != "RGB"
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


# Damage


def damaged(files: dict[str, bytes], number: int, seed: int) -> tuple[str, str, bytes]:
    """File `number`: format, kind of damage, content. The same numbers give the same file."""
    rng = np.random.default_rng((seed, number))
    kind = list(files)[number % len(files)]
    damage = list(DAMAGES)[rng.integers(len(DAMAGES))]
    return kind, damage, DAMAGES[damage](files[kind], rng, files)


def _flip_bits(content: bytes, rng: np.random.Generator, files: dict[str, bytes], reach: int | None = None) -> bytes:
    values = np.frombuffer(content, np.uint8).copy()
    places = rng.integers(0, min(reach or len(values), len(values)), rng.integers(1, 33))
    values[places] ^= np.uint8(1) << rng.integers(0, 8, len(places)).astype(np.uint8)
    return values.tobytes()


def _overwrite(content: bytes, rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    """A run of bytes becomes zeros, ones or noise."""
    at, length = int(rng.integers(len(content))), int(2 ** rng.uniform(0, 12))
    run = (bytes(length), b"\xff" * length, rng.bytes(length))[rng.integers(3)]
    return content[:at] + run + content[at + length :]


def _truncate(content: bytes, rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    reach = len(content) if rng.random() < 0.5 else min(len(content), 600)
    return content[: int(rng.integers(0, reach))]


def _absurd_size(content: bytes, rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    """Numbers of the header that are the picture's size, or a random one, become absurd."""
    head, rest = content[:4096], content[4096:]
    for side in (HEIGHT, WIDTH, HEIGHT * _LARGE, WIDTH * _LARGE):
        absurd = int(rng.choice(_ABSURD))
        text = rf"(?<!\d){side}(?!\d)".encode()
        for form in (">H", "<H", ">I", "<I"):
            if rng.random() < 0.7:
                head = head.replace(
                    struct.pack(form, side), struct.pack(form, absurd % (1 << 8 * struct.calcsize(form)))
                )
        head = re.sub(text, str(absurd).encode(), head) if head[:1] == b"P" else head
    return _sealed(head + rest)


def _absurd_number(content: bytes, rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    """A number anywhere in the first kilobyte, whatever it means, becomes absurd."""
    form = (">H", "<H", ">I", "<I")[rng.integers(4)]
    length = struct.calcsize(form)
    at = int(rng.integers(0, max(min(len(content), 1024) - length, 1)))
    number = int(rng.choice(_ABSURD)) % (1 << 8 * length)
    return _sealed(content[:at] + struct.pack(form, number) + content[at + length :])


def _segments(content: bytes) -> list[bytes]:
    """The file as its format divides it (PNG, JPEG, WebP), else in blocks."""
    cuts = []
    if content.startswith(b"\x89PNG"):
        at = 8
        while at + 12 <= len(content):
            cuts.append(at)
            at += 12 + int.from_bytes(content[at : at + 4], "big")
    elif content.startswith(b"\xff\xd8"):
        cuts = [found.start() for found in re.finditer(rb"\xff[\xc0-\xcf\xda-\xef]", content)]
    elif content.startswith(b"RIFF"):
        at = 12
        while at + 8 <= len(content):
            cuts.append(at)
            length = int.from_bytes(content[at + 4 : at + 8], "little")
            at += 8 + length + length % 2
    if len(cuts) < 3:
        cuts = list(range(8, len(content), max(len(content) // 24, 8)))
    edges = [0, *cuts, len(content)]
    return [content[start:end] for start, end in zip(edges, edges[1:], strict=False)]


def _shuffle_segments(content: bytes, rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    """Segments are swapped, doubled or lost."""
    parts = _segments(content)
    for _ in range(rng.integers(1, 4)):
        a, b = rng.integers(1, max(len(parts), 2), 2) % len(parts)
        action = rng.integers(3)
        if action == 0:
            parts[a], parts[b] = parts[b], parts[a]
        elif action == 1:
            parts.insert(a, parts[b])
        elif len(parts) > 2:
            del parts[a]
    return b"".join(parts)


def _damage_segment(content: bytes, rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    """One segment is damaged, and in a PNG its checksum made good: what a checksum does not see."""
    parts = _segments(content)
    which = int(rng.integers(1, max(len(parts), 2))) % len(parts)
    parts[which] = (_flip_bits, _overwrite)[rng.integers(2)](parts[which] or b"\0", rng, files)
    return _sealed(b"".join(parts))


def _damage_profile(content: bytes, rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    """Bits of the colour profile or the EXIF data flip; without either, bits of the last kilobyte."""
    for name in (b"acsp", b"Exif\0\0", b"EXIF", b"eXIf", b"II*\0", b"MM\0*", b"iCCP"):
        at = content.find(name)
        if at > 0 and rng.random() < 0.6:
            start = max(at - 36, 0)
            return _sealed(
                content[:start] + _flip_bits(content[start : start + 600], rng, files) + content[start + 600 :]
            )
    return content[:-1024] + _flip_bits(content[-1024:], rng, files)


def _splice(content: bytes, rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    """The beginning of one file and the end of another."""
    other = list(files.values())[rng.integers(len(files))]
    share = rng.random()
    return content[: int(len(content) * share)] + other[int(len(other) * share) :]


def _lengthen(content: bytes, rng: np.random.Generator, files: dict[str, bytes]) -> bytes:
    """Noise in the middle or at the end."""
    at = int(rng.choice([len(content), rng.integers(len(content))]))
    return content[:at] + rng.bytes(int(rng.integers(1, 3000))) + content[at:]


def _sealed(content: bytes) -> bytes:
    """A PNG with right checksums; other files as they are."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n"):
        return content
    found, at = [content[:8]], 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            break
        found += [content[at:end], struct.pack(">I", zlib.crc32(content[at + 4 : end]))]
        at = end + 4
    return b"".join(found) + content[at:]


DAMAGES: dict[str, Callable[[bytes, np.random.Generator, dict[str, bytes]], bytes]] = {
    "bits flipped": _flip_bits,
    "header bits flipped": partial(_flip_bits, reach=128),
    "bytes overwritten": _overwrite,
    "truncated": _truncate,
    "absurd size": _absurd_size,
    "absurd number": _absurd_number,
    "segments shuffled": _shuffle_segments,
    "segment damaged": _damage_segment,
    "profile damaged": _damage_profile,
    "spliced": _splice,
    "lengthened": _lengthen,
}


# Bombs: small files that speak of large pictures


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bomb(width: int, height: int, bits: int, color: int, data: bytes | None = None, extra: bytes = b"") -> bytes:
    """A black PNG; `data` replaces its deflated pixels."""
    if data is None:
        deflate = zlib.compressobj(9)
        row = bytes(1 + (width * bits * (3 if color == 2 else 1) + 7) // 8)
        data = b"".join(deflate.compress(row) for _ in range(height)) + deflate.flush()
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def tiff_bomb(tags: dict[int, int], data: bytes = b"\0" * 64) -> bytes:
    """A little-endian TIFF of LONG tags; the data lies at byte 8."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def resized_jpeg(content: bytes, width: int, height: int) -> bytes:
    """A JPEG whose frame header tells another size."""
    at = re.search(rb"\xff[\xc0\xc2]\0\x11\x08", content).end()
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def jpeg_of_many_scans(content: bytes, width: int, height: int, scans: int) -> bytes:
    """A progressive JPEG whose first scan comes again and again: each goes over the whole picture."""
    starts = [found.start() for found in re.finditer(rb"\xff\xda", content)]
    head, scan = content[: starts[0]], content[starts[0] : starts[0] + 40]
    return resized_jpeg(head + scan * scans + b"\xff\xd9", width, height)


def _strip(width: int, height: int, compression: int, data: bytes) -> bytes:
    tags = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: height, 279: len(data)}
    return tiff_bomb(tags, data)


def bombs(files: dict[str, bytes]) -> dict[str, Callable[[], bytes]]:
    """Makers of files, by name; "full" ones hold all the pixels they speak of."""
    profile = zlib.compress(bytes(300_000_000), 1)
    webp, jpeg = files["WebP lossless"], files["JPEG progressive"]
    found = {
        "PNG of 3600 megapixels": lambda: png_bomb(60_000, 60_000, 8, 2, b"x\x9c"),
        "PNG of 196 megapixels, empty": lambda: png_bomb(14_000, 14_000, 8, 2, zlib.compress(b"")),
        "PNG of 196 megapixels, full, 1 bit": lambda: png_bomb(14_000, 14_000, 1, 0),
        "PNG of 196 megapixels, full, 16 bits": lambda: png_bomb(14_000, 14_000, 16, 0),
        "PNG of 190 million x 1, full": lambda: png_bomb(190_000_000, 1, 8, 0),
        "PNG of 1 x 1 million, full": lambda: png_bomb(1, 1_000_000, 8, 0),
        "PNG with a profile of 300 MB": lambda: png_bomb(64, 64, 8, 2, extra=_chunk(b"iCCP", b"a\0\0" + profile)),
        "PNG with a text of 300 MB": lambda: png_bomb(64, 64, 8, 2, extra=_chunk(b"zTXt", b"a\0\0" + profile)),
        "TIFF of 4 billion x 4 billion": lambda: _strip(0xFFFFFFFF, 0xFFFFFFFF, 1, bytes(64)),
        "TIFF of 196 megapixels, empty": lambda: _strip(14_000, 14_000, 8, zlib.compress(b"")),
        "TIFF of 196 megapixels, full": lambda: _strip(14_000, 14_000, 8, zlib.compress(bytes(14_000**2), 9)),
        "TIFF with a strip of 4 GB": lambda: tiff_bomb(
            {256: 64, 257: 64, 258: 8, 259: 5, 262: 1, 273: 8, 278: 64, 279: 0xFFFFFFFF}
        ),
        "TIFF with a tile of 4 TB": lambda: tiff_bomb(
            {256: 64, 257: 64, 258: 8, 259: 5, 262: 1, 322: 0x7FFFFFF0, 323: 0x7FFFFFF0, 324: 8, 325: 64}
        ),
        "TIFF with a million bits": lambda: tiff_bomb({256: 64, 257: 64, 258: 10**6, 259: 1, 262: 1, 273: 8, 279: 64}),
        "JPEG of 65 000 x 65 000": lambda: resized_jpeg(files["JPEG"], 65_000, 65_000),
        "JPEG of 196 megapixels": lambda: resized_jpeg(files["JPEG"], 14_000, 14_000),
        "JPEG of 196 megapixels, progressive": lambda: resized_jpeg(jpeg, 14_000, 14_000),
        "JPEG of 20 000 scans": lambda: jpeg_of_many_scans(jpeg, 10_000, 10_000, 20_000),
        "WebP of 16 383 x 16 383": lambda: webp[:21] + b"\xff\xff\xff\x0f" + webp[25:],
        "GIF of 65 000 x 65 000": lambda: b"GIF89a" + struct.pack("<HH", 65_000, 65_000) + files["GIF named .png"][10:],
        "BMP of 14 000 x 14 000": lambda: files["BMP"][:18] + struct.pack("<ii", 14_000, -14_000) + files["BMP"][26:],
        "PPM of 14 000 x 14 000": lambda: b"P6 14000 14000 255\n" + bytes(100),
        "PPM of 10^4000 x 1": lambda: b"P6 " + b"9" * 4000 + b" 1 255\n" + bytes(100),
        "PPM of 10^30 grey levels": lambda: b"P6 64 64 " + b"9" * 30 + b"\n" + bytes(64 * 64 * 3),
        "PostScript": lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n%%EndComments\n{} loop\n",
    }  # fmt: skip
    if "DICOM" in files:
        found["DICOM of 65 535 x 65 535"] = lambda: _dicom_of(files["DICOM"], Rows=65_535, Columns=65_535)
        found["DICOM of 2 billion frames"] = lambda: _dicom_of(files["DICOM"], NumberOfFrames=2**31 - 1)
    return found


def _dicom_of(content: bytes, **tags) -> bytes:
    import pydicom

    dataset = pydicom.dcmread(io.BytesIO(content))
    for name, value in tags.items():
        setattr(dataset, name, value)
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


# The run


@cache
def _files() -> dict[str, bytes]:
    return whole_files()


@cache
def _bombs() -> dict[str, Callable[[], bytes]]:
    return bombs(_files())


def made(number: int, seed: int) -> tuple[str, str, bytes]:
    """File `number` of the run: format, kind of damage, content."""
    if number % BOMB_EVERY == 0:
        names = list(_bombs())
        name = names[number // BOMB_EVERY % len(names)]
        return "bomb", name, _bombs()[name]()
    return damaged(_files(), number, seed)


def examine(number: int, seed: int, folder: Path) -> Finding:
    """Make, read and standardise one file."""
    kind, damage, content = made(number, seed)
    path = folder / f"{number}.img"
    path.write_bytes(content)
    _forget_peak()
    began = time.perf_counter()
    try:
        verdict, reason, standardized = _tried(path, folder)
    except Exception:
        verdict, reason, standardized = "crash", traceback.format_exc(), False
    seconds = time.perf_counter() - began
    path.unlink()
    return Finding(number, kind, damage, verdict, reason, seconds, _peak(), standardized)


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Bytes held at most since it was forgotten; where the system cannot forget, since the process began."""
    try:
        return int(re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text())[1]) << 10
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _tried(path: Path, folder: Path) -> tuple[str, str, bool]:
    outcome = process(Task(path, f"{path.stem}.png", {}, {}), Recipe(folder, 64, "none"))
    try:
        for at_least in (None, 24):
            pixels = read_photograph(path, at_least).pixels
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size
    except (UserError, MemoryError) as error:
        reason = error.message if isinstance(error, UserError) else outcome.reason
        assert outcome.row is None, "what the reader rejects was standardised"
        assert reason and "\n" not in reason and len(reason) < _LONGEST_REASON, f"a bad reason: {reason!r}"
        return "rejected", reason, False
    (folder / f"{path.stem}.png").unlink(missing_ok=True)
    return "read", outcome.reason, outcome.row is not None


def _lost(number: int, reason: str, seed: int) -> Finding:
    kind, damage, _ = made(number, seed)
    return Finding(number, kind, damage, "hang" if reason.startswith("took") else "crash", reason)


def table(findings: list[Finding]) -> Iterator[str]:
    """Lines of the table."""
    median = statistics.median(f.seconds for f in findings)
    columns = ("mutated", "read", "done", "rejected", "crashes", "hangs", "slowest", "peak MiB")
    yield f"{'format':<18}" + "".join(f"{name:>11}" for name in columns)
    for kind in [*dict.fromkeys(sorted(f.kind for f in findings)), "all"]:
        group = [f for f in findings if kind in (f.kind, "all")]
        count = {verdict: sum(f.verdict == verdict for f in group) for verdict in ("read", "rejected", "crash", "hang")}
        cells = [len(group), count["read"], sum(f.standardized for f in group), count["rejected"], count["crash"],
                 count["hang"], f"{max(f.seconds for f in group) / median:.0f} x",
                 max(f.memory for f in group) >> 20]  # fmt: skip
        yield f"{kind:<18}" + "".join(f"{cell:>11}" for cell in cells)
    yield "done: of those read, how many the whole recipe took; the others have no usable field of view"
    yield f"slowest: as a multiple of the median file, which took {1000 * median:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--keep-failures", type=Path)
    arguments = parser.parse_args()
    findings, seed = [], arguments.seed
    with tempfile.TemporaryDirectory() as folder, Progress(arguments.count, "fuzzing", "files") as progress:
        examining = partial(examine, seed=seed, folder=Path(folder))
        limits = Limits(arguments.time_limit, WORKER_MEMORY)
        for finding in map_in_order(
            examining, range(arguments.count), arguments.workers, lost=partial(_lost, seed=seed), limits=limits
        ):
            findings.append(finding)
            progress.advance()
    print("\n".join(table(findings)))
    failures = [f for f in findings if f.verdict in ("crash", "hang")]
    for failure in failures:
        print(f"\n{failure.verdict} {failure.number} {failure.kind}, {failure.damage}: {failure.reason}")
        if arguments.keep_failures:
            arguments.keep_failures.mkdir(parents=True, exist_ok=True)
            (arguments.keep_failures / f"{failure.number}.img").write_bytes(made(failure.number, seed)[2])
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
