"""IDX files: read as the format says, and refused when a byte is missing or too many."""

import gzip
import io
import struct

import numpy as np
import pytest
import torch

from commonweight import data
from commonweight.data import idx, reading
from commonweight.errors import DataError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"

# Two images of 2 x 3 pixels, written by hand: type 8, three axes, sizes 2, 2, 3, twelve values.
BY_HAND = bytes.fromhex("00000803 00000002 00000002 00000003 000102030405 fafbfcfdfeff")


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_pair(folder, n=20, prefix="train", compress=False, size=(5, 4), classes=2):
    """Images and labels of `n` samples under the names of MNIST; returns the path of the images."""
    pixels = np.random.default_rng(n).integers(0, 256, (n, *size), dtype=np.uint8)
    labels = (np.arange(n) % classes).astype(np.uint8)
    for name, array in ((f"{prefix}-images-idx3-ubyte", pixels), (f"{prefix}-labels-idx1-ubyte", labels)):
        content = idx_bytes(array)
        path = folder / (name + ".gz" if compress else name)
        path.write_bytes(gzip.compress(content) if compress else content)
    return folder / f"{prefix}-images-idx3-ubyte{'.gz' if compress else ''}"


@pytest.mark.parametrize("compress", [False, True])
def test_a_file_written_by_hand_is_read(tmp_path, compress):
    path = tmp_path / "any-name"
    path.write_bytes(gzip.compress(BY_HAND) if compress else BY_HAND)
    array = idx.read_idx(path)
    assert array.dtype == np.uint8
    assert array.tolist() == [[[0, 1, 2], [3, 4, 5]], [[250, 251, 252], [253, 254, 255]]]


@pytest.mark.parametrize("compress", [False, True])
def test_labels_are_found_beside_the_images(tmp_path, compress):
    path = write_pair(tmp_path, compress=compress)
    loaded = data.load(path, seed=0)
    assert loaded.x.shape == (20, 1, 5, 4)
    assert loaded.y.tolist() == [0, 1] * 10
    assert loaded.classes == ("0", "1")
    assert loaded.features == ()
    assert torch.equal((loaded.x * 255).round().to(torch.uint8).squeeze(1), torch.from_numpy(idx.read_idx(path)))
    assert loaded.x.max() <= 1


def test_labels_may_be_compressed_when_images_are_not(tmp_path):
    path = write_pair(tmp_path)
    labels = tmp_path / LABELS
    labels.with_name(LABELS + ".gz").write_bytes(gzip.compress(labels.read_bytes()))
    labels.unlink()
    assert len(data.load(path)) == 20


def test_a_folder_of_four_files_keeps_its_test_part(tmp_path):
    write_pair(tmp_path, n=40)
    write_pair(tmp_path, n=12, prefix="t10k", compress=True)
    loaded = data.load(tmp_path, seed=0)
    assert loaded.name == tmp_path.name
    assert loaded.test.tolist() == list(range(40, 52))
    assert (len(loaded.train), len(loaded.validation)) == (34, 6)


def test_a_folder_without_a_test_part_is_refused(tmp_path):
    write_pair(tmp_path)
    with pytest.raises(DataError, match=r"exactly one file \*t10k-images\*idx3\* or .*, found none; give the path"):
        data.load(tmp_path)


def test_parts_of_different_image_sizes_are_refused(tmp_path):
    write_pair(tmp_path, n=40)
    write_pair(tmp_path, n=12, prefix="t10k", size=(4, 5))
    with pytest.raises(DataError, match=r"training images of \(5, 4\) pixels .* test images of \(4, 5\)"):
        data.load(tmp_path)


@pytest.mark.parametrize("compress", [False, True])
def test_every_cut_is_noticed(tmp_path, compress):
    path = write_pair(tmp_path, compress=compress)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"truncated|empty|begin like an IDX"):
            data.load(path)


def test_sizes_beyond_the_file_take_no_memory(tmp_path):
    path = tmp_path / IMAGES
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 1000, 1000, 1000) + b"abc")
    with pytest.raises(DataError, match="its header announces 1,000,000,000 bytes of data, 3 are there"):
        idx.read_idx(path)
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1) + b"abc")
    with pytest.raises(DataError, match=r"asks for [\d,]+ bytes .* more than the 4,294,967,296 that are read"):
        idx.read_idx(path)


def test_a_gzip_bomb_is_read_only_as_far_as_its_header_says(tmp_path, monkeypatch):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(BY_HAND + bytes(50_000_000)))
    read = []
    exactly = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: read.append(size) or exactly(self, size))
    with pytest.raises(DataError, match="holds more than the 12 bytes of data that its header announces"):
        idx.read_idx(path)
    assert all(0 < size <= 16 for size in read)


def test_memory_is_asked_for_in_blocks_however_much_the_header_claims(tmp_path):
    asked = []

    class Stream(io.BytesIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    with pytest.raises(DataError, match="announces 1,000,000,000 bytes of data, 9,000,000 are there"):
        reading.read_exactly(Stream(bytes(9_000_000)), 10**9, tmp_path)
    assert len(asked) == 4
    assert max(asked) == 2**22


@pytest.mark.parametrize(("place", "sentence"), [(-6, "CRC check failed"), (10, "Error -3 while decompressing")])
def test_a_damaged_gzip_stream_is_refused(tmp_path, place, sentence):
    path = write_pair(tmp_path, compress=True)
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF  # of the checksum; of the first block
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"is a truncated or damaged gzip file \({sentence}"):
        data.load(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (
            bytes([0, 0, 8, 200]) + bytes([0, 0, 0, 1]) * 200 + b"a",
            "does not begin like an IDX file .it begins with 00",
        ),
        (b"\x89PNG\r\n\x1a\n", "does not begin like an IDX file .it begins with 89 50 4e 47"),
        (bytes([0, 0, 0x0D, 1, 0, 0, 0, 1]) + bytes(4), r"IDX type 0x0d, expected 0x08 \(unsigned bytes\)"),
        (bytes([0, 0, 8, 3, 0, 0]), "ends inside its header of 16 bytes"),
        (idx_bytes(np.zeros(5, np.uint8)), r"array of shape \(5,\), expected images as \(count, height, width\)"),
        (idx_bytes(np.zeros((0, 5, 4), np.uint8)), r"array of shape \(0, 5, 4\), expected images"),
    ],
)
def test_what_is_no_file_of_images_is_refused(tmp_path, content, sentence):
    path = write_pair(tmp_path)
    path.write_bytes(content)
    with pytest.raises(DataError, match=sentence):
        data.load(path)


def test_missing_labels_are_asked_for(tmp_path):
    path = write_pair(tmp_path)
    (tmp_path / LABELS).unlink()
    with pytest.raises(DataError, match=f"expected '{LABELS}' or '{LABELS}.gz' beside it"):
        data.load(path)


def test_labels_of_another_count_are_refused(tmp_path):
    path = write_pair(tmp_path)
    (tmp_path / LABELS).write_bytes(idx_bytes(np.zeros(19, np.uint8)))
    with pytest.raises(DataError, match=r"labels of shape \(19,\), but .* holds 20 images"):
        data.load(path)


def test_the_limit_counts_what_the_pixels_become(tmp_path, monkeypatch):
    path = write_pair(tmp_path)
    monkeypatch.setattr(reading, "MAX_BYTES", 20 * 5 * 4 * 4 - 1)
    with pytest.raises(DataError, match=r"asks for 1,600 bytes \(20x5x4 values\), more than the 1,599"):
        idx.read_idx(path)
