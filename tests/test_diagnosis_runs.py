"""Each rule speaks of a real training that has its fault, and of the same training without it says nothing."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from diagnosis_cases import CASES, linear, net
from PIL import Image, ImageDraw
from torch import nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import data, nets
from commonweight.data import Normalisation
from commonweight.errors import DivergedError
from commonweight.measure.diagnosis.data_facts import data_facts
from commonweight.train.loop import fit

IRIS, WINE, DIGITS = data.load("iris"), data.load("wine"), data.load("digits")
SIZES = {"iris": (4, 16, 3), "wine": (13, 16, 3), "digits": (64, 16, 10)}


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def mlp(of, activation=nn.ReLU, widths=()):
    n_in, n_hidden, n_out = SIZES[of.name]
    sizes = (n_in, *(widths or (n_hidden,)), n_out)
    layers = [layer for pair in itertools.pairwise(sizes) for layer in (linear(*pair), activation)]
    return net(*([nn.Flatten] if of.is_image else []), *layers[:-1])


def trained(of=IRIS, model=None, change=None, **settings):
    """The codes of a training by Adam, 30 epochs of it where nothing else is said; `change` is done to the net."""
    model = mlp(of) if model is None else model
    if change is not None:
        with torch.no_grad():
            change(model)
    try:
        run = fit(model, of, out=None, progress=False, **{"optimizer": "adam", "epochs": 30, **settings})
    except DivergedError as error:
        run = error.run
    return [finding.code for finding in run.findings()]


def filled(value):
    return lambda model: [weight.fill_(value) for weight in model.parameters() if weight.ndim > 1]


def scaled(factor, only=slice(None)):
    return lambda model: [layer.weight.mul_(factor) for layer in model[only] if isinstance(layer, nn.Linear)]


def few(of, n):
    return replace(of, train=of.train[torch.randperm(len(of.train), generator=draw())[:n]].sort().values)


def relabelled(of, share):
    y = of.y.clone()
    chosen = torch.randperm(len(y), generator=draw())[: round(share * len(y))]
    y[chosen] = y[chosen[torch.randperm(len(chosen), generator=draw(1))]]
    return replace(of, y=y)


def plain(of):
    return replace(of, normalisation=Normalisation(torch.zeros(len(of.features)), torch.ones(len(of.features))))


def leaked():
    x, y, n = WINE.x.clone(), WINE.y.clone(), len(WINE.validation)
    x[WINE.validation], y[WINE.validation] = x[WINE.train[:n]], y[WINE.train[:n]]
    return replace(WINE, x=x, y=y)


def rare():
    kept = (DIGITS.y[DIGITS.train] % 2 == 0) | (torch.arange(len(DIGITS.train)) % 40 == 0)
    return replace(DIGITS, train=DIGITS.train[kept])


def constant_column():
    x = IRIS.x.clone()
    x[:, 1] = 7.0
    return replace(IRIS, x=x)


def broken_tie():
    model = mlp(IRIS, widths=(8, 8, 8))
    cw.tie(model, "4.weight = 2.weight", keep="source")
    model[4].weight = nn.Parameter(model[4].weight.detach() + 0.01)
    return model


def normed():
    return net(linear(4, 8), lambda: nn.BatchNorm1d(8), nn.ReLU, linear(8, 3))


def with_loss(loss):
    model = mlp(IRIS)
    model.loss = loss
    return model


def frozen(model):
    model[0].requires_grad_(False)
    scaled(1e-3, slice(1))(model)


def ends_too_early():
    """The rate falls to a tenth at each tenth step: the loss falls, then stands still far above where it could be."""
    x = torch.randn(64, 4, generator=draw())
    y, model = (x[:, 0] * x[:, 1] > 0).long(), net(linear(4, 16), nn.ReLU, linear(16, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    with cw.measure.watch(model, optimizer, every=10, batch=(x, y), loss=F.cross_entropy) as w:
        for step in range(200):
            optimizer.param_groups[0]["lr"] = 0.1 ** (step // 10)
            optimizer.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
    return [finding.code for finding in w.findings()]


def wide_on_little():
    return trained(few(relabelled(DIGITS, 0.6), 60), mlp(DIGITS, widths=(512,)), epochs=60, batch_size=16)


RUNS = {
    "broken_tie": lambda: trained(model=broken_tie(), epochs=2),
    "leakage": lambda: trained(leaked(), epochs=2),
    "zero_start": lambda: trained(change=filled(0.0), epochs=2),
    "constant_start": lambda: trained(change=filled(0.05), epochs=2),
    "softmax_twice": lambda: trained(model=nn.Sequential(*mlp(IRIS), nn.Softmax(1)), epochs=2),
    "softmax_missing": lambda: trained(model=with_loss(F.nll_loss), epochs=2),
    "wrong_loss": lambda: trained(model=with_loss(lambda o, t: F.mse_loss(o.mean(1), t.float())), epochs=2),
    "small_batch_norm": lambda: trained(model=normed(), batch_size=2, epochs=2),
    "shuffled_labels": lambda: trained(relabelled(IRIS, 1.0)),
    "unnormalised_input": lambda: trained(plain(WINE), epochs=2),
    "net_too_small": lambda: trained(DIGITS, mlp(DIGITS, widths=(1,)), epochs=4),
    "vanishing_gradient": lambda: trained(model=mlp(IRIS, nn.Sigmoid, (8,) * 8), epochs=2),
    "unequal_start": lambda: trained(change=scaled(50.0)),
    "frozen_layer": lambda: trained(change=frozen),
    "missing_activation": lambda: trained(model=mlp(IRIS, nn.Identity)),
    "not_finite": lambda: trained(optimizer="sgd", lr=1e30),
    "rate_too_high": lambda: trained(lr=10.0),
    "exploding_gradient": lambda: trained(model=mlp(IRIS, widths=(16, 16, 16)), change=scaled(50.0)),
    "saturation": lambda: trained(model=mlp(IRIS, nn.Tanh, (8, 8, 8)), change=scaled(50.0), lr=1e-6),
    "dead_units": lambda: trained(change=lambda m: m[0].bias.sub_(20.0)),
    "rate_too_low": lambda: trained(lr=1e-7),
    "label_noise": lambda: trained(relabelled(DIGITS, 0.4), epochs=4),
    "class_imbalance": lambda: trained(rare(), epochs=2),
    "constant_features": lambda: trained(constant_column(), epochs=2),
    "net_too_large": wide_on_little,
    "overfit": wide_on_little,
    "no_progress": lambda: trained(DIGITS, lr=1e-9, epochs=2),
    "oscillation": lambda: trained(model=mlp(IRIS, nn.Tanh), optimizer="momentum", lr=3.0, batch_size=2),
    "plateau": ends_too_early,
    "underfit": lambda: trained(DIGITS, epochs=1, lr=1e-5),
}


def test_every_rule_has_a_training():
    assert set(RUNS) == set(CASES)


@pytest.mark.parametrize("code", RUNS)
def test_a_rule_finds_its_fault_in_a_real_training(code):
    assert code in RUNS[code]()


@pytest.mark.parametrize("of", [IRIS, WINE, DIGITS], ids=SIZES)
def test_without_a_fault_nothing_is_said(of):
    assert trained(of) == []


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """A folder of 60 pictures of all sizes: circles and squares of any colour, anywhere."""
    folder, generator = tmp_path_factory.mktemp("shapes"), np.random.default_rng(0)
    for kind in ("ellipse", "rectangle"):
        (folder / kind).mkdir()
        for number in range(30):
            width, height = generator.integers(40, 90, 2).tolist()
            side = int(generator.integers(10, 35))
            left, top = (int(generator.integers(0, room - side)) for room in (width, height))
            ground, colour = (tuple(generator.integers(0, 256, 3).tolist()) for _ in "ab")
            picture = Image.new("RGB", (width, height), ground)
            getattr(ImageDraw.Draw(picture), kind)((left, top, left + side, top + side), fill=colour)
            picture.save(folder / kind / f"{number}.png")
    return data.load(str(folder))


def test_few_pictures_are_not_called_wrongly_labelled(shapes):
    """Neighbours of raw pixels and a linear fit know nothing of them, shuffled or not."""
    facts = data_facts(shapes)
    assert facts.neighbours < 0.6
    assert facts.values == shapes.x[0].numel() > facts.n_train
    model = nets.build("cnn", shapes.in_shape, 2, structure={"width": 2})
    assert not {"shuffled_labels", "label_noise"} & set(trained(shapes, model, epochs=2))
