"""A pattern in another order: what it means, how it is written, and what is no order."""

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import in_another_order
from strategies import patterns as any_pattern

from commonweight import patterns as P
from commonweight.errors import PatternError
from commonweight.lower import explain, lower, simplify
from commonweight.reordering import reordered
from commonweight.tied import Tied


@settings(max_examples=100, deadline=None)
@given(in_another_order(any_pattern()))
def test_its_rows_and_columns_have_the_pattern(pattern):
    tiemap, theta = pattern.tiemap(), torch.randn(pattern.n_weights)
    matrix = tiemap.expand(theta).numpy()
    assert np.array_equal(matrix[np.ix_(pattern.rows, pattern.columns)], pattern.a.tiemap().expand(theta).numpy())
    matrix[np.ix_(pattern.rows, pattern.columns)] = 0
    assert not matrix.any()
    counts = ("weight_shape", "n_connections", "n_weights")
    assert [getattr(pattern, name) for name in counts] == [getattr(pattern.a, name) for name in counts]
    assert (tiemap.n_out, tiemap.n_in, tiemap.n_connections) == (pattern.n_out, pattern.n_in, pattern.n_connections)


def test_patterns_are_equal_if_their_orders_are():
    rows, columns = [2, 0, 1], [0, 1, 2]
    pattern = reordered(P.circulant(3), rows, columns)
    assert pattern == reordered(P.circulant(3), np.array(rows, dtype=np.int32), columns)
    assert hash(pattern) == hash(reordered(P.circulant(3), rows, columns))
    assert pickle.loads(pickle.dumps(pattern)) == pattern
    assert pattern != reordered(P.circulant(3), columns, rows)
    assert pattern != reordered(P.circulant(3), rows, columns, n_in=4)
    assert pattern != reordered(P.symmetric(3), rows, columns)
    with pytest.raises(ValueError, match="read-only"):
        pattern.rows[0] = 1


def test_its_notation_says_the_numbers_of_units_where_they_are_not_those_of_the_pattern():
    assert str(reordered(P.circulant(2), [1, 0], [0, 1])).startswith("reordered(circulant(2), <2 numbers, ")
    assert str(reordered(P.circulant(2), [1, 3], [0, 1], n_out=5)).endswith(">, n_out=5)")
    assert str(reordered(P.circulant(2), [1, 3], [0, 7], n_out=5, n_in=8)).endswith(">, n_out=5, n_in=8)")


@settings(max_examples=100, deadline=None)
@given(in_another_order(in_another_order(any_pattern())))
def test_an_order_of_an_order_is_one(pattern):
    simple = simplify(pattern)
    assert not isinstance(getattr(simple, "a", None), type(pattern))
    assert simple.tiemap().same_ties(pattern.tiemap())


@given(st.integers(1, 9))
def test_no_order_is_the_pattern_itself(n):
    assert simplify(reordered(P.circulant(n), range(n), range(n))) == simplify(P.circulant(n))


def test_a_large_circulant_runs_by_the_fourier_transform_without_a_matrix():
    pattern = reordered(P.circulant(512), np.arange(512)[::-1], np.arange(512))
    assert "torch.fft.rfft" in explain(pattern)
    assert lower(pattern).bytes == 4 * 3 * 512


def test_units_that_are_left_out_give_their_bias():
    layer = Tied(reordered(P.circulant(256), range(3, 259), range(256), n_out=270), bias="unit")
    answers = layer(torch.randn(4, 256))
    left_out = torch.cat([torch.arange(3), torch.arange(259, 270)])
    assert torch.equal(answers[:, left_out], layer.bias[left_out].expand(4, -1))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: reordered(None, [0], [0]), "reordered takes a pattern, such as .*; got NoneType: None"),
        (lambda: reordered(P.circulant(2), [0, 0], [0, 1]), "rows are 2 different .* 0 to 1.*; got 2, 1 of them"),
        (lambda: reordered(P.circulant(2), [0, 1], [0, 2]), "columns are 2 .*; got 2, .* from 0 to 2"),
        (lambda: reordered(P.circulant(2), [0, -1], [0, 1]), "rows are 2 .* from -1 to 0"),
        (lambda: reordered(P.circulant(2), [0, 1, 2], [0, 1], n_out=3), "rows are 2 different .*; got 3"),
        (lambda: reordered(P.circulant(2), [0.0, 1.0], [0, 1]), "rows are a list of whole numbers; got float64"),
        (lambda: reordered(P.circulant(2), [[0, 1]], [0, 1]), r"rows are a list of whole numbers; got int64 \(1, 2\)"),
        (lambda: reordered(P.circulant(2), [], [0, 1]), r"rows are a list of whole numbers; got float64 \(0,\)"),
        (lambda: reordered(P.circulant(2), [0, 1], [0, 1], n_out=0), "reordered takes whole numbers of at least 1"),
        (lambda: reordered(P.circulant(2), [0, 1], [0, 1], n_out=1), "rows are 2 different numbers from 0 to 0"),
    ],
)
def test_what_is_no_order_is_refused_in_a_sentence(call, sentence):
    with pytest.raises(PatternError, match=sentence):
        call()
