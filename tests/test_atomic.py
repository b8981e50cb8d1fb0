"""Files are whole or not there, and errors are sentences."""

import errno

import pytest
import torch
from torch import nn

from commonweight import atomic
from commonweight.errors import FileError


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")
    with pytest.raises(TypeError), atomic.replacing(path) as temporary:
        temporary.write_text(b"not text")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_sentence(tmp_path):
    path = tmp_path / "a.txt"
    full = OSError(errno.ENOSPC, "No space left on device")
    says = r"Cannot write .*a\.txt: No space left on device; free some space"
    with pytest.raises(FileError, match=says), atomic.replacing(path):
        raise full
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="Cannot write"):
        atomic.write_text(tmp_path / "file" / "a.txt", "x")
    with pytest.raises(FileError, match="Cannot write"):
        atomic.append_text(tmp_path / "none" / "a.txt", "x")
    with pytest.raises(FileError, match=r"Cannot write .*: embedded null byte"):
        atomic.write_text(tmp_path / "a\0b", "x")


def test_text_that_is_missing_too_large_or_not_utf8(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        atomic.read_text(tmp_path / "none")
    (tmp_path / "large").write_text("x" * 11)
    with pytest.raises(FileError, match="has 11 bytes; expected at most 10"):
        atomic.read_text(tmp_path / "large", limit=10)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match="Cannot read"):
        atomic.read_text(tmp_path / "binary")


def test_tensors_come_back_with_their_metadata(tmp_path):
    tensors = {"a": torch.arange(6.0).reshape(2, 3).t(), "b": torch.tensor(3), "c": torch.zeros(0)}
    atomic.write_tensors(tmp_path / "t.safetensors", tensors, {"key": "value"})
    back, metadata = atomic.read_tensors(tmp_path / "t.safetensors")
    assert metadata == {"key": "value"}
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("content", [b"", b"\xff" * 7, b"\xff" * 64, b"{}"])
def test_damaged_tensors_are_one_sentence(tmp_path, content):
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError, match="Cannot read the tensors"):
        atomic.read_tensors(path)
    with pytest.raises(FileError, match="Cannot read the tensors"):
        atomic.read_tensors(tmp_path / "none.safetensors")


class Tied(nn.Module):
    """A parameter under two names, a buffer that is kept and one that is not."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
        self.b.weight = self.a.weight
        self.register_buffer("kept", torch.ones(1))
        self.register_buffer("derived", torch.ones(1), persistent=False)


def test_each_tensor_of_a_model_once():
    assert set(atomic.own_tensors(Tied())) == {"a.weight", "a.bias", "b.bias", "kept"}


def test_filling_a_model_keeps_its_ties(tmp_path):
    model, other = Tied(), Tied()
    atomic.fill(model, atomic.own_tensors(other), tmp_path)
    assert model.b.weight is model.a.weight
    assert torch.equal(model.b.weight, other.b.weight)


def test_filling_another_net_is_refused(tmp_path):
    model = nn.Linear(2, 3)
    before = model.weight.clone()
    with pytest.raises(FileError, match="the net has 'bias', the file has not"):
        atomic.fill(model, {"weight": torch.zeros(3, 2)}, tmp_path)
    with pytest.raises(FileError, match="the file has 'extra', the net has not"):
        atomic.fill(model, {**atomic.own_tensors(model), "extra": torch.zeros(1)}, tmp_path)
    with pytest.raises(FileError, match=r"'bias' has shape \(2,\) in the file, \(3,\) in the net"):
        atomic.fill(model, {"weight": torch.zeros(3, 2), "bias": torch.zeros(2)}, tmp_path)
    assert torch.equal(model.weight, before)
