"""The count of whole models: ties, modules that say how they are connected, transformers; LeNet-5's published table."""

from math import prod
from types import SimpleNamespace

import pytest
import torch
from counting import Net, by_layer, by_parameter, totals
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.utils import parametrizations
from torch.nn.utils.parametrize import register_parametrization

import commonweight as cw
from commonweight import patterns

torch.set_num_threads(1)


# Sharing


def test_twins_are_used_twice_and_owned_once():
    twin = nn.Linear(3, 4)
    census = cw.count(Net(lambda net, a, b: net.left(a) - net.right(b), left=twin, right=twin), *torch.zeros(2, 2, 3))
    assert by_layer(census) == {"left": (16, 32, 32, 2)}
    weight = census.parameters[0]
    assert (weight.name, weight.aliases, weight.uses) == ("left.weight", ("right.weight",), (("left", 2),))


def test_two_names_for_one_parameter():
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    census = cw.count(nn.Sequential(first, second), torch.zeros(2, 3))
    assert by_layer(census) == {"0": (12, 12, 12, 1), "1": (3, 12, 12, 1)}
    assert census.layers[1].shared == ("0.weight",)
    weight = census.parameters[0]
    assert (weight.aliases, weight.connections, weight.uses) == (("1.weight",), 18, (("0", 1), ("1", 1)))
    assert "Shared between layers: 0.weight (0, 1)." in str(census)
    assert str(census).splitlines()[3].endswith("1  = 0.weight")


def test_two_parameters_in_one_memory_stay_two():
    flat = torch.rand(24)
    a, b = nn.Linear(3, 4, bias=False), nn.Linear(4, 3, bias=False)
    a.weight, b.weight = nn.Parameter(flat[:12].view(4, 3)), nn.Parameter(flat[12:].view(3, 4))
    census = cw.count(Net(lambda net, x: net.b(x @ net.a.weight.data.t()), a=a, b=b), torch.zeros(2, 3))
    assert by_parameter(census) == {"a.weight": 12, "b.weight": 12}
    a.weight, b.weight = nn.Parameter(flat[:9].view(3, 3)), nn.Parameter(flat[:9].view(3, 3))
    census = cw.count(nn.Sequential(a, b), torch.zeros(2, 3))
    assert [parameter.uses for parameter in census.parameters] == [(("0", 1),), (("1", 1),)]
    whole = Net(lambda net, x: x @ net.flat.as_strided((3, 8), (8, 1), 0).data, flat=flat)
    assert cw.count(whole, torch.zeros(2, 3)).connections == 24


def product_with_written(net, x):
    matrix = torch.zeros(3, 4)
    matrix[:] = net.a
    return x @ (matrix @ net.b)


def test_functional_call_and_weights_made_of_weights():
    inner = Net(
        lambda net, x: functional_call(net.linear, dict(net.linear.named_parameters()), (x,)), linear=nn.Linear(3, 4)
    )
    assert by_layer(cw.count(inner, torch.zeros(2, 3))) == {"linear": (16, 16, 16, 1)}
    low_rank = Net(
        lambda net, x: F.linear(x, net.w + net.b @ net.a), w=torch.rand(4, 3), b=torch.rand(4, 1), a=torch.rand(1, 3)
    )
    census = cw.count(low_rank, torch.zeros(2, 3))
    assert totals(census) == (12 + 4 + 3, 12, 12)
    assert by_parameter(census) == {"w": 12, "b": 12, "a": 12}
    assert census.notes == (
        "w, b, a are made into common weights before they meet an input: each parameter lists the connections of all "
        "of these.",
    )
    written = Net(product_with_written, a=torch.rand(3, 4), b=torch.rand(4, 2))
    assert totals(cw.count(written, torch.zeros(2, 3))) == (20, 6, 6)
    joined = Net(lambda net, x: x @ torch.cat([net.a, net.b], 1), a=torch.rand(3, 4), b=torch.rand(3, 2))
    census = cw.count(joined, torch.zeros(2, 3))
    assert by_parameter(census) == {"a": 12, "b": 6}
    assert not census.notes


CYCLE = (torch.arange(5)[:, None] - torch.arange(5)) % 5


@pytest.mark.parametrize(
    "matrix",
    [
        lambda w: w[CYCLE],
        lambda w: torch.stack([w.roll(i) for i in range(5)]),
        lambda w: torch.zeros(5, 5).index_put((torch.arange(25) // 5, torch.arange(25) % 5), w.repeat(5)),
        lambda w: torch.eye(5) * w,
    ],
)
def test_a_matrix_written_from_few_weights(matrix):
    census = cw.count(Net(lambda net, x: x @ matrix(net.w), w=torch.rand(5)), torch.zeros(2, 5))
    assert totals(census) == (5, 25, 25)


class Turned(nn.Module):
    """Weights times a matrix that is made anew for each pass."""

    def forward(self, weight):
        return torch.eye(4).flip(0) @ weight


@pytest.mark.parametrize(
    ("parametrized", "weights", "n_notes"),
    [
        (register_parametrization(nn.Linear(3, 4), "weight", Turned()), 16, 0),
        (parametrizations.spectral_norm(nn.Linear(3, 4)), 16, 0),
        (parametrizations.weight_norm(nn.Linear(3, 4)), 20, 1),  # of two parameters that are made into one weight
        (parametrizations.orthogonal(nn.Linear(3, 4)), 16, 0),
    ],
)
def test_parametrised_weights(parametrized, weights, n_notes):
    census = cw.count(parametrized, torch.zeros(2, 3))
    assert totals(census) == (weights, 16, 16)
    assert census.layers[0].uses == 1
    assert sum("are made into common weights" in note for note in census.notes) == len(census.notes) == n_notes


def test_unused_and_frozen_parameters():
    net = Net(lambda net, x: net.used(x), used=nn.Linear(3, 4).requires_grad_(False), spare=nn.Linear(5, 2))
    census = cw.count(net, torch.zeros(2, 3))
    assert by_layer(census) == {"used": (0, 16, 16, 1), "spare": (12, 0, 0, 0)}
    assert census.weights == sum(layer.weights for layer in census.layers) == 12
    assert [len(parameter.uses) for parameter in census.parameters] == [1, 1, 0, 0]
    assert census.notes == ("16 frozen numbers (requires_grad=False) have connections but are no weights.",)


# Modules that say in closed form how they are connected


def pattern(in_shape, n_out, n_connections, n_weights):
    n_in = prod(in_shape)
    return SimpleNamespace(in_shape=in_shape, n_in=n_in, n_out=n_out, n_connections=n_connections, n_weights=n_weights)


class Subsampling(nn.Module):
    """Mean of 2×2 times a coefficient plus a bias, one of each for every map."""

    def __init__(self, maps, size):
        super().__init__()
        n = maps * size * size
        self.pattern = pattern((maps, 2 * size, 2 * size), n, 4 * n, maps)
        self.bias_pattern = pattern((1,), n, n, maps)
        self.coefficient, self.bias = nn.Parameter(torch.ones(maps)), nn.Parameter(torch.zeros(maps))

    def forward(self, x):
        return F.avg_pool2d(x, 2) * self.coefficient[:, None, None] + self.bias[:, None, None]


C3 = [*("012", "123", "234", "345", "045", "015"), *("0123", "1234", "2345", "0345", "0145", "0125", "0134", "1245")]
C3 += ["0235", "012345"]


class Table(nn.Module):
    """C3 of LeNet-5: a convolution of which each map sees the maps that the table names."""

    def __init__(self):
        super().__init__()
        kernels = sum(map(len, C3))
        self.pattern = pattern((6, 14, 14), 1600, 25 * 100 * kernels, 25 * kernels)
        self.bias_pattern = pattern((1,), 1600, 1600, 16)
        self.weight, self.bias = nn.Parameter(torch.rand(kernels, 5, 5)), nn.Parameter(torch.zeros(16))

    def forward(self, x):
        places = [(o, int(i)) for o, row in enumerate(C3) for i in row]
        kernel = torch.zeros(16, 6, 5, 5).index_put(tuple(torch.tensor(places).T), self.weight)
        return F.conv2d(x, kernel, self.bias)


class FixedCentres(nn.Module):
    """The output of LeNet-5: squared distances to fixed codes."""

    def __init__(self):
        super().__init__()
        self.pattern = pattern((84,), 10, 840, 840)
        self.bias_pattern = None
        self.register_buffer("codes", torch.ones(10, 84))

    def forward(self, x):
        return (x[:, None] - self.codes).square().sum(-1)


def test_the_published_table_of_lenet5():
    net = nn.Sequential()
    for name, layer in {
        "C1": nn.Conv2d(1, 6, 5),
        "S2": Subsampling(6, 14),
        "C3": Table(),
        "S4": Subsampling(16, 5),
        "C5": nn.Conv2d(16, 120, 5),
        "flat": nn.Flatten(),
        "F6": nn.Linear(120, 84),
        "output": FixedCentres(),
    }.items():
        net.add_module(name, layer)
    census = cw.count(net, torch.zeros(3, 1, 32, 32))
    assert {name: counts[:2] for name, counts in by_layer(census).items()} == {
        "C1": (156, 122_304),
        "S2": (12, 5_880),
        "C3": (1_516, 151_600),
        "S4": (32, 2_000),
        "C5": (48_120, 48_120),
        "F6": (10_164, 10_164),
        "output": (0, 840),
    }
    assert (census.weights, census.connections) == (60_000, 340_908)
    assert by_layer(census)["C3"][2] == 6 * 14 * 14 * 1600 + 1600
    assert by_layer(census)["output"] == (0, 840, 840, 1)
    assert by_parameter(census)["C3.weight"] == 150_000
    assert by_parameter(census)["C3.bias"] == 1_600
    assert not census.notes


def test_a_pattern_is_counted_for_each_call_and_each_leading_position():
    layer = Subsampling(1, 2)
    census = cw.count(
        Net(lambda net, x: net.layer(x[:, 0]) + net.layer(x[:, 1]), layer=layer), torch.zeros(2, 2, 1, 4, 4)
    )
    assert by_layer(census) == {"layer": (2, 2 * (16 + 4), 2 * (16 * 4 + 4), 2)}
    census = cw.count(layer, torch.zeros(2, 3, 1, 4, 4).flatten(0, 1))
    assert census.connections == 20
    census = cw.count(Net(lambda net, x: net.layer(x.flatten(0, 1)), layer=layer), torch.zeros(2, 3, 1, 4, 4))
    assert by_layer(census) == {"layer": (2, 3 * 20, (3 * 16) * (3 * 4) + 3 * 4, 1)}


@pytest.mark.parametrize(
    "pattern",
    [
        patterns.conv2d((1, 8, 8), 2, kernel=3, padding=1),
        patterns.circulant(6),
        patterns.copies(2, patterns.dense(3, 4)),
    ],
)
def test_tied_layers_count_as_their_pattern_says(pattern):
    layer = cw.Tied(pattern, bias="none")
    census = cw.count(
        Net(lambda net, x: net.layer(x) - net.layer(2 * x), layer=layer), torch.zeros(3, *pattern.in_shape)
    )
    assert by_layer(census) == {"layer": (pattern.n_weights, 2 * pattern.n_connections, 2 * pattern.n_full, 2)}


# Transformers with one matrix at both ends


class Block(nn.Module):
    def __init__(self, embed):
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(embed), nn.LayerNorm(embed)])
        self.qkv, self.out = nn.Linear(embed, 3 * embed), nn.Linear(embed, embed)
        self.up, self.down = nn.Linear(embed, 4 * embed), nn.Linear(4 * embed, embed)

    def forward(self, x):
        q, k, v = self.qkv(self.norms[0](x)).unflatten(-1, (3, 2, -1)).transpose(1, 3).unbind(2)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norms[1](x))))


class SmallGPT(nn.Module):
    def __init__(self, vocabulary, length, embed):
        super().__init__()
        self.embed, self.place = nn.Embedding(vocabulary, embed), nn.Embedding(length, embed)
        self.blocks = nn.ModuleList([Block(embed), Block(embed)])
        self.norm = nn.LayerNorm(embed)

    def forward(self, tokens):
        x = self.embed(tokens) + self.place(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.embed.weight)


def gpt_counts(vocabulary, length, embed, blocks):
    """Weights and connections by hand, at `length` positions."""
    block = 12 * embed**2 + 9 * embed + 4 * embed
    connections = length * (2 * embed + blocks * block + 2 * embed + embed * vocabulary)
    return vocabulary * embed + length * embed + blocks * block + 2 * embed, connections


@pytest.mark.parametrize("batch", [1, 3, 5])
def test_a_small_gpt_with_a_tied_head(batch):
    census = cw.count(SmallGPT(11, 5, 8), torch.zeros(batch, 5, dtype=torch.int64))
    assert (census.weights, census.connections) == gpt_counts(11, 5, 8, 2)
    assert by_layer(census)["place"] == (40, 40, 25 * 40, 1)
    assert by_layer(census)["SmallGPT"] == (0, 5 * 88, 40 * 55, 1)
    assert census.layers[-1].shared == ("embed.weight",)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_gpt2_of_transformers(attention):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        **{"vocab_size": 11, "n_positions": 5, "n_embd": 8, "n_layer": 2, "n_head": 2},
        **{"bos_token_id": 0, "eos_token_id": 0, "attn_implementation": attention},
    )
    model = transformers.GPT2LMHeadModel(config)
    census = cw.count(model, input_ids=torch.zeros(3, 5, dtype=torch.int64))
    assert (census.weights, census.connections) == gpt_counts(11, 5, 8, 2)
    assert census.weights == sum(parameter.numel() for parameter in model.parameters())
    head = census.layers[-1]
    assert (head.name, head.weights, head.connections, head.shared) == ("lm_head", 0, 440, ("transformer.wte.weight",))
    assert census.parameters[0].aliases == ("lm_head.weight",)
    assert not census.notes


def test_albert_uses_one_layer_several_times():
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": 11, "embedding_size": 4, "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 6}
    model = transformers.AlbertModel(transformers.AlbertConfig(**sizes, num_hidden_layers=3, max_position_embeddings=5))
    census = cw.count(model, input_ids=torch.zeros(3, 5, dtype=torch.int64))
    layers = {layer.name: layer for layer in census.layers}
    assert layers["encoder.albert_layer_groups.0.albert_layers.0.ffn"].uses == 3
    assert layers["encoder.albert_layer_groups.0.albert_layers.0.ffn"].connections == 3 * 5 * (8 * 6 + 6)
    # The kinds of token are constants that the model repeats for each sample, the positions constants that it does not.
    assert layers["embeddings.token_type_embeddings"].connections == 5 * 4
    assert layers["embeddings.position_embeddings"].connections == 5 * 4
