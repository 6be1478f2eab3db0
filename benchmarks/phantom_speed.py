"""python benchmarks/phantom_speed.py [--images 60] [--classes all]

What a phantom costs at 512 px: the CPU time to render an image with its masks, over the CPU time to draw as many normal
random numbers as the image has values (what its noise alone could cost), on one thread and in one run; and the rate of
two processes together, which should be 15 images/s or more on two free cores.
"""

from __future__ import annotations

import argparse
import itertools
import time

import cv2
import numpy as np

from fundus_synth.data.phantom.cohort import render_cohort
from fundus_synth.data.phantom.course import DEFAULT_CLASSES, check_classes

SIZE = 512
WARM_UP = 8


def images_per_second(images: int, classes: tuple[str, ...]) -> float:
    """Rate of two processes over about `images` images of all classes, once both are warm."""
    count = -(-(images + WARM_UP) // len(classes))
    cohort = render_cohort(count, SIZE, seed=0, standardized=True, classes=classes, workers=2)
    for _ in itertools.islice(cohort, WARM_UP):
        pass
    start = time.perf_counter()
    done = sum(1 for _ in cohort)
    return done / (time.perf_counter() - start)


def cost(images: int, classes: tuple[str, ...]) -> tuple[float, float]:
    """CPU seconds a phantom, and the same as a multiple of drawing its noise."""
    cv2.setNumThreads(1)
    cohort = render_cohort(-(-images // len(classes)), SIZE, seed=1, standardized=True, classes=classes)
    rng = np.random.default_rng(0)
    next(cohort)
    rendering = drawing = 0.0
    count = 0
    while True:
        start = time.process_time()
        photograph = next(cohort, None)
        if photograph is None:
            return rendering / count, rendering / drawing
        middle = time.process_time()
        rng.standard_normal((SIZE, SIZE, 3), dtype=np.float32)
        rendering, drawing = rendering + middle - start, drawing + time.process_time() - middle
        count += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--classes", default=",".join(DEFAULT_CLASSES), help="as in fundus-preprocess demo")
    arguments = parser.parse_args()
    images, classes = arguments.images, check_classes(arguments.classes)
    seconds, ratio = cost(images // 2, classes)
    print(f"render / draw the noise: {ratio:.1f}  ({1000 * seconds:.0f} ms of CPU a phantom on one thread)")
    print(f"two processes, {SIZE} px, with masks: {images_per_second(images, classes):.1f} images/s")


if __name__ == "__main__":
    main()
