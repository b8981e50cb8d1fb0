"""Layers that become one, and one each again; state dicts both ways."""

import copy
import re

import pytest
import torch
from tied_models import linear, net, pair
from torch import nn

from commonweight.equations import check, share_layers, shared_state, tie, unshare_layers
from commonweight.errors import TieError


def blocks_of(count, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(*(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(count)))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"every": 2}, ["1 = 0", "3 = 2"]),
        ({"every": 3}, ["1 = 0", "2 = 0", "4 = 3"]),
        ({"every": 9}, ["1 = 0", "2 = 0", "3 = 0", "4 = 0"]),
        ({"every": 1}, []),
        ({"groups": [[0, 3], [4, 1], []]}, ["3 = 0", "1 = 4"]),
    ],
)
def test_layers_are_shared_and_unshared(settings, expected):
    blocks = blocks_of(5)
    before = copy.deepcopy(blocks)
    made = share_layers(blocks, **settings)
    assert [str(equation) for equation in made] == expected
    assert len({id(block) for block in blocks}) == 5 - len(expected)
    for equation in made:
        alias, source = int(equation.alias), int(equation.source)
        group = [source, *(int(other.alias) for other in made if other.source == equation.source)]
        mean = torch.stack([before[n][0].weight for n in group]).double().mean(0).float()
        torch.testing.assert_close(blocks[alias][0].weight, mean)
    check(blocks)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    blocks.eval()
    y = blocks(x)
    plain = blocks_of(5, seed=1).eval()
    plain.load_state_dict(blocks.state_dict())
    assert torch.equal(plain(x), y)
    unshare_layers(blocks)
    assert len({id(block) for block in blocks}) == 5
    assert torch.equal(blocks(x), y)
    assert len(list(blocks.parameters())) == len(list(before.parameters()))


@pytest.mark.parametrize(("start", "chosen"), [(0, (0, 2)), (1, (1, 3)), (-1, (1, 3))])
def test_layers_start_from_a_chosen_one(start, chosen):
    blocks, before = blocks_of(4), blocks_of(4)
    share_layers(blocks, every=2, start=start)
    for n in range(4):
        assert torch.equal(blocks[n][0].weight, before[chosen[n // 2]][0].weight)


def test_state_dicts_go_both_ways():
    model = net(blocks=blocks_of(4), head=linear(3, 3, 1), tail=linear(3, 3, 2))
    plain = copy.deepcopy(model)
    share_layers(model.blocks, every=2)
    tie(model, "tail.weight = -head.weight.T", keep="source")
    with pytest.raises(TieError, match=r"contradicts \d+ of the model's ties"):
        model.load_state_dict(plain.state_dict())
    for start in ("mean", "source"):
        state = shared_state(model, plain.state_dict(), start=start)
        model.load_state_dict(state)
        check(model)
        weights = [plain.head.weight, -plain.tail.weight.T][: 2 if start == "mean" else 1]
        torch.testing.assert_close(model.head.weight, torch.stack(weights).mean(0))
        other = copy.deepcopy(plain)
        other.load_state_dict(model.state_dict())
        assert torch.equal(other.blocks[1][0].weight, other.blocks[0][0].weight)
    with pytest.raises(TieError, match=r"The state dict has no `tail.weight`, which `tail.weight = -head.weight.T`"):
        shared_state(model, {n: v for n, v in plain.state_dict().items() if n != "tail.weight"})
    with pytest.raises(TieError, match="start is 'mean' or 'source'; got 'alias'"):
        shared_state(model, {}, start="alias")


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "share_layers takes either every=... or groups=..., and one of them."),
        ({"every": 2, "groups": [[0]]}, "share_layers takes either every=... or groups=..., and one of them."),
        ({"every": 0}, "every is how many neighbours become one, at least 1; got 0."),
        ({"every": "2"}, "every is how many neighbours become one, at least 1; got '2'."),
        ({"every": 1.5}, "every is how many neighbours become one, at least 1; got 1.5."),
        ({"groups": 3}, "groups is a list of lists of positions, such as [[0, 3], [1, 2]]; got 3."),
        ({"groups": [0, 1]}, "groups is a list of lists of positions, such as [[0, 3], [1, 2]]; got [0, 1]."),
        ({"groups": [[0, 1], [1, 7]]}, "groups name each block from 0 to 3 at most once; got [1, 7] twice or out of"),
        ({"every": 2, "start": 2}, "start=2 is no place in the group [0, 1], which has 2 blocks."),
        ({"every": 2, "start": "best"}, "start is 'mean' or a place in each group; got 'best'."),
    ],
)
def test_layers_that_cannot_be_shared(settings, sentence):
    with pytest.raises(TieError, match=re.escape(sentence)):
        share_layers(blocks_of(4), **settings)


def test_only_models_and_state_dicts_are_taken():
    for use in (lambda: share_layers([1, 2], every=2), lambda: unshare_layers([1]), lambda: shared_state([1], {})):
        with pytest.raises(TieError, match=r"Ties are those of a model, a torch\.nn\.Module; got a list"):
            use()
    with pytest.raises(TieError, match="A state dict maps names to tensors; got a int"):
        shared_state(pair(), 3)


def test_only_a_numbered_stack_of_alike_blocks_can_be_shared():
    with pytest.raises(TieError, match="got ModuleDict with 2 modules, 0 of them numbered and different"):
        share_layers(pair(), every=2)
    with pytest.raises(TieError, match=r"`1 = 0` would replace Linear\(in_features=3"):
        share_layers(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), every=2)
