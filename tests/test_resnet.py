"""Residual networks: torchvision's weights, the paper's counts, the sum written out, and what is refused."""

import hashlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import nets
from commonweight.errors import NetError
from commonweight.nets.resnet import LARGE_DEPTHS, SMALL_DEPTHS, ResNet

TORCHVISION = {
    18: (11_689_512, "5191d63ec398959223d67ef37376f9061e6965b859fc2d4e40e23d037147a0d7"),
    34: (21_797_672, "f8de2a1812ef85e46b3f60c61589921afee0c2a6d4165e27508ad215f101671b"),
    50: (25_557_032, "a87e91cd6bd1f939e0b723852e567a7205d33b0ac984ac02dd1a5f225d37c036"),
    101: (44_549_160, "dbc3ca74fffafc728641ec2b524ccedcbae337de9d3e3cf1f0552330d07303ea"),
    152: (60_192_808, "7d486dbdc941506eeed76c4b06e6a00c943ff5aa11c0ced1b2e1b12faebd4729"),
}
"""Weights, and SHA-256 of the sorted lines 'name shape' of the state_dict, of torchvision 0.28's resnet18 and so on."""


@pytest.mark.parametrize("depth", LARGE_DEPTHS)
def test_weights_have_the_names_and_shapes_of_torchvision(depth):
    with torch.device("meta"):
        net = ResNet((3, 224, 224), 1000, depth=depth)
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in net.state_dict().items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    assert (sum(weight.numel() for weight in net.parameters()), digest) == TORCHVISION[depth]


@pytest.mark.parametrize(
    ("depth", "multiplications"), [(18, 1.8e9), (34, 3.6e9), (50, 4.1e9), (101, 7.8e9), (152, 11.5e9)]
)
def test_count_gives_the_weights_and_about_the_multiplications_of_the_paper(depth, multiplications):
    """Table 1 counts a multiplication and its addition as one; the stride in the 3×3 costs a little more."""
    with torch.device("meta"):
        census = cw.count(ResNet((3, 224, 224), 1000, depth=depth), torch.zeros(1, 3, 224, 224))
    assert census.weights == TORCHVISION[depth][0]
    assert census.connections == pytest.approx(multiplications, rel=0.08)


@pytest.mark.parametrize("depth", SMALL_DEPTHS)
@pytest.mark.parametrize("residual", [True, False])
def test_small_nets_have_as_many_layers_as_they_say_and_shortcuts_have_no_weights(depth, residual):
    with torch.device("meta"):
        net = ResNet((3, 32, 32), 10, depth=depth, residual=residual)
    assert sum(isinstance(module, nn.Conv2d | nn.Linear) for module in net.modules()) == depth
    n, kernels = (depth - 2) // 6, 9 * 16 * 16
    convolutions = 9 * 3 * 16 + kernels * (2 * n + 2 + 4 * (2 * n - 1) + 8 + 16 * (2 * n - 1))
    norms = 2 * (16 + 2 * n * (16 + 32 + 64))
    assert sum(weight.numel() for weight in net.parameters()) == convolutions + norms + 64 * 10 + 10


def test_resnet20_has_the_weights_of_the_paper():
    """Section 4.2: 0.27 M."""
    assert sum(weight.numel() for weight in ResNet((3, 32, 32), 10).parameters()) == 269_722


def test_a_plain_net_is_the_residual_one_without_its_sums():
    net, plain = (ResNet((1, 12, 9), 3, width=4, residual=residual).eval() for residual in (True, False))
    plain.load_state_dict(net.state_dict())
    x = torch.randn(2, 1, 12, 9, generator=torch.Generator().manual_seed(0))
    for kind, with_sum in ((net, True), (plain, False)):
        y = kind.bn1(kind.conv1(x)).relu()
        for stage in (kind.layer1, kind.layer2, kind.layer3):
            for number, block in enumerate(stage):
                short = y
                if stage is not kind.layer1 and number == 0:
                    short = torch.zeros(2, 2 * y.shape[1], (y.shape[2] + 1) // 2, (y.shape[3] + 1) // 2)
                    short[:, : y.shape[1]] = y[:, :, ::2, ::2]
                y = block.bn2(block.conv2(block.bn1(block.conv1(y)).relu()))
                y = (y + short if with_sum else y).relu()
        torch.testing.assert_close(kind(x), F.linear(y.mean((2, 3)), kind.fc.weight, kind.fc.bias))


@pytest.mark.parametrize("depth", [18, 50])
def test_a_block_of_a_large_net_is_its_formula(depth):
    net = ResNet((3, 32, 32), 5, depth=depth, width=4).double().eval()
    block = net.layer2[0]
    x = torch.rand(2, block.conv1.in_channels, 7, 8, dtype=torch.float64)
    y = x
    for layer in range(1, 3 if depth == 18 else 4):
        kernels = block.get_parameter(f"conv{layer}.weight")
        stride = 2 if layer == (1 if depth == 18 else 2) else 1
        y = F.conv2d(y.relu(), kernels, stride=stride, padding=kernels.shape[2] // 2) / (1 + 1e-5) ** 0.5
    short = F.conv2d(x, block.get_parameter("downsample.0.weight"), stride=2) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(block(x), (y + short).relu())


def test_kernels_start_by_the_rule_of_he():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = ResNet((3, 32, 32), 10)
    kernels = net.layer3[1].conv1.weight
    assert float(kernels.detach().std()) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)


@pytest.mark.slow
def test_a_step_of_152_layers_moves_every_weight():
    net = nets.build("resnet152", (3, 32, 32), 10, structure={"width": 16})
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    before = [weight.detach().clone() for weight in net.parameters()]
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    F.cross_entropy(net(x), torch.arange(4)).backward()
    optimizer.step()
    assert all(not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True))


@pytest.mark.parametrize(
    ("in_shape", "given", "sentence"),
    [
        ((30,), {}, r"images of shape \(channels, height, width\), but the samples have shape \(30,\): use mlp"),
        ((1, 28, 7), {}, r"at least 8×8 pixels, but these have 28×7: enlarge them, or use mlp"),
        (
            (1, 28, 28),
            {"depth": 21},
            r"20, 32, 44, 56, 110 layers for small images or 18, 34, .* for large ones; got 21",
        ),
        ((1, 28, 28), {"width": 0}, r"width is a whole number from 1; got int: 0"),
    ],
)
def test_what_it_cannot_take_is_said_in_a_sentence(in_shape, given, sentence):
    with pytest.raises(NetError, match=sentence):
        ResNet(in_shape, 10, **given)
