"""Refusals have the same words in every language, and whatever the lab raises for a page has such words."""

import ast
import re
from pathlib import Path
from string import Formatter

import pytest

import commonweight.lab
from commonweight.errors import DataError, LabError
from commonweight.lab.refusals import TEXTS, RefusalError, quoted, said

LAB = Path(commonweight.lab.__file__).parent
FOR_TERMINALS = {"opening.py", "channel.py", "frames.py", "server.py"}
"""What they say reaches nobody's page: it ends the program, or a damaged stream."""


def raised(kind):
    """The calls of a class of errors in the lab, with their files."""
    for path in sorted(LAB.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == kind:
                yield path.name, node


def parts(text):
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_a_refusal_has_its_parts_in_every_language():
    for english, *others in TEXTS.values():
        assert [parts(text) for text in others] == [parts(english)] * 2
        assert english.rstrip("}").endswith((".", " {reason"))


def test_the_two_chinese_texts_are_written_in_their_own_characters():
    assert not re.findall("[个这为与练设档图类录请从来没开载页]", "".join(hant for _, _, hant in TEXTS.values()))
    assert not re.findall("[個這為與練設檔圖類錄請從來沒開載頁]", "".join(hans for _, hans, _ in TEXTS.values()))


def test_whatever_is_raised_for_a_page_has_a_code_and_all_of_its_parts():
    for name, call in raised("RefusalError"):
        codes = [call.args[0].value] if isinstance(call.args[0], ast.Constant) else ["whole", "choice", "text"]
        given = {keyword.arg for keyword in call.keywords}
        for code in codes:
            assert parts(TEXTS[code][0]) <= given or None in given, (name, code)
    assert {name for name, _ in raised("LabError")} <= FOR_TERMINALS


def test_every_code_is_raised_somewhere():
    text = "".join(path.read_text() for path in LAB.rglob("*.py") if path.name != "refusals.py")
    kinds = {"choice", "real", "sizes", "points", "text"}  # those of settings are raised by their kind
    assert [code for code in TEXTS.keys() - kinds if f'"{code}"' not in text] == []


def test_an_error_inside_of_a_refusal_comes_in_the_same_language_if_it_can():
    inner = RefusalError("advice_for_people", advice="look")
    outer = RefusalError("advice_not_followed", reason=inner)
    assert str(outer) == "This advice cannot be followed from here: only a person can do what look says."
    assert outer.said["zh-Hant"] == "這項建議不能從這裡執行：look 所說的只有人能做。"
    assert RefusalError("advice_not_followed", reason=DataError("no rows.")).said["zh-Hans"].endswith("：no rows.")


def test_an_error_from_elsewhere_is_said_in_english_alone():
    assert said(DataError("no rows.")) == {"en": "no rows."}
    assert set(said(RefusalError("small_batch"))) == {"en", "zh-Hans", "zh-Hant"}
    with pytest.raises(LabError, match="Batch normalisation needs 2"):
        raise RefusalError("small_batch")


def test_what_somebody_gave_is_quoted_and_cut():
    assert quoted("a" * 99, 3) == "'aaa'"
    assert quoted("\ud800{name}") == "'\\ud800{name}'"
