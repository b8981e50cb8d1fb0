"""Pictures: a folder for each class, every mode that Pillow reads, and what is refused."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from commonweight import data
from commonweight.data import images, reading
from commonweight.errors import DataError

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)


def faces(tmp_path, people=("ann", "bob"), n=6, suffix=".png"):
    folder = tmp_path / "faces"
    for person in people:
        (folder / person).mkdir(parents=True)
        for index in range(n):
            Image.fromarray(np.roll(GREY, index)).save(folder / person / f"{index}{suffix}")
    return folder


@pytest.mark.parametrize("suffix", [".png", ".pgm", ".bmp", ".TIFF", ".gif"])
def test_the_folder_is_the_class(tmp_path, suffix):
    folder = faces(tmp_path, suffix=suffix)
    (folder / "README.txt").write_text("beside the classes, not in one")
    (folder / "ann" / ".hidden").write_text("")
    (folder / "ann" / "Thumbs.db").write_text("")
    loaded = data.load(folder, seed=0)
    assert (loaded.name, loaded.task, loaded.classes) == ("faces", "classification", ("ann", "bob"))
    assert loaded.y.tolist() == [0] * 6 + [1] * 6
    grey = loaded.x[:, 0] if suffix != ".gif" else loaded.x.mean(1)
    expected = np.stack([np.roll(GREY, index) for index in range(6)] * 2).astype(np.float32) / 255
    np.testing.assert_allclose(grey, expected, atol=1e-6)


def test_one_picture_in_colour_gives_all_three_channels(tmp_path):
    folder = faces(tmp_path)
    Image.fromarray(COLOUR).save(folder / "bob" / "3.png")
    loaded = data.load(folder)
    assert loaded.in_shape == (3, 6, 5)
    np.testing.assert_allclose(loaded.x[9], COLOUR.transpose(2, 0, 1) / np.float32(255))
    assert torch.equal(loaded.x[0, 0], loaded.x[0, 2])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_what_the_network_takes(tmp_path, mode, channels):
    picture = Image.fromarray(COLOUR).convert(mode)
    picture.save(tmp_path / "a.png")
    assert images.header(tmp_path / "a.png") == (1 if mode in ("1", "L", "LA") else 3, 6, 5)
    pixels = images.read_image(tmp_path / "a.png", channels)
    expected = np.asarray(picture.convert("L" if channels == 1 else "RGB")) / np.float32(255)
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, expected[None] if channels == 1 else expected.transpose(2, 0, 1))


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_sixteen_bits_are_scaled_to_one(tmp_path, name):
    values = RNG.integers(0, 65_536, (6, 5)).astype(np.uint16)
    values[0, 0] = 65_535
    if name == "a.pgm":
        (tmp_path / name).write_bytes(b"P5 5 6 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(tmp_path / name)
    assert images.header(tmp_path / name) == (1, 6, 5)
    for channels in (1, 3):
        pixels = images.read_image(tmp_path / name, channels)
        np.testing.assert_allclose(pixels, np.stack([values / 65_535] * channels), rtol=1e-6)


@pytest.mark.parametrize("values", [GREY.astype(np.float32), GREY.astype(np.int32) * 1000, -GREY.astype(np.int32)])
def test_other_depths_are_refused(tmp_path, values):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"has pixels of mode [FI], expected 8 or 16 bits; save it as an 8-bit PNG"):
        images.read_image(tmp_path / "a.tif", 1)


def test_mixed_sizes_are_brought_to_the_most_usual_one(tmp_path):
    folder = faces(tmp_path)
    twice = Image.fromarray(np.kron(GREY, np.ones((2, 2), np.uint8)))
    twice.save(folder / "bob" / "3.png")
    loaded = data.load(folder)
    assert loaded.in_shape == (1, 6, 5)
    assert loaded.notes == ("pictures of 5 x 6 and 10 x 12 are scaled to 5 x 6 pixels (width x height)",)
    expected = np.asarray(twice.resize((5, 6), Image.Resampling.BILINEAR)) / np.float32(255)
    np.testing.assert_array_equal(loaded.x[9, 0], expected)
    np.testing.assert_array_equal(loaded.x[8, 0], np.roll(GREY, 2) / np.float32(255))
    Image.fromarray(GREY[:5]).save(folder / "ann" / "3.png")
    assert data.load(folder).notes == ("pictures of 3 sizes are scaled to 5 x 6 pixels (width x height)",)


def test_large_pictures_are_scaled_down(tmp_path):
    folder = faces(tmp_path)
    values = np.linspace(0, 65_535, 256 * 300).reshape(300, 256).astype(np.uint16)
    for path in folder.glob("*/*.png"):
        Image.fromarray(values).save(path)
    loaded = data.load(folder)
    assert loaded.in_shape == (1, 96, 82)
    assert abs(float(loaded.x[0].mean()) - 0.5) < 1e-3
    assert "pictures of 256 x 300 are scaled to 82 x 96 pixels" in loaded.notes[0]


def test_every_cut_is_noticed(tmp_path):
    folder = faces(tmp_path)
    path = folder / "bob" / "3.png"
    whole = path.read_bytes()
    for length in range(0, len(whole) - 30, 5):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"3.png' is (no readable picture|empty)"):
            data.load(folder)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: [path.unlink() for path in (folder / "bob").iterdir()], "class folder '.*bob' is empty"),
        (
            lambda folder: (folder / "bob" / "a.txt").write_text("hello"),
            r"a.txt' in a class folder is no picture \(.bmp",
        ),
        (
            lambda folder: (folder / "bob" / "a.png").write_text("hello"),
            "a.png' is no readable picture .cannot identify",
        ),
        (
            lambda folder: (folder / "bob" / "a.png").symlink_to("gone.png"),
            "a.png' is a link to 'gone.png', which does not exist; mend or remove it",
        ),
        (
            lambda folder: (folder / "bob" / "deeper").mkdir(),
            "'.*bob' holds the folder 'deeper'; give the folder above",
        ),
    ],
)
def test_bad_folders_are_refused(tmp_path, damage, sentence):
    folder = faces(tmp_path)
    damage(folder)
    with pytest.raises(DataError, match=sentence):
        data.load(folder)


def test_a_folder_without_folders_is_refused(tmp_path):
    with pytest.raises(DataError, match="has no subfolders; put the pictures of each class into a folder"):
        data.load(tmp_path)


def test_only_one_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="faces has only one class, 'ann'; to tell classes apart, give at least two"):
        data.load(faces(tmp_path, people=("ann",), n=12))


def png_that_claims(width, height):
    """A PNG of the given size in its header, with a few bytes of pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height", "sentence"),
    [
        (4097, 4096, r"claims 4097 x 4096 pixels, more than the 16,777,216 that are decoded"),
        (10_000, 10_000, r"claims 10000 x 10000 pixels, more than"),
        (60_000, 60_000, r"is no readable picture \(Image size .* exceeds limit"),
    ],
)
def test_a_picture_that_claims_too_many_pixels_is_not_decoded(tmp_path, width, height, sentence):
    (tmp_path / "bomb.png").write_bytes(png_that_claims(width, height))
    for read in (images.header, lambda path: images.read_image(path, 1)):
        with pytest.raises(DataError, match=sentence):
            read(tmp_path / "bomb.png")


def test_too_many_pixels_in_all_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 1439)
    with pytest.raises(DataError, match=r"asks for 1,440 bytes \(12 pictures of \(1, 6, 5\)\), more than the 1,439"):
        data.load(faces(tmp_path))
