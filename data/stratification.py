"""Sharing out whole patients so that every class, and every camera within it, keeps its proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .schema import ODIR_CODES

# What all images together, and a class on one camera, weigh against a class.
_MINOR_WEIGHT = 0.1
# A class that is missing from a part costs more than any deviation from proportions can.
_ABSENCE = 1e9


def strata(table: pd.DataFrame, labels: Sequence[str] | np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """What is to be balanced: which image belongs to which stratum.

    The first column holds all images; then come the classes (see `splits.split_by_patient`) and, with two cameras or
    more, each class on each camera.

    Returns:
        0 or 1 for each image and stratum, float64 (images, strata); and the weight of each stratum, float64 (strata,).
    """
    classes = _classes(table, labels)
    parts = [np.ones((len(table), 1)), classes]
    camera = table["camera"].astype(str) if "camera" in table else pd.Series("", index=table.index)
    by_camera = pd.get_dummies(camera).to_numpy(float)
    if by_camera.shape[1] > 1:
        parts.append((classes[:, :, None] * by_camera[:, None, :]).reshape(len(table), -1))
    membership = np.concatenate(parts, axis=1)
    weight = np.full(membership.shape[1], _MINOR_WEIGHT)
    weight[1 : 1 + classes.shape[1]] = 1
    there = membership.any(0)
    return membership[:, there], weight[there]


def _classes(table: pd.DataFrame, labels: Sequence[str] | np.ndarray | None) -> np.ndarray:
    if labels is not None:
        return pd.get_dummies(np.asarray(labels, dtype=str)).to_numpy(float)
    text = table["label"].astype(str) if "label" in table else pd.Series("", index=table.index)
    if "grade" in table:
        text = text.where(text != "", table["grade"].astype(str))
    if not set(ODIR_CODES) <= set(table.columns):
        return pd.get_dummies(text).to_numpy(float)
    codes = table[list(ODIR_CODES)].apply(pd.to_numeric, errors="coerce").to_numpy(float) == 1
    single = pd.get_dummies(text).to_numpy(float) * ~codes.any(1, keepdims=True)
    return np.concatenate([codes.astype(float), single], axis=1)


def place(holdings: np.ndarray, weight: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give every patient a part so that the parts hold their shares of every stratum.

    Patients are placed one after another, those with the rarest strata first and in random order among equals, each into
    the part that lacks the largest fraction of its share of what that patient holds: the iterative stratification of
    Sechidis et al. 2011 ("On the stratification of multi-label data"), applied to whole patients. Then single patients
    move as long as that lowers the sum over strata of weight / size * (images - expected)^2. A class with a patient for
    every part comes before proportions: no part stays without it where a move can help.

    Args:
        holdings: images of each patient in each stratum, (patients, strata); column 0 holds all of the patient's images.
        weight: of each stratum; the classes weigh 1, the others less.
        shares: of each part, summing to 1; a part of share 0 stays empty.
        rng: order among equals and choice among equally good parts.

    Returns:
        Part of each patient, int (patients,).
    """
    required = (weight == 1) & (np.count_nonzero(holdings, axis=0) >= np.count_nonzero(shares))
    required[0] = True  # no part stays empty
    weight = weight / holdings.sum(0)
    side = _greedy(holdings, weight, shares, rng)
    _refine(side, holdings, weight, shares, required)
    return side


def _greedy(holdings: np.ndarray, weight: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    missing = shares[:, None] * holdings.sum(0)
    # Counted in fractions of a part's share, else the largest part takes every rare stratum first.
    scale = weight / np.where(shares > 0, shares, 1)[:, None]
    side = np.empty(len(holdings), dtype=int)
    rarity = np.round(((holdings > 0) * weight).max(1), 12)
    order = np.lexsort((rng.random(len(holdings)), -holdings[:, 0], -rarity))
    for patient in order:
        need = (missing * scale * (holdings[patient] > 0)).sum(1)
        need[shares == 0] = -np.inf
        best = np.flatnonzero(np.isclose(need, need.max()))
        side[patient] = rng.choice(best) if len(best) > 1 else best[0]
        missing[side[patient]] -= holdings[patient]
    return side


def _refine(
    side: np.ndarray, holdings: np.ndarray, weight: np.ndarray, shares: np.ndarray, required: np.ndarray
) -> None:
    """Move the patient that helps most, in place, until none helps."""
    here = np.arange(len(side))
    is_open = shares > 0
    present = (holdings[:, required] > 0).astype(float)
    own_cost = (holdings**2) @ weight
    while True:
        one_hot = np.eye(len(shares))[side]
        excess = one_hot.T @ holdings - shares[:, None] * holdings.sum(0)
        # Leaving a part and entering another changes the sum of squares by 2 h (excess there - excess here) + 2 h^2.
        pull = 2 * holdings @ (excess * weight).T
        change = pull - pull[here, side][:, None] + 2 * own_cost[:, None]
        # A class that appears in a part, less one that disappears, outweighs any sum of squares.
        patients = one_hot.T @ present
        gained, lost = present @ (patients == 0).T, (present @ (patients == 1).T)[here, side]
        change -= (gained - lost[:, None]) * _ABSENCE
        change[here, side] = 0
        change[:, ~is_open] = np.inf
        patient, part = np.unravel_index(np.argmin(change), change.shape)
        if change[patient, part] > -1e-9:
            return
        side[patient] = part
