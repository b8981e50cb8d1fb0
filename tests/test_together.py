"""`commonweight train` in two processes: the run of one process, one folder, one display, one sentence for an error."""

import json
import re
import sys
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file
from test_parallel import told_by, torchrun
from torch import nn
from torch.nn import functional as F
from training_runs import RUNS, dropout_net, run

from commonweight import data
from commonweight.errors import TrainError
from commonweight.measure.records import read_records
from commonweight.train.loop import resume
from commonweight.train.run import RECORDS, WEIGHTS
from commonweight.train.together import ALONE, Team, _batch_norm


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    return folder, told_by("training", folder)


def numbers(record):
    """What does not depend on the clock, nor on which samples a process saw."""
    values = asdict(record)
    del values["seconds"], values["layers"]
    return values


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_the_run_is_that_of_one_process(both, tmp_path, name):
    """To float tolerance: sums are taken in another order."""
    folder, told = both
    alone = run(name, tmp_path / "alone")
    expected = load_file(tmp_path / "alone" / WEIGHTS)
    weights = load_file(folder / name / WEIGHTS)
    assert weights.keys() == expected.keys()
    for key, weight in weights.items():
        torch.testing.assert_close(weight, expected[key], rtol=1e-3, atol=1e-4)
    records = read_records(folder / name / RECORDS)
    assert len(records) == len(alone.records)
    for record, other in zip(records, alone.records, strict=True):
        assert numbers(record) == pytest.approx(numbers(other), rel=1e-3, abs=1e-4)
        for layer, same in zip(record.layers, other.layers, strict=True):
            assert layer.name == same.name
            assert layer.gradient_norm == pytest.approx(same.gradient_norm, rel=1e-2)
    for one in told:
        assert one[name]["records"] == len(records)
        assert one[name]["results"]["test"] == pytest.approx(alone.results["test"], rel=1e-3, abs=1e-4)
    assert {path.name for path in (folder / name).iterdir()} == {path.name for path in (tmp_path / "alone").iterdir()}


def test_an_interrupted_run_ends_in_the_same_weights(both):
    """Bit for bit, with dropout: each process draws its numbers anew in each step."""
    folder, _ = both
    whole, cut = load_file(folder / "whole" / WEIGHTS), load_file(folder / "cut" / WEIGHTS)
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert len(read_records(folder / "whole" / RECORDS)) == len(read_records(folder / "cut" / RECORDS))


def test_one_process_goes_on_with_the_run_of_two(both):
    folder, _ = both
    cut = len(read_records(folder / "left" / RECORDS))
    done = resume(folder / "left", dropout_net(), data.load("iris"), progress=False)
    whole = read_records(folder / "whole" / RECORDS)
    assert cut < len(done.records) == len(whole)
    assert numbers(done.records[0]) == numbers(whole[0])


def test_an_error_of_the_leader_is_everyones(both):
    folder, told = both
    for one in told:
        assert one["taken"].startswith(f"{folder / 'whole'} holds a run already: choose another folder")
        assert one["too small"] == (
            "A batch of 1 samples cannot be shared by 2 processes: start fewer of them, or take a --batch-size of at "
            "least 2."
        )


def test_all_begin_with_the_leaders_weights(both):
    _, told = both
    assert told[0]["unlike at the start"] == told[1]["unlike at the start"]


# --- the command ---


def command(folder, *words):
    """`commonweight train` in two processes: what torchrun returns, and standard output and error of each process."""
    code = "from commonweight.cli import main; main()"
    logs = ("--redirects", "3", "--log-dir", folder / "log")
    done = torchrun(*logs, "--no-python", sys.executable, "-c", code, "train", *words, cwd=folder)
    (attempt,) = folder.glob("log/*/attempt_0")
    heard = [[(attempt / str(rank) / f"std{kind}.log").read_text() for kind in ("out", "err")] for rank in (0, 1)]
    return done, heard


@pytest.mark.slow
def test_the_command_shows_and_writes_once(tmp_path):
    done, ((out, err), other) = command(tmp_path, "iris", "--epochs", "3", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(out)
    assert (result["data"], result["epochs"]) == ("iris", 3)
    assert err.count("iris-mlp") == 1
    assert err.count(", validation ") == len(read_records(tmp_path / result["run"] / RECORDS))
    assert other == ["", ""]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["iris-mlp-1"]


@pytest.mark.slow
def test_an_error_that_all_meet_is_told_once(tmp_path):
    done, heard = command(tmp_path, "iris", "--batch-size", "1000")
    assert done.returncode == 1
    told = [err for _, err in heard if err]
    assert told == [
        "commonweight: batch_size is a whole number from 1 to 106, the size of the training part; got 1000.\n"
    ]
    assert set(re.findall(r"exitcode *: (-?\d+)", done.stderr)) <= {"2", "-15"}


@pytest.mark.slow
def test_an_error_of_one_process_ends_the_others(tmp_path):
    (tmp_path / "own.py").write_text(
        "import os\nfrom torch import nn\n"
        "def build(shape, n):\n"
        "    if os.environ['RANK'] == '1':\n"
        "        raise ValueError('no more memory')\n"
        "    return nn.Linear(shape[0], n)\n"
    )
    done, ((_, first), (_, second)) = command(tmp_path, "iris", "--net", "own.py:build")
    assert done.returncode == 1
    assert "no more memory" in second
    assert "commonweight: " in second
    assert first == ""


# --- parts, in one process ---


def test_shares_are_even_and_whole():
    samples = torch.arange(11)
    shares = [Team(rank, 3).share(samples) for rank in range(3)]
    assert [len(share) for share in shares] == [4, 4, 3]
    assert torch.equal(torch.cat(shares), samples)
    assert Team.current() is ALONE
    assert ALONE.share(samples) is samples
    assert ALONE.agree(lambda: 3) == 3
    assert ALONE.total(1.0, 2.0) == (1.0, 2.0)


class Doubled(Team):
    """As if another process had the same samples."""

    def add_up(self, tensor):
        tensor *= 2


@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 6), (4, 3, 2, 5)])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_normalisation_is_that_of_torch_on_the_whole_batch(shape, affine):
    generator = torch.Generator().manual_seed(0)
    draw = lambda *size: torch.randn(size, dtype=torch.float64, generator=generator)  # noqa: E731
    x, weight, bias = draw(*shape), draw(3), draw(3)
    upstream = draw(*shape)
    outcomes = []
    for whole in (True, False):
        one = (torch.cat([x, x]) if whole else x.clone()).requires_grad_()
        given = [tensor.clone().requires_grad_() if affine else None for tensor in (weight, bias)]
        mean, var = torch.ones(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
        if whole:
            y = F.batch_norm(one, mean, var, *given, training=True, momentum=0.2, eps=1e-3)
            y.backward(torch.cat([upstream, upstream]))
            outcomes.append([y[: len(x)], one.grad[: len(x)], mean, var, *(g.grad / 2 for g in given if affine)])
        else:
            named = {"weight": given[0], "bias": given[1], "training": True, "momentum": 0.2, "eps": 1e-3}
            y = _batch_norm(Doubled(), one, mean, var, **named)
            y.backward(upstream)
            outcomes.append([y, one.grad, mean, var, *(g.grad for g in given if affine)])
    for got, expected in zip(*reversed(outcomes), strict=True):
        torch.testing.assert_close(got, expected)


def test_the_whole_batch_is_normalised_wherever_a_net_does_it():
    class Counting(Doubled):
        sums = 0

        def add_up(self, tensor):
            Counting.sums += 1
            tensor *= 2

    model = nn.Sequential(nn.BatchNorm1d(3), nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))).train()
    with Counting(0, 2).whole_batch():
        model(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    assert Counting.sums == 4
    with Counting(0, 2).whole_batch():
        model.eval()(torch.zeros(5, 3))
    assert Counting.sums == 4


def test_a_process_that_is_gone_is_told_in_one_sentence():
    def collective():
        raise RuntimeError("Connection closed by peer\nat line 7")

    with pytest.raises(
        TrainError, match=r"Process 1 of 4 lost the connection to another one, which ended or was ended; a"
    ):
        Team(1, 4)._wait(collective)
