"""Training by the compiled steps against the same training by torch, and what is left to torch."""

import pytest
import torch
from conftest import BEST, HERE
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from commonweight import data, fit, nets
from commonweight.data.dataset import Data
from commonweight.data.normalise import Normalisation
from commonweight.kernels.chains import answers, answers_on_plane, chain_of
from commonweight.train.compiled_steps import RULES, compiled_steps
from commonweight.train.loop import Trainer, resume
from commonweight.train.run import Run
from commonweight.train.settings import choose_settings

COMPILED = HERE[1:]
ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity)


def learn(kernels, model, samples, **given):
    """The weights after training, and the run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMMONWEIGHT_KERNELS", kernels)
        run = fit(model, samples, out=None, progress=False, **given)
    return torch.cat([weight.detach().flatten() for weight in run.model.parameters()]), run


def problem(n, n_in, n_out, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, n_in, generator=generator)
    y = torch.arange(n) % n_out if classes else 3 * torch.randn(n, n_out, generator=generator) + 5
    parts = torch.arange(n).split([n - 8, 4, 4])
    norm = Normalisation.fit(x, y, parts[0])
    names = tuple(map(str, range(n_out))) if classes else ()
    task = "classification" if classes else "regression"
    return Data("made", task, x, y, names, tuple(f"x{i}" for i in range(n_in)), *parts, norm)


def net(sizes, kinds, bias, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        parts = [nn.Linear(sizes[0], sizes[1], bias=bias)]
        for kind, before, after in zip(kinds, sizes[1:], sizes[2:], strict=False):
            parts += [kind(), nn.Linear(before, after, bias=bias)]
        return nn.Sequential(*parts)


@given(
    st.sampled_from(COMPILED),
    st.sampled_from(RULES),
    st.booleans(),
    st.lists(st.integers(1, 40), min_size=2, max_size=4),
    st.lists(st.sampled_from(ACTIVATIONS), min_size=3, max_size=3),
    st.booleans(),
    st.integers(1, 70),
    st.sampled_from((0.0, 0.1)),
    st.sampled_from((0.0, 0.01)),
    st.integers(0, 99),
)
@settings(max_examples=60)
def test_an_epoch_ends_with_the_weights_and_records_of_torch(
    kernels, rule, classes, sizes, kinds, bias, batch, smoothing, l2, seed
):
    sizes[-1] += classes
    samples = problem(90, sizes[0], sizes[-1], classes, seed)
    given = {"optimizer": rule, "epochs": 2, "batch_size": batch, "l2": l2, "lr": 1e-3}
    given |= {"label_smoothing": smoothing} if classes else {}
    expected, by_torch = learn("off", net(sizes, kinds, bias, seed), samples, **given)
    got, run = learn(kernels, net(sizes, kinds, bias, seed), samples, **given)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    for one, other in zip(run.records, by_torch.records, strict=True):
        assert (one.loss, one.loss_deviation) == pytest.approx((other.loss, other.loss_deviation), rel=1e-4, abs=1e-5)
        assert one.metric == pytest.approx(other.metric, rel=1e-4, abs=0.02)
        assert one.validation_loss == pytest.approx(other.validation_loss, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("kernels", COMPILED)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_real_images_are_learned_as_by_torch(kernels, activation):
    digits = data.load("digits")
    structure = {"hidden": (30, 20), "activation": activation}
    given = {"optimizer": "adam", "epochs": 2, "batch_size": 32}
    expected, _ = learn("off", nets.build("mlp", digits.in_shape, 10, structure=structure), digits, **given)
    got, _ = learn(kernels, nets.build("mlp", digits.in_shape, 10, structure=structure), digits, **given)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_torch_goes_on_from_the_state_that_the_kernel_left(tmp_path, monkeypatch):
    """A run that is cut off is resumed without the kernel, and ends where torch alone ends."""
    iris = data.load("iris")
    given = {"optimizer": "adam", "epochs": 12, "patience": 99}
    expected, _ = learn("off", nets.build("mlp", iris.in_shape, 3), iris, **given)
    write = Trainer._write_check

    def dying(trainer, record, is_best):
        write(trainer, record, is_best)
        if trainer.progress.checks == 2:
            trainer._save()
            raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "_write_check", dying)
    with pytest.raises(KeyboardInterrupt):
        fit(nets.build("mlp", iris.in_shape, 3), iris, out=tmp_path / "run", progress=False, **given)
    monkeypatch.setattr(Trainer, "_write_check", write)
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", "off")
    run = resume(tmp_path / "run", nets.build("mlp", iris.in_shape, 3), iris, progress=False)
    got = torch.cat([weight.detach().flatten() for weight in run.model.parameters()])
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(BEST == "off", reason="the kernels were not compiled")
def test_a_loss_that_is_no_number_ends_the_run_at_the_same_step(recwarn):
    iris = data.load("iris")
    ends = []
    for kernels in ("off", BEST):
        with pytest.raises(Exception, match="The training loss became") as caught:
            learn(kernels, nets.build("mlp", iris.in_shape, 3), iris, optimizer="sgd", lr=1e30, epochs=30)
        ends.append(caught.value.run.records[-1].step)
    assert ends[0] == ends[1]


def trainer_of(model, samples, **given):
    chosen = {"epochs": 1, "goal": None, "optimizer": "adam", "lr": None, "batch_size": 16, "precision": "auto"}
    settings = choose_settings(model, samples, **chosen | {"device": "cpu", "seed": 0} | given)
    return Trainer(model, samples, settings, Run(model, {}, [], None))


def compiled(model, samples, **given):
    return trainer_of(model, samples, **given).compiled is not None


class Own(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.skipif(BEST == "off", reason="the kernels were not compiled")
def test_what_is_not_covered_is_left_to_torch(monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", BEST)
    samples = problem(90, 6, 3, True, 0)
    make = lambda *more: nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3), *more)  # noqa: E731
    assert compiled(make(), samples)
    for other in ({"optimizer": "rmsprop"}, {"l1": 0.1}, {"max_norm": 1.0}, {"noise": 0.1}, {"sparsity": 0.5}):
        assert not compiled(make(), samples, **other), other
    assert not compiled(make(), samples, precision="bfloat16")
    tied, frozen, hooked, watched = (make() for _ in range(4))
    tied = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.Linear(6, 3))
    tied[2].weight = tied[0].weight
    frozen[0].weight.requires_grad_(False)
    hooked[1].register_forward_hook(lambda module, given, output: None)
    watched[0].weight.register_hook(lambda gradient: gradient)
    others = [tied, frozen, hooked, watched, Own(*make()), make(nn.LogSoftmax(1)), make(nn.Dropout(0.1))]
    others += [nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)), nn.Linear(6, 3)]
    others += [nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Tanh(), nn.Linear(5, 3))]
    for model in others:
        assert not compiled(model, samples), model


def test_large_nets_and_the_setting_off_are_left_to_torch(monkeypatch):
    samples = problem(90, 6, 3, True, 0)
    assert not compiled(nn.Sequential(nn.Linear(6, 200_000), nn.Linear(200_000, 3)), samples)
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", "off")
    assert not compiled(nn.Sequential(nn.Linear(6, 3)), samples)


@pytest.mark.skipif(BEST == "off", reason="the kernels were not compiled")
def test_images_must_be_flattened_by_the_net(monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", BEST)
    digits = data.load("digits")
    trainer = trainer_of(nets.build("mlp", digits.in_shape, 10), digits)
    given = (trainer.optimizer, trainer.settings, trainer.train, digits)
    assert trainer.compiled is not None
    flat = nn.Sequential(nn.Linear(64, 10))
    assert compiled_steps(flat, flat, *given) is None


@pytest.mark.skipif(BEST == "off", reason="the kernels were not compiled")
@pytest.mark.parametrize("kernels", COMPILED)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("n", [1, 7, 16, 255, 256, 257, 600])
def test_a_population_answers_as_its_nets_one_by_one(kernels, bias, n, monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", kernels)
    model = net([5, 19, 3, 2], (nn.Tanh, nn.ReLU), bias, 0)
    generator = torch.Generator().manual_seed(1)
    x, members = (
        torch.randn(n, 5, generator=generator),
        [net([5, 19, 3, 2], (nn.Tanh, nn.ReLU), bias, k) for k in range(9)],
    )
    rows = torch.stack([torch.cat([weight.detach().flatten() for weight in one.parameters()]) for one in members])
    with torch.no_grad():
        expected = torch.stack([one(x) for one in members])
    torch.testing.assert_close(answers(chain_of(model, x), rows, x), expected, rtol=1e-5, atol=1e-6)
    assert answers(chain_of(model, x), rows[:0], x).shape == (0, n, 2)


@pytest.mark.skipif(BEST == "off", reason="the kernels were not compiled")
@pytest.mark.parametrize("kernels", COMPILED)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("sizes", [[5, 2], [5, 19, 2], [5, 33, 3, 2]])
@pytest.mark.parametrize("n", [1, 16, 50, 256, 257, 600])
def test_nets_on_a_plane_answer_as_each_does_alone(kernels, bias, sizes, n, monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", kernels)
    model = net(sizes, (nn.Tanh, nn.ReLU)[: len(sizes) - 2], bias, 0)
    n_weights = sum(weight.numel() for weight in model.parameters())
    generator = torch.Generator().manual_seed(n)
    x = torch.randn(n, 5, 1, generator=generator)[..., 0]
    centre, directions = torch.randn(3, n_weights, generator=generator).split([1, 2])
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, -1.0], [0.5, 2.0], [-1.5, 0.25]])
    expected = []
    for point in points:
        nn.utils.vector_to_parameters(centre[0] + point @ directions, model.parameters())
        with torch.no_grad():
            expected.append(model(x))
    found = answers_on_plane(chain_of(model, x), centre[0], directions, points, x)
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-4, atol=1e-4)
    assert answers_on_plane(chain_of(model, x), centre[0], directions, points[:0], x).shape == (0, n, 2)


@pytest.mark.skipif(BEST == "off", reason="the kernels were not compiled")
def test_nets_answer_the_same_whatever_the_default_type_of_torch(monkeypatch, other_default):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", BEST)
    generator = torch.Generator().manual_seed(0)
    model, x = net([5, 19, 3], (nn.Tanh,), True, 0).float(), torch.randn(40, 5, generator=generator).float()
    chain, row = chain_of(model, x), nn.utils.parameters_to_vector(model.parameters()).detach()
    plane = answers_on_plane(chain, row, torch.zeros(2, len(row)), torch.zeros(1, 2), x)
    for found in (answers(chain, row[None], x), plane):
        torch.testing.assert_close(found[0], model(x).detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(BEST == "off", reason="the kernels were not compiled")
def test_nets_answer_the_same_on_any_number_of_threads(monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", BEST)
    generator = torch.Generator().manual_seed(0)
    model, x = net([5, 19, 3], (nn.Tanh,), True, 0), torch.randn(40, 5, generator=generator)
    chain, rows = chain_of(model, x), torch.randn(101, 174, generator=generator)
    points, before = torch.randn(101, 2, generator=generator), torch.get_num_threads()
    told = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            told.append((answers(chain, rows, x), answers_on_plane(chain, rows[0], rows[1:3], points, x)))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*told, strict=True):
        assert torch.equal(one, two)
