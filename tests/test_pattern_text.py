"""A notation is read back as the pattern that it says, whoever wrote it; what is none is refused in a sentence."""

import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import patterns as any_pattern

from commonweight import patterns as P
from commonweight.codebook import codebook
from commonweight.errors import PatternError
from commonweight.hashing import hashed
from commonweight.pattern_text import LONGEST, MOST_CELLS, arrays_of, read, smallest
from commonweight.reordering import reordered

CODED = P.kron(codebook([[0], [1], [0]], k=2, rows=3), P.dense(4, 1))


@settings(max_examples=300, deadline=None)
@given(any_pattern().filter(lambda pattern: "orbits" not in str(pattern)))
@example(CODED)
@example(P.block(reordered(CODED, [2, 0, 1], range(4)), P.transpose(CODED)))
@example(hashed(20, 30, 40, seed=7, tile=True))
@example(P.tiled((2, 7, 5), 3, kernel=3, padding=1, period=(2, 3), padding_mode="circular"))
def test_a_notation_is_read_back(pattern):
    again = read(str(pattern), [smallest(array) for array in arrays_of(pattern)])
    assert again == pattern
    assert again.tiemap().same_ties(pattern.tiemap())
    assert again.weight_shape == pattern.weight_shape


def test_a_part_has_no_more_cells_than_are_allowed():
    assert read("circulant(4)", most=16) == P.circulant(4)
    with pytest.raises(PatternError, match=r"circulant\(4\) has 16 cells; at most 15 are allowed here"):
        read("circulant(4)", most=15)
    with pytest.raises(PatternError, match="a number of at most 9 or a list at character 26, found '10"):
        read("conv1d((1, 1), 1, kernel=10)", most=9)


def test_arrays_come_in_the_fewest_bytes():
    assert [smallest(np.array([0, most])).dtype for most in (255, 256, 1 << 15, 1 << 31)] == [
        np.uint8,
        np.int16,
        np.int32,
        np.int64,
    ]


ORDERED = str(reordered(P.circulant(3), [2, 0, 1], [0, 1, 2]))
REFUSED = {
    "": "expected a call, a number or a sign at character 1, found the end",
    "7": "'7' is not the notation of a pattern",
    "circulant(3": r"expected `, ` or `\)` at character 12, found the end",
    "circulant(3) ": "is not the notation of a pattern",
    "circulant(3)circulant(3)": "is not the notation of a pattern",
    "circulant( 3)": "is not the notation of a pattern",
    "circulant(03)": "is not the notation of a pattern",
    "circulant(3, n=3)": r"no circulant is made so \(.*multiple values.*\)",
    "circulant([3])": r"circulant takes whole numbers of at least 1; got \[3\]",
    "circulant(10000000)": "expected a pattern, a number of at most 4,194,304 or a list",
    "circulant(9999999999)": "expected a call, a number or a sign at character 11",
    "circulant(2049)": f"circulant.* has 4,198,401 cells; at most {MOST_CELLS:,} are allowed here",
    "kron(circulant(2), circulant(1025))": "has 4,202,500 cells",
    "compose(dense(99999, 99999), weights_of=single(1, 1))": "has 9,999,800,001 cells",
    "conv1d((1, 9), 1, kernel=900000, padding=450000)": "cells; at most",
    "orbits(<1 permutations of 3 inputs and 3 outputs, 0>)": "or a list at character 1, found",
    "eval(3)": "expected a pattern, a number of at most 4,194,304 or a list at character 1, found 'eval",
    "kron(circulant(3), 4)": "kron takes patterns, such as .*; got int: 4",
    "circulant(" * 70: "expected at most 64 brackets within each other",
    "[" * 70: "expected at most 64 brackets within each other",
    "circulant(-3)": "expected a call, a number or a sign at character 11",
    "circulant(3.0)": r"expected `, ` or `\)`",
    "block()": "block puts one or more patterns side by side; got none",
    ORDERED: "expected no further array",
    "7" * (LONGEST + 1): "read from at most 65,536 characters; got 65,537",
}


@pytest.mark.parametrize(("text", "sentence"), REFUSED.items(), ids=lambda text: text[:30])
def test_what_is_no_notation_is_refused(text, sentence):
    with pytest.raises(PatternError, match=sentence):
        read(text)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ([[2, 1, 0], [0, 1, 2]], "is not the notation of a pattern, or that of other arrays"),  # another digest
        ([[2, 0, 1], [0, 1, 2], [0]], "is not the notation of a pattern, or that of other arrays"),
        ([[2, 0, 1], [0, 1, 3]], "columns are 3 different numbers from 0 to 2"),
        ([[[2, 0, 1]], [0, 1, 2]], "rows are a list of whole numbers"),
        ([[2, 0, 1]], "expected no further array"),
    ],
)
def test_arrays_are_those_that_the_notation_was_written_for(arrays, sentence):
    with pytest.raises(PatternError, match=sentence):
        read(ORDERED, [np.array(array) for array in arrays])


WORDS = [*re.findall(r"[a-z_0-9]+|.", str(CODED) + ORDERED), "conv2d", "kernel=", "999999", "[", "True", "'zeros'"]


def answer(text, arrays):
    """The notation of what is read, or why nothing is."""
    try:
        return str(read(text, arrays))
    except PatternError as error:
        return f"{error}"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=30).map("".join), st.lists(st.just(np.zeros(2, np.uint8)), max_size=2))
def test_any_text_is_a_pattern_or_a_sentence(text, arrays):
    told = answer(text, arrays)
    assert told == text or told.endswith(".")


CALLS = ["circulant({})", "kron({}, {})", "conv1d({}, {}, kernel={})", "table({}, {})", "reordered({}, {}, {})"]
CALLS += ["codebook({}, {})", "block({})", "compose({}, weights_of={})", "hashed({}, {}, {}, seed={})"]
CALLS += ["({}, {})", "[{}, {}]", "[{}]", "tiled({}, {}, kernel={}, period={})", "local({}, {})"]
CALLS += ["conv2d({}, {}, kernel={}, padding_mode={})"]
LEAVES = ["1", "2", "3", "9", "999999", "'zeros'", "True", "<3 numbers, 0>", "dense(2, 2)", "[]", "()"]


@st.composite
def calls(draw, depth=3):
    if not depth or draw(st.booleans()):
        return draw(st.sampled_from(LEAVES))
    call = draw(st.sampled_from(CALLS))
    return call.format(*(draw(calls(depth - 1)) for _ in range(call.count("{}"))))


@settings(max_examples=500, deadline=None)
@given(calls())
def test_any_call_is_a_pattern_or_a_sentence(text):
    told = answer(text, [np.array([1, 0, 2]), np.array([[0, 1]]), np.array([], np.int64)])
    assert told == text or told.endswith(".")
