"""fundus-classify, from a checkpoint to the phone: model files, predictions without torch, decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from .classify import classify
from .common import Data, Device, Json, Out, Quiet, Resume, Seed, dataset_or_phantoms, names
from .model_file import predict_with_file
from .show import HEMOGLOBIN_NOTE, show

# Typer evaluates annotations at run time and wants Optional[...] in them.
# ruff: noqa: UP007, UP045

Runtime = Annotated[
    Optional[str], typer.Option(help="For a page: folder that holds onnxruntime-web, or npm to have npm download it.")
]


@classify.command("export")
def classify_export(
    run: Annotated[Path, typer.Argument(help="Run of fundus-classify train; with --web also a model file (*.onnx).")],
    out: Annotated[Optional[Path], typer.Argument(help="The model file to write, *.onnx.", show_default=False)] = None,
    web: Annotated[Optional[Path], typer.Option(help="Write a page here that reads photographs on the phone itself.")] = None,
    runtime: Runtime = None,
    int8: Annotated[bool, typer.Option("--int8", help="8 bits; weights alone, or fp16, where that costs too much.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Store weights in half precision.")] = False,
    data: Annotated[Optional[Path], typer.Option(help="What it was trained on; by default what its config.yaml names.")] = None,
    device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Write a classifier as one ONNX file that answers without torch."""
    from ..classify.checkpoint import load_classifier
    from ..classify.deploy.export import export
    from ..classify.deploy.web_page import refuse_page, write_page
    from ..classify.deploy.web_runtime import runtime_files
    from ..runtime.errors import UserError

    if int8 and fp16:
        raise UserError("both --int8 and --fp16 were given", hint="Give one.")
    precision = "int8" if int8 else "fp16" if fp16 else "fp32"
    only_page = web is not None and run.suffix.lower() == ".onnx"
    if only_page != (out is None):
        hint = "Give a run and the model file to write: RUN OUT.onnx; or a model file alone and --web FOLDER."
        raise UserError("export was given too much or too little", hint=hint)
    parts = {}
    if web is not None:  # before the long work
        if not only_page:
            refuse_page(web, load_classifier(run)[1].illumination, run)
        parts = runtime_files(runtime)
    made = [] if only_page else [export(run, out, precision=precision, data=data, device=device, quiet=quiet)]
    made += [] if web is None else [write_page(out or run, web, parts)]
    facts = {name: value for part in made for name, value in part.summary().items()}
    show(json, facts, *(line for part in made for line in part.lines()))


@classify.command("predict")
def classify_predict(
    model: Annotated[Path, typer.Argument(help="Model file of fundus-classify export (*.onnx), or run of train.")],
    files: Annotated[list[Path], typer.Argument(help="Camera files, or folders of them.")],
    out: Annotated[Optional[Path], typer.Option(help="Write the table as CSV.")] = None,
    overlays: Annotated[Optional[Path], typer.Option(help="Model file only: write pictures of where it looked here.")] = None,
    tta: Annotated[bool, typer.Option("--tta", help="Run only: average each image and its mirror image.")] = False,
    device: Annotated[str, typer.Option(help="Run only: auto, cpu, cuda, cuda:1, mps.")] = "auto",
    quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """Say what a classifier sees in camera files; a model file also says when not to trust it."""
    from ..runtime.errors import UserError

    if model.suffix.lower() == ".onnx":
        if tta or device != "auto":
            raise UserError("--tta and --device are for runs, not for model files", path=model, hint="Leave them out.")
        predict_with_file(model, files, out=out, overlays=overlays, quiet=quiet, as_json=json)
        return
    if overlays is not None:
        raise UserError("--overlays is for model files", path=model, hint="Make one: fundus-classify export.")
    from ..classify.predictions import predict
    from ..runtime.files import refuse_folder, write_text

    if out is not None:
        refuse_folder(out)
    table = predict(model, files, device=device, quiet=quiet, tta=tta)
    if out is not None:
        write_text(out, table.to_csv(index=False))
    notes = [HEMOGLOBIN_NOTE] if "hemoglobin_g_dl" in table else []
    show(json, table.to_dict("records"), table.to_string(index=False), *notes)


@classify.command("stress")
def classify_stress(
    run: Annotated[Path, typer.Argument(help="Run of fundus-classify train.")],
    data: Data = None,
    kinds: Annotated[Optional[str], typer.Option(help="Only these, e.g. glare,blur,fgsm; all by default.")] = None,
    severities: Annotated[str, typer.Option(help="Of 1 to 5.")] = "1,2,3,4,5",
    count: Annotated[int, typer.Option(min=1, help="At most so many images, of unseen patients drawn at random.")] = 400,
    seed: Seed = 0, out: Out = None, resume: Resume = False, device: Device = "auto", quiet: Quiet = False, json: Json = False,
) -> None:  # fmt: skip
    """What a classifier loses when the photograph is bad: blur, glare, darkness and more at five severities, and attacks."""
    from ..classify.deploy.stress import stress
    from ..runtime.errors import UserError

    steps = [int(part) for part in names(severities) if part in tuple("12345")]
    if len(steps) < max(1, len(names(severities))):
        raise UserError(f"--severities is {severities!r}, expected some of 1 to 5 with commas between")
    result = stress(run, dataset_or_phantoms(data, quiet), kinds=names(kinds), severities=steps, count=count, seed=seed,
                    out=out, resume=resume, device=device, quiet=quiet)  # fmt: skip
    show(json, result.summary(), *result.lines())


@classify.command("card")
def classify_card(
    run: Annotated[Path, typer.Argument(help="Run of fundus-classify train.")],
    out: Annotated[Optional[Path], typer.Option(help="Where, without a suffix; default RUN/model-card.")] = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Write a model card: data, figures with intervals, subgroups, limits, and what reporting guidelines ask for."""
    from ..classify.deploy.model_card import write_model_card

    pages = write_model_card(run, out or run / "model-card")
    show(json, {"card": [str(page) for page in pages]}, *(f"card: {page}" for page in pages))


@classify.command("serve")
def classify_serve(
    page: Annotated[Path, typer.Argument(help="Page of fundus-classify export --web, or a model file (*.onnx).")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8765,
    runtime: Runtime = None,
) -> None:  # fmt: skip
    """Show a page that reads photographs, on this machine alone, until Ctrl-C."""
    from ..classify.deploy.serve import serve

    serve(page, port, runtime, typer.echo)
