"""First weights: variances by connections, once for each tied weight, and a check that sees what cannot learn."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from typer.testing import CliRunner

import commonweight as cw
from commonweight import Tied, data, nets, patterns
from commonweight.cli import app
from commonweight.cli.training import Init
from commonweight.errors import TrainError
from commonweight.measure.start import check_start
from commonweight.train.initialise import INITS, MAX_GENES, RULES, initialise, places
from commonweight.train.loop import fit, resume
from commonweight.train.run import Run

LAWFUL = ("xavier-uniform", "xavier-normal", "he", "lecun", "orthogonal", "lsuv", "autoencoder", "genetic")


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


@pytest.fixture(scope="module")
def batch(digits):
    chosen = digits.train[torch.randperm(len(digits.train), generator=torch.Generator().manual_seed(0))[:300]]
    return digits.normalisation.apply(digits.x[chosen]), digits.y[chosen]


def tanh_net(hidden=(64, 32)):
    return nets.build("mlp", (1, 8, 8), 10, structure={"hidden": hidden, "activation": "tanh"})


class TwoUses(nn.Module):
    """An encoder and a decoder that is its transpose."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 16), nn.Linear(16, 64)
        cw.tie(self, "decoder.weight = encoder.weight.T", keep="source")

    def forward(self, x):
        return self.decoder(torch.tanh(self.encoder(x)))


# model, shape of a sample, its parameters in weighted sums with fan-in and fan-out, counted by hand
FANS = {
    "linear": (nn.Linear(300, 200), (300,), {"weight": (300, 200)}),
    "one input": (nn.Linear(1, 10), (1,), {"weight": (1, 10)}),
    "convolution": (nn.Conv2d(3, 8, 5), (3, 9, 9), {"weight": (75, 75 * 8 * 25 / (3 * 81))}),
    "padding": (nn.Conv1d(1, 1, 3, padding=1), (1, 5), {"weight": (13 / 5, 13 / 5)}),
    "circulant": (Tied(patterns.circulant(50)), (50,), {"weight": (50, 50)}),
    "single": (Tied(patterns.single(30, 20)), (30,), {"weight": (30, 20)}),
    "over time": (nn.RNN(3, 5, batch_first=True), (7, 3), {"weight_ih_l0": (3, 5), "weight_hh_l0": (5, 5)}),
    "two uses": (TwoUses(), (64,), {"encoder.weight": (2 * 64 * 16 / (64 + 16),) * 2}),
    "norm": (nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), (4,), {"0.weight": (4, 6)}),
    "lookup": (nn.Sequential(nn.Linear(4, 6), nn.PReLU(6), nn.LayerNorm(6)), (4,), {"0.weight": (4, 6)}),
}


@pytest.mark.parametrize("name", FANS)
def test_fans_count_connections(name):
    model, shape, expected = FANS[name]
    counted = {one.name: (one.fan_in, one.fan_out) for one in cw.count(model, torch.zeros(2, *shape)).parameters}
    counted = {key: fans for key, fans in counted.items() if any(fans)}
    assert list(counted) == list(expected)
    assert [*counted.values()] == [pytest.approx(fans) for fans in expected.values()]
    found, _ = places(model, torch.zeros(1, *shape))
    own = dict(model.named_parameters())
    assert [place.weight is own[key] for place, key in zip(found, expected, strict=True)] == [True] * len(expected)


VARIANCES = {
    "uniform": lambda i, o: 1 / 3,
    "positive": lambda i, o: 1 / 12,
    "xavier-uniform": lambda i, o: 2 / (i + o),
    "xavier-normal": lambda i, o: 2 / (i + o),
    "he": lambda i, o: 2 / i,
    "lecun": lambda i, o: 1 / i,
    "orthogonal": lambda i, o: 1 / i,
}


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        *((rule, name) for rule in VARIANCES for name in ("linear", "circulant", "over time")),
        *((rule, "two uses") for rule in VARIANCES if rule != "orthogonal"),
    ],
)
def test_variances_are_those_of_the_rule(rule, name):
    model, shape, expected = FANS[name]
    for key, fans in expected.items():
        drawn = []
        for seed in range(40):
            initialise(model, rule, torch.zeros(1, *shape), seed=seed)
            drawn.append(dict(model.named_parameters())[key].detach().flatten().clone())
        values = torch.cat(drawn).double()
        second = float((values - values.mean()).square().mean())
        assert second == pytest.approx(VARIANCES[rule](*fans), rel=0.3 if len(values) < 2000 else 0.07)
        bounds = {"uniform": (-1, 1), "positive": (0, 1), "xavier-uniform": (-((6 / sum(fans)) ** 0.5),) * 2}.get(rule)
        if bounds:
            assert values.min() >= bounds[0]
            assert values.max() <= abs(bounds[1])


@pytest.mark.parametrize(
    ("rule", "torchs"),
    [
        ("xavier-uniform", nn.init.xavier_uniform_),
        ("xavier-normal", nn.init.xavier_normal_),
        ("he", nn.init.kaiming_normal_),
    ],
)
def test_a_matrix_is_drawn_as_torch_draws_it(rule, torchs):
    ours, theirs = nn.Linear(400, 300), torch.empty(300, 400)
    initialise(ours, rule, torch.zeros(1, 400))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torchs(theirs)
    quantiles = torch.linspace(0, 1, 21)[1:-1]
    a, b = (weight.detach().flatten().quantile(quantiles) for weight in (ours.weight, theirs))
    torch.testing.assert_close(a, b, atol=0.02 * float(theirs.std()), rtol=0.02)
    assert not ours.bias.any()


def test_rows_are_orthogonal_of_length_one():
    wide, kernel, cell = nn.Linear(40, 30), nn.Conv2d(4, 8, 3), nn.LSTM(6, 9)
    initialise(wide, "orthogonal", torch.zeros(1, 40))
    torch.testing.assert_close(wide.weight @ wide.weight.T, torch.eye(30), atol=1e-5, rtol=0)
    initialise(kernel, "orthogonal", torch.zeros(1, 4, 5, 5))
    rows = kernel.weight.flatten(1)
    torch.testing.assert_close(rows @ rows.T, torch.eye(8), atol=1e-5, rtol=0)
    initialise(cell, "orthogonal", torch.zeros(1, 3, 6))
    for gate in cell.weight_hh_l0.split(9):
        torch.testing.assert_close(gate @ gate.T, torch.eye(9), atol=1e-5, rtol=0)
    shared = Tied(patterns.circulant(64))
    initialise(shared, "orthogonal", torch.zeros(1, 64))
    assert float(shared.weight.detach().norm()) == pytest.approx(1, rel=0.3)


def test_a_shared_layer_keeps_the_size_of_the_signal():
    """Each output of a circulant layer has n connections, with weights of which there are only n in all."""
    x = torch.randn(500, 256, generator=torch.Generator().manual_seed(0))
    shared, full = Tied(patterns.circulant(256)), nn.Linear(256, 256)
    for layer in (shared, full):
        initialise(layer, "lecun", x[:1], seed=3)
        with torch.no_grad():
            assert float(layer(x).var()) == pytest.approx(1, rel=0.2)


@pytest.mark.parametrize("rule", [rule for rule in INITS if rule != "auto"])
def test_the_seed_alone_decides_even_where_a_net_draws(rule, batch):
    x, y = batch
    drawn = []
    for state in (1, 2):
        model = nets.build("mlp", (1, 8, 8), 10, structure={"hidden": [8, 8], "dropout": 0.5})
        with torch.random.fork_rng():
            torch.manual_seed(state)
            before = torch.random.get_rng_state()
            initialise(model, rule, x, y, loss=F.cross_entropy, seed=3)
            assert torch.equal(torch.random.get_rng_state(), before)
        drawn.append(torch.cat([weight.detach().flatten() for weight in model.parameters()]))
    assert torch.equal(*drawn)


@pytest.mark.parametrize("net", ["mlp", "cnn", "lenet5", "lstm", "autoencoder"])
@pytest.mark.parametrize("rule", ["he", "lsuv", "constant"])
def test_every_kind_of_net_is_initialised(net, rule, batch):
    model = nets.build(net, (1, 8, 8), 10)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    before = torch.random.get_rng_state()
    initialise(model, rule, batch[0], seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    found, _ = places(model, batch[0][:1])
    drawn = {name for name, value in model.named_parameters() if any(value is place.weight for place in found)}
    for name, value in model.state_dict().items():
        assert not (name in drawn and torch.equal(value, state[name])), f"{name} kept its start"
        if "running" in name or "norm" in name:
            assert torch.equal(value, state[name]), f"{name} is no weight of a sum"
    cw.check(model)
    first = {name: value.clone() for name, value in model.state_dict().items()}
    initialise(model, rule, batch[0], seed=5)
    assert all(torch.equal(value, first[name]) for name, value in model.state_dict().items())


def test_a_tied_weight_is_set_once_and_stays_tied(batch):
    net = TwoUses()
    x = batch[0].flatten(1)
    initialise(net, "lsuv", x)
    assert torch.equal(net.decoder.weight, net.encoder.weight.T)
    with torch.no_grad():
        assert float(net.encoder(x).var(correction=0)) == pytest.approx(1, abs=0.01)
    shared = nn.Linear(64, 64)
    twice = nn.Sequential(shared, nn.Tanh(), shared)
    initialise(twice, "lsuv", x)
    with torch.no_grad():
        assert float(shared(x).var(correction=0)) == pytest.approx(1, abs=0.01)


def test_lsuv_gives_every_layer_variance_one(batch):
    net = nets.build("cnn", (1, 8, 8), 10).train()
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    initialise(net, "lsuv", batch[0])
    assert all(torch.equal(value, buffers[name]) for name, value in net.named_buffers())
    assert net.training
    seen = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | Tied):
            module.register_forward_hook(lambda m, args, out, name=name: seen.update({name: float(out.var())}))
    with torch.no_grad():
        net(batch[0][torch.randperm(300, generator=torch.Generator().manual_seed(9))[:256]])
    assert len(seen) >= 4
    assert seen == pytest.approx(dict.fromkeys(seen, 1.0), abs=0.15)


def test_the_autoencoder_start_restores_its_input_better(batch):
    def error(net, x):
        """What a linear map from the first hidden layer misses, by least squares."""
        with torch.no_grad():
            hidden = net[2](net[1](x.flatten(1)))
            hidden = torch.cat([hidden, torch.ones(len(hidden), 1)], 1)
            best = torch.linalg.lstsq(hidden, x.flatten(1)).solution
            return float((hidden @ best - x.flatten(1)).square().mean())

    plain, learned = tanh_net((16, 8)), tanh_net((16, 8))
    x = batch[0].repeat(4, 1, 1, 1)
    initialise(plain, "xavier-uniform", x)
    initialise(learned, "autoencoder", x)
    assert error(learned, x) < 0.9 * error(plain, x)
    output = learned.get_submodule("output")
    assert torch.equal(output.weight, plain.get_submodule("output").weight)


def test_the_genetic_start_has_a_lower_loss_than_random_ones(batch):
    x, y = batch
    net = tanh_net((8,))

    def loss():
        with torch.no_grad():
            return float(F.cross_entropy(net(x), y))

    drawn = []
    for seed in range(32):
        initialise(net, "xavier-uniform", x, seed=seed)
        drawn.append(loss())
    initialise(net, "genetic", x, y, loss=F.cross_entropy)
    assert loss() < min(drawn) - 0.1


@pytest.mark.parametrize(
    ("model", "rule", "given", "sentence"),
    [
        (nn.Linear(4, 2), "xavier", {}, "one of auto, uniform, positive, xavier-uniform.* got 'xavier'"),
        (nn.Linear(4, 2), "genetic", {}, "judges weights by their loss: give targets and loss"),
        (nn.Linear(4, 2), "autoencoder", {}, "such as mlp; Linear is none: use lsuv"),
        (nn.Sequential(nn.Linear(4, 2)), "autoencoder", {}, "Sequential is none"),
        (nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 4)), "autoencoder", {}, "Sequential is none"),
        (
            nn.Sequential(nn.Linear(4, MAX_GENES // 4), nn.Linear(MAX_GENES // 4, 1)),
            "genetic",
            {"targets": torch.zeros(3, 1), "loss": F.mse_loss},
            "32 sets of weights, of at most 4,194,304 each; this net has 6,291,457: use xavier-uniform",
        ),
    ],
)
def test_what_cannot_be_initialised_is_refused(model, rule, given, sentence):
    with pytest.raises(TrainError, match=sentence):
        initialise(model, rule, torch.zeros(3, 4), **given)


def test_auto_changes_nothing():
    net = nn.Linear(4, 2)
    before = net.weight.clone()
    initialise(net, "auto", torch.zeros(1, 4))
    assert torch.equal(net.weight, before)


def test_frozen_weights_are_left_alone():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    before = [value.clone() for value in net[0].parameters()]
    initialise(net, "he", torch.zeros(1, 4))
    assert all(map(torch.equal, net[0].parameters(), before))


# check_start


@pytest.mark.parametrize("rule", LAWFUL)
def test_lawful_starts_have_no_fault(rule, batch):
    net = tanh_net()
    initialise(net, rule, *batch, loss=F.cross_entropy)
    start = check_start(net, batch)
    assert start.findings == ()
    assert [layer.name for layer in start.layers] == [
        "hidden1", "hidden1_state", "hidden2", "hidden2_state", "output",
    ]  # fmt: skip
    assert str(start).endswith("No layer is saturated, none is zero: it can learn.")


@pytest.mark.parametrize(
    ("rule", "faults"),
    [
        ("zero", {"all zero", "no gradient"}),
        ("constant", {"alike", "saturated"}),
        ("uniform", {"saturated"}),
        ("positive", {"saturated"}),
    ],
)
def test_starts_that_break_a_condition_are_named(rule, faults, batch):
    net = tanh_net()
    initialise(net, rule, batch[0])
    start = check_start(net, batch)
    assert {fault for layer in start.layers for fault in layer.faults()} == faults
    assert len(start.findings) == len(faults)
    assert all(sentence in str(start) for sentence in start.findings)


def test_what_is_measured_is_what_torch_says(batch):
    x, y = batch
    net = nets.build("mlp", (1, 8, 8), 10, structure={"hidden": (20,), "activation": "sigmoid"})
    with torch.no_grad():
        net[1].weight.mul_(20)
    rows = {layer.name: layer for layer in check_start(net, (x, y)).layers}
    hidden = net[1](x.flatten(1)).detach()
    state = torch.sigmoid(hidden)
    F.cross_entropy(net(x), y).backward()
    gradients = torch.cat([net[1].weight.grad.flatten(), net[1].bias.grad.flatten()])
    assert rows["hidden1"].gradient == pytest.approx(float(gradients.norm()), rel=1e-4)
    assert rows["hidden1"].std == pytest.approx(float(hidden.std(correction=0)), rel=1e-5)
    near = ((state <= 0.05) | (state >= 0.95)).double().mean()
    assert rows["hidden1_state"].saturated == pytest.approx(float(near))
    assert rows["hidden1_state"].gradient is None


def test_dead_relus_are_seen_and_the_net_is_left_as_it_is(batch):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 10))
    with torch.no_grad():
        net[2].bias.fill_(-100)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    random = torch.random.get_rng_state()
    start = check_start(net, batch)
    assert {layer.name for layer in start.layers if "all zero" in layer.faults()} == {"3"}
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not net[1]._forward_hooks


def test_activations_that_are_no_modules_and_recurrent_ones_are_seen(batch):
    wide = TwoUses()
    with torch.no_grad():
        wide.encoder.weight.mul_(1000)
    rows = check_start(wide, batch[0].flatten(1)).layers
    assert [layer.kind for layer in rows if "saturated" in layer.faults()] == ["TwoUses"]
    for cell in ("elman", "lstm"):
        net = nets.build(cell, (1, 8, 8), 10)
        assert not check_start(net, batch).findings
        with torch.no_grad():
            for parameter in net.cell.parameters():
                parameter.fill_(3.0)
        assert "most units are at an end of their range" in check_start(net, torch.ones(4, 1, 8, 8)).findings[0]


def test_losses_of_every_kind_are_taken(batch):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    values = torch.zeros(300, 3)
    by_mean_square = check_start(net, (batch[0], values)).layers[0].gradient
    assert by_mean_square == check_start(net, (batch[0], values), loss=F.mse_loss).layers[0].gradient
    by_sum = check_start(net, batch[0]).layers[0].gradient
    assert by_sum == pytest.approx(900 * by_mean_square, rel=1e-4)


@pytest.mark.parametrize("net", ["mlp", "cnn", "lenet5", "lenet1989", "lstm", "gru", "resnet20", "fully_convolutional"])
def test_nets_of_the_catalogue_can_learn_from_where_they_start(net, batch):
    model = nets.build(net, (1, 8, 8), 10).train()
    assert check_start(model, batch, loss=getattr(model, "loss", None)).findings == ()


@pytest.mark.parametrize("kind", [nn.ReLU6, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Softplus, nn.Hardtanh])
def test_activations_without_two_ends_do_not_saturate(kind, batch):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), kind(), nn.Linear(32, 10))
    initialise(net, "lsuv", batch[0])
    start = check_start(net, batch)
    assert start.findings == ()
    assert [(layer.name, layer.saturated) for layer in start.layers] == [("1", None), ("2", None), ("3", None)]


# fit and the command line


def test_fit_begins_by_the_rule_and_warns(digits, tmp_path, capsys):
    run = fit(tanh_net(), digits, init="zero", epochs=1, out=tmp_path / "run")
    assert run.description["settings"]["init"] == "zero"
    assert Run.load(tmp_path / "run").description["start"][0].startswith("At the start all outputs are zero: hidden1,")
    assert "warning: At the start all outputs are zero" in capsys.readouterr().err
    assert run.results["test"]["accuracy"] < 0.2
    good = fit(tanh_net(), digits, init="lsuv", epochs=4, out=None, progress=False)
    assert good.description["start"] == []
    assert good.results["test"]["accuracy"] > 0.85


def test_a_run_cut_off_before_its_first_checkpoint_begins_by_the_rule_again(digits, tmp_path):
    whole = fit(tanh_net((8,)), digits, init="he", epochs=1, out=tmp_path / "whole", progress=False)
    (tmp_path / "whole" / "checkpoint.safetensors").unlink()
    again = resume(tmp_path / "whole", tanh_net((8,)), digits, progress=False)
    assert all(map(torch.equal, again.model.parameters(), whole.model.parameters()))


def test_an_unknown_rule_is_refused_by_fit(digits):
    with pytest.raises(TrainError, match=r"initialised by one of auto, uniform.* got 'best'"):
        fit(tanh_net(), digits, init="best", out=None)


def test_the_command_line_knows_every_rule(tmp_path):
    assert [rule.value for rule in Init] == list(INITS) == ["auto", *RULES]
    words = ["train", "iris", "--init", "xavier-normal", "--epochs", "1", "--out", str(tmp_path / "run")]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert Run.load(tmp_path / "run").description["settings"]["init"] == "xavier-normal"


def test_the_order_of_the_samples_says_nothing(digits):
    """Genetic and lsuv take a random sample: a training part sorted by class must not show them one class only."""
    x = digits.normalisation.apply(digits.x[digits.train])
    order = torch.from_numpy(np.argsort(digits.y[digits.train].numpy(), kind="stable"))
    net = tanh_net()
    initialise(net, "lsuv", x[order])
    with torch.no_grad():
        assert float(net[1](x.flatten(1)).var()) == pytest.approx(1, abs=0.01)
