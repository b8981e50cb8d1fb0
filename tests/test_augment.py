"""Moved images are what an independent interpolation makes of them, each by a draw of its own, from the seed."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from commonweight import data, nets
from commonweight.train.augment import DEGREES, KINDS, augment
from commonweight.train.loop import fit


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def told(n, height, width):
    """Images whose first two channels say where each pixel is from the middle, right and down; the third is noise."""
    down, right = torch.meshgrid(
        torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2, indexing="ij"
    )
    noise = torch.rand(n, height, width, generator=seeded())
    return torch.stack([right.expand(n, -1, -1), down.expand(n, -1, -1), noise], dim=1)


def found_map(before, after):
    """The affine map (2, 3) of one image from new to old places, by least squares over the pixels of the middle."""
    height, width = before.shape[1:]
    middle = slice(height // 3, -(height // 3)), slice(width // 3, -(width // 3))
    new = np.stack([*(channel[middle].flatten().numpy() for channel in before[:2])])
    old = np.stack([channel[middle].flatten().numpy() for channel in after[:2]])
    places = np.vstack([new, np.ones(new.shape[1])])
    return np.linalg.lstsq(places.T, old.T, rcond=None)[0].T


@pytest.mark.parametrize("kinds", [["shift"], ["rotate"], ["flip"], list(KINDS)], ids="+".join)
@pytest.mark.parametrize("size", [(24, 24), (30, 18)])
def test_each_image_is_moved_as_an_independent_interpolation_moves_it(kinds, size):
    images = told(6, *size)
    moved = augment(images, kinds, generator=seeded(1))
    height, width = size
    for before, after in zip(images, moved, strict=True):
        matrix = found_map(before, after)
        right, down = before[0].numpy(), before[1].numpy()
        old_right = matrix[0, 0] * right + matrix[0, 1] * down + matrix[0, 2]
        old_down = matrix[1, 0] * right + matrix[1, 1] * down + matrix[1, 2]
        places = [old_down + (height - 1) / 2, old_right + (width - 1) / 2]
        expected = ndimage.map_coordinates(before[2].numpy(), places, order=1, mode="nearest")
        np.testing.assert_allclose(after[2].numpy(), expected, atol=2e-4)


def test_maps_are_what_was_asked_for():
    images = told(400, 24, 40)
    for kinds in (["shift"], ["rotate"], ["flip"], list(KINDS)):
        maps = np.stack(
            [found_map(*pair) for pair in zip(images, augment(images, kinds, generator=seeded()), strict=True)]
        )
        mirrored = np.linalg.det(maps[:, :, :2])
        angles = np.degrees(np.arctan2(-maps[:, 0, 1], maps[:, 1, 1]))
        np.testing.assert_allclose(np.abs(mirrored), 1, atol=1e-4)
        turning = maps[:, :, :2] @ maps[:, :, :2].transpose(0, 2, 1)
        np.testing.assert_allclose(turning, np.broadcast_to(np.eye(2), turning.shape), atol=1e-4)
        assert np.abs(angles).max() <= DEGREES + 1e-3
        assert (np.abs(angles).mean() == pytest.approx(DEGREES / 2, rel=0.1)) == ("rotate" in kinds)
        assert (0.4 < (mirrored < 0).mean() < 0.6) == ("flip" in kinds)
        shifts = maps[:, :, 2]
        np.testing.assert_allclose(shifts, shifts.round(), atol=1e-3)
        most = (5, 3) if "shift" in kinds else (0, 0)  # an eighth of 40 and of 24
        assert tuple(np.abs(shifts).max(0).round()) == most
        assert set(shifts[:, 1].round()) == set(range(-most[1], most[1] + 1))


def test_a_shift_repeats_the_border_and_a_flip_is_exact():
    images = torch.rand(8, 1, 8, 8, generator=seeded())
    shifted = augment(images, ["shift"], generator=seeded())
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    for before, after in zip(images[:, 0], shifted[:, 0], strict=True):
        wanted = [
            before[(rows + down).clamp(0, 7), (columns + right).clamp(0, 7)]
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        ]
        assert min(float((after - one).abs().max()) for one in wanted) < 1e-5
    for before, after in zip(images, augment(images, ["flip"], generator=seeded()), strict=True):
        assert min(float((after - one).abs().max()) for one in (before, before.flip(-1))) < 1e-5


def test_the_seed_decides_and_type_and_layout_stay():
    images = torch.rand(5, 3, 9, 9).bfloat16().to(memory_format=torch.channels_last)
    moved = augment(images, KINDS, generator=seeded(3))
    assert torch.equal(moved, augment(images, KINDS, generator=seeded(3)))
    assert not torch.equal(moved, augment(images, KINDS, generator=seeded(4)))
    assert moved.dtype == torch.bfloat16
    assert moved.is_contiguous(memory_format=torch.channels_last)
    assert augment(images, []) is images


def test_training_sees_moved_images_and_scores_do_not():
    digits = data.load("digits")
    seen = []

    class Watching(torch.nn.Flatten):
        def forward(self, x):
            seen.append((self.training, x.clone()))
            return super().forward(x)

    model = torch.nn.Sequential(Watching(), nets.build("mlp", (64,), 10))
    fit(model, digits, epochs=1, augment=["shift", "rotate"], out=None, progress=False)
    known = {image.flatten().numpy().tobytes() for image in digits.normalisation.apply(digits.x)}
    trained = [image for training, batch in seen if training for image in batch]
    scored = [image for training, batch in seen if not training for image in batch if len(batch) > 1]
    assert scored
    assert all(image.contiguous().numpy().tobytes() in known for image in scored)
    assert sum(image.contiguous().numpy().tobytes() in known for image in trained) < len(trained) / 10
