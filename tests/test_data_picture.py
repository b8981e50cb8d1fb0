"""The picture of a data set: what is drawn is what was loaded."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.decomposition import PCA

from commonweight import data
from commonweight.data import picture
from commonweight.data.dataset import Samples, prepare
from commonweight.errors import DataError, FileError


def made(n_classes=3, shape=(2,), **changes):
    generator = torch.Generator().manual_seed(0)
    n = 20 * max(n_classes, 1)
    given = {
        "name": "made $x$ and $y",
        "task": "classification" if n_classes else "regression",
        "x": torch.rand(n, *shape, generator=generator),
        "y": torch.arange(n) % n_classes if n_classes else torch.rand(n, 2, generator=generator),
        "classes": tuple(f"$class {index}" * 5 for index in range(n_classes)),
    }
    return prepare(Samples(**(given | changes)), seed=0)


@pytest.mark.parametrize(
    "loaded",
    [
        made(shape=(1, 4, 6)),
        made(shape=(3, 4, 6)),
        made(shape=(2, 4, 6), n_classes=25),
        made(shape=(1,)),
        made(shape=(2,), features=("left", "right")),
        made(shape=(5,), n_classes=23),
        made(shape=(5,), x=torch.ones(60, 5)),
        made(n_classes=0, shape=(4,)),
        made(n_classes=0, shape=(4,), x=torch.rand(20, 4), y=torch.rand(20, 1), target="price"),
        made(n_classes=0, shape=(1, 5, 5)),
    ],
    ids=lambda loaded: f"{loaded.task}-{loaded.in_shape}-{loaded.n_outputs}",
)
def test_every_kind_of_data_becomes_a_png(tmp_path, loaded):
    data.picture_grid(loaded, tmp_path / "a.png", per_class=3)
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
        assert min(image.size) > 100
        assert len(np.unique(np.asarray(image.convert("L")))) > 4
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("per_class", "sentence"),
    [(0, "at least one sample; got per_class=0"), (1.5, "a whole number of samples; got float: 1.5")],
)
def test_a_row_of_nothing_is_refused(tmp_path, per_class, sentence):
    with pytest.raises(DataError, match=sentence):
        data.picture_grid(made(), tmp_path / "a.png", per_class)


def test_a_strip_shows_the_images_side_by_side():
    images = torch.rand(2, 3, 4, 12)
    strip = picture._strip(images, places=3)
    assert strip.shape == (4, 3 * 12 + 2, 3)
    assert np.array_equal(strip[:, :12], images[0].permute(1, 2, 0))
    assert np.all(strip[:, 12] == 1)
    assert np.array_equal(strip[:, 13:25], images[1].permute(1, 2, 0))
    assert np.all(strip[:, 25:] == 1)


def test_the_plane_is_that_of_the_principal_components():
    wine = data.load("wine", seed=0)
    points, names = picture._plane(wine)
    normal = wine.normalisation.apply(wine.x).double().numpy()
    oracle = PCA(2).fit(normal[wine.train])
    expected = oracle.transform(normal)
    signs = np.sign((points * expected).sum(0))
    np.testing.assert_allclose(points * signs, expected, atol=1e-4)
    assert names == tuple(
        f"principal component {number} ({share:.0%} of variance)"
        for number, share in enumerate(oracle.explained_variance_ratio_, 1)
    )


def test_two_features_are_shown_as_they_are():
    moons = data.load("moons", seed=0)
    points, names = picture._plane(moons)
    assert np.array_equal(points, moons.x)
    assert names == ("x1", "x2")


def test_no_pyplot_and_no_window(tmp_path):
    code = f"""
import sys
from commonweight import data
data.picture_grid(data.load("xor"), {str(tmp_path / "a.png")!r})
sys.exit("matplotlib.pyplot" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match=r"Cannot write .*file/a.png"):
        data.picture_grid(made(), tmp_path / "file" / "a.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(FileError, match=r"Cannot write .*folder.png"):
        data.picture_grid(made(), tmp_path / "folder.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]
