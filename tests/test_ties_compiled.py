"""Ties under torch.compile with Inductor, which generates and compiles C++ for forward and backward."""

import pytest
import torch
from torch import nn

from commonweight.equations import check, share_layers, tie

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, about itself


class Net(nn.Module):
    def __init__(self, *ties):
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.encoder = nn.Linear(6, 4)
        self.decoder = nn.Linear(4, 6)
        self.head = nn.Linear(6, 7, bias=False)
        tie(self, *ties, keep="source")

    def forward(self, words):
        return self.head(self.decoder(torch.tanh(self.encoder(self.embed(words)))))


WORDS = torch.tensor([[0, 1, 2], [6, 4, 4]])


@pytest.fixture(autouse=True)
def _fresh():
    torch.compiler.reset()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def agrees(model, *inputs):
    """Two steps of a compiled model are those of the model: outputs, gradients, weights."""
    compiled = torch.compile(model, fullgraph=True)
    weights = list(model.parameters())
    for _ in range(2):
        got, expected = compiled(*inputs), model(*inputs)
        torch.testing.assert_close(got, expected)
        gradients = torch.autograd.grad(got.square().sum(), weights)
        for one, other in zip(gradients, torch.autograd.grad(expected.square().sum(), weights), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight -= 0.01 * gradient
    check(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "ties",
    [
        ("head.weight = embed.weight",),
        ("head.weight = embed.weight", "decoder.weight = encoder.weight.T"),
        ("decoder.weight = -encoder.weight.T.flip(0)", "decoder.bias = embed.weight[2]"),
    ],
    ids=["plain", "transposed", "transformed"],
)
def test_tied_tensors(ties):
    agrees(Net(*ties), WORDS)


@pytest.mark.slow
def test_shared_layers():
    model = nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(4)))
    share_layers(model, every=2)
    agrees(model, torch.randn(3, 4))
