"""How far apart two sets of images lie in a feature space: KID, Frechet distance, precision, recall, density, coverage.

Everything here takes features, float (n, d), one row an image, as NumPy arrays or PyTorch tensors on the CPU, and is
stateless. Products are taken in the precision of the features, sums in float64. No (n, n) matrix is kept: memory is a
block of 1024 rows. Intervals are in `distance_intervals`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..runtime.errors import UserError

if TYPE_CHECKING:
    import torch

    Features = np.ndarray | torch.Tensor

_BLOCK = 1024


class PrecisionRecall(NamedTuple):
    """Both 0..1: the share of generated images that look real, and of real images that could have been generated."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """`density` 0 or more, about 1 for real images; `coverage` 0..1."""

    density: float
    coverage: float


class Neighborhoods(NamedTuple):
    """`balls` of real images that each generated one lies in, int (m,); `covered`, bool (n,): whether the ball of each real
    image holds a generated one; `recalled`, bool (n,): whether each real image lies in the ball of a generated one."""

    balls: np.ndarray
    covered: np.ndarray
    recalled: np.ndarray


def kid(x: Features, y: Features, x_groups: Sequence | None = None, y_groups: Sequence | None = None) -> float:
    """Kernel inception distance (Binkowski et al. 2018, arXiv:1801.01401) of whole sets: the unbiased squared maximum
    mean discrepancy

        sum_{i != j} k(x_i, x_j) / (n (n - 1)) + sum_{i != j} k(y_i, y_j) / (m (m - 1)) - 2 mean k(x_i, y_j),
        k(a, b) = (a . b / d + 1)^3.

    Unbiased means that its expectation is 0 for sets from one distribution, however small they are, so it may be negative.

    Args:
        x, y: float (n, d) and (m, d).
        x_groups, y_groups: the patient of each row. Pairs of one patient are then left out of the first two sums: the
            formula asks for independent images, and the two eyes of a patient are not.

    Raises:
        UserError: fewer than two rows (or patients) in a set, another d, or values that are not finite.
    """
    x, y = checked(x, y)
    x_codes, y_codes = group_codes(x, x_groups), group_codes(y, y_groups)
    ones_x, ones_y = np.ones((1, x_codes.max() + 1)), np.ones((1, y_codes.max() + 1))
    within = mean_within(x, x_codes, ones_x) + mean_within(y, y_codes, ones_y)
    return float((within - 2 * mean_across(x, x_codes, ones_x, y, y_codes, ones_y))[0])


def mean_within(x: np.ndarray, groups: np.ndarray, weights: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Weighted mean of k(x_i, x_j) - shift over all pairs of rows of different groups, for many weightings at once.

    Args:
        x: float (n, d).
        groups: int (n,), 0..p - 1.
        weights: float (r, p), of each group; the sums are in its precision.

    Returns:
        float64 (r,); nan where a weighting leaves fewer than two groups.
    """
    order = np.argsort(groups, kind="stable")
    x, sizes = x[order], np.bincount(groups)
    total, first = np.zeros(len(weights)), 0
    for rows, parts in _group_blocks(sizes):
        sums = _group_sums(_kernel(x[rows], x, shift), sizes[parts], sizes).astype(weights.dtype, copy=False)
        sums[np.arange(len(sums)), first + np.arange(len(sums))] = 0
        first += len(sums)
        total += np.einsum("rp,rp->r", weights[:, parts], weights @ sums.T)
    exact = weights.astype(np.float64)
    pairs = (exact @ sizes) ** 2 - exact**2 @ sizes.astype(np.float64) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, total / pairs, np.nan)


def mean_across(
    x: np.ndarray, x_groups: np.ndarray, x_weights: np.ndarray, y: np.ndarray, y_groups: np.ndarray, y_weights: np.ndarray,
    shift: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Weighted mean of k(x_i, y_j) - shift over all pairs of a row of x and one of y; otherwise as `mean_within`."""
    x, y = (v[np.argsort(groups, kind="stable")] for v, groups in ((x, x_groups), (y, y_groups)))
    x_sizes, y_sizes = np.bincount(x_groups), np.bincount(y_groups)
    total = np.zeros(len(x_weights))
    for rows, parts in _group_blocks(x_sizes):
        sums = _group_sums(_kernel(x[rows], y, shift), x_sizes[parts], y_sizes).astype(y_weights.dtype, copy=False)
        total += np.einsum("rp,rp->r", x_weights[:, parts], y_weights @ sums.T)
    return total / ((x_weights.astype(np.float64) @ x_sizes) * (y_weights.astype(np.float64) @ y_sizes))


def frechet_distance(x: Features, y: Features) -> float:
    """Frechet distance of the two normal distributions with the sets' means and covariances (Heusel et al. 2017,
    arXiv:1706.08500):

        |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)).

    With C = R^T R, where R is the triangular factor of the centred features over sqrt(n - 1), the last trace is the sum
    of the singular values of R_x R_y^T. So no root of an almost singular matrix is taken, and fewer rows than columns
    are fine. The distance is biased upwards, the more the fewer rows: compare only sets of equal size.

    Raises:
        UserError: see `kid`.
    """
    x, y = checked(x, y)
    return frechet_of(moments(x), moments(y))


def moments(x: np.ndarray, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean, float64 (d,), and a factor R of the covariance R^T R, float64 (min(n, d), d); `weights` are how often each
    row was drawn."""
    if weights is not None:
        x, weights = x[weights > 0], weights[weights > 0].astype(np.float64)
    x = x.astype(np.float64, copy=False)
    count = len(x) if weights is None else weights.sum()
    mean = np.average(x, axis=0, weights=weights)
    centred = (x - mean) if weights is None else (x - mean) * np.sqrt(weights)[:, None]
    return mean, np.linalg.qr(centred, mode="r") / np.sqrt(count - 1)


def frechet_of(one: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> float:
    """`frechet_distance` from the `moments` of both sets."""
    (mean_x, root_x), (mean_y, root_y) = one, other
    shared = np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum()
    distance = np.square(mean_x - mean_y).sum() + np.square(root_x).sum() + np.square(root_y).sum() - 2 * shared
    return float(max(distance, 0.0))


def precision_recall(real: Features, generated: Features, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (Kynkaanniemi et al. 2019, arXiv:1904.06991).

    Precision is the share of generated images within the ball of any real image, whose radius is the distance to its
    k-th nearest real neighbour; recall the share of real images within the ball of any generated one.

    Raises:
        UserError: see `kid`; or a set has no more than k rows.
    """
    found = neighborhoods(*checked(real, generated, k + 1), k)
    return PrecisionRecall(float((found.balls > 0).mean()), float(found.recalled.mean()))


def density_coverage(real: Features, generated: Features, k: int = 5) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020, arXiv:2002.09797), which one outlier cannot lift.

    Density is the mean number of real images' balls (see `precision_recall`) that a generated image lies in, over k;
    coverage the share of real images whose ball holds a generated one.

    Raises:
        UserError: see `precision_recall`.
    """
    found = neighborhoods(*checked(real, generated, k + 1), k)
    return DensityCoverage(float(found.balls.mean() / k), float(found.covered.mean()))


def neighborhoods(real: np.ndarray, generated: np.ndarray, k: int) -> Neighborhoods:
    """What `precision_recall` and `density_coverage` count."""
    real_radii, generated_radii = ball_radii(real, k), ball_radii(generated, k)
    balls, covered, recalled = np.zeros(len(generated), int), [], []
    for rows in _blocks(len(real)):
        distances = squared_distances(real[rows], generated)
        inside = distances <= real_radii[rows, None]
        balls += inside.sum(axis=0)
        covered.append(inside.any(axis=1))
        recalled.append((distances <= generated_radii).any(axis=1))
    return Neighborhoods(balls, np.concatenate(covered), np.concatenate(recalled))


def ball_radii(x: np.ndarray, k: int) -> np.ndarray:
    """Squared distance of each row to its k-th nearest other row, float64 (n,)."""
    # The row itself is its own nearest neighbour, hence k and not k - 1.
    parts = (squared_distances(x[rows], x) for rows in _blocks(len(x)))
    return np.concatenate([np.partition(part, k, axis=1)[:, k] for part in parts])


def diversity(generated: Features, real: Features) -> float:
    """Mean distance of two generated images over that of two real ones: about 1 when they are as varied, 0 when all
    generated images are one.

    Raises:
        UserError: see `kid`; or all real images are the same.
    """
    generated, real = checked(generated, real)
    spread = mean_distance(real)
    if spread == 0:
        raise UserError("all real images have the same features, so diversity cannot be measured against them")
    return mean_distance(generated) / spread


def mean_distance(x: np.ndarray) -> float:
    """Mean Euclidean distance of two different rows."""
    total = sum(float(np.sqrt(squared_distances(x[rows], x)).sum()) for rows in _blocks(len(x)))
    return total / (len(x) * (len(x) - 1))


def squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """float64 (n, m); what is 0 but for rounding is 0."""
    x, y = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
    lengths = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)[None, :]
    squared = lengths - 2 * (x @ y.T)
    squared[squared < 1e-12 * lengths] = 0
    return squared


def checked(x: Features, y: Features, rows: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Both as floating-point arrays.

    Raises:
        UserError: fewer than `rows` rows in one of them, not (n, d) of one d, or values that are not finite.
    """
    arrays = [np.asarray(v) for v in (x, y)]
    arrays = [v if v.dtype in (np.float32, np.float64) else v.astype(np.float64) for v in arrays]
    if any(v.ndim != 2 for v in arrays) or arrays[0].shape[1] != arrays[1].shape[1]:
        shapes = " and ".join(str(v.shape) for v in arrays)
        raise UserError(f"features have the shapes {shapes}; expected (n, d) and (m, d)")
    if min(map(len, arrays)) < rows:
        raise UserError(f"sets of {len(arrays[0])} and {len(arrays[1])} images; expected at least {rows} in each")
    if not all(np.isfinite(v).all() for v in arrays):
        raise UserError("features hold values that are not finite")
    return arrays[0], arrays[1]


def group_codes(x: np.ndarray, groups: Sequence | None) -> np.ndarray:
    """Number of each row's group, int (n,), 0..p - 1; each row is its own where `groups` is None.

    Raises:
        UserError: another number of groups than rows, or fewer than two groups.
    """
    if groups is None:
        return np.arange(len(x))
    if len(groups) != len(x):
        raise UserError(f"{len(groups)} groups were given for {len(x)} images")
    names, codes = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 2:
        raise UserError("all images are of one patient; expected at least two patients")
    return codes


def _kernel(x: np.ndarray, y: np.ndarray, shift: float) -> np.ndarray:
    """(x . y / d + 1)^3 - shift, float (n, m), in the precision of the features."""
    base = x @ y.T
    base /= x.shape[1]
    base += 1
    cube = base * base
    cube *= base
    cube -= base.dtype.type(shift)
    return cube


def _group_sums(values: np.ndarray, row_sizes: np.ndarray, column_sizes: np.ndarray) -> np.ndarray:
    """Sums over groups of neighbouring rows and columns, in float64 where there is anything to add."""
    for axis, sizes in enumerate((row_sizes, column_sizes)):
        if (sizes > 1).any():
            starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
            values = np.add.reduceat(values, starts, axis=axis, dtype=np.float64)
    return values


def _group_blocks(sizes: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Rows and groups of blocks of about `_BLOCK` rows that do not divide a group."""
    ends = np.cumsum(sizes)
    row = group = 0
    while group < len(sizes):
        last = max(int(np.searchsorted(ends, row + _BLOCK, side="right")), group + 1)
        yield slice(row, int(ends[last - 1])), slice(group, last)
        row, group = int(ends[last - 1]), last


def _blocks(n: int) -> Iterator[slice]:
    return (slice(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))
