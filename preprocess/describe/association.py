"""How strongly a property of the images goes with their class: Cramer's V with an interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

_FEWEST = 5  # a class or category with fewer rows says nothing of its own
_BINS = 5


@dataclass(frozen=True)
class Association:
    """Cramer's V (0 = unrelated, 1 = one tells the other), the ends of its 95 % interval, and the rows behind it."""

    v: float
    low: float
    high: float
    rows: int

    @property
    def strong(self) -> bool:
        """V of 0.3 or more (Cohen's "medium" for two classes), and surely above 0.1 ("small")."""
        return self.v >= 0.3 and self.low >= 0.1


def cramers_v(counts: np.ndarray, level: float = 0.95) -> Association:
    """Cramer's V of a contingency table, less what chance adds.

    With k = min(rows, columns) - 1, V = sqrt(max(0, chi2 - df) / (n k)): chi-square less its expectation under
    independence (as in Bergsma 2013, "A bias-correction for Cramer's V"). The interval inverts the noncentral
    chi-square distribution (Smithson 2003, "Confidence intervals", section 4.2); where it begins at 0, independence is
    not refuted.

    Args:
        counts: non-negative (r, c) with r, c >= 2 and no empty row or column; the rows counted must be independent.
    """
    counts = np.asarray(counts, dtype=float)
    n = counts.sum()
    expected = counts.sum(1, keepdims=True) * counts.sum(0, keepdims=True) / n
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    df = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    scale = n * (min(counts.shape) - 1)
    ends = [_noncentrality(chi2, df, p) for p in ((1 + level) / 2, (1 - level) / 2)]
    v, low, high = (float(np.sqrt(min(max(x, 0) / scale, 1))) for x in (chi2 - df, *ends))
    return Association(v, low, high, int(n))


def associate(classes: pd.Series, factor: pd.Series) -> Association | None:
    """Cramer's V of two columns of equal index; missing values ("" or NaN) are left out, numbers cut at their quintiles.

    Classes and categories of fewer than 5 rows are left out, or put together as one category where that makes 5.

    Returns:
        None when fewer than two classes or two categories remain.
    """
    if factor.dtype.kind == "f" and factor.nunique() > 1:
        factor = pd.qcut(factor, _BINS, duplicates="drop").astype(str).where(factor.notna(), "")
    known = factor.notna() & (factor != "") & (classes != "")
    factor, classes = factor[known], classes[known]
    known = classes.map(classes.value_counts()) >= _FEWEST
    factor, classes = factor[known], classes[known]
    rare = factor.map(factor.value_counts()) < _FEWEST
    if rare.any():
        factor = factor.where(~rare, "(rare)")
        keep = factor.map(factor.value_counts()) >= _FEWEST
        factor, classes = factor[keep], classes[keep]
    counts = pd.crosstab(factor, classes).to_numpy()
    return cramers_v(counts) if min(counts.shape) >= 2 else None


def _noncentrality(chi2: float, df: int, probability: float) -> float:
    """The noncentrality at which a chi-square of `df` is at most `chi2` with `probability`; 0 when there is none."""
    from scipy.optimize import brentq
    from scipy.stats import chi2 as central
    from scipy.stats import ncx2

    if central.cdf(chi2, df) <= probability:
        return 0.0
    top = chi2 + 10 * np.sqrt(chi2) + 50
    return float(brentq(lambda nc: ncx2.cdf(chi2, df, nc) - probability, 1e-9, top))
