"""2,000 damaged files in every run of the tests; `fuzz_files.py` says what is promised, and runs any number."""

import fuzz_files
import pytest
import torch

from commonweight.files import load


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files(tmp_path, seed):
    log = fuzz_files.run(500, seed, tmp_path)
    assert log.counts.total() == 500
    assert {word for _, _, word in log.counts} == {"refused", "loaded"}
    assert len({kind for _, kind, _ in log.counts}) == 3
    assert "500 damaged files" in fuzz_files.page(log, "pytest")


def test_whole_files_are_read(tmp_path):
    for original in fuzz_files.originals(tmp_path):
        assert fuzz_files.hold(original, tmp_path / original.name, fuzz_files.bytes_changed) == "loaded"


@pytest.mark.parametrize("name", ["a.weight", "mask", "nothing"])
def test_a_wrong_weight_would_be_found(tmp_path, monkeypatch, name):
    def careless(path, model=None):
        state = load(path, model)
        if model is None:
            state[name] = torch.zeros(1) if name == "nothing" else ~state[name] if name == "mask" else -state[name]
        return state

    ours = fuzz_files.originals(tmp_path)[0]
    monkeypatch.setattr(fuzz_files, "load", careless)
    for kind in (fuzz_files.bytes_changed, fuzz_files.header_changed, fuzz_files.manifest_changed):
        with pytest.raises(AssertionError, match="a wrong weight"):
            fuzz_files.hold(ours, tmp_path / ours.name, kind)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RuntimeError("x"), "RuntimeError instead of FileError: x"),
        (fuzz_files.FileError("a\nb"), "no printable line"),
        (fuzz_files.FileError("x" * 1000), "1,000 characters"),
    ],
)
def test_a_careless_refusal_would_be_found(tmp_path, monkeypatch, error, says):
    def careless(path, model=None):
        raise error

    monkeypatch.setattr(fuzz_files, "load", careless)
    with pytest.raises(AssertionError, match=says):
        fuzz_files.run(3, 0, tmp_path)


def test_a_model_that_is_changed_would_be_found(tmp_path, monkeypatch):
    def careless(path, model=None):
        if model is not None:
            with torch.no_grad():
                model.a.weight.zero_()
        return load(path, model)

    monkeypatch.setattr(fuzz_files, "load", careless)
    with pytest.raises(AssertionError, match="refused, but the model is changed"):
        fuzz_files.run(30, 0, tmp_path)
