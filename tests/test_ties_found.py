"""What is tied in a model although nobody said so, and what only looks like it."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tied_models import linear, listed, net, pair
from torch import nn

from commonweight.equations import Level, tie, ties


def test_everything_that_can_be_found_is_found():
    model = net(a=linear(3, 2, bias=True), b=linear(3, 2, 1), t=linear(2, 3), e=linear(3, 2), f=linear(3, 2), s=None)
    model.m = model.a
    model.b.weight = model.a.weight
    model.t.weight = nn.Parameter(model.a.weight.T)
    model.s = nn.ParameterList([model.a.weight[1:], model.a.weight[:, 1:]])
    model.e.weight = nn.Parameter(model.a.weight.clone())
    model.f.weight = nn.Parameter(-model.a.weight.flip(1))
    model.g = linear(3, 2, 9)
    assert listed(model) == [
        "m = a  (found: same module)",
        "b.weight = a.weight  (found: same parameter)",
        "t.weight = a.weight.T  (found: same storage)",
        "s.0 = a.weight[1:3]  (found: same storage)",
        "s.1 = a.weight[:, 1:2]  (found: same storage)",
        "e.weight = a.weight  (found: equal bits)",
        "f.weight = -a.weight.flip(1)  (found: equal up to a transform)",
    ]
    assert [t.level for t in ties(model)][-1] is Level.EQUAL_TRANSFORMED


@given(rows=st.integers(2, 5), columns=st.integers(2, 5), starts=st.tuples(*[st.integers(0, 3)] * 2))
def test_a_block_of_a_matrix_is_found_where_it_lies(rows, columns, starts):
    whole = torch.arange(64.0).view(8, 8)
    block = whole[starts[0] : starts[0] + rows, starts[1] : starts[1] + columns]
    model = nn.ParameterList([nn.Parameter(whole), nn.Parameter(block)])
    (found,) = ties(model)
    assert found.level is Level.SAME_STORAGE
    assert torch.equal(found.equation.apply(whole), block)
    assert found.equation.apply(whole).data_ptr() == block.data_ptr()


def test_no_false_ties():
    """pytorch#185803, #176225, Model-Optimizer#2092: views of one flat buffer, pointer 0 on meta, recycled ids."""
    flat = torch.randn(40, generator=torch.Generator().manual_seed(0))
    views = [nn.Parameter(view.view(2, 5)) for view in flat.split(10)]
    assert len({view.untyped_storage().data_ptr() for view in views}) == 1
    assert not ties(nn.ParameterList(views))
    with torch.device("meta"):
        assert not ties(nn.Sequential(*(nn.Linear(4, 4) for _ in range(5))))
    assert not ties(nn.Sequential(*(nn.Linear(4, 4, bias=False) for _ in range(5))))
    norms = nn.Sequential(*(nn.LayerNorm(4) for _ in range(3)))
    assert not ties(norms), "equal from the start, and not tied"
    assert not ties(nn.ParameterList([torch.empty(0, 3), torch.empty(0, 3), torch.tensor(1.5), torch.tensor(1.5)]))
    assert not ties(nn.LSTM(3, 4, num_layers=2))
    for _ in range(50):  # objects that die take their ids with them
        assert not ties(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))


def test_overlaps_that_no_equation_says_are_no_ties():
    flat = torch.arange(12.0)
    assert not ties(nn.ParameterList([flat[0:8].view(2, 4), flat[4:12].view(2, 4)]))
    assert not ties(nn.ParameterList([flat[0:8].view(2, 4), flat[0:8].view(4, 2)]))
    assert not ties(nn.ParameterList([flat.view(3, 4), flat[2:8].as_strided((2, 3), (4, 1))]))
    assert not ties(nn.ParameterList([flat, flat.view(torch.int32).view(torch.float32).double()]))


def test_ties_found_on_meta_are_those_of_objects():
    with torch.device("meta"):
        model = net(a=nn.Linear(2, 2), b=nn.Linear(2, 2), c=nn.Linear(2, 2))
    model.b.weight = model.a.weight
    tie(model, "c.weight = a.weight")
    assert listed(model) == [
        "c.weight = a.weight  (declared: same parameter)",
        "b.weight = a.weight  (found: same parameter)",
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.complex64])
def test_equal_values_in_every_type(dtype):
    value = torch.randn(2, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert listed(nn.ParameterList([value, -value.T.clone()])) == ["1 = -0.T  (found: equal up to a transform)"]


def test_close_means_that_rounding_may_explain_it():
    model = pair()
    tie(model, "b.weight = a.weight", keep="source")
    model.b.weight = nn.Parameter(model.a.weight * (1 + 2**-23))
    assert ties(model)[0].level is Level.CLOSE
    model.b.weight = nn.Parameter(model.a.weight * (1 + 2**-10))
    assert ties(model)[0].level is Level.DIVERGED
    del model["b"]
    assert listed(model) == ["b.weight = a.weight  (declared: missing)"]
