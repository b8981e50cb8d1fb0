"""The autoencoder: its tie, its loss against PyTorch's autograd by hand, PCA beside it, scikit-learn's conventions."""

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.utils.estimator_checks import parametrize_with_checks

import commonweight as cw
from commonweight import nets
from commonweight.errors import NetError
from commonweight.nets.autoencoder import Autoencoder, corrupt, learn_layers, reconstruction_loss
from commonweight.nets.autoencoder_estimators import AutoencoderClassifier, AutoencoderRegressor
from commonweight.nets.estimators import batches

X, Y = load_digits(return_X_y=True)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_net_is_what_its_formula_says():
    net = Autoencoder((6,), 2, hidden=(5, 3)).double()
    rows = torch.rand(4, 6, generator=seeded(), dtype=torch.float64)
    w1, w2 = (layer.weight.detach().numpy() for layer in net.encoder)
    code = expit(rows.numpy() @ w1.T) @ w2.T
    expected = expit(expit(code @ w2) @ w1)
    np.testing.assert_allclose(net.encode(rows).detach(), code)
    np.testing.assert_allclose(net.reconstruct(rows).detach(), expected)
    np.testing.assert_allclose(
        net(rows).detach(), code @ net.output.weight.detach().numpy().T + arrays(net.output.bias)
    )
    v = rows.numpy()
    loss = -(v * np.log(expected) + (1 - v) * np.log(1 - expected)).sum(1).mean()
    assert reconstruction_loss(net.decode(net.encode(rows)), rows).item() == pytest.approx(loss)


def arrays(parameter):
    return parameter.detach().numpy()


def test_each_weight_is_used_twice_and_its_gradient_is_the_sum():
    tied, untied = Autoencoder((6,), 2, hidden=(4,)), Autoencoder((6,), 2, hidden=(4,), tied=False)
    untied.load_state_dict(tied.state_dict())
    rows = torch.rand(5, 6, generator=seeded())
    for net in (tied, untied):
        reconstruction_loss(net.decode(net.encode(rows)), rows).backward()
    both = untied.encoder[0].weight.grad + untied.decoder[0].weight.grad.T
    torch.testing.assert_close(tied.encoder[0].weight.grad, both)
    sizes = [sum(parameter.numel() for parameter in net.parameters()) for net in (tied, untied)]
    assert sizes[1] - sizes[0] == 24
    cw.check(tied)


def test_corruption_sets_a_share_to_zero():
    v = corrupt(torch.ones(100, 200), 0.3, seeded())
    assert set(v.unique().tolist()) == {0, 1}
    assert float(v.mean()) == pytest.approx(0.7, abs=0.01)
    assert torch.equal(corrupt(torch.ones(2, 2), 0.0, seeded()), torch.ones(2, 2))


def test_greedy_layers_already_rebuild_their_inputs():
    rows = torch.from_numpy(X / 16).float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Autoencoder((64,), 10, hidden=(48, 16))
    errors = []
    for _ in range(2):
        errors.append(float(((net.reconstruct(rows) - rows) ** 2).mean().detach()))
        order = batches(len(rows), 50, 4, seeded())
        learn_layers(net, rows, order, rate=3e-3, noise=0.1, generator=seeded())
    assert errors[1] < 0.5 * errors[0]


@pytest.fixture(scope="module")
def fitted():
    return AutoencoderClassifier((128, 16), max_iter=40, random_state=0).fit(X[:1200], Y[:1200])


def test_it_rebuilds_better_than_pca_of_equal_width_and_tells_digits_apart(fitted):
    x = X[1200:]
    pca = PCA(16).fit(X[:1200])
    theirs = ((pca.inverse_transform(pca.transform(x)) - x) ** 2).mean()
    assert ((fitted.reconstruct(x) - x) ** 2).mean() < theirs
    assert fitted.score(x, Y[1200:]) > 0.85
    assert fitted.codes(x).shape == (len(x), 16)


def test_views_show_samples_beside_their_reconstructions(fitted):
    x = torch.from_numpy(X[:30]).float()
    seen, filters = fitted.module_.views(x.view(30, 1, 8, 8), torch.from_numpy(Y[:30]))
    assert (tuple(seen.images.shape), len(seen.labels)) == ((40, 8, 8), 40)
    torch.testing.assert_close(seen.images[2].flatten(), x[1])
    torch.testing.assert_close(seen.images[3].flatten(), fitted.module_.reconstruct(x)[1].detach())
    assert filters.signed


def test_a_fitted_net_is_stored_with_its_ties_and_built_again(fitted, tmp_path):
    cw.save(fitted.module_, tmp_path / "net.safetensors")
    empty = nets.build("autoencoder", (1, 8, 8), 10, structure=fitted.structure_)
    again = cw.load(tmp_path / "net.safetensors", empty)
    rows = torch.from_numpy(X[:5]).float()
    torch.testing.assert_close(again(rows), fitted.module_(rows))
    torch.testing.assert_close(again.reconstruct(rows), fitted.module_.reconstruct(rows))


FAST = {"hidden": (16, 8), "layer_iter": 2, "max_iter": 30, "learning_rate": 0.02, "random_state": 0}


@parametrize_with_checks([AutoencoderClassifier(**FAST), AutoencoderRegressor(**FAST)])
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


@pytest.mark.parametrize("hidden", [(), (4, 0)])
def test_a_net_without_units_is_refused(hidden):
    with pytest.raises(NetError, match=r"one hidden layer or more, of at least 1 unit; got \("):
        Autoencoder((4,), 2, hidden=hidden)
