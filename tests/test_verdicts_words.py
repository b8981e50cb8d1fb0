"""The words of an audit: each sentence in three languages with the same parts, each in its own characters."""

import string

import pytest

from commonweight.verdicts.words import LANGUAGES, TEXTS, listed, say, translated

ENGLISH_ONLY = {"them", "are", "have"}
"""Parts that English needs for number, and Chinese does not."""


def parts(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", TEXTS)
def test_every_sentence_has_the_same_parts_in_each_language(key):
    english, *others = map(parts, TEXTS[key])
    for other in others:
        assert other == english - ENGLISH_ONLY


def test_the_two_chinese_are_written_in_their_own_characters():
    simplified, traditional = ("".join(texts[k] for texts in TEXTS.values()) for k in (1, 2))
    assert not set("權層網訓練設個這為與張兩裝實際們沒變動儲檔") & set(simplified)
    assert not set("权层网训练设个这为与张两装实际们没变动储档") & set(traditional)


def test_a_sentence_is_said_with_its_parts_in_the_same_language():
    fact = say("missing", label="model.pt", text=say("neither"))
    whole = say("sentence", declared=say("holds", equation="a = b", says="c"), fact=fact)
    assert whole == "`a = b` holds in c, but in model.pt: neither is there."
    assert translated(whole, "zh-Hans") == "`a = b` 在 c 中成立，但在 model.pt 中：两个都没有。"
    assert translated(whole, "zh-Hant") == "`a = b` 在 c 中成立，但在 model.pt 中：兩個都沒有。"
    assert [translated("plain", language) for language in LANGUAGES] == ["plain"] * 3
    assert translated(listed(["a", "{b}", "c"], most=2), "zh-Hant") == "`a`, `{b}` 等另外 1 個"
