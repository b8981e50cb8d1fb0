"""`commonweight audit`: what it prints, its JSON, its exit codes."""

import json
import sys

import pytest
from audited import EMBEDDING, HEAD, TIE, folder, gpt2_tensors, values

from commonweight import cli


@pytest.fixture
def say(monkeypatch, capsys):
    """Run a command; returns its exit code, standard output and standard error."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["commonweight", "audit", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return run


@pytest.fixture
def good(tmp_path):
    return folder(tmp_path / "good", gpt2_tensors())


@pytest.fixture
def bad(tmp_path):
    return folder(tmp_path / "bad", gpt2_tensors(lm_head__weight=values(24, 8, seed=4)))


def test_exit_codes(say, good, bad, tmp_path):
    """0 clean, 1 problems, 2 unreadable."""
    code, out, err = say(good)
    assert (code, err) == (0, "")
    assert TIE in out
    assert "no problem" in out
    code, out, err = say(bad)
    assert (code, err) == (1, "")
    assert f"1. contradicted: `{TIE}` is declared by the default" in out
    assert "→ If they are one weight" in out
    (tmp_path / "noise.safetensors").write_bytes(b"\xff" * 100)
    for unreadable in (tmp_path / "noise.safetensors", tmp_path / "nowhere", tmp_path):
        code, out, err = say(unreadable)
        assert (code, out) == (2, "")
        assert err.startswith("commonweight: ")
        assert err.count("\n") == 1


def test_json(say, good, bad):
    code, out, _ = say(good, "--json")
    told = json.loads(out)
    assert (code, told["ok"], told["problems"]) == (0, True, [])
    assert told["groups"][0] == {
        "verdict": "same storage",
        "names": [EMBEDDING, HEAD],
        "tie": TIE,
        "max_difference": 0.0,
        "bytes": 24 * 8 * 4,
    }
    assert told["bytes"] == told["bytes_if_tied"] == sum(t.nbytes for t in gpt2_tensors().values())
    code, out, _ = say(bad, "--json")
    assert (code, json.loads(out)["problems"][0]["code"]) == (1, "contradicted")


def test_headers_only(say, bad):
    code, out, _ = say(bad, "--headers-only")
    assert code == 0
    assert "not compared" in out


def test_against_and_before(say, good, bad):
    assert say(good, "--against", good)[0] == 0
    code, out, _ = say(bad, "--against", good)
    assert code == 1
    assert "bad against good" in out
    code, out, _ = say(good, "--before", good)
    assert code == 1
    assert "untouched" in out


def test_a_run_folder_stands_for_its_weights(say, tmp_path):
    run = folder(tmp_path / "run", gpt2_tensors(), shards=1)
    (run / "model.safetensors").rename(run / "weights.safetensors")
    (run / "checkpoint.safetensors").write_bytes(b"what the run goes on from")
    assert say(run)[0] == 2
    (run / "run.json").write_text("{}")
    code, out, _ = say(run)
    assert code == 0
    assert out.startswith("weights.safetensors: ")


def test_suggestions(say, good):
    code, out, _ = say(good, "--suggest", "--json")
    assert code == 0
    assert isinstance(json.loads(out)["suggestions"], list)
    assert "suggestions" not in json.loads(say(good, "--json")[1])
