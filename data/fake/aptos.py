"""Fake APTOS 2019 as the competition gave it: `train.csv`, `train_images/`, `test.csv`, `test_images/`.

Quirks: ids of twelve hexadecimal digits and no patients; test.csv has no grades; one eye is there a second time under
another id, resized and compressed, with another grade; sample_submission.csv grades the test pictures 0 and means nothing.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ...runtime.files import sha256_bytes, write_text
from .base import FakeEyes, save_photograph

_EVERY = 5  # one picture in five is of the test set


def write(folder: Path, eyes: FakeEyes) -> None:
    """Write the tree below `folder`."""
    graded, test = ["id_code,diagnosis"], ["id_code"]
    for i, (row, image, _) in enumerate(eyes.photographs()):
        code = _code(i)
        in_test = i % _EVERY == _EVERY - 1
        save_photograph(folder / ("test_images" if in_test else "train_images") / f"{code}.png", image)
        if in_test:
            test.append(code)
        else:
            graded.append(f"{code},{row['grade']}")
        if i == 0:
            again = _code(-1)
            save_photograph(folder / "train_images" / f"{again}.png", _compressed(image))
            graded.append(f"{again},{(int(row['grade']) + 1) % 5}")
    write_text(folder / "train.csv", "\n".join(graded) + "\n")
    write_text(folder / "test.csv", "\n".join(test) + "\n")
    submission = ["id_code,diagnosis", *(f"{code},0" for code in test[1:])]
    write_text(folder / "sample_submission.csv", "\n".join(submission) + "\n")


def _code(i: int) -> str:
    return sha256_bytes(f"aptos {i}".encode())[:12]


def _compressed(image: np.ndarray) -> np.ndarray:
    smaller = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    return cv2.imdecode(cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_COLOR)
