"""The real eyes by which a generator's images may be judged: of patients that it has never seen."""

from __future__ import annotations

import numpy as np

from ...data.dataset import FundusDataset
from ...data.schema import patient_hash
from ...runtime.errors import UserError, counts


def unseen_eyes(real: FundusDataset, synthetic: FundusDataset) -> tuple[FundusDataset, list[str]]:
    """The images of `real` that `synthetic` is to be judged by, and what was chosen, one line each.

    Those of the val and test split (all, where there is none), of the classes of `synthetic`, without the patients and image
    files that its dataset.json says the generator was trained on.

    Raises:
        UserError: none is left.
    """
    held_out = real.column("split").isin(("val", "test")).to_numpy()
    chosen = real.subset(held_out) if held_out.any() else real
    notes = [
        "held-out patients: the val and test split" if held_out.any() else "the real eyes have no split; all are used"
    ]
    chosen, said = _of_the_same_classes(chosen, synthetic)
    notes += said
    known = {
        *map(str, synthetic.info.get("trained_on_patients", ())),
        *map(str, synthetic.info.get("trained_on_images", ())),
    }
    if not known:
        notes.append(
            "the synthetic set does not say on which patients its generator was trained: some may be among the real eyes"
        )
        return chosen, notes
    pairs = zip(chosen.patient_keys, chosen.image_digests, strict=True)
    unseen = np.array([patient_hash(key) not in known and digest not in known for key, digest in pairs], dtype=bool)
    if not unseen.any():
        raise UserError(
            f"all its {len(chosen)} images of these classes show patients that the generator was trained on",
            path=real.path,
            hint="Give real eyes that were held out, such as the val and test split of the training set.",
        )
    notes.append(
        f"{int((~unseen).sum())} of {len(chosen)} real images left out: the generator was trained on their patients"
    )
    return chosen.subset(unseen), notes


def _of_the_same_classes(real: FundusDataset, synthetic: FundusDataset) -> tuple[FundusDataset, list[str]]:
    """A synthetic set without any label is judged by eyes of all classes."""
    classes = synthetic.class_counts()
    if not classes:
        return real, ["the synthetic set has no labels: it is judged by real eyes of every class"]
    chosen = real.subset(real.column("label").isin(classes).to_numpy())
    if not len(chosen):
        raise UserError(
            f"has no held-out image of {counts(classes)}; its classes are {counts(real.class_counts())}", path=real.path
        )
    notes = []
    if (missing := classes.keys() - chosen.class_counts().keys()) and missing:
        notes.append(f"no real eyes of {', '.join(sorted(missing))}: these classes cannot be judged")
    if len(chosen) < len(real):
        notes.append(f"{len(real) - len(chosen)} real images are of other classes, of several or of none")
    return chosen, notes
