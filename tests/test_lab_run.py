"""The view Run: what it shows is what the folder holds; a run that goes on is followed; advice is followed."""

import contextlib
import io
import json
import os
import re
import resource
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from commonweight import data, fit, nets
from commonweight.errors import DivergedError, LabError
from commonweight.lab.sessions import open_session
from commonweight.measure.records import read_records, to_lines


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run that went well and one whose rate was far too high."""
    folder = tmp_path_factory.mktemp("runs")
    iris = data.load("iris")
    for name, settings in (("well", {"epochs": 12}), ("wild", {"lr": 3000.0, "epochs": 6, "optimizer": "sgd"})):
        net = nets.build("mlp", iris.in_shape, 3)
        with contextlib.suppress(DivergedError):
            fit(net, iris, out=folder / name, progress=False, **settings)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs")
    return tmp_path / "runs"


def test_a_run_is_shown_as_it_is_in_its_folder(folder):
    session = open_session("run", folder, "well")
    session.change({"beside": "wild"})
    live = session.live()
    records = read_records(folder / "well" / "records.jsonl")
    assert [run["name"] for run in live.values["shown"]] == ["well", "wild"]
    assert np.allclose(live.arrays["curves0"][:, 3], [record.validation_loss for record in records])
    layers = [record.layers for record in records if record.layers][-1]
    assert np.allclose(live.arrays["layers0"][-1, 0, 2], layers[0].gradient_norm)
    assert np.allclose(live.arrays["quantiles0"][-1, 0], layers[0].weight_quantiles)
    assert live.values["shown"][0]["layers"] == [layer.name for layer in records[0].layers]
    assert session.step == records[-1].step
    live.encode()


def test_a_check_without_statistics_shows_the_last_ones_before_it(folder):
    path = folder / "well" / "records.jsonl"
    first, second, *rest = read_records(path)
    path.write_text(to_lines([first, replace(second, layers=()), *rest]))
    layers = open_session("run", folder, "well").live().arrays["layers0"]
    assert layers.shape[1] == len(first.layers)
    assert np.array_equal(layers[1], layers[0])


def test_findings_come_with_words_in_every_language(folder):
    findings = open_session("run", folder, "wild").live().values["shown"][0]["findings"]
    assert "rate" in findings[0]["code"] or findings[0]["code"] in ("not_finite", "exploding_gradient")
    assert set(findings[0]["found"]) == {"en", "zh-Hans", "zh-Hant"}


def test_a_run_that_stores_nothing_to_judge_by_is_not_called_well(folder):
    assert open_session("run", folder, "well").live().values["shown"][0]["judged"] is True
    description = json.loads((folder / "well" / "run.json").read_text())
    (folder / "well" / "run.json").write_text(json.dumps(description | {"evidence": None}))
    shown = open_session("run", folder, "well").live().values["shown"][0]
    assert (shown["judged"], shown["findings"]) == (False, [])


def test_the_code_reads_the_same_run(folder):
    session = open_session("run", folder, "well")
    session.change({"beside": "wild"})
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(session.code(), "shown", "exec"), {})
    shown = dict(re.findall(r"^(\w+): \d+ checks; at step (\d+):", said.getvalue(), re.MULTILINE))
    assert shown == {run.name: f"{run.curves[-1, 0]:.0f}" for run in session.seen}


def test_the_newest_run_is_shown_when_none_is_named(folder):
    (folder / "no-run").mkdir()
    (folder / "damaged").mkdir()
    (folder / "damaged" / "run.json").write_text("[]")
    live = open_session("run", folder).live()
    assert {run["name"] for run in live.values["runs"]} == {"well", "wild"}


def test_a_folder_without_runs_says_so(tmp_path):
    session = open_session("run", tmp_path / "none")
    assert session.live().values == {"runs": [], "shown": [], "repairing": None}
    assert session.advance() is False
    with pytest.raises(LabError, match="There is no run here whose advice could be followed"):
        session.act("apply", {"run": 0, "finding": 0})


@pytest.mark.parametrize("name", ["../runs/well", "..", "nowhere", "well/..", "/etc", "link", "\ud800", "x" * 199])
def test_no_run_outside_of_the_folder_is_read(folder, name):
    shutil.copy(folder / "well" / "run.json", folder.parent / "run.json")
    shutil.move(folder / "wild", folder.parent / "elsewhere")
    (folder / "link").symlink_to(folder.parent / "elsewhere")
    assert {run["name"] for run in open_session("run", folder).live().values["runs"]} == {"well"}
    with pytest.raises(LabError, match=r"There is no run .* in the folder that this lab may read"):
        open_session("run", folder, name)
    with pytest.raises(LabError, match="There is no run"):
        open_session("run", folder).change({"beside": name})


@pytest.mark.parametrize("file", ["run.json", "records.jsonl"])
def test_no_link_out_of_a_run_is_read(folder, file):
    elsewhere = folder.parent / file
    shutil.move(folder / "wild" / file, elsewhere)
    (folder / "wild" / file).symlink_to(elsewhere)
    assert [run["name"] for run in open_session("run", folder).live().values["runs"]] == ["well"]
    with pytest.raises(LabError, match=f"wild holds the link '{file}', which leads out of the folder that this lab"):
        open_session("run", folder, "wild")
    shutil.move(elsewhere, folder / file)  # in the folder
    (folder / "wild" / file).unlink()
    (folder / "wild" / file).symlink_to(folder / file)
    assert open_session("run", folder, "wild").live().values["shown"][0]["name"] == "wild"


@pytest.mark.parametrize("part", ["data", "settings", "results"])
def test_a_damaged_run_is_told_and_another_one_is_shown(folder, part):
    description = json.loads((folder / "wild" / "run.json").read_text())
    (folder / "wild" / "run.json").write_text(json.dumps(description | {part: 5}))
    os.utime(folder / "wild" / "run.json", (2e9, 2e9))
    session = open_session("run", folder)
    assert [run["name"] for run in session.live().values["shown"]] == ["well"]
    with pytest.raises(LabError, match="The run wild is damaged"):
        session.change({"run": "wild"})
    assert session.settings.run == ""


@pytest.mark.parametrize("source", ["/etc/passwd", "\0", "", "../x", "link", "pictures", "circle"])
def test_data_of_a_run_that_lie_elsewhere_are_not_read(folder, source, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "link").symlink_to("/etc")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "pictures" / "a").mkdir(parents=True)
    (folder / "pictures" / "a" / "1.png").symlink_to("/etc/passwd")
    description = json.loads((folder / "wild" / "run.json").read_text())
    description["data"]["source"] = source
    (folder / "wild" / "run.json").write_text(json.dumps(description))
    with pytest.raises(
        LabError, match=r"cannot be followed from here: (its data has no name|.* leads out of|.*neither)"
    ):
        open_session("run", folder, "wild").act("apply", {"run": 0, "finding": 0})


def test_a_run_that_goes_on_is_followed(folder, monkeypatch):
    monkeypatch.setattr("commonweight.lab.sessions.running.SECONDS", 0.0)
    lines = (folder / "well" / "records.jsonl").read_text().splitlines(keepends=True)
    description = json.loads((folder / "well" / "run.json").read_text())
    (folder / "well" / "run.json").write_text(json.dumps(description | {"results": {}}))
    (folder / "well" / "records.jsonl").write_text("".join(lines[:2]))
    session = open_session("run", folder, "well")
    assert len(session.live().arrays["curves0"]) == 2
    (folder / "well" / "records.jsonl").write_text("".join(lines))
    assert session.advance() is True
    assert len(session.live().arrays["curves0"]) == len(lines)
    (folder / "well" / "run.json").write_text(json.dumps(description))
    assert session.advance() is False


def test_advice_is_followed_in_a_folder_of_its_own(folder, monkeypatch):
    monkeypatch.setattr("commonweight.lab.sessions.running.SECONDS", 0.0)
    session = open_session("run", folder, "wild")
    codes = [finding.advice.code for finding in session.seen[0].findings]
    session.act("apply", {"run": 0, "finding": codes.index("lower_rate")})
    with pytest.raises(LabError, match="wild-lower-rate is being trained: wait for its end"):
        session.act("apply", {"run": 0, "finding": 0})
    until = time.monotonic() + 60
    while session.advance() and session.repair and time.monotonic() < until:
        time.sleep(0.05)
    repaired, before = session.seen
    assert (repaired.name, before.name) == ("wild-lower-rate", "wild")
    assert repaired.told["repaired"] == ["lower_rate"]
    assert repaired.told["results"]["test"]["accuracy"] > 0.6


def test_advice_of_the_run_beside_is_followed_too(folder):
    session = open_session("run", folder, "well")
    session.change({"beside": "wild"})
    codes = [finding.advice.code for finding in session.seen[1].findings]
    session.act("apply", {"run": 1, "finding": codes.index("lower_rate")})
    session.repair.thread.join()
    assert [run.name for run in session.seen] == ["wild-lower-rate", "wild"]


def test_a_run_that_goes_away_is_told_once_and_the_newest_is_shown(folder, monkeypatch):
    monkeypatch.setattr("commonweight.lab.sessions.running.SECONDS", 0.0)
    session = open_session("run", folder, "wild")
    shutil.rmtree(folder / "wild")
    with pytest.raises(LabError, match="There is no run 'wild' in the folder"):
        session.advance()
    assert session.advance() is False
    assert [run.name for run in session.seen] == ["well"]
    assert session.settings.run == ""


def test_a_run_that_goes_away_while_the_folder_is_read_is_left_out(folder, monkeypatch):
    session = open_session("run", folder, "well")

    def glob(self, pattern):
        return iter([folder / "well" / "run.json", folder / "gone" / "run.json"])

    monkeypatch.setattr("pathlib.Path.glob", glob)
    session.act("look", {})
    assert [run["name"] for run in session.live().values["runs"]] == ["well"]


def test_layers_are_named_where_all_checks_have_them(folder):
    path = folder / "well" / "records.jsonl"
    first, *rest = read_records(path)
    path.write_text(to_lines([replace(first, layers=first.layers[:1]), *rest]))
    live = open_session("run", folder, "well").live()
    shown = live.values["shown"][0]
    assert len(shown["layers"]) == live.arrays["layers0"].shape[1] == 1
    assert shown["n_layers"] == len(first.layers)
    assert shown["settings"]["seed"] == 0


def test_advice_that_cannot_be_followed(folder):
    session = open_session("run", folder, "wild")
    with pytest.raises(LabError, match=r"run is a whole number from 0 to 0; got 1"):
        session.act("apply", {"run": 1, "finding": 0})
    with pytest.raises(LabError, match=r"finding is a whole number from 0 to \d+; got 99"):
        session.act("apply", {"run": 0, "finding": 99})
    with pytest.raises(LabError, match="Here one can do look, apply; got 'dance'"):
        session.act("dance", {})


def test_nothing_wrong_means_nothing_to_follow(folder):
    session = open_session("run", folder, "well")
    session.seen[0].findings.clear()
    with pytest.raises(LabError, match="Nothing is wrong with well: there is no advice to follow"):
        session.act("apply", {"run": 0, "finding": 0})


def test_a_full_disk_is_told_and_the_run_stays_as_it_was(folder):
    """The system lets no file grow beyond some bytes, as if there were no room for more."""
    session = open_session("run", folder, "wild")
    codes = [finding.advice.code for finding in session.seen[0].findings]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, limits[1]))
    try:
        with pytest.raises(LabError, match=r"cannot be followed from here: Cannot write .*wild-lower-rate"):
            session.act("apply", {"run": 0, "finding": codes.index("lower_rate")})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert session.repair is None
    assert (session.settings.run, session.settings.beside) == ("wild", "")
    assert not [file for file in folder.glob("wild-lower-rate/*") if file.stat().st_size]
    session.act("apply", {"run": 0, "finding": codes.index("lower_rate")})
    assert session.repair.name.startswith("wild-lower-rate")
    session.repair.thread.join()
