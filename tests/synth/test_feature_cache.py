import os

import numpy as np
import pytest

from fundus_synth.runtime.errors import UserError
from fundus_synth.synth import feature_cache
from fundus_synth.synth.feature_cache import cache_file, cached_features
from fundus_synth.synth.features.retina import RetinaSpace


class Counting:
    """Means of the channels; remembers how many images it was asked for."""

    size, dimensions, feature_names, standardized, in_processes = 64, 3, None, False, False

    def __init__(self, name="counting", version="1"):
        self.name, self.version, self.asked = name, version, 0

    def features(self, images):
        self.asked += len(images)
        return images.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUNDUS_CACHE", str(tmp_path / "cache"))


def pictures(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 64, 64, 3), dtype=np.uint8)


def test_an_image_is_measured_once_wherever_it_comes_from():
    images, space = pictures(150), Counting()
    expected = Counting().features(images)
    assert np.array_equal(cached_features(space, images), expected) and space.asked == 150
    mixed = np.concatenate([images[:40][::-1], pictures(5, seed=1), images[:1], pictures(5, seed=1)])
    again = Counting()
    assert np.array_equal(cached_features(again, mixed), Counting().features(mixed)) and again.asked == 5
    assert cached_features(again, mixed).dtype == np.float32 and again.asked == 5


@pytest.mark.parametrize("place", [(0, 0, 0), (31, 30, 1), (63, 63, 2)])
def test_one_pixel_makes_another_image(place):
    images = pictures(2)
    cached_features(Counting(), images)
    images[1][place] ^= 1
    space = Counting()
    assert np.array_equal(cached_features(space, images), Counting().features(images)) and space.asked == 1


def test_spaces_and_versions_do_not_share():
    cached_features(Counting(), pictures(3))
    for other in (Counting("other"), Counting(version="2")):
        cached_features(other, pictures(3))
        assert other.asked == 3
    assert len(list(cache_file(Counting()).parent.iterdir())) == 3


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[: len(content) // 2],
                                    lambda content: os.urandom(200)])  # fmt: skip
def test_a_damaged_file_is_made_anew(damage):
    path = cache_file(Counting())
    cached_features(Counting(), pictures(3))
    path.write_bytes(damage(path.read_bytes()))
    space = Counting()
    assert np.array_equal(cached_features(space, pictures(3)), Counting().features(pictures(3)))
    assert space.asked == 3
    cached_features(space, pictures(3))
    assert space.asked == 3


def test_what_another_process_wrote_meanwhile_is_kept():
    class Slow(Counting):
        def features(self, images):
            cached_features(Counting("same"), pictures(4, seed=9))
            return super().features(images)

    cached_features(Slow("same"), pictures(4))
    space = Counting("same")
    cached_features(space, np.concatenate([pictures(4), pictures(4, seed=9)]))
    assert space.asked == 0


def test_the_oldest_images_go_first(monkeypatch):
    monkeypatch.setattr(feature_cache, "MOST_IMAGES", 6)
    cached_features(Counting(), pictures(4))
    cached_features(Counting(), pictures(4, seed=1))
    space = Counting()
    cached_features(space, np.concatenate([pictures(4)[2:], pictures(4, seed=1)]))
    assert space.asked == 0
    cached_features(space, pictures(4)[:2])
    assert space.asked == 2


def test_bad_images_are_refused_and_nothing_is_stored():
    with pytest.raises(UserError, match="expected at least 64"):
        cached_features(Counting(), np.zeros((3, 32, 32, 3), np.uint8))
    assert not cache_file(Counting()).exists()
    assert cached_features(Counting(), pictures(0)).shape == (0, 3)


@pytest.mark.slow
def test_processes_measure_what_this_process_does():
    images = np.kron(pictures(520)[:, ::16, ::16], np.ones((1, 16, 16, 1), np.uint8))
    shared, alone = cached_features(RetinaSpace(), images, workers=2), RetinaSpace().features(images[:70])
    assert np.array_equal(shared[:70], alone)
