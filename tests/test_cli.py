"""The command line: what it prints, its JSON, its exit codes, and one sentence for everything that cannot be used."""

import json
import math
import platform
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from training_runs import cut_run

import commonweight as cw
from commonweight import atomic, data, nets
from commonweight.kernels import native_library
from commonweight.measure.records import Record
from commonweight.train import loop
from commonweight.train.display import Display
from commonweight.train.run import Run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run of the cnn on digits."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    digits = data.load("digits")
    loop.fit(nets.build("cnn", digits.in_shape, digits.n_outputs), digits, epochs=3, out=folder, progress=False)
    return folder


LENET5 = {
    "c1": (156, 122304),
    "s2": (12, 5880),
    "c3": (1516, 151600),
    "s4": (32, 2000),
    "c5": (48120, 48120),
    "f6": (10164, 10164),
    "output": (0, 840),
}


def test_version_says_what_runs_here(say, monkeypatch):
    code, out, _ = say("--version")
    assert code == 0
    assert f"commonweight {cw.__version__}, torch {torch.__version__}, Python {platform.python_version()}\n" in out
    assert f"kernels: {native_library.instructions()}\n" in out
    monkeypatch.setattr(native_library, "library", lambda: None)
    assert "kernels: off, none were compiled; install a C++ compiler" in say("--version")[1]


def test_version_refuses_kernels_that_do_not_exist(say, monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", "sse")
    code, _, error = say("--version")
    assert (code, error.count("\n")) == (2, 1)
    assert "'sse'; expected off, portable" in error


def test_count_prints_the_published_table_of_lenet5(say):
    code, out, _ = say("count", "lenet5", "--json")
    counted = json.loads(out)
    assert code == 0
    assert {layer["name"]: (layer["weights"], layer["connections"]) for layer in counted["layers"]} == LENET5
    assert (counted["weights"], counted["connections"]) == (60000, 340908)
    assert set(counted) == {"weights", "connections", "full", "layers"}
    assert {key for layer in counted["layers"] for key in layer} == {"name", "weights", "connections", "full", "uses"}
    assert "340,908" in say("count", "lenet5")[1]


def test_count_takes_a_shape_and_a_net_of_ones_own(say, tmp_path):
    (tmp_path / "own.py").write_text(
        "from torch import nn\ndef build(shape, n): return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * 16, n))\n"
    )
    code, out, _ = say("count", "own.py:build", "--shape", "2x4x4", "--outputs", 3, "--json")
    assert code == 0
    assert json.loads(out)["weights"] == 2 * 16 * 3 + 3


def test_lists_of_nets_and_data(say):
    made, sets = json.loads(say("nets", "--json")[1]), json.loads(say("data", "--json")[1])
    assert {"lenet5", "lenet1989", "mlp", "cnn", "locally_connected"} <= {entry["name"] for entry in made}
    assert all(set(entry) == {"name", "summary", "source"} for entry in made)
    assert {"digits", "iris", "fashion-mnist", "mnist-5k"} <= {entry["name"] for entry in sets}
    assert all(set(entry) == {"name", "summary", "task", "source", "available", "install"} for entry in sets)
    assert "lenet5" in say("nets")[1]
    assert "digits" in say("data")[1]


def test_data_shows_one_set_and_draws_it(say, tmp_path):
    code, out, _ = say("data", "iris")
    assert code == 0
    assert "classes: setosa, versicolor, virginica" in out
    assert (tmp_path / "iris-samples.png").stat().st_size > 1000
    assert json.loads(say("data", "iris", "--json", "--picture", "own.png")[1])["split"] == [106, 22, 22]
    assert (tmp_path / "own.png").is_file()
    say("data", "wine", "--json")
    assert not (tmp_path / "wine-samples.png").exists()


def test_rows_of_a_list_stay_whole_in_a_pipe(say, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    (line,) = [line for line in say("data")[1].splitlines() if "fashion-mnist" in line]
    assert "official test part of 10,000" in line


def test_train_ends_in_one_line_of_json(say, tmp_path):
    code, out, err = say("train", "iris", "--epochs", 3, "--json", "--seed", 1)
    assert code == 0
    (line,) = out.splitlines()
    result = json.loads(line)
    keys = {"run", "net", "data", "epochs", "train_seconds", "goal_seconds", "test", "weights", "connections", "seed"}
    assert set(result) == keys
    assert (result["net"], result["data"], result["seed"], result["epochs"]) == ("mlp", "iris", 1, 3)
    assert set(result["test"]) == {"loss", "accuracy"}
    assert ", validation 0." in err
    assert (tmp_path / result["run"] / "report.html").is_file()


def test_train_prints_the_ladder_and_the_scores(say, tmp_path):
    code, out, _ = say("train", "diabetes", "--epochs", 2, "--out", "mine")
    assert code == 0
    assert "fully connected" in out
    assert "tested once on" in out
    assert "rmse" in out
    assert "report: mine/report.html" in out


def test_progress_fits_a_terminal(capsys):
    """Also of a long training: 80 columns."""
    shown = Display("digits-cnn", 200_000, "accuracy", 16)
    shown.check(Record(100_000, 999.99, 9999.0, 0.1, 0.12345678, 0.98765, 1.0, 0.98765, ()), True)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("epoch")]
    assert line == "epoch 999.99  loss 0.1235  accuracy 0.9877, validation 0.9877 best  9,999 s left"
    assert len(line) == 80


def test_a_finished_run_is_taken_up_without_harm(say, tmp_path):
    say("train", "iris", "--epochs", 2, "--out", "mine")
    before = (tmp_path / "mine" / "weights.safetensors").read_bytes()
    code, _, _ = say("train", "--resume", "mine")
    assert code == 0
    assert (tmp_path / "mine" / "weights.safetensors").read_bytes() == before


def test_predict_names_images(say, trained, tmp_path):
    digits = data.load("digits")
    for index in (0, 1):
        pixels = np.round(digits.x[index, 0].numpy() * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{index}.png")
    code, out, _ = say("predict", trained, "0.png", "1.png", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [answer["input"] for answer in answers] == ["0.png", "1.png"]
    assert [answer["label"] for answer in answers] == ["0", "1"]
    assert all(0.1 < answer["probability"] <= 1 for answer in answers)
    assert say("predict", trained, "0.png")[1].startswith("0.png: 0  ")


def test_predict_shows_scores_as_scores(say, tmp_path):
    """Distances of a map: no number of percent, in words or in JSON."""
    assert say("train", "iris", "--net", "som", "--epochs", 2, "--out", "map")[0] == 0
    (tmp_path / "new.csv").write_text("5.1,3.5,1.4,0.2\n6.3,3.3,6.0,2.5\n")
    code, out, _ = say("predict", "map", "new.csv", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [answer["label"] for answer in answers] == ["setosa", "virginica"]
    x = torch.tensor([[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]])
    scores = Run.load(tmp_path / "map").outputs(x).amax(1).tolist()
    assert [answer["score"] for answer in answers] == pytest.approx(scores)
    assert all(answer["probability"] is None and answer["score"] <= 0 for answer in answers)
    assert re.fullmatch(r"new.csv:1: setosa  score -?[\d.]+\n.*", say("predict", "map", "new.csv")[1], re.S)


def test_predict_values_of_rows(say, tmp_path):
    x = torch.linspace(0, 1, 60)
    rows = [f"{a:.3f},{-a:.3f},{3 * a:.4f}" for a in x.tolist()]
    (tmp_path / "line.csv").write_text("\n".join(["a,b,y", *rows]) + "\n")
    assert say("train", "line.csv", "--epochs", 2, "--out", "mine")[0] == 0
    (tmp_path / "new.csv").write_text("a,b\n0.1,-0.1\n0.9,-0.9\n")
    code, out, _ = say("predict", "mine", "new.csv", "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [answer["input"] for answer in answers] == ["new.csv:2", "new.csv:3"]
    assert all(isinstance(answer["label"], float) and answer["probability"] is None for answer in answers)
    assert say("predict", "mine", "new.csv")[1].splitlines() == [f"{a['input']}: {a['label']:.6g}" for a in answers]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["train"], "Say what to train on"),
        (["train", "digitz"], "'digitz' is unknown.*digits"),
        (["train", "none.csv"], "none.csv"),
        (["train", "digits", "--net", "lenet"], "lenet5"),
        (["train", "iris", "--net", "lenet5"], "lenet5"),
        (["train", "diabetes", "--net", "lenet5"], "lenet5"),
        (["train", "iris", "--goal", "beauty>1"], "A goal is one of accuracy, loss"),
        (["train", "iris", "--lr", "-1"], "lr is a number above 0"),
        (["train", "iris", "--batch-size", "1000"], "from 1 to 106"),
        (["train", "iris", "--lr", "1e30", "--optimizer", "sgd"], "The training loss became"),
        (["train", "--resume", "nothing"], "There is no run in nothing"),
        (["train", "--resume", "nothing", "--epochs", "3"], "leave --epochs out"),
        (["count", "lenet6"], "lenet5"),
        (["count", "none.py:build"], "none.py"),
        (["predict", "nothing", "a.png"], "There is no run in nothing"),
        (["data", "iriss"], "iris"),
        (["claims", "C99"], "C99"),
        (["data", "--target", "x"], "--target, --task and --picture are for one data set: say which"),
        (["data", "iris", "--picture", "iris.jpg"], "'iris.jpg' is to be a PNG; give a name that ends in .png"),
        (["train", "iris", "--stream"], "--stream learns row by row: leave the data out"),
        (["train", "--stream", "--resume", "mine"], "leave --resume out"),
        (["train", "digits", "--augment", " shift, rotat"], "Images are augmented by .*; got 'rotat'"),
        (["train", "iris", "--structure", "hidden=[7"], r"brackets that are no JSON: write hidden=\[64,64\]"),
        (["count", "lenet5", "--shape", "3by3"], "A shape is whole numbers joined by x, such as 3x32x32.*'3by3'"),
        (["count", "mlp", "--shape", "9999x9999x9999"], "of 4,194,304 inputs at most"),
        (["count", "lenet5", "--outputs", "0"], "--outputs is at least 1; got '0'. See"),
        (["train", "iris", "--lr", "abc"], "--lr is a number; got 'abc'. See `commonweight train --help`"),
        (["train", "iris", "--epochs", "1.5"], "--epochs is a whole number; got '1.5'. See"),
        (["train", "iris", "--epochs", "9" * 20], "epochs is a whole number from 1 to 1,000,000,000; got 9{20}"),
        (["train", "iris", "--epochs", "9" * 5000], "--epochs is a whole number of fewer digits; got '9{1,99}[.] See"),
        (["train", "iris", "--structure", "hidden=3"], r"hidden is a list of the units .* such as \[64, 64\]; got 3"),
        (["train", "iris", "--out", ""], "'--out': it is empty; give a path, or . for the current folder. See"),
        (["audit", ""], "'path': it is empty; give a path, or . for the current folder. See"),
        (["train", ""], "the data have no name; give one of `commonweight data`, a path, or . for the current folder"),
        (["tune", "iris", "--out", __file__], "test_cli.py.*File exists; check the path"),
        (["count"], "Missing argument 'net'. See `commonweight count --help`"),
        (["x"], "No such command 'x'. See `commonweight --help`"),
        (["trian"], "No such command 'trian'. Did you mean 'train'[?] See"),
        (["train", "iris", "--epoch", "3"], "No such option: --epoch .*--epochs"),
        (
            ["train", "digits", "--net", "mlp", "--optimizer", "lm"],
            "lm (holds 7 matrices of|would take roughly 136 s).*: use lbfgs",
        ),
        (["train", "gunpoint", "--net", "lstm", "--optimizer", "lm"], "no recurrent layer of torch allows: use lbfgs"),
        (["train", "iris", "--optimizer", "adm"], "'--optimizer': 'adm' is not one of 'auto', 'muon', "),
    ],
)
def test_what_cannot_be_used_is_one_sentence_and_exit_code_2(say, words, says):
    code, out, err = say(*words)
    assert code == 2
    assert out == ""
    (line,) = [line for line in err.splitlines() if line.startswith("commonweight: ")]
    assert "Traceback" not in err
    assert re.search(says, line), line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "every class in rows.csv needs at least 3 samples, one for each part, but 'c' has 1; add samples"),
        (("--target", "d"), "'rows.csv' has no column 'd'; it has 'a', 'b', 'c'"),
    ],
)
def test_a_table_that_cannot_be_learned_begins_no_run(say, tmp_path, words, says):
    rows = [*(f"{k},{k % 5},{'ab'[k % 2]}" for k in range(40)), "40,0,c"]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,c", *rows, ""]))
    code, _, err = say("train", "rows.csv", *words)
    assert code == 2
    assert says in err
    assert err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_kernels_that_do_not_exist_are_refused_where_none_is_needed(say, monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", "sse")
    code, _, told = say("nets")
    assert (code, told.count("\n")) == (2, 1)
    assert "COMMONWEIGHT_KERNELS is 'sse'; expected off, portable, avx2, avx512, amx, or nothing" in told


def test_columns_that_repeat_another_are_no_hindrance_to_levenberg_marquardt(say, tmp_path):
    """The Jacobian has less than full rank then."""
    rows = [f"{k},{2 * k},{3 * k % 7}" for k in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["a,b,c", *rows, ""]))
    words = (
        "--net",
        "mlp",
        "--structure",
        "hidden=[4]",
        "--optimizer",
        "lm",
        "--epochs",
        3,
        "--task",
        "regression",
        "--json",
    )
    code, out, _ = say("train", "rows.csv", *words)
    assert code == 0
    assert math.isfinite(json.loads(out)["test"]["rmse"])


def test_without_words_the_help_is_all(say):
    code, out, err = say()
    assert code == 2
    assert "Commands" in out + err
    assert "commonweight: " not in err


def test_predict_scales_pictures_and_refuses_unreadable_ones(say, trained, tmp_path):
    Image.new("L", (9, 9)).save(tmp_path / "large.png")
    code, out, _ = say("predict", trained, "large.png")
    assert code == 0
    assert out.startswith("large.png: ")
    (tmp_path / "text.png").write_text("no image")
    for name in ("text.png", "none.png"):
        code, _, err = say("predict", trained, name)
        assert code == 2
        assert name in err


def test_resume_on_a_different_net_is_refused(say, tmp_path):
    say("train", "iris", "--epochs", 1, "--out", "mine")
    code, _, err = say("train", "--resume", "mine", "--net", "cnn")
    assert code == 2
    assert "was begun with the net mlp, not cnn" in err


def test_a_net_of_ones_own_runs_again_only_when_named(say, tmp_path):
    (tmp_path / "own.py").write_text("from torch import nn\ndef build(shape, n): return nn.Linear(shape[0], n)\n")
    say("train", "iris", "--net", "own.py:build", "--epochs", 1, "--out", "mine")
    (tmp_path / "new.csv").write_text("1,2,3,4\n5,6,7,8\n")
    code, _, err = say("predict", "mine", "new.csv")
    assert code == 2
    assert "say --net own.py:build" in err
    assert say("predict", "mine", "new.csv", "--net", "own.py:build")[0] == 0


def test_an_interrupted_run_says_how_it_goes_on(say, monkeypatch):
    def interrupted(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Trainer, "_step", interrupted)
    code, _, err = say("train", "iris", "--out", "mine")
    assert code == 130
    assert "Interrupted; the run goes on with `commonweight train --resume mine`." in err
    assert "`commonweight train --resume mine`." in say("train", "--resume", "mine")[2]
    monkeypatch.setattr("commonweight.data.load", interrupted)
    assert "Interrupted; no run was begun." in say("train", "iris", "--out", "other")[2]


@pytest.mark.parametrize(
    ("words", "place", "left"),
    [
        ("data iris", "data.load", "no file was left half written"),
        ("count mlp", "census.count", "no file was left half written"),
        ("diagnose mine", "train.run.evidence_of", "no file was left half written"),
        ("tune iris --out mine", "train.tune.search", "the study goes on with the same command and --out mine"),
        (
            "train iris --net svm",
            "nets.comparators.SVC.fit",
            "svm learns in one piece, so nothing was written: train it anew",
        ),
    ],
)
def test_ctrl_c_ends_each_command_with_a_sentence_and_130(say, monkeypatch, words, place, left):
    def interrupted(*given, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"commonweight.{place}", interrupted)
    code, out, err = say(*words.split())
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith(f"commonweight: Interrupted; {left}")


def test_a_goal_that_is_not_reached_is_told_and_the_run_is_kept(say, tmp_path):
    code, out, err = say("train", "iris", "--goal", "accuracy>=0.999", "--epochs", 1, "--out", "mine")
    assert code == 2
    assert "The goal accuracy>=0.999 was not reached; the run is kept: train longer with --epochs" in err
    assert "tested once on 22" in out
    assert (tmp_path / "mine" / "report.html").is_file()


def test_a_full_disk_is_one_sentence(say, monkeypatch):
    def full(**given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic.tempfile, "mkstemp", full)
    code, _, err = say("train", "iris", "--epochs", 1, "--out", "mine")
    assert code == 2
    assert "No space left on device; free some space" in err


def test_the_installed_command_answers():
    answer = subprocess.run(
        [sys.executable, "-c", "from commonweight.cli import main; main()", "--help"], capture_output=True, check=True
    )
    assert b"train" in answer.stdout


def test_the_structure_of_a_net_is_said_by_name_and_kept(say):
    code, _, err = say(
        "train", "iris", "--structure", "hidden=[7]", "--structure", "activation=tanh", "--epochs", 1, "--out", "mine"
    )
    assert code == 0, err
    loaded = Run.load("mine")
    assert (loaded.model.hidden1.out_features, type(loaded.model.hidden1_state).__name__) == (7, "Tanh")
    assert loaded.description["structure"] == {"hidden": [7], "activation": "tanh"}


@pytest.mark.parametrize(
    ("structure", "sentence"),
    [
        ("hidden=[1000000000,9]", "This mlp has 14,000,000,039 weights; at most [0-9,]+ fit"),
        ("hidden", r"--structure is written NAME=VALUE, such as hidden=\[64,64\]; got 'hidden'"),
        ("width=7", "mlp has no argument 'width': it has hidden, activation, softmax"),
        ("hidden=seven", "hidden is a list of the units of each hidden layer"),
    ],
)
def test_a_structure_that_a_net_does_not_have_is_one_sentence(say, structure, sentence):
    code, _, err = say("train", "iris", "--structure", structure, "--out", "mine")
    assert code == 2
    assert re.search(sentence, err)


def test_diagnose_says_what_is_wrong_with_a_run(say, tmp_path):
    iris = data.load("iris")
    net = nets.build("mlp", iris.in_shape, iris.n_outputs)
    for weight in net.parameters():
        torch.nn.init.zeros_(weight)
    loop.fit(net, iris, epochs=3, out=tmp_path / "run", progress=False)
    code, out, _ = say("diagnose", str(tmp_path / "run"))
    assert code == 1
    assert out.startswith("All weights of hidden1 begin at 0: no signal and no gradient passes. ")
    code, out, _ = say("diagnose", str(tmp_path / "run"), "--language", "zh-Hans", "--json")
    told = json.loads(out)
    assert code == 1
    assert told["findings"][0]["code"] == "zero_start"
    assert told["findings"][0]["text"].startswith("hidden1 的权重全部从 0 开始")


def test_diagnose_of_a_good_run_and_of_none(say, tmp_path):
    iris = data.load("iris")
    net = nets.build("mlp", iris.in_shape, iris.n_outputs)
    loop.fit(net, iris, epochs=30, out=tmp_path / "run", progress=False)
    assert say("diagnose", str(tmp_path / "run"), "--language", "zh-Hant")[:2] == (0, "沒有發現問題。\n")
    code, _, err = say("diagnose", str(tmp_path))
    assert code == 2
    assert "There is no run in" in err


def test_diagnose_of_a_run_that_goes_on_says_how_much_it_judged_by(say, tmp_path):
    folder = tmp_path / "run"
    cut_run(folder, data.load("iris"), nets.build("mlp", (4,), 3), epochs=30, progress=False)
    code, out, _ = say("diagnose", folder)
    assert code == 0
    assert out == (
        "Too little was recorded to judge by: nothing is wrong up to step 2 of 30, but most rules speak only from "
        "half of them on.\n"
    )
    assert "到第 2 步（共 30 步）" in say("diagnose", folder, "--language", "zh-Hans")[1]
    assert "到第 2 步（共 30 步）" in say("diagnose", folder, "--language", "zh-Hant")[1]
    told = json.loads(say("diagnose", folder, "--json")[1])
    assert told == {"run": str(folder), "step": 2, "steps": 30, "ended": False, "findings": []}
    about = json.loads((folder / "run.json").read_text())
    about["evidence"]["steps"] = 3
    (folder / "run.json").write_text(json.dumps(about))
    assert say("diagnose", folder)[1] == "Nothing is wrong so far, up to step 2 of 3.\n"
    (folder / "records.jsonl").write_text("")
    code, _, err = say("diagnose", folder)
    assert code == 2
    assert "holds no check of its training, so that nothing can be judged yet" in err


def test_train_repairs_a_run(say, tmp_path):
    folder = tmp_path / "run"
    code, out, _ = say(
        "train", "iris", "--optimizer", "sgd", "--lr", "1e20", "--out", str(folder), "--repair", "--json"
    )
    assert code == 0
    assert json.loads(out)["run"] == f"{folder}-repaired-1"
