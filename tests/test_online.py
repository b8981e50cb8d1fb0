"""Online learning: a step for each handful of samples, and runs from a stream of CSV."""

import io
import json
import sys

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from commonweight import data, nets, tie
from commonweight.cli import main
from commonweight.errors import DataError, TrainError
from commonweight.train import stream
from commonweight.train.online import OnlineLearner, Sums
from commonweight.train.run import RECORDS, Run
from commonweight.train.start import resume_run
from commonweight.train.stream import learn_stream


def table(n, seed=0, classes=True):
    """A stream that can be learned: the class, or the value, is that of a linear rule."""
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    rule = x @ torch.tensor([2.0, -1.0, 0.5])
    rows = [
        f"{a:.4f},{b:.4f},{c:.4f},{('no', 'yes')[int(r > 0)] if classes else f'{r:.3f}'}"
        for (a, b, c), r in zip(x.tolist(), rule.tolist(), strict=True)
    ]
    return "a,b,c,answer\n" + "\n".join(rows) + "\n"


def learn(text, tmp_path=None, **options):
    said = []
    run = learn_stream(io.StringIO(text), net="mlp", out=tmp_path, say=said.append, **options)
    return run, said


# --- partial_fit ---


def test_a_step_is_one_of_adam_on_normalised_samples():
    iris = data.load("iris")
    model, reference = (nets.build("mlp", (4,), 3, seed=1) for _ in range(2))
    learner, adam = OnlineLearner(model, iris, lr=0.01), torch.optim.Adam(reference.parameters(), lr=0.01)
    for first in (0, 5, 10):
        x, y = iris.x[first : first + 5], iris.y[first : first + 5]
        outputs = reference(iris.normalisation.apply(x))
        loss = cross_entropy(outputs, y)
        right = int((outputs.argmax(1) == y).sum())
        assert learner.partial_fit(x, y) == Sums(5, pytest.approx(5 * loss.item()), right)
        adam.zero_grad()
        loss.backward()
        adam.step()
    for weight, expected in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.allclose(weight, expected, atol=1e-6)


def test_values_are_learned_in_units_of_the_target():
    diabetes = data.load("diabetes")
    model = nn.Linear(10, 1)
    learner = OnlineLearner(model, diabetes)
    x, y = diabetes.x[:7], diabetes.y[:7]
    with torch.no_grad():
        outputs = model(diabetes.normalisation.apply(x))
    found = learner.partial_fit(x, y)
    assert found.loss / 7 == pytest.approx(mse_loss(outputs, diabetes.normalisation.apply_target(y)).item())
    rmse = mse_loss(diabetes.normalisation.restore_target(outputs), y).sqrt()
    assert learner.score(found) == pytest.approx(rmse.item(), rel=1e-4)


def test_ties_hold():
    iris = data.load("iris")
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 4), nn.Linear(4, 3))
    tie(model, "2.weight = 0.weight.T", keep="source")
    learner = OnlineLearner(model, iris)
    before = model[0].weight.detach().clone()
    learner.partial_fit(iris.x[:20], iris.y[:20])
    assert not torch.equal(model[0].weight, before)
    assert torch.equal(model[2].weight, model[0].weight.T)


def test_a_sample_alone_is_normalised_by_running_statistics():
    iris = data.load("iris")
    model = nets.build("mlp", (4,), 3, structure={"batch_norm": True})
    learner = OnlineLearner(model, iris)
    learner.partial_fit(iris.x[:20], iris.y[:20])
    norm = next(module for module in model.modules() if isinstance(module, nn.BatchNorm1d))
    mean = norm.running_mean.clone()
    model.eval()
    expected = cross_entropy(model(iris.normalisation.apply(iris.x[40:41])), iris.y[40:41]).item()
    assert learner.partial_fit(iris.x[40:41], iris.y[40:41]).loss == pytest.approx(expected)
    assert torch.equal(norm.running_mean, mean)
    learner.partial_fit(iris.x[:2], iris.y[:2])
    assert not torch.equal(norm.running_mean, mean)


def test_what_cannot_be_learned_online_is_one_sentence():
    iris = data.load("iris")
    with pytest.raises(TrainError, match=r"lr is a number above 0, at most 1e\+30; got 0"):
        OnlineLearner(nn.Linear(4, 3), iris, lr=0)
    learner = OnlineLearner(nn.Linear(4, 3), iris)
    with pytest.raises(TrainError, match=r"The loss became (nan|inf) while learning online: lower the rate"):
        learner.partial_fit(torch.full((2, 4), torch.inf), torch.tensor([0, 1]))


# --- streams ---


@pytest.mark.parametrize("classes", [True, False])
def test_a_stream_becomes_a_run_that_answers(tmp_path, classes):
    run, said = learn(table(2600, classes=classes), tmp_path / "run")
    found = run.results["stream"]
    assert found["rows"] == 2600 + 1 - stream.FIRST_ROWS
    assert found["accuracy"] > 0.9 if classes else found["rmse"] < 0.5
    assert said[0].startswith("first 499 rows: trained on 349 samples")
    assert said[1].startswith("row 1,024: loss ")
    assert len(said) == 3
    loaded = Run.load(tmp_path / "run")
    assert torch.equal(loaded.outputs(torch.ones(2, 3)), run.outputs(torch.ones(2, 3)))
    assert loaded.results["stream"] == found
    assert len((tmp_path / "run" / RECORDS).read_text().splitlines()) == len(run.records)


def test_the_records_of_a_stream_go_on_from_those_of_its_first_rows():
    run, _ = learn(table(2600))
    last, *told = run.records[-3:]
    for record in told:  # after each 1,024 rows, the first whole batches that are a thousand or more
        assert record.step - last.step == 1024 // stream.BATCH
        assert record.epoch - last.epoch == pytest.approx(1024 / 349)
        assert record.seconds > max(last.seconds, run.results["train_seconds"])
        last = record


def test_a_run_from_a_stream_is_not_taken_up(tmp_path):
    learn(table(300), tmp_path / "run")
    with pytest.raises(TrainError, match=r"run was begun with data that are in no file: .* --stream if they came from"):
        resume_run(tmp_path / "run", name=None, net=None)


def test_no_more_lines_are_held_than_a_batch(monkeypatch):
    """The reader never runs ahead of what is learned by more than a batch."""
    text, learned = iter(table(1500).splitlines(keepends=True)), []

    class Source(io.StringIO):
        taken = 0

        def readline(self, size=-1):
            Source.taken += 1
            return next(text, "")

    step = OnlineLearner.partial_fit

    def watched(self, x, y):
        learned.append(len(x))
        assert Source.taken <= stream.FIRST_ROWS + sum(learned) + 1  # the end
        return step(self, x, y)

    monkeypatch.setattr(OnlineLearner, "partial_fit", watched)
    learn_stream(Source(), net="mlp", out=None, say=lambda text: None)
    assert max(learned) == stream.BATCH
    assert sum(learned) == 1501 - stream.FIRST_ROWS


def test_a_short_stream_is_a_run_on_its_first_rows():
    run, said = learn(table(60))
    assert run.results["stream"] == {"rows": 0}
    assert len(said) == 1


@pytest.mark.parametrize("opening", ["\n", "\ufeff", " \n\n"])
def test_a_stream_may_open_with_a_mark_or_blank_lines(opening):
    run, _ = learn(opening + table(600))
    assert run.description["data"]["features"] == ["a", "b", "c"]
    assert run.results["stream"]["rows"] == 601 + opening.count("\n") - stream.FIRST_ROWS


def test_a_last_row_alone_is_learned_by_a_net_with_batch_normalisation():
    run, _ = learn(table(500), structure={"batch_norm": True})
    assert run.results["stream"]["rows"] == 1


@pytest.mark.parametrize("before", [100, 600])
def test_a_quote_that_does_not_close_is_one_sentence(before):
    with pytest.raises(DataError, match=rf"not a readable CSV file .* in line {before + 2}\); check its quotes"):
        learn(table(before) + '"1,2,3,yes\n')


def test_a_seed_that_is_none_is_refused_before_the_first_rows_are_read():
    with pytest.raises(DataError, match="seed is a whole number from 0 to 4,294,967,295; got int: -1"):
        learn(table(60), seed=-1)


def test_an_interruption_among_the_first_rows_says_that_they_cannot_come_again(monkeypatch, tmp_path):
    def interrupted(*args, **settings):
        raise KeyboardInterrupt("the run goes on with `commonweight train --resume run`")

    monkeypatch.setattr(stream, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt, match="the first rows of a stream cannot come again: begin anew"):
        learn(table(60), tmp_path / "run")


def test_an_interruption_keeps_what_was_learned(monkeypatch, tmp_path):
    step = OnlineLearner.partial_fit

    def interrupted(self, x, y):
        if interrupted.calls == 3:
            raise KeyboardInterrupt
        interrupted.calls += 1
        return step(self, x, y)

    interrupted.calls = 0
    monkeypatch.setattr(OnlineLearner, "partial_fit", interrupted)
    run, said = learn(table(900), tmp_path / "run")
    assert said[-1] == "interrupted after 96 rows; what was learned is kept"
    assert run.results["stream"]["rows"] == 96
    assert Run.load(tmp_path / "run").results["stream"]["rows"] == 96


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ("1,2,yes\n", "has 3 cells in line 602, but 4 in line"),
        ("1,2,3,perhaps\n", "has the class 'perhaps' in line 602, which the first 500 lines have not"),
        ("1,red,3,yes\n", r"holds text in column 'b' \(line 602: 'red'\)"),
        ("1,,3,yes\n", "holds nan in line 602, column 'b'"),
        ("1" * (1 << 20), "has a line of more than 1,048,576 characters"),
    ],
)
def test_a_row_that_does_not_fit_is_one_sentence_with_its_line_and_ends_what_is_learned(extra, says, tmp_path):
    said = []
    with pytest.raises(DataError, match=says):
        learn_stream(io.StringIO(table(600) + extra), net="mlp", out=tmp_path / "run", say=said.append)
    assert said[-1] == "stopped by an error after 96 rows; what was learned is kept"
    before, _ = learn("".join(table(600).splitlines(keepends=True)[:596]))
    kept = Run.load(tmp_path / "run")
    assert kept.results["stream"] == {**before.results["stream"], "rows": 96}
    assert torch.equal(kept.outputs(torch.ones(2, 3)), before.outputs(torch.ones(2, 3)))


def test_a_stream_that_cannot_be_learned_is_one_sentence():
    with pytest.raises(DataError, match="a stream begins with the names of its columns"):
        learn(table(600).partition("\n")[2])
    with pytest.raises(TrainError, match="som learns by a rule of its own, from all samples at once"):
        learn_stream(io.StringIO(table(600)), net="som", out=None, say=print)
    with pytest.raises(DataError, match="the target of 'standard input' holds text such as 'much'"):
        learn(table(600, classes=False) + "1,2,3,much\n")


def test_a_rate_that_is_none_is_refused_before_the_first_rows_are_learned(tmp_path):
    lines = io.StringIO("a,b\n" + "".join(f"{k},{k % 2}\n" for k in range(40)))
    with pytest.raises(TrainError, match=r"lr is a number above 0, at most 1e\+30; got -1"):
        learn_stream(lines, net="mlp", lr=-1, out=tmp_path / "run", say=print)
    assert lines.tell() == 0
    assert not (tmp_path / "run").exists()


def test_the_command_line_learns_from_standard_input(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO(table(700)))
    monkeypatch.setattr(sys, "argv", ["commonweight", "train", "--stream", "--out", "mine", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    out, err = capsys.readouterr()
    assert json.loads(out)["run"] == "mine"
    assert "first 499 rows" in err
    monkeypatch.setattr(sys, "argv", ["commonweight", "train", "--stream", "--epochs", "3"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "--stream learns row by row: leave --epochs out." in capsys.readouterr().err
