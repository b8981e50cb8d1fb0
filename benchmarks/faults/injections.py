"""Faults that are put into healthy runs, each with the names under which it counts as found."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import commonweight as cw
from commonweight.data import Data, Normalisation
from commonweight.nets.lenet import ScaledTanh
from commonweight.train.settings import DEFAULT_RATE

from .cells import Setup, build

STATES = (nn.ReLU, nn.Tanh, nn.Sigmoid, ScaledTanh)
MLPS = ("mlp", "tanh", "deep")
NOT_NORMED = ("mlp", "tanh", "deep", "plain", "lenet5")


@dataclass(frozen=True)
class Fault:
    """A fault.

    Attributes:
        name: what it is called in the tables.
        codes: findings that name it; the first is the one that is meant.
        inject: puts it into a healthy setup.
        nets: kinds of net that can have it.
        data: the same.
        by_machine: whether the advice can be followed without knowing more than the run does.
        always: whether it counts even where the score does not suffer.
    """

    name: str
    codes: tuple[str, ...]
    inject: Callable[[Setup], Setup]
    nets: tuple[str, ...] | None = None
    data: Callable[[Data], bool] = lambda data: True
    by_machine: bool = True
    always: bool = False


def fits(fault: Fault, setup: Setup) -> bool:
    """Whether this run can have the fault."""
    return (fault.nets is None or setup.kind in fault.nets) and fault.data(setup.data)


# -- the beginning --


def matrices(model: nn.Module) -> list[Tensor]:
    return [weight for weight in model.parameters() if weight.ndim > 1 and weight.numel() > 1]


@torch.no_grad()
def zero_start(setup: Setup) -> Setup:
    for weight in matrices(setup.model):
        weight.zero_()
    return setup


@torch.no_grad()
def constant_start(setup: Setup) -> Setup:
    for weight in matrices(setup.model):
        weight.fill_(0.05)
    return setup


def scaled_start(factor: float) -> Callable[[Setup], Setup]:
    @torch.no_grad()
    def inject(setup: Setup) -> Setup:
        for weight in matrices(setup.model)[:-1]:
            weight.mul_(factor)
        return setup

    return inject


@torch.no_grad()
def one_layer_large(setup: Setup) -> Setup:
    weights = matrices(setup.model)
    weights[0].mul_(0.003)
    weights[-1].mul_(300)
    return setup


def biased(size: float) -> Callable[[Setup], Setup]:
    """Biases of hidden layers: all far below 0, or far to either side."""

    @torch.no_grad()
    def inject(setup: Setup) -> Setup:
        generator = torch.Generator().manual_seed(setup.seed)
        hidden = [b for name, b in setup.model.named_parameters() if name.endswith("bias") and "output" not in name]
        for bias in hidden:
            signs = torch.randint(0, 2, bias.shape, generator=generator) * 2 - 1
            bias.add_(-size if any(isinstance(m, nn.ReLU) for m in setup.model.modules()) else signs * size)
        return setup

    return inject


# -- the pace --


def rate(factor: float) -> Callable[[Setup], Setup]:
    def inject(setup: Setup) -> Setup:
        return with_settings(setup, lr=DEFAULT_RATE[setup.settings["optimizer"]] * factor)

    return inject


def never_a_number(setup: Setup) -> Setup:
    return with_settings(setup, optimizer="sgd", lr=1e12)


def swinging(setup: Setup) -> Setup:
    return with_settings(setup, optimizer="momentum", lr=1.0, batch_size=4, epochs=1 + setup.settings["epochs"] // 6)


def stopped_early(setup: Setup) -> Setup:
    n = len(setup.data.train)
    return with_settings(setup, epochs=1, batch_size=max(1, n // 6), lr=DEFAULT_RATE[setup.settings["optimizer"]] / 10)


def with_settings(setup: Setup, **settings: Any) -> Setup:
    return replace(setup, settings={**setup.settings, **settings})


# -- net and loss --


def swap(model: nn.Module, kinds: tuple[type[nn.Module], ...], make: Callable[[], nn.Module]) -> None:
    for name, module in list(model.named_modules()):
        if isinstance(module, kinds):
            parent, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(parent), leaf, make())


def deep_sigmoid(setup: Setup) -> Setup:
    model = build("mlp", setup.data, setup.seed, hidden=(16,) * 8, activation="sigmoid")
    return with_settings(replace(setup, model=model), optimizer="sgd")


def no_activation(setup: Setup) -> Setup:
    swap(setup.model, STATES, nn.Identity)
    return setup


def frozen(setup: Setup) -> Setup:
    weights = list(setup.model.named_modules())
    for name, module in weights:
        if name and "output" not in name:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
    return setup


class Cut(nn.Module):
    """Hands its input on and its gradient back to nobody."""

    def forward(self, x: Tensor) -> Tensor:
        return x.detach()


def cut_off(setup: Setup) -> Setup:
    modules = dict(setup.model.named_children())
    setup.model.output = nn.Sequential(Cut(), modules["output"])  # type: ignore[assignment]
    return setup


def broken_tie(setup: Setup) -> Setup:
    first, second = ("hidden2", "hidden3") if setup.kind == "deep" else ("hidden1", "hidden2")
    if setup.kind == "tanh":
        setup = replace(setup, model=build(setup.net, setup.data, setup.seed, hidden=(32, 32, 32)))
        first, second = "hidden2", "hidden3"
    cw.tie(setup.model, f"{second}.weight = {first}.weight", keep="source")
    layer = setup.model.get_submodule(second)
    layer.weight = nn.Parameter(layer.weight.detach() + 0.01)
    return setup


def softmax_twice(setup: Setup) -> Setup:
    setup.model.add_module("softmax", nn.Softmax(1))
    return setup


def softmax_missing(setup: Setup) -> Setup:
    setup.model.loss = F.nll_loss
    return setup


def by_number(outputs: Tensor, targets: Tensor) -> Tensor:
    """The class number as if it were a quantity."""
    return F.mse_loss(outputs.mean(1), targets.float())


def upside_down(outputs: Tensor, targets: Tensor) -> Tensor:
    """The sign of the loss is wrong."""
    return -(F.mse_loss(outputs, targets) if targets.is_floating_point() else F.cross_entropy(outputs, targets)).tanh()


def as_chances(outputs: Tensor, targets: Tensor) -> Tensor:
    """Quantities as if they were probabilities."""
    return F.binary_cross_entropy_with_logits(outputs, targets.clamp(0, 1))


def wrong_loss(setup: Setup) -> Setup:
    setup.model.loss = by_number if setup.data.task == "classification" else as_chances
    return setup


def wrong_sign(setup: Setup) -> Setup:
    setup.model.loss = upside_down
    return setup


def squashed(setup: Setup) -> Setup:
    setup.model.add_module("squashed", nn.Sigmoid())
    return setup


def narrow(setup: Setup) -> Setup:
    structure = {"mlp": {"hidden": (1,)}, "tanh": {"hidden": (1, 1)}, "deep": {"hidden": (1, 1, 1, 1)}}
    structure |= {"cnn": {"width": 1}, "gru": {"units": 1}}
    return replace(setup, model=build(setup.net, setup.data, setup.seed, **structure[setup.kind]))


def wide_on_little(setup: Setup) -> Setup:
    """A quarter of the samples, a fifth of them with wrong labels, a net many times too wide, and no end of epochs."""
    of = relabelled(0.2, ("train",))(setup).data
    of = replace(of, train=of.train[torch.randperm(len(of.train), generator=_generator(setup))[: len(of.train) // 4]])
    of = replace(of, train=of.train.sort().values)
    model = build(setup.net, of, setup.seed, hidden=(1024,) * (1 if setup.kind == "mlp" else 2))
    return with_settings(replace(setup, data=of, model=model), optimizer="adam", epochs=4 * setup.settings["epochs"])


def tiny_batches(setup: Setup) -> Setup:
    steps = -(-len(setup.data.train) * setup.settings["epochs"] // setup.settings["batch_size"])
    return with_settings(setup, batch_size=2, epochs=max(1, 2 * steps * 2 // len(setup.data.train)))


# -- the data --


def _generator(setup: Setup) -> torch.Generator:
    return torch.Generator().manual_seed(1000 + setup.seed)


def relabelled(share: float, parts: tuple[str, ...] = ("train", "validation")) -> Callable[[Setup], Setup]:
    """Give a share of the samples the label of another, in the training and the validation part."""

    def inject(setup: Setup) -> Setup:
        y, generator = setup.data.y.clone(), _generator(setup)
        for part in parts:
            index = getattr(setup.data, part)
            chosen = index[torch.randperm(len(index), generator=generator)[: round(share * len(index))]]
            y[chosen] = y[chosen[torch.randperm(len(chosen), generator=generator)]]
        return replace(setup, data=replace(setup.data, y=y))

    return inject


def rare_classes(setup: Setup) -> Setup:
    """Of every second class, 3 % of the training samples are left, at least 2."""
    of, kept = setup.data, []
    for label in range(of.n_outputs):
        index = of.train[of.y[of.train] == label]
        kept.append(index[: max(2, len(index) * 3 // 100)] if label % 2 else index)
    return replace(setup, data=replace(of, train=torch.cat(kept).sort().values))


def raw_values(setup: Setup) -> Setup:
    """Values in other units, and far from 0, without normalisation."""
    of = setup.data
    table_like = of.x.ndim == 2
    units = torch.logspace(0, 3, of.x.shape[1]) if table_like else torch.tensor(255.0)
    x = of.normalisation.apply(of.x) * units + 5 * units
    plain = Normalisation(
        torch.zeros_like(of.normalisation.mean),
        torch.ones_like(of.normalisation.scale),
        of.normalisation.target_mean,
        of.normalisation.target_scale,
    )
    return replace(setup, data=replace(of, x=x, normalisation=plain))


def dead_columns(setup: Setup) -> Setup:
    """Every second column has the value of its first sample in training and validation."""
    of = setup.data
    x = of.x.clone()
    known = torch.cat([of.train, of.validation])
    x[known[:, None], torch.arange(0, x.shape[1], 2)] = x[known[0], ::2].clone()
    return replace(setup, data=replace(of, x=x, normalisation=Normalisation.fit(x, of.y, of.train)))


def leaked(setup: Setup) -> Setup:
    """Two of three validation samples are training samples, too."""
    of = setup.data
    n = 2 * len(of.validation) // 3
    x, y = of.x.clone(), of.y.clone()
    x[of.validation[:n]], y[of.validation[:n]] = of.x[of.train[:n]], of.y[of.train[:n]]
    return replace(setup, data=replace(of, x=x, y=y))


def classes(of: Data) -> bool:
    return of.task == "classification"


def quantities(of: Data) -> bool:
    return of.task == "regression"


def table(of: Data) -> bool:
    return of.x.ndim == 2


def enough(of: Data) -> bool:
    return classes(of) and len(of.train) >= 200


BEGINS_BADLY = ("unequal_start", "exploding_gradient", "saturation", "vanishing_gradient", "dead_units")
TOO_FAST = ("rate_too_high", "oscillation", "not_finite", "exploding_gradient")
TOO_SLOW = ("rate_too_low", "no_progress", "underfit")
FAULTS = (
    Fault("all weights zero", ("zero_start",), zero_start),
    Fault("all weights alike", ("constant_start",), constant_start),
    Fault("weights 50 times too large", BEGINS_BADLY, scaled_start(50), NOT_NORMED),
    Fault("weights 100 times too small", ("vanishing_gradient", "unequal_start"), scaled_start(0.01), NOT_NORMED),
    Fault("layers of unequal size", ("unequal_start", "exploding_gradient", "vanishing_gradient"), one_layer_large),
    Fault("hidden units dead", ("dead_units",), biased(20.0), ("mlp", "deep", "plain")),
    Fault("hidden units saturated", ("saturation", "dead_units"), biased(20.0), ("tanh", "lenet5")),
    Fault("eight sigmoid layers", ("vanishing_gradient",), deep_sigmoid, MLPS),
    Fault("rate 1000 times too high", TOO_FAST, rate(1000)),
    Fault("rate 30 times too high", TOO_FAST, rate(30)),
    Fault("rate 1000 times too low", TOO_SLOW, rate(0.001)),
    Fault("numbers overflow", ("not_finite", "rate_too_high", "exploding_gradient"), never_a_number),
    Fault("losses swing", ("oscillation", "rate_too_high", "exploding_gradient", "not_finite"), swinging),
    Fault("stopped after one epoch", ("underfit", "rate_too_low", "no_progress"), stopped_early),
    Fault("softmax twice", ("softmax_twice",), softmax_twice, ("mlp", "tanh", "deep", "cnn", "plain"), classes),
    Fault("softmax missing", ("softmax_missing",), softmax_missing, None, classes),
    Fault("wrong loss", ("wrong_loss",), wrong_loss),
    Fault("wrong sign of the loss", ("wrong_loss",), wrong_sign),
    Fault("outputs squashed", ("wrong_loss",), squashed, MLPS, quantities),
    Fault("no activation", ("missing_activation",), no_activation, ("mlp", "tanh", "deep", "plain", "lenet5")),
    Fault("hidden layers frozen", ("frozen_layer",), frozen, ("mlp", "tanh", "deep", "plain", "cnn", "gru")),
    Fault("gradient cut off", ("vanishing_gradient", "frozen_layer"), cut_off, ("mlp", "tanh", "deep", "cnn", "plain")),
    Fault("tie broken", ("broken_tie",), broken_tie, ("tanh", "deep"), always=True),
    Fault("batch norm over 2 samples", ("small_batch_norm",), tiny_batches, ("cnn",)),
    Fault("net too narrow", ("net_too_small", "underfit"), narrow, ("mlp", "tanh", "deep", "cnn", "gru")),
    Fault(
        "too wide, too little data",
        ("overfit", "net_too_large", "label_noise"),
        wide_on_little,
        ("mlp", "tanh"),
        classes,
        by_machine=False,
    ),
    Fault("4 of 10 labels wrong", ("label_noise",), relabelled(0.4), None, enough, by_machine=False),
    Fault("labels shuffled", ("shuffled_labels", "label_noise"), relabelled(1.0), by_machine=False),
    Fault("classes rare", ("class_imbalance",), rare_classes, None, enough, by_machine=False),
    Fault("inputs not normalised", ("unnormalised_input",), raw_values),
    Fault("columns constant", ("constant_features",), dead_columns, None, table, by_machine=False, always=True),
    Fault("validation leaked", ("leakage",), leaked, always=True),
)
