import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fundus_synth.runtime.errors import UserError
from fundus_synth.synth.distances import kid
from fundus_synth.synth.feature_spaces import comparable, feature_space, held_out_score
from fundus_synth.synth.features.base import resized
from fundus_synth.synth.features.networks import NetworkSpace

MODEL = "mobilenetv2_035"


def pictures(n: int, side: int = 64, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(side // 8, axis=1).repeat(side // 8, axis=2)


class Colors:
    """A space so simple that its numbers can be checked: mean red, green and blue; standardised like `retina`."""

    name, version, size, dimensions, feature_names = "colors", "1", 64, 3, ("r", "g", "b")
    standardized, in_processes = True, False

    def features(self, images):
        return images.mean(axis=(1, 2)).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    import timm

    torch.manual_seed(0)
    network = timm.create_model(MODEL, num_classes=7)
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(network.state_dict(), path, {"timm": MODEL, "mean": "0.5", "std": "0.25"})
    return path, network.eval()


def test_a_timm_space_is_the_network_without_its_head(weights):
    path, network = weights
    space = feature_space(f"timm:{MODEL}", path)
    assert (space.name, space.size, space.dimensions, space.standardized) == (f"timm:{MODEL}", 224, 1280, False)
    images = pictures(3, 224)
    with torch.inference_mode():
        batch = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
        expected = network.forward_head(network.forward_features(batch), pre_logits=True)
    assert space.features(images) == pytest.approx(expected.numpy(), abs=1e-4)


def test_an_image_s_features_do_not_depend_on_the_images_beside_it(weights):
    space, images = feature_space(f"timm:{MODEL}", weights[0]), pictures(18, 224)
    together = space.features(images)
    assert together.dtype == np.float32
    assert np.array_equal(space.features(images[16:17]), together[16:17])
    assert np.array_equal(space.features(images[::-1])[::-1], together)
    assert space.features(images[:0]).shape == (0, 1280)


def test_other_weights_make_another_version(weights, tmp_path):
    import timm

    other = tmp_path / "other.safetensors"
    save_file(timm.create_model(MODEL).state_dict(), other)
    versions = {feature_space(f"timm:{MODEL}", path).version for path in (weights[0], weights[0], other)}
    assert len(versions) == 2


@pytest.mark.parametrize("name", ["mobilenetv2_035", "mobilenetv2_100"])
def test_imagenet_weights_load_and_know_eyes(real_data, name):
    space = feature_space(f"timm:{name}", real_data / "weights" / f"{name}.imagenet.safetensors")
    assert space.dimensions == 1280
    found = space.features(pictures(4))
    assert np.isfinite(found).all() and found.std(axis=0).max() > 0


@pytest.mark.slow
def test_dinov2_takes_224_pixels_with_weights_for_518(tmp_path):
    import timm

    path = tmp_path / "dino.safetensors"
    save_file(timm.create_model("vit_small_patch14_dinov2", num_classes=0).state_dict(), path)
    space = feature_space("dinov2", path)
    assert (space.name, space.size, space.dimensions) == ("dinov2", 224, 384)


@pytest.mark.slow
def test_inception_takes_a_file_of_tensors_and_never_unpickles(tmp_path, monkeypatch):
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    # The network with fresh weights stands in for the file, which is 90 MB and not ours to keep.
    with monkeypatch.context() as patch:
        patch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr(extractor, "load_state_dict_from_url", lambda *_, **__: {})
        fresh = extractor.FeatureExtractorInceptionV3("inception", ["2048"])
    path = tmp_path / "inception.pth"
    torch.save({name: value.clone() for name, value in torch.nn.Module.state_dict(fresh).items()}, path)
    space = feature_space("inception", path)
    assert (space.size, space.dimensions) == (299, 2048)
    with torch.inference_mode():
        expected = fresh.eval()(torch.from_numpy(pictures(1, 64)).permute(0, 3, 1, 2).new_zeros((1, 3, 299, 299)))[0]
    assert space.features(np.zeros((1, 299, 299, 3), np.uint8)) == pytest.approx(expected.numpy(), abs=1e-4)
    torch.save(_Bomb(), path)
    with pytest.raises(UserError, match="tensors only"):
        feature_space("inception", path)


class _Bomb:
    def __reduce__(self):
        return pytest.fail, ("a file was unpickled",)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("fid", "no feature space is called 'fid'; expected one of retina, timm:NAME, dinov2, inception"),
        ("timm:resnot18", "timm has no model 'resnot18'. Perhaps resnet18"),
        ("timm:resnet18", "timm:resnet18 needs a file of weights. Name it with --feature-weights"),
        ("dinov2", "dinov2 needs a file of weights"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(spec, told):
    with pytest.raises(UserError, match=told):
        feature_space(spec)


def test_inception_without_its_file_is_one_line(tmp_path, monkeypatch):
    pytest.importorskip("torch_fidelity")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match="needs a file of weights. Name torch-fidelity's weights-inception"):
        feature_space("inception")


def test_weights_of_another_network_are_refused(weights):
    with pytest.raises(UserError, match=f"holds weights of {MODEL}, not resnet18. Use timm:{MODEL}"):
        feature_space("timm:resnet18", weights[0])
    with pytest.raises(UserError, match="retina has no weights"):
        feature_space("retina", weights[0])


def test_shrinking_averages_and_never_aliases():
    lines = np.zeros((1, 256, 256, 3), np.uint8)
    lines[:, :, ::2] = 200
    small = resized(lines, 64)
    assert small.shape == (1, 64, 64, 3) and (small == 100).all()
    assert np.array_equal(resized(pictures(2), 64), pictures(2))


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (np.zeros((2, 32, 32, 3), np.uint8), "images of 32 pixels are too small for features; expected at least 64"),
        (np.zeros((2, 64, 80, 3), np.uint8), r"got uint8 \(2, 64, 80, 3\)"),
        (np.zeros((2, 64, 64, 3), np.float32), "got float32"),
        (np.zeros((64, 64, 3), np.uint8), r"got uint8 \(64, 64, 3\)"),
    ],
)
def test_other_arrays_are_refused(images, told):
    space = NetworkSpace("plain", "1", 64, lambda batch: batch.mean((2, 3)))
    for take in (space.features, feature_space("retina").features):
        with pytest.raises(UserError, match=told):
            take(images)


def test_standardising_looks_at_the_reference_alone():
    random = np.random.default_rng(0)
    real = random.normal([10, -3, 0], [2, 0.5, 30], (500, 3))
    one, other, broken = comparable(Colors(), real, real + real.std(axis=0), real + [1e6, 0, 0])
    assert one.mean(axis=0) == pytest.approx(0, abs=0.01) and one.std(axis=0) == pytest.approx(1, abs=0.01)
    assert (other - one).mean(axis=0) == pytest.approx(1, abs=0.01)
    assert (broken[:, 0] == 5).all() and np.array_equal(broken[:, 1:], one[:, 1:])


def test_a_feature_that_never_changes_stays_finite_and_rounding_is_not_a_difference():
    real = np.ones((9, 3), np.float32)
    one, other, apart = comparable(Colors(), real, real + 1e-6, real + 0.1)
    assert np.abs(one).max() == 0 and np.abs(other).max() < 0.01 and (apart == 5).all()


def test_features_of_networks_are_left_alone():
    space = NetworkSpace("plain", "1", 64, lambda batch: batch.mean((2, 3)))
    real = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(comparable(space, real, real + 1)[1], real + 1)


def test_held_out_score_is_made_of_its_measures():
    real, made = pictures(40), pictures(30, seed=1)
    space = Colors()
    patients = np.repeat(np.arange(20), 2)
    found = held_out_score(made, space.features(real), space, patients)
    assert set(found) == {"kid", "kid_low", "kid_high", "precision", "recall", "diversity"}
    one, other = comparable(space, space.features(real), space.features(made))
    assert found["kid"] == kid(other, one, None, patients)
    assert found["kid_low"] < found["kid"] < found["kid_high"]
    assert all(0 <= found[name] <= 1 for name in ("precision", "recall"))
    assert found["diversity"] == pytest.approx(1, abs=0.3)
    collapsed = held_out_score(made[:2].repeat(15, axis=0), space.features(real), space, patients)
    assert collapsed["recall"] < 0.2 * found["recall"] and collapsed["diversity"] < 0.7 * found["diversity"]


def test_held_out_score_may_take_its_scale_from_more_real_images():
    real, made, more = pictures(8), pictures(30, seed=1), pictures(60, seed=2)
    space = Colors()
    found = held_out_score(made, space.features(real), space, reference=space.features(more))
    _, one, other = comparable(space, *map(space.features, (more, real, made)))
    assert found["kid"] == kid(other, one) != held_out_score(made, space.features(real), space)["kid"]
