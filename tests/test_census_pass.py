"""The watched pass: however it is run, what it leaves behind, what is said of the unknown, the result, bad input."""

import json
import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from counting import Net, by_parameter, totals
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight.errors import CensusError

torch.set_num_threads(1)


# However the forward pass is run


class Inference(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    @torch.inference_mode()
    def forward(self, x):
        return self.inner(x)


def small_net():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.BatchNorm2d(2),
        nn.Flatten(2),
        nn.Linear(16, 3),
        nn.GRU(3, 4, batch_first=True),
    )


SMALL_NET = 20 + 4 + 51 + 108, 16 * 2 + 2 * 100 + 64 + 2 * 51 + 2 * 108


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_count_does_not_depend_on_the_batch(batch):
    census = cw.count(small_net(), torch.zeros(batch, 1, 4, 4))
    assert (census.weights, census.connections) == SMALL_NET
    assert census.to_json() == cw.count(small_net(), torch.zeros(3, 1, 4, 4)).to_json()


@pytest.mark.parametrize("wrap", [Inference, lambda net: torch.compile(net, backend="eager"), lambda net: net.double()])
def test_the_count_does_not_depend_on_how_the_pass_is_run(wrap):
    net = wrap(small_net())
    census = cw.count(net, torch.zeros(2, 1, 4, 4, dtype=next(net.parameters()).dtype))
    assert (census.weights, census.connections) == SMALL_NET
    assert not census.notes


def test_traced_code_low_precision_vmap_and_the_meta_device():
    x = torch.zeros(2, 3)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.warns(DeprecationWarning, match="torch.jit"):
        traced = torch.jit.trace(net, x)
    mapped = Net(lambda outer, x: torch.vmap(outer.net)(x), net=net)
    for model in (net, traced, mapped):
        assert (cw.count(model, x).weights, cw.count(model, x).connections) == (26, 26)
    with torch.autocast("cpu", torch.bfloat16):
        net(x)
        assert cw.count(net, x).connections == 26
    with torch.device("meta"):
        large = nn.Linear(10**6, 10**6)
        assert cw.count(large, torch.zeros(1, 10**6)).weights == 10**12 + 10**6


class Restless(nn.Module):
    """Changes in its forward pass all that one can."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 3, max_norm=0.1)
        self.norm = nn.BatchNorm1d(3).eval()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(3))

    def forward(self, tokens, fail=False):
        self.calls += 1
        self.norm.train()
        self.last = self.norm(self.embed(tokens) + torch.rand(3)).mean(0)
        self.register_buffer("new", torch.rand(2) + random.random() + np.random.rand())
        if fail:
            raise ValueError("as told.")
        return self.last


@pytest.mark.parametrize("fail", [False, True])
def test_everything_is_left_as_it_was(fail):
    net = Restless().train()
    net.norm.eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    buffers = dict(net.named_buffers())
    modes = [module.training for module in net.modules()]
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state())
    tokens = torch.tensor([0, 1, 4])
    if fail:
        with pytest.raises(CensusError, match=r"inputs of shape \(3,\) int64: ValueError: as told\. Give inputs"):
            cw.count(net, tokens, fail=True)
    else:
        census = cw.count(net, tokens)
        assert census.connections == 3 + 6
        assert not census.notes
    assert net.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(value is buffers[name] for name, value in net.named_buffers())
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), str(np.random.get_state())) == states[1:]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert torch.is_grad_enabled()


@dataclass
class Sample:
    """Inputs as one object."""

    tokens: torch.Tensor
    scale: float


def test_inputs_may_be_nested_and_models_may_have_empty_parameters():
    net = Net(lambda net, sample: net.embed(sample["a"][0].tokens), embed=nn.Embedding(5, 3), empty=torch.zeros(0))
    census = cw.count(net, {"a": [Sample(torch.zeros(2, 4, dtype=torch.int64), 1.0)]})
    assert totals(census) == (15, 12, 4 * 5 * 4 * 3)


def test_training_mode_does_not_change_the_count():
    net = nn.Sequential(nn.Dropout(), nn.Linear(3, 2), nn.BatchNorm1d(2)).train()
    assert cw.count(net, torch.zeros(1, 3)).connections == 8 + 4


# What is not known is said


def place(net, x):
    """A class token, written into a tensor of zeros before the signal is."""
    y = torch.zeros(len(x), 3, 2)
    y[:, 0] = net.w
    y[:, 1:] = x
    return y


@pytest.mark.parametrize(
    ("function", "operation", "w", "x"),
    [
        (
            lambda net, x: F.grid_sample(net.w, x, align_corners=True),
            "grid_sampler_2d",
            (1, 2, 4, 4),
            torch.zeros(1, 3, 3, 2),
        ),
        (place, "copy_", (2,), torch.zeros(1, 2, 2)),
        (lambda net, x: net.w[x > 0], "index", (3,), torch.ones(1, 3)[0]),
        (lambda net, x: torch.gather(net.w, 0, x), "gather", (3,), torch.zeros(2, dtype=torch.int64)),
    ],
)
def test_an_unknown_use_is_reported(function, operation, w, x):
    census = cw.count(Net(function, w=torch.rand(w)), x)
    assert census.notes == (
        f"aten::{operation} in Net uses w in a way that is not known here: its connections are not counted.",
    )
    assert census.parameters[0].uses == (("Net", 1),)
    assert census.connections == 0
    assert str(census).endswith("Note: " + census.notes[0])


def test_a_parameter_that_the_model_does_not_know_is_reported():
    stray = [nn.Parameter(torch.rand(3, 3))]
    census = cw.count(Net(lambda net, x: net.linear(x @ stray[0].t()), linear=nn.Linear(3, 2)), torch.zeros(2, 3))
    assert census.weights == 8
    assert census.notes == (
        "Net uses an nn.Parameter of shape (3, 3) that is not among the model's parameters: neither it nor its "
        "connections are counted.",
    )


def test_samples_that_differ_are_averaged():
    net = Net(lambda net, x: net.linear(x[x[:, 0] > 0]), linear=nn.Linear(1, 1))
    census = cw.count(net, torch.tensor([[1.0], [-1.0], [1.0]]))
    assert census.connections == 1
    assert census.notes == ("Samples differ in the connections of linear: the mean is given, rounded.",)


def test_counting_twice_gives_the_same():
    net = small_net()
    assert cw.count(net, torch.zeros(1, 1, 4, 4)) == cw.count(net, torch.zeros(1, 1, 4, 4))


def test_scales_of_single_lookups_are_reported():
    def run(net, index):
        return F.embedding_bag(index, net.table, per_sample_weights=net.scale.expand(2, 4), mode="sum")

    census = cw.count(Net(run, table=torch.rand(5, 3), scale=torch.rand(4)), torch.zeros(2, 4, dtype=torch.int64))
    assert by_parameter(census) == {"table": 4 * 3, "scale": 0}
    assert len(census.notes) == 1
    assert "uses scale in a way that is not known here" in census.notes[0]


# The result


def test_json_has_exactly_these_keys():
    summary = cw.count(nn.Sequential(nn.Linear(3, 4)), torch.zeros(2, 5, 3)).to_json()
    layer = {"name": "0", "weights": 16, "connections": 80, "full": 320, "uses": 1}
    assert json.loads(json.dumps(summary)) == {"weights": 16, "connections": 80, "full": 320, "layers": [layer]}


def test_the_table():
    net = nn.Sequential(nn.Conv2d(1, 6, 5), nn.Flatten(), nn.Linear(4704, 10))
    assert str(cw.count(net, torch.zeros(1, 1, 32, 32))).splitlines() == [
        "layer  kind    fully connected  → locally connected  → shared  uses",
        "-------------------------------------------------------------------",
        "0      Conv2d        4,821,600              122,304       156     1",
        "2      Linear           47,050               47,050    47,050     1",
        "-------------------------------------------------------------------",
        "sum                  4,868,650              169,354    47,206",
        "A weight has 3.6 connections on average, all of them in its own layer.",
    ]


def test_a_net_that_shares_nothing_says_so():
    text = str(cw.count(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), torch.zeros(1, 3)))
    assert text.endswith("No weight is shared: each has one connection at most.")


def test_the_line_on_shared_parameters_stays_short():
    layers = [nn.Linear(2, 2, bias=False) for _ in range(10)]
    for a, b in zip(layers[:5], layers[5:], strict=True):
        b.weight = a.weight
    text = str(cw.count(nn.Sequential(*layers), torch.zeros(1, 2)))
    assert "Shared between layers: 0.weight (0, 5); 1.weight (1, 6); 2.weight (2, 7); and 2 more." in text


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lenet5", torch.zeros(1)), r"count takes a torch\.nn\.Module and inputs for it; got str as the model\."),
        ((nn.Linear(3, 4),), r"got no input tensor: give what Linear takes, for instance count\(model"),
        ((nn.Linear(3, 4), 3), "got no input tensor"),
        (
            (nn.LazyLinear(4), torch.zeros(2, 3)),
            "LazyLinear has 2 lazy parameters, the first is weight, that have no shape yet",
        ),
        ((nn.Linear(3, 4), torch.zeros(0, 3)), r"shape \(0, 3\), a batch of no samples: give at least one"),
        (
            (nn.Linear(3, 4), torch.zeros(())),
            r"shape \(\) and no dimension 0 for the samples: give a batch, or batch_dim=None",
        ),
        (
            (nn.Linear(3, 4), torch.zeros(2, 5)),
            r"pass of Linear failed on inputs of shape \(2, 5\) float32: RuntimeError: mat1",
        ),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(CensusError, match=message):
        cw.count(*arguments)


def test_batch_dim_must_exist():
    with pytest.raises(CensusError, match=r"shape \(2, 3\) and no dimension 'last' for the samples"):
        cw.count(nn.Linear(3, 4), torch.zeros(2, 3), batch_dim="last")
    with pytest.raises(CensusError, match=r"shape \(2, 3\) and no dimension 2 for the samples"):
        cw.count(nn.Linear(3, 4), torch.zeros(2, 3), batch_dim=2)
