"""python benchmarks/sample_sheet.py DATASET SHEET.jpg [--columns 20]

Lays the images of a generated dataset out as one sheet, in the order of their seeds. Refuses photographs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fundus_synth.data.dataset import FundusDataset
from fundus_synth.data.image_file import write_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--columns", type=int, default=20)
    options = parser.parse_args()
    dataset = FundusDataset.open(options.dataset)
    if not (dataset.column("synthetic") == "true").all():
        raise SystemExit(f"{dataset.path} holds photographs; sheets are made of generated images only")
    images = [dataset.read(i) for i in range(len(dataset) // options.columns * options.columns)]
    rows = [np.hstack(images[i : i + options.columns]) for i in range(0, len(images), options.columns)]
    write_image(options.sheet, np.vstack(rows))


if __name__ == "__main__":
    main()
