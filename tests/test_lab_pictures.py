"""Folders of pictures that a page gives: kept as they were, bounded, and learned from."""

import asyncio
import json
import struct

import pytest
from lab_client import HOST, ORIGIN, TOKEN, lab, page

from commonweight.errors import LabError
from commonweight.lab import packed_pictures
from commonweight.lab.uploads import Uploads

LEVELS = {"dark": 9, "bright": 200}
PICTURES = {f"{name}/{k}.pgm": b"P5 4 4 255\n" + bytes(16 * [LEVELS[name] + k]) for name in LEVELS for k in range(9)}


@pytest.fixture
def kept():
    kept = Uploads()
    yield kept
    kept.close()


def packed(pictures, said=None):
    """The bytes that a page sends: written out as the module says."""
    text = json.dumps([[path, len(body)] for path, body in pictures.items()] if said is None else said).encode()
    return struct.pack("<I", len(text)) + text + b"".join(pictures.values())


def take(kept, body, name="shades"):
    async def chunks():
        for start in range(0, len(body), 100):
            yield body[start : start + 100]

    return asyncio.run(kept.take_pictures(name, chunks()))


def test_each_picture_is_kept_in_the_folder_of_its_class(kept):
    folder = kept.folders[take(kept, packed(PICTURES), "色 (1)")]
    (home,) = folder.iterdir()
    assert home.name == "色 (1)"
    files = [path for path in home.rglob("*") if path.is_file()]
    assert {path.relative_to(home).as_posix(): path.read_bytes() for path in files} == PICTURES


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "begins with a list"),
        (packed({}, {"a": 1}), "begins with a list"),
        (packed({}, [["a/b.png", "x"]]), "begins with a list"),
        (packed({}, [["a/b.png", float("inf")]]), "begins with a list"),
        (struct.pack("<I", 200_000) + b"[" * 200_000, "begins with a list"),
        (packed({}), "two at least; this one has 0"),
        (packed({"one/1.png": b"1"}), "two at least; this one has 1: move the pictures"),
        (packed(PICTURES)[:-1], "The pictures of shades were cut off on their way"),
        (packed(PICTURES) + b"1", "The pictures of shades were cut off on their way"),
        (struct.pack("<I", 1 << 31) + b"[]", "two at least"),
    ],
)
def test_what_is_no_folder_of_pictures_leaves_nothing_behind(kept, body, sentence):
    with pytest.raises(LabError, match=sentence):
        take(kept, body)
    assert kept.folders == {}


@pytest.mark.parametrize(
    "path",
    [
        "1.png",
        "a/b/1.png",
        "../1.png",
        "a/../1.png",
        "/a/1.png",
        "a/.1.png",
        "a\\1.png",
        "a/1.txt",
        "a/x\n.png",
        "C:/1.png",
        "\ud800/1.png",
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(kept, path):
    with pytest.raises(LabError, match="A picture of a folder is CLASS/FILE"):
        take(kept, packed({path: b"1"}))


def test_a_size_below_zero_is_refused(kept):
    with pytest.raises(LabError, match="A picture of a folder is CLASS/FILE"):
        take(kept, packed({}, [["a/1.png", 5], ["b/1.png", -5]]))


def test_too_many_pictures_are_refused(kept, monkeypatch):
    monkeypatch.setattr(packed_pictures, "MOST_PICTURES", 17)
    with pytest.raises(LabError, match="takes folders of at most 17 pictures; start the lab with a larger one"):
        take(kept, packed(PICTURES))
    monkeypatch.setattr(packed_pictures, "MOST_LIST", 50)
    with pytest.raises(LabError, match="begins with a list"):
        take(kept, packed(PICTURES))


@pytest.mark.parametrize("name", ["", ".x", "a/b", "..", "x" * 101, "a\\b"])
def test_a_folder_has_a_plain_name(kept, name):
    with pytest.raises(LabError, match="A folder for the lab has a plain name of at most 100 letters"):
        take(kept, packed(PICTURES), name)


def test_a_page_gives_pictures_and_learns_them(tmp_path):
    with lab(tmp_path) as client:
        sent = client.post(
            f"/{TOKEN}/uploads/pictures?name=shades", content=packed(PICTURES), headers={"host": HOST, "origin": ORIGIN}
        )
        with page(client) as one:
            one.ask(type="open", view="play", subject=sent.json()["subject"], settings=None)
            facts = one.hear("state")["facts"]
    assert (facts["files"], facts["classes"], facts["kind"]) == (["shades"], ["bright", "dark"], "image")
