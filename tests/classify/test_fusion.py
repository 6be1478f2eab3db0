from __future__ import annotations

import numpy as np
import pytest

from fundus_synth.classify.fusion import fit_gate
from fundus_synth.classify.metrics import score
from fundus_synth.classify.patient_folds import patient_folds

_SHARES = np.array([0.5, 0.3, 0.12, 0.08])


def _side(random, patients: int):
    """Two photographs a patient, the same class; unequal classes."""
    true = np.repeat(random.choice(4, patients, p=_SHARES), 2)
    return true, np.repeat(np.arange(patients), 2).astype(str)


def _source(random, true, strengths, a_patient: bool = False) -> np.ndarray:
    """Answers with this strength for each class; `a_patient`: the same for both photographs, as metadata."""
    strengths = np.asarray(strengths, dtype=float)
    seen = random.normal(size=(len(true), 4))
    if a_patient:
        seen[1::2] = seen[::2]
    seen[np.arange(len(true)), true] += strengths[true]
    values = np.exp(strengths * seen - strengths**2 / 2)
    return values / values.sum(axis=1, keepdims=True)


_CASES = {
    "noise metadata": ([1.5] * 4, None),
    "noise images": (None, [1.2] * 4),
    "both good": ([1.3] * 4, [1.2] * 4),
    "complementary": ([2.5, 2.5, 0, 0], [0, 0, 2.5, 2.5]),
    "both noise": (None, None),
}


def _sources(random, true, case: str) -> dict[str, np.ndarray]:
    images, metadata = _CASES[case]
    elsewhere = random.choice(4, len(true), p=_SHARES)  # noise is sure of itself: it answers for other patients
    return {
        "images": _source(random, true if images else elsewhere, images or [1.5] * 4),
        "metadata": _source(random, true if metadata else elsewhere, metadata or [1.5] * 4, a_patient=True),
    }


def _macro_auroc(true, probabilities) -> float:
    return float(score("macro_auroc", true, probabilities))


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize("seed", range(3))
def test_fusion_is_never_much_worse_than_the_better_source(case, seed):
    random = np.random.default_rng([seed, list(_CASES).index(case)])
    true, patients = _side(random, 150)
    gate = fit_gate(_sources(random, true, case), true, patients, seed=seed)
    true, _ = _side(random, 3000)
    sources = _sources(random, true, case)
    better = max(_macro_auroc(true, values) for values in sources.values())
    fused = _macro_auroc(true, gate.apply(sources))
    assert fused > better - 0.02
    if case in ("both good", "complementary"):
        assert gate.open and fused > better + 0.02
    if case == "noise metadata":
        assert gate.shares["images"] > 0.9
    if case == "noise images":
        assert gate.shares["metadata"] > 0.9


def test_a_shut_gate_hands_the_better_source_on_unchanged():
    random = np.random.default_rng(7)
    true, patients = _side(random, 100)
    sources = _sources(random, true, "noise metadata")
    gate = fit_gate(sources, true, patients, seed=0)
    assert not gate.open and gate.shares == {"images": 1.0, "metadata": 0.0}
    np.testing.assert_allclose(gate.apply(sources), sources["images"], atol=1e-6)
    assert "not pooled" in str(gate)


def test_only_named_sources_are_heard_alone():
    random = np.random.default_rng(8)
    true, patients = _side(random, 100)
    gate = fit_gate(_sources(random, true, "noise images"), true, patients, alone=["images"])
    assert set(gate.losses) == {"images", "all"}


def test_the_error_of_the_gain_counts_patients_and_not_photographs():
    random = np.random.default_rng(9)
    true, patients = _side(random, 150)
    sources = _sources(random, true, "both good")
    sources["images"][1::2] = sources["images"][::2]  # the second photograph is a copy: it adds nothing
    gate = fit_gate(sources, true, patients)
    alone = np.arange(0, len(true), 2)
    once = fit_gate({name: values[alone] for name, values in sources.items()}, true[alone], patients[alone])
    assert gate.error == pytest.approx(once.error, rel=0.1)


def test_folds_keep_patients_whole_and_spread_a_rare_class():
    random = np.random.default_rng(0)
    patients = np.repeat(np.arange(100), 2).astype(str)
    true = (random.permutation(np.repeat(np.arange(100) < 10, 2).reshape(100, 2)).ravel()).astype(int)
    folds = patient_folds(patients, true, folds=5, seed=3)
    assert all(len(set(folds[patients == name])) == 1 for name in set(patients))
    assert np.bincount(folds[true == 1]).tolist() == [4] * 5 and np.bincount(folds).tolist() == [40] * 5
    assert (folds != patient_folds(patients, true, folds=5, seed=4)).any()
    assert len(set(patient_folds(np.array(["a", "b"]), np.array([0, 1])))) == 2
