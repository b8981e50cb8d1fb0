"""The view Audit: what the session tells is what `audit` says; files are found, uploaded, bounded, and stay apart."""

import asyncio
import contextlib
import io
import json
import re

import pytest
import torch
from lab_client import HOST, ORIGIN, TOKEN, lab, page
from safetensors.torch import save_file

from commonweight.errors import FileError, LabError
from commonweight.lab import uploads
from commonweight.lab.sessions import auditing, folder_files, open_session
from commonweight.lab.uploads import Uploads
from commonweight.verdicts import audit
from commonweight.verdicts.words import LANGUAGES

WEIGHT = torch.arange(12.0).reshape(3, 4)


@pytest.fixture
def folder(tmp_path):
    save_file({"encoder": WEIGHT, "decoder": WEIGHT.T.contiguous()}, tmp_path / "tied.safetensors")
    model = tmp_path / "runs" / "model"
    model.mkdir(parents=True)
    save_file({"model.embed_tokens.weight": WEIGHT, "lm_head.weight": WEIGHT + 1}, model / "model.safetensors")
    (model / "config.json").write_text(json.dumps({"model_type": "llama", "tie_word_embeddings": True}))
    (tmp_path / "notes.txt").write_text("no checkpoint")
    return tmp_path


@pytest.fixture
def session(folder):
    return open_session("audit", folder)


def test_the_checkpoints_of_a_folder_are_listed(session):
    facts = session.facts()
    assert set(facts["files"]) == {"tied.safetensors", "runs/model", "runs/model/model.safetensors"}
    assert facts["all_files"]
    assert facts["audit"] is None


def test_a_long_list_ends_with_a_word_about_it(folder, monkeypatch):
    monkeypatch.setattr(folder_files, "MOST_FILES", 1)
    assert auditing.checkpoints_in(folder)[1] is False
    monkeypatch.setattr(folder_files, "MOST_ENTRIES", 0)
    assert auditing.checkpoints_in(folder) == ([], False)


def test_links_are_not_followed_and_a_missing_folder_is_empty(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save_file({"w": WEIGHT}, elsewhere / "other.safetensors")
    (folder / "link").symlink_to(elsewhere)
    assert not [name for name in auditing.checkpoints_in(folder)[0] if "other" in name]
    assert auditing.checkpoints_in(folder / "nowhere") == ([], True)
    with pytest.raises(LabError, match="There is no file or folder 'link/other"):
        folder_files.path_in(folder, "link/other.safetensors")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_no_link_out_of_a_checkpoint_is_read(session, folder, tmp_path_factory, name):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / name
    (folder / "runs" / "model" / name).rename(elsewhere)
    (folder / "runs" / "model" / name).symlink_to(elsewhere)
    with pytest.raises(FileError, match="does not lie in its folder"):
        session.change({"file": "runs/model"})


def test_no_shard_elsewhere_is_read(session, folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    save_file({"w": WEIGHT}, elsewhere / "one.safetensors")
    (folder / "two.safetensors").symlink_to(elsewhere / "one.safetensors")
    for shard in ("two.safetensors", "../one.safetensors", str(elsewhere / "one.safetensors")):
        (folder / "all.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": shard}}))
        with pytest.raises(FileError, match="does not lie in its folder"):
            session.change({"file": "all.safetensors.index.json"})


def test_what_is_told_is_the_audit(session, folder):
    session.change({"file": "runs/model", "suggest": "yes"})
    told, found = session.facts()["audit"], audit(folder / "runs" / "model", suggest=True)
    for problem, entry in zip(found.problems, told["problems"], strict=True):
        assert (entry["code"], entry["message"]["en"]) == (problem.code, problem.message)
        assert entry["remedy"]["en"] == problem.remedy
        assert "由 config.json" in entry["message"]["zh-Hans"]
        assert "如果它們是一個權重" in entry["remedy"]["zh-Hant"]
    assert (told["bytes"], told["bytes_if_tied"]) == (found.bytes, found.bytes_if_tied)
    assert [group["verdict"] for group in told["groups"]] == ["diverged"]
    columns = told["groups"][0]
    declared = {"en": found.groups[0].intent, "zh-Hans": "共享：config.json", "zh-Hant": "共享：config.json"}
    assert (columns["intent"], columns["against"]) == (declared, dict.fromkeys(LANGUAGES, ""))
    assert columns["file"] == {"en": "two, max |Δ| 1", "zh-Hans": "两个，max |Δ| 1", "zh-Hant": "兩個，max |Δ| 1"}
    assert told["searched"]
    json.dumps(told, allow_nan=False)


def test_notes_and_what_is_suggested_in_words_are_told_in_each_language(session, folder):
    weight = torch.randn(24, 16, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(24, generator=torch.Generator().manual_seed(1))
    save_file({"a": weight, "b": weight[order]}, folder / "turned.safetensors")
    (folder / "config.json").write_text("{}")
    session.change({"file": "turned.safetensors", "suggest": "yes"})
    told = session.facts()["audit"]
    assert told["notes"][0]["zh-Hans"].startswith("旁边的 config.json 没有读")
    assert "rows in another order" in told["suggestions"][0]["text"]["en"]
    assert told["suggestions"][0]["text"]["zh-Hant"].endswith("其 24 列的次序不同")


def test_the_code_prints_the_same_audit(session, folder):
    assert "choose a checkpoint first" in session.code()
    session.change({"file": "tied.safetensors", "against": "runs/model/model.safetensors", "suggest": "yes"})
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(session.code(), "shown", "exec"), {})
    found = audit(folder / "tied.safetensors", folder / "runs/model/model.safetensors", suggest=True)
    assert said.getvalue() == f"{found}\n"


def test_a_file_is_read_anew_when_asked(session, folder):
    session.change({"file": "tied.safetensors"})
    assert len(session.facts()["audit"]["groups"]) == 1
    save_file({"encoder": WEIGHT, "decoder": WEIGHT.T.contiguous() + 1}, folder / "tied.safetensors")
    session.change({"file": "tied.safetensors"})
    assert len(session.facts()["audit"]["groups"]) == 1
    session.act("again", {})
    assert session.facts()["audit"]["groups"] == []
    assert session.advance() is False


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ({"file": "none.safetensors"}, LabError, "There is no file or folder 'none.safetensors' in the folder"),
        ({"file": "../../etc/passwd"}, LabError, "There is no file or folder '../../etc/passwd'"),
        ({"file": "/etc/passwd"}, LabError, "There is no file or folder '/etc/passwd'"),
        ({"file": "notes.txt"}, FileError, "Cannot read"),
        ({"file": "tied.safetensors", "against": "none"}, LabError, "There is no file or folder 'none'"),
        ({"file": "x" * 401}, LabError, "a text of at most 400 letters"),
    ],
)
def test_what_cannot_be_read_is_refused_and_changes_nothing(session, given, error, sentence):
    session.change({"file": "runs/model"})
    before = session.facts()
    with pytest.raises(error, match=re.escape(sentence)):
        session.change(given)
    assert session.facts() == before
    assert session.settings.file == "runs/model"


def test_a_subject_is_an_upload(folder):
    with pytest.raises(LabError, match="opened for a file that was uploaded, or for nothing; got 'runs'"):
        open_session("audit", folder, "runs")


def test_an_action_that_is_none(session):
    with pytest.raises(LabError, match="Here one can do again; got 'dance'"):
        session.act("dance", {})


async def _chunks(*parts):
    for part in parts:
        yield part


def _take(kept, name, *parts):
    return asyncio.run(kept.take(name, _chunks(*parts)))


@pytest.fixture
def kept():
    kept = Uploads()
    yield kept
    kept.close()


def test_an_upload_is_alone_in_its_folder_and_the_oldest_goes(kept, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_KEPT", 2)
    subjects = [_take(kept, "a b (1).safetensors", b"12", bytes([number])) for number in range(3)]
    assert list(kept.folders) == subjects[1:]
    (file,) = kept.folders[subjects[2]].iterdir()
    assert (file.name, file.read_bytes()) == ("a b (1).safetensors", b"12\x02")
    home = file.parent.parent
    assert len(list(home.iterdir())) == 2
    kept.close()
    assert not home.exists()


@pytest.mark.parametrize("name", ["", "x.txt", "../x.pt", "a/b.pt", ".pt", "x\n.pt", "x" * 101 + ".pt", "..\\x.pt"])
def test_a_name_that_is_no_checkpoints(kept, name):
    with pytest.raises(LabError, match="A file for the lab has a plain name that ends in safetensors"):
        _take(kept, name, b"1")


def test_an_upload_that_is_too_long_leaves_nothing_behind(kept, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_BYTES", 1 << 20)
    with pytest.raises(LabError, match="takes at most 1 MB at once, and this is more: start the lab"):
        _take(kept, "x.pt", bytes(1 << 20), b"1")
    assert kept.folders == {}


def test_an_upload_that_stops_in_the_middle_leaves_the_way_free(kept, monkeypatch):
    async def stalled():
        yield b"1"
        await asyncio.Event().wait()

    monkeypatch.setattr(uploads, "PATIENCE", 0.01)
    with pytest.raises(LabError, match=r"Nothing more of it came for 0\.01 s: give it again"):
        asyncio.run(kept.take("x.pt", stalled()))
    assert kept.folders == {}
    assert _take(kept, "x.pt", b"1") in kept.folders


def test_one_upload_at_a_time(kept):
    async def two():
        go_on = asyncio.Event()

        async def slow():
            yield b"1"
            await go_on.wait()

        first = asyncio.create_task(kept.take("x.pt", slow()))
        await asyncio.sleep(0)
        with pytest.raises(LabError, match="Another file is on its way"):
            await kept.take("y.pt", _chunks(b"2"))
        go_on.set()
        await first

    asyncio.run(two())


def test_a_page_uploads_and_audits(folder, tmp_path_factory):
    headers = {"host": HOST, "origin": ORIGIN}
    body = (folder / "tied.safetensors").read_bytes()
    with lab(tmp_path_factory.mktemp("lab")) as client:
        answer = client.post(f"/{TOKEN}/uploads?name=tied.safetensors", content=body, headers=headers)
        subject = answer.json()["subject"]
        refused = client.post(f"/{TOKEN}/uploads?name=tied.exe", content=body, headers=headers)
        assert (refused.status_code, "A file for the lab" in refused.json()["text"]["en"]) == (400, True)
        strange = client.post(f"/{TOKEN}/uploads?name=a.pt", content=b"", headers={**headers, "origin": "http://evil"})
        assert strange.status_code == 403
        with page(client) as one:
            one.ask(type="open", view="audit", subject=subject, settings=None)
            state = one.hear("state")
            assert state["facts"]["files"] == ["tied.safetensors"]
            assert state["facts"]["audit"]["groups"][0]["verdict"] == "equal up to a transform"
            one.ask(type="open", view="audit", subject="upload-0123", settings=None)
            assert "made room for others: give it again" in one.refusal()
