"""What disguises images from the discriminator must not appear in what the generator makes."""

import numpy as np
import pytest
import torch
from pytorch_lightning import Callback

from fundus_synth.runtime.training import run_steps
from fundus_synth.synth import adversarial
from fundus_synth.synth.adversarial import AdversarialTraining, Recipe
from fundus_synth.synth.differentiable_augmentation import augment
from fundus_synth.synth.image_store import ImageStore
from fundus_synth.synth.networks.dcgan import Discriminator, Generator


def one_eye() -> np.ndarray:
    """The same picture 16 times: whatever differs from it was learnt from the augmentation."""
    eye = np.full((16, 16, 3), 40, np.uint8)
    eye[4:12, 2:7] = 200
    return np.repeat(eye[None], 16, 0)


def distances(policy: tuple[str, ...], steps: int) -> tuple[float, float]:
    """Mean difference from the one real picture, of what was made after training, and of what the discriminator was shown."""
    torch.manual_seed(0)
    recipe = Recipe(
        batch_size=16, learning_rate=2e-3, policy=policy, mirror=False, black_surround=False, average_images=300
    )
    training = AdversarialTraining(Generator(16, 8, 8), Discriminator(16, 8), ImageStore(one_eye()), recipe, seed=0)
    run_steps(training, range(steps), Callback(), torch.device("cpu"), torch.float32)
    real = torch.from_numpy(one_eye()).permute(0, 3, 1, 2).float() / 127.5 - 1
    made = torch.from_numpy(training.pictures(16)).permute(0, 3, 1, 2).float() / 127.5 - 1
    shown = augment(real.repeat(8, 1, 1, 1), policy)
    return (made - real).abs().mean().item(), (shown - real.repeat(8, 1, 1, 1)).abs().mean().item()


@pytest.mark.parametrize(
    "policy",
    [("translation", "cutout"), pytest.param(("color", "translation", "rotation"), marks=pytest.mark.slow)],
)
def test_augmentation_does_not_leak_into_what_is_made(policy):
    made, shown = distances(policy, steps=250)
    assert made < 0.75 * shown


def test_it_does_where_generated_images_are_not_augmented(monkeypatch):
    """The control: without the augmentation of generated images the same training makes shifted pictures with holes."""
    augmented_real_only = iter([True, False, False] * 250)

    def only_real(images, policy, disguise):
        return augment(images, policy, disguise) if next(augmented_real_only) else images

    monkeypatch.setattr(adversarial, "augment", only_real)
    made, shown = distances(("translation", "cutout"), steps=250)
    assert made > 0.75 * shown
