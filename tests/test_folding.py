"""Batch normalisation in ONNX files: gone where it can be, as torch's own fusion has it, and left where it cannot."""

import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from commonweight import nets
from commonweight.equations import tie
from commonweight.export import to_onnx


def trained(model):
    """A model whose normalisations have statistics, scales and shifts that matter."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                with torch.no_grad():
                    tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.2)
    return model.eval()


def written(tmp_path, model, shape):
    """The graph of the file; that onnxruntime computes from it what the model does, `to_onnx` has checked."""
    x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(1))
    assert to_onnx(model, x, tmp_path / "model.onnx").difference < 1e-5
    graph = onnx.load(tmp_path / "model.onnx").graph
    return [node.op_type for node in graph.node], {t.name: numpy_helper.to_array(t) for t in graph.initializer}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("layer", "norm", "pool", "shape"),
    [
        (lambda bias: nn.Linear(5, 4, bias=bias), nn.BatchNorm1d, None, (5,)),
        (lambda bias: nn.Conv1d(2, 4, 3, bias=bias), nn.BatchNorm1d, nn.MaxPool1d(2), (2, 12)),
        (lambda bias: nn.Conv2d(2, 4, 3, padding=1, bias=bias), nn.BatchNorm2d, None, (2, 8, 8)),
        (lambda bias: nn.Conv2d(2, 4, 3, groups=2, bias=bias), nn.BatchNorm2d, nn.MaxPool2d(2), (2, 9, 8)),
        (lambda bias: nn.Conv2d(2, 4, 3, bias=bias), nn.BatchNorm2d, nn.AvgPool2d(2), (2, 9, 8)),
    ],
    ids=["linear", "conv1d, max", "conv2d", "groups, max", "conv2d, average"],
)
def test_weights_are_those_of_torchs_fusion(tmp_path, bias, layer, norm, pool, shape):
    model = trained(nn.Sequential(layer(bias), pool or nn.Identity(), norm(4), nn.ReLU()))
    fuse = fuse_linear_bn_eval if isinstance(model[0], nn.Linear) else fuse_conv_bn_eval
    fused = fuse(model[0], model[2])
    nodes, held = written(tmp_path, model, shape)
    assert "BatchNormalization" not in nodes
    assert len(nodes) == 2 + (pool is not None)
    assert set(held) == {"0.weight", "0.bias"}
    for name in ("weight", "bias"):
        torch.testing.assert_close(torch.tensor(held[f"0.{name}"]), getattr(fused, name).detach())


def n_norms(nodes):
    return nodes.count("BatchNormalization")


@pytest.mark.parametrize(
    ("name", "structure", "shape"),
    [
        ("cnn", {}, (1, 16, 16)),
        ("mlp", {"batch_norm": True}, (6,)),
        ("resnet20", {}, (3, 16, 16)),
        ("cnn", {}, (2, 16)),
    ],
)
def test_nets_lose_all_their_normalisations(tmp_path, name, structure, shape):
    model = trained(nets.build(name, shape, 5, structure=structure))
    norms = sum(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules())
    assert norms >= 2
    nodes, held = written(tmp_path, model, shape)
    assert n_norms(nodes) == 0
    assert not any("norm" in key or "bn" in key for key in held)


def test_the_largest_value_is_not_that_of_a_negative_multiple(tmp_path):
    model = trained(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.BatchNorm2d(2), nn.ReLU()))
    with torch.no_grad():
        model[2].weight[0] = -1.0
    assert n_norms(written(tmp_path, model, (1, 8, 8))[0]) == 1


class Twice(nn.Module):
    """One convolution, normalised once in two uses."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x))) + self.conv(x.flip(3))


class Branch(nn.Module):
    """What is normalised is used as it is, too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2)

    def forward(self, x):
        y = self.conv(x)
        return torch.relu(self.norm(y)) + y


def tied():
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 4))
    tie(model, "3.weight = 0.weight.T", keep="source")
    return model


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Twice, (2, 6, 6)),
        (Branch, (2, 6, 6)),
        (tied, (4,)),
        (lambda: nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3)), (2, 6, 6)),
        (lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.ReLU(), nn.BatchNorm2d(2), nn.ReLU()), (2, 6, 6)),
        (
            lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.AvgPool2d(2, padding=1), nn.BatchNorm2d(2), nn.ReLU()),
            (2, 7, 7),
        ),
    ],
    ids=["used twice", "branch", "tied", "no layer before", "behind a relu", "padded average"],
)
def test_it_stays_where_something_else_would_change(tmp_path, model, shape):
    assert n_norms(written(tmp_path, trained(model()), shape)[0]) == 1
