"""fundus-preprocess: camera files in, standardised dataset folders out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from ..runtime.errors import counts
from .common import Json, Quiet, Seed, Workers, app, names, show

# Typer evaluates annotations at run time and wants Optional[...] in them.
# ruff: noqa: UP007, UP045

preprocess = app("Camera files in, standardised dataset folders out.")


@preprocess.command()
def demo(
    out: Annotated[Path, typer.Argument(help="Folder to make.")],
    images_per_class: Annotated[int, typer.Option(min=1, help="Images of each class; two eyes a patient.")] = 40,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Height of the camera frame, pixels.")] = 512,
    classes: Annotated[str, typer.Option(help="normal, anemic, diabetes, glaucoma, cataract, amd, hypertension, myopia, "
                                              "other; or odir, or all.")] = "normal,anemic,diabetes",
    cameras: Annotated[str, typer.Option(help="mixed, tabletop-2240, tabletop-2588, tabletop-1504, phone, widescreen.")] = "mixed",
    comorbidity: Annotated[float, typer.Option(min=0, max=1, help="Share of diseased patients with a second disease.")] = 0.0,
    layout: Annotated[Optional[str], typer.Option(help="Write a small fake collection in this layout instead, e.g. odir, "
                                                       "aptos, messidor: to try a command before the data are there.")] = None,
    seed: Seed = 0, workers: Workers = None, quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Make simulated eyes (phantoms) as camera frames, with labels and a mask of every structure."""
    if layout is not None:
        from ..data.fake import FakeEyes, write_fake_collection

        write_fake_collection(layout, out, FakeEyes(images_per_class, size, seed, quiet))
        show(json, {"folder": str(out), "layout": layout}, f"{out}: simulated eyes in the layout of {layout}",
             f"next: fundus-preprocess run {out} eyes")  # fmt: skip
        return
    from ..data.phantom.cohort import write_phantom_dataset

    dataset = write_phantom_dataset(out, images_per_class=images_per_class, size=size, seed=seed, standardized=False,
                                    classes=classes, workers=workers, quiet=quiet, cameras=cameras,
                                    comorbidity=comorbidity)  # fmt: skip
    show(json, {"dataset": str(out), "images": len(dataset), "classes": dataset.class_counts()},
         f"{out}: {len(dataset)} simulated eyes: {counts(dataset.class_counts())}")  # fmt: skip


@preprocess.command()
def run(
    src: Annotated[str, typer.Argument(help="Folder as downloaded, its .zip, a table, or the URL of a folder.")],
    out: Annotated[str, typer.Argument(help="Dataset folder to make, or its URL.")],
    format: Annotated[str, typer.Option(help="auto, odir, aptos, eyepacs, messidor, messidor2, idrid, rfmid, sankara, csv "
                                             "or folder.")] = "auto",
    preset: Annotated[Optional[str], typer.Option(help="Size and illumination of a study: anemia, dr or odir.")] = None,
    size: Annotated[Optional[int], typer.Option(min=32, max=2048, help="Width and height of the images made, pixels; "
                                                                       "default 512.")] = None,
    illumination: Annotated[Optional[str], typer.Option(help="none (default), graham, clahe, gray-world or percentile.")] = None,
    output_format: Annotated[str, typer.Option(help="png, jpg or webp.")] = "png",
    min_quality: Annotated[float, typer.Option(min=0, max=1, help="Reject images of lower gradability, 0..1.")] = 0.0,
    all_kinds: Annotated[bool, typer.Option("--all-kinds", help="Take external eyes, text pages and the like, too.")] = False,
    table: Annotated[Optional[Path], typer.Option(help="The table, when it does not lie in SRC.")] = None,
    image_column: Annotated[Optional[str], typer.Option(help="Column with the file names (csv, sankara).")] = None,
    label_column: Annotated[Optional[str], typer.Option(help="Column with the labels (csv).")] = None,
    patient_column: Annotated[Optional[str], typer.Option(help="Column with the patients (csv, sankara).")] = None,
    columns: Annotated[Optional[str], typer.Option(help="Columns worth keeping, e.g. sex,age,hemoglobin_g_dl=LAB_17 "
                                                        "(csv, sankara).")] = None,
    pattern: Annotated[Optional[str], typer.Option(help="Regular expression for file names, with groups id, image, sex, hb "
                                                        "(sankara).")] = None,
    anemia: Annotated[str, typer.Option(help="who, moderate or approximate=CUTOFF in g/dL (sankara).")] = "who",
    quality_table: Annotated[Optional[Path], typer.Option(help="EyeQ's table, its folder, or a list (eyepacs).")] = None,
    part: Annotated[Optional[str], typer.Option(help="segmentation, grading or localisation (idrid).")] = None,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds for one file, after which it is rejected.")] = 60.0,
    ray: Annotated[Optional[str], typer.Option(help="Address of a Ray cluster that does the work; auto for a local one.")] = None,
    workers: Workers = None, quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Find the field of view of every camera file, crop, resize, and write a dataset folder.

    Unreadable files go to rejected.csv. Started again after an interruption, it continues where it was.
    """
    from ..data.readers import ReaderOptions
    from ..preprocess.pipeline import run as run_pipeline
    from ..preprocess.presets import recipe_for

    recipe = recipe_for(preset, size, illumination)
    options = ReaderOptions(table=table, image_column=image_column, label_column=label_column,
                            patient_column=patient_column, columns=tuple(names(columns) or ()), pattern=pattern,
                            anemia=anemia, quality_table=quality_table, part=part)  # fmt: skip
    result = run_pipeline(src, out, format=format, size=recipe.size, illumination=recipe.illumination,
                          output_format=output_format, min_quality=min_quality, workers=workers, ray=ray,
                          time_limit=time_limit, all_kinds=all_kinds, quiet=quiet, reader_options=options)  # fmt: skip
    show(json, result.summary(), *result.lines())


@preprocess.command()
def describe(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    out: Annotated[Optional[Path], typer.Option(help="The page; default <name>-report.html here.")] = None,
    seed: Seed = 0, workers: Workers = None, quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Write one page about a dataset: what it holds, how it looks, and what in it may mislead."""
    from ..data.dataset import FundusDataset
    from ..preprocess.describe.describe import describe as describe_dataset

    page = out or Path(f"{dataset.resolve().name}-report.html")
    result = describe_dataset(FundusDataset.open(dataset), page, seed=seed, workers=workers, quiet=quiet)
    show(json, result.summary(), *result.lines())


@preprocess.command()
def split(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder; its metadata.csv gets the column split.")],
    ratios: Annotated[Optional[str], typer.Option(help="Shares of train, val and test; default 0.8,0.1,0.1.")] = None,
    target: Annotated[Optional[str], typer.Option(help="What is balanced: label, grade or an expression.")] = None,
    folds: Annotated[Optional[int], typer.Option(min=3, help="Divide into this many folds instead.")] = None,
    fold: Annotated[int, typer.Option(min=0, help="The fold to test on; the next one is val.")] = 0,
    group_copies: Annotated[bool, typer.Option("--group-copies", help="Search for copies and for eyes photographed under "
                                                                      "two patient ids, and keep them together.")] = False,
    seed: Seed = 0, workers: Workers = None, quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Divide a dataset into train, val and test by patient, every class in the same proportions.

    Where no patients are known, copies are searched for and kept together in any case.
    """
    from ..data.dataset import FundusDataset
    from ..data.splits import groups_without_patients, parse_ratios, same_photographs, split_lines
    from ..data.splits import split as split_dataset

    opened = FundusDataset.open(dataset)
    groups = (same_photographs if group_copies else groups_without_patients)(opened, workers, quiet)
    divided = split_dataset(opened, ratios=parse_ratios(ratios) if ratios else None, seed=seed, target=target, folds=folds,
                            fold=fold, groups=groups)  # fmt: skip
    divided.save_table()
    sizes = {str(k): int(n) for k, n in divided.table["split"].value_counts().items()}
    show(json, {"dataset": str(dataset), "images": sizes}, *split_lines(divided))


@preprocess.command()
def audit(
    datasets: Annotated[list[Path], typer.Argument(help="Dataset folders; several are meant to be disjoint.")],
    out: Annotated[Optional[Path], typer.Option(help="Write the findings as CSV.")] = None,
    workers: Workers = None, quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Look for leakage: patients, eyes and copies on two sides of a split or in two sets. Exit code 1 when there is any."""
    from ..data.leakage import audit as audit_datasets
    from ..data.leakage import open_for_audit

    report = audit_datasets([open_for_audit(path) for path in datasets], workers, quiet)
    if out is not None:
        report.write_csv(out)
    show(json, report.summary(), *report.lines())
    raise typer.Exit(0 if report.ok else 1)


@preprocess.command()
def landmarks(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder; its metadata.csv gets the columns.")],
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Find optic disc and fovea, which eye it is, what the picture is centred on, and whether it is upside down."""
    from ..data.dataset import FundusDataset
    from ..preprocess.landmark_columns import landmark_counts, with_landmarks

    found = with_landmarks(FundusDataset.open(dataset), quiet)
    found.save_table()
    summary = landmark_counts(found)
    show(json, {"dataset": str(dataset), **summary}, f"{dataset}: {len(found)} images: {counts(summary)}")


@preprocess.command()
def keep(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    out: Annotated[Path, typer.Argument(help="Dataset folder to make.")],
    disc: Annotated[str, typer.Option(help="visible, or any.")] = "visible",
    centred: Annotated[Optional[str], typer.Option(help="Only pictures centred on: macula, disc or neither.")] = None,
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Keep only the photographs that show the optic disc (study A's filter)."""
    from ..data.dataset import FundusDataset
    from ..preprocess.landmark_columns import keep as keep_images

    opened = FundusDataset.open(dataset)
    kept = keep_images(opened, out, disc=disc, centred=centred, quiet=quiet)
    show(json, {"dataset": str(out), "images": len(kept), "dropped": len(opened) - len(kept)},
         f"{out}: {len(kept)} of {len(opened)} images kept: {counts(kept.class_counts())}")  # fmt: skip


@preprocess.command()
def upright(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    out: Annotated[Path, typer.Argument(help="Dataset folder to make.")],
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Turn back the pictures that are known to be upside down, mirrored or on their side."""
    from ..data.dataset import FundusDataset
    from ..preprocess.upright_dataset import upright_dataset

    result = upright_dataset(FundusDataset.open(dataset), out, quiet=quiet)
    show(json, result.summary(), *result.lines())


@preprocess.command()
def register(
    dataset: Annotated[Path, typer.Argument(help="Dataset folder.")],
    out: Annotated[Path, typer.Argument(help="Dataset folder to make.")],
    size: Annotated[Optional[int], typer.Option(min=32, max=2048, help="Pixels; default that of the images.")] = None,
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Move every eye so that its disc and fovea lie at the same two points, as in a right eye."""
    from ..data.dataset import FundusDataset
    from ..preprocess.register_dataset import register_dataset

    opened = FundusDataset.open(dataset)
    moved = register_dataset(opened, out, size=size, quiet=quiet)
    show(json, {"dataset": str(out), "images": len(moved), "left_out": len(opened) - len(moved)},
         f"{out}: {len(moved)} of {len(opened)} images registered; the others are in ignored.csv")  # fmt: skip
