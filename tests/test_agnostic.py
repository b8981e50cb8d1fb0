"""Weight-agnostic networks: values by hand, every evaluator alike, the search by its definition, hostile genomes."""

import json
import os
import sys
from unittest import mock

import numpy as np
import pytest
import torch
from agnostic_worker import blobs, searched
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.utils.estimator_checks import parametrize_with_checks
from test_parallel import HERE, torchrun

import commonweight as cw
from commonweight import nets
from commonweight.errors import NetError
from commonweight.instruction_sets import CHOICES
from commonweight.kernels.native_library import instructions
from commonweight.nets import topology_search as search
from commonweight.nets.agnostic import BAND, Agnostic, AgnosticClassifier, drawn, entropy, respond
from commonweight.nets.genome import NAMES, Genome, checked
from commonweight.nets.population import Population
from commonweight.train.run import Run
from commonweight.train.start import start_run

FORMULAS = {
    "linear": lambda x: x,
    "step": lambda x: np.heaviside(x, 0.0),
    "sine": lambda x: np.sin(np.pi * x),
    "gaussian": lambda x: np.exp(-(x**2) / 2),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "inverse": lambda x: -x,
    "absolute": abs,
    "relu": lambda x: np.maximum(x, 0),
    "cosine": lambda x: np.cos(np.pi * x),
}
SMALL = {"hidden": ["tanh"], "connections": [[0, 4], [1, 4], [4, 3], [2, 3]]}
AVAILABLE = CHOICES[: CHOICES.index(instructions()) + 1]


@st.composite
def genomes(draw, n_in=None, n_out=None):
    """What up to 40 changes make of a smallest net."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    genome = search.smallest(n_in or draw(st.integers(1, 5)), n_out or draw(st.integers(1, 3)), 0.5, rng)
    for _ in range(draw(st.integers(0, 40))):
        genome = search.changed(genome, rng)
    return genome


def by_recursion(genome, x, weight):
    """Outputs (n_out, B) in float64, each node by its definition, and the sums on which a step decides."""
    known, decisive = {}, [1.0]

    def value(node):
        if node not in known:
            if node <= genome.n_in:
                known[node] = x[node] if node < genome.n_in else np.ones(x.shape[1])
            else:
                led = [value(source) for source, target in genome.connections if target == node]
                total = weight * sum(led, np.zeros(x.shape[1]))
                name = "linear" if node < genome.first_hidden else genome.hidden[node - genome.first_hidden]
                decisive.extend(abs(total) if name == "step" else [])
                known[node] = FORMULAS[name](total)
        return known[node]

    outputs = np.stack([value(genome.first_output + output) for output in range(genome.n_out)])
    return outputs, min(decisive), max(abs(one).max() for one in known.values())


# --- every evaluator alike ---


@pytest.mark.parametrize("kernel", AVAILABLE)
@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_population_computes_what_its_nodes_say(kernel, data):
    some = data.draw(st.lists(genomes(3, 2), min_size=1, max_size=4))
    n, own = data.draw(st.sampled_from([1, 5, 64, 100])), data.draw(st.booleans())
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    x = rng.normal(size=(len(some), 3, n)) if own else rng.normal(size=(3, n))
    weights = (-1.5, 0.3, 2.0)
    expected = []
    for number, genome in enumerate(some):
        found = [by_recursion(genome, x[number] if own else x, weight) for weight in weights]
        assume(all(decisive > 1e-3 and largest < 100 for _, decisive, largest in found))
        expected.append([outputs for outputs, _, _ in found])
    with mock.patch.dict(os.environ, {"COMMONWEIGHT_KERNELS": kernel}):
        outputs = Population(some)(torch.from_numpy(x).float(), torch.tensor(weights)[:, None])
    np.testing.assert_allclose(outputs, np.swapaxes(expected, 1, 2), rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("kernel", AVAILABLE)
def test_a_population_computes_the_same_whatever_the_default_type_of_torch(kernel, other_default, monkeypatch):
    monkeypatch.setenv("COMMONWEIGHT_KERNELS", kernel)
    genome = search.smallest(3, 2, 0.5, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(3, 5))
    outputs = Population([genome])(torch.from_numpy(x).float(), torch.tensor([[0.3]], dtype=torch.float32))
    np.testing.assert_allclose(outputs[0, :, 0], by_recursion(genome, x, 0.3)[0], rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(genomes())
def test_the_module_and_the_population_in_double_precision_agree_with_the_definition(genome):
    x = np.random.default_rng(0).normal(size=(7, genome.n_in))
    expected, decisive, largest = by_recursion(genome, x.T, 0.7)
    assume(decisive > 1e-6 and largest < 1e3)
    population = respond([genome], torch.from_numpy(x), torch.tensor([0.7], dtype=torch.float64))
    np.testing.assert_allclose(population[0, :, 0], expected, rtol=1e-7, atol=1e-9)
    net = Agnostic((genome.n_in,), genome.n_out, genome.hidden, genome.connections).double()
    torch.nn.init.constant_(net.weight, 0.7)
    np.testing.assert_allclose(net(torch.from_numpy(x)).detach().T, expected, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(net.unshared()(torch.from_numpy(x)).detach().T, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("kernel", AVAILABLE)
@pytest.mark.parametrize("name", NAMES)
def test_every_activation_everywhere(kernel, name):
    """From values that saturate to values near 0; sine and cosine over whole turns of a large argument."""
    x = np.concatenate([np.linspace(-300, 300, 4801), np.linspace(-1e-3, 1e-3, 101)]).astype(np.float32)[None]
    genome = Genome(1, 1, (name,), ((0, 3), (3, 2)))
    with mock.patch.dict(os.environ, {"COMMONWEIGHT_KERNELS": kernel}):
        outputs = Population([genome])(torch.from_numpy(x), torch.ones(1, 1))
    with np.errstate(over="ignore"):
        expected = FORMULAS[name](x.astype(np.float64))
    np.testing.assert_allclose(outputs[0, 0], expected, rtol=1e-6, atol=5e-7)


def test_one_weight_each_its_own_by_sample():
    genome, x = Genome(1, 1, (), ((0, 2),)), torch.tensor([[3.0, 5.0]])
    assert Population([genome])(x, torch.tensor([[2.0, 10.0]])).flatten().tolist() == [6.0, 50.0]


def test_inputs_of_another_width_are_refused():
    net = Agnostic((2,), 1, **SMALL)
    with pytest.raises(NetError, match=r"1 genomes of 2 inputs take samples of shape \(2, B\) .*; got \(3, 5\)"):
        net.respond(torch.zeros(5, 3), [1.0])


# --- the module ---


def test_the_census_sees_one_weight_and_every_connection():
    net = Agnostic((2,), 1, **SMALL)
    census = cw.count(net, torch.zeros(1, 2))
    assert (census.weights, census.connections) == (1, 4)
    own = cw.count(net.unshared(), torch.zeros(1, 2))
    assert (own.weights, own.connections) == (4, 4)


def test_what_is_unshared_cannot_be_unshared_again():
    with pytest.raises(NetError, match=r"has a weight of its own already: copy it with copy.deepcopy"):
        Agnostic((2,), 1, **SMALL).unshared().unshared()


def test_the_gradient_of_the_weight_is_the_sum_over_all_connections():
    net, x = Agnostic((2,), 1, **SMALL), torch.tensor([[0.3, -1.0]])
    own = net.unshared()
    net(x).sum().backward()
    own(x).sum().backward()
    torch.testing.assert_close(net.weight.grad, sum(one.grad.sum() for one in own.parameters()).view(1))


def test_by_default_every_input_leads_to_every_output():
    net = nets.build("agnostic", (1, 2, 2), 3)
    assert cw.count(net, torch.zeros(1, 1, 2, 2)).connections == 15
    assert net(torch.ones(2, 1, 2, 2)).tolist() == [[5.0] * 3] * 2


def test_the_ensemble_is_the_mean_of_the_probabilities():
    net, x = nets.build("agnostic", (3,), 2), torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    expected = []
    for weight in (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0):
        torch.nn.init.constant_(net.weight, weight)
        expected.append(net(x).softmax(1))
    torch.testing.assert_close(net.ensemble(x), torch.stack(expected).mean(0).detach())


def test_views_show_the_wiring_and_the_answers():
    net = Agnostic((1,), 2, connections=[[0, 2]])  # says class 0 where w · x > 0
    wiring, answers = net.views(torch.tensor([[1.0], [2.0], [-1.0]]), torch.tensor([0, 0, 1]))
    assert wiring.images.shape == (1, 240, 360)
    assert answers.images[0, ::BAND, 0].tolist() == [0.0, 0.0]
    assert answers.images[0, ::BAND, -1].tolist() == [1.0, 1.0]


def test_a_drawn_connection_is_a_line():
    picture = drawn(Genome(1, 1, (), ((0, 2),)))
    assert picture[60, 0] == picture[120, 359] == 1
    assert picture.any(0).all()


# --- the search ---


@settings(deadline=None)
@given(genomes(), st.integers(0, 1000))
def test_each_change_is_one_and_leaves_a_genome(genome, seed):
    rng = np.random.default_rng(seed)
    node, more, other = (
        change(genome, rng) for change in (search.with_node, search.with_connection, search.with_activation)
    )
    assert len(node.hidden) == len(genome.hidden) + 1
    assert len(set(genome.connections) - set(node.connections)) == 1
    assert len(node.connections) == len(genome.connections) + 1
    assert more == genome or set(more.connections) > set(genome.connections)
    assert other.connections == genome.connections
    assert sum(a != b for a, b in zip(other.hidden, genome.hidden, strict=True)) == bool(genome.hidden)
    for child in (node, more, other, search.rewired(genome, rng)):
        again = checked(child.n_in, child.n_out, list(child.hidden), [list(pair) for pair in child.connections])
        assert again == child


@settings(deadline=None)
@given(genomes(), st.integers(0, 1000))
def test_a_random_wiring_is_as_large(genome, seed):
    random = search.rewired(genome, np.random.default_rng(seed))
    assert sorted(random.hidden) == sorted(genome.hidden)
    assert len(set(random.connections)) == len(genome.connections)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_fronts_by_their_definition(points):
    found = search.fronts(np.array(points, dtype=float))

    def beats(a, b):
        return a != b and a[0] >= b[0] and a[1] >= b[1]

    for point, front in zip(points, found, strict=True):
        before = [number for other, number in zip(points, found, strict=True) if beats(other, point)]
        assert front == max(before, default=-1) + 1


def test_crowding_by_hand():
    objectives = np.array([[0.0, 10.0], [1.0, 6.0], [4.0, 0.0], [9.0, 9.0]])
    distance = search.crowding(objectives, np.array([0, 0, 0, 1]))
    assert distance.tolist() == [np.inf, 4 / 4 + 10 / 10, np.inf, np.inf]


def test_the_best_of_the_first_front_come_first():
    rewards = np.repeat([[1.0], [3.0], [2.0], [2.0]], 6, 1)
    order = search.ranked(rewards, np.array([1, 4, 2, 3]), np.random.default_rng(0))  # by size
    assert order.tolist() == [1, 0, 2, 3]


def test_a_search_finds_what_is_asked_for():
    """Reward for the number of hidden nodes: there must come to be as many as generations allow."""

    def fitness(genomes, generation):
        return np.repeat([[float(len(genome.hidden))] for genome in genomes], 6, 1)

    found = search.evolve(fitness, 2, 1, population=20, generations=15, seed=0)
    assert 8 <= len(found.hidden) <= 14


def test_cross_entropy_is_that_of_torch():
    some, x = [Genome(1, 2, (), ((0, 2),))] * 17, torch.tensor([[0.5], [-2.0]])
    found = entropy(some, x, torch.tensor([0, 1]), torch.tensor([1.0, 2.0]))
    logits = torch.cat([x, torch.zeros(2, 1)], 1).double()
    expected = [torch.nn.functional.cross_entropy(w * logits, torch.tensor([0, 1])) for w in (1.0, 2.0)]
    torch.testing.assert_close(found, torch.stack(expected).expand(17, 2), rtol=1e-6, atol=0)


# --- the estimator ---


@parametrize_with_checks([AgnosticClassifier(population=16, max_iter=40, random_state=0)])
def test_conventions_of_scikit_learn(estimator, check):
    check(estimator)


def test_it_learns_and_works_with_every_weight_of_the_search():
    fitted, (x, y) = searched(), blobs()
    assert fitted.score(x, y) > 0.8
    accuracies = (fitted.module_.respond(torch.from_numpy(x), search.WEIGHTS).argmax(2).numpy() == y).mean(1)
    assert accuracies.mean() > 0.5


@pytest.mark.slow
def test_two_processes_search_as_one(tmp_path):
    done = torchrun(HERE / "agnostic_worker.py", tmp_path)
    assert done.returncode == 0, done.stderr
    told = [json.loads((tmp_path / f"told-{rank}.json").read_text()) for rank in (0, 1)]
    alone = searched()
    assert told[0] == told[1] == [alone.structure_, float(alone.module_.weight.detach())]


@pytest.mark.parametrize("name", ["population", "max_iter", "batch_size", "tournament"])
def test_a_budget_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is a whole number of at least 1; got 0"):
        AgnosticClassifier(**{name: 0}).fit(*blobs())


# --- genomes from files ---


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "iris"
    automatic = {"optimizer": "auto", "lr": None, "batch_size": None, "precision": "auto", "goal": None}
    return start_run("iris", net="agnostic", target=None, task=None, seed=0, epochs=5, out=folder, **automatic)


def test_a_run_is_read_again_with_its_one_weight(run):
    again, x = Run.load(run.folder).model, torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(x), run.model(x))
    assert sum(parameter.numel() for parameter in again.parameters()) == run.results["weights"] == 1
    assert "Wiring" in (run.folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("structure", "sentence"),
    [
        (
            {"hidden": ["tanh", "sine"], "connections": [[8, 9], [9, 8], [8, 5]]},
            "cycle, before or through node 5: leave",
        ),
        ({"hidden": ["softplus"], "connections": [[0, 8], [8, 5]]}, "activations linear, .*; got 'softplus'"),
        ({"connections": [[0, 8]]}, "from a node 0 to 7 to one of 5 to 7; got 0 to 8"),
        ({"connections": [[-1, 5]]}, "got -1 to 5"),
        ({"connections": [[0, 4]]}, "got 0 to 4"),
        ({"hidden": ["tanh"], "connections": [[5, 8], [8, 6]]}, "Nothing leads from an output .* from output 5"),
        ({"connections": [[0, 5], [0, 5]]}, "each connection once; got 0 to 5 twice"),
        ({"hidden": ["tanh"], "connections": [[8, 5]]}, "lead to every hidden node .* nothing leads to node 8"),
        ({"connections": []}, "at least one connection; got none"),
        ({"connections": [[0, 5.0]]}, r"pair of node numbers \(from, to\); got \[0, 5.0\]"),
        ({"connections": [[0, 5, 6]]}, r"pair of node numbers \(from, to\); got \[0, 5, 6\]"),
        ({"connections": {"0": 5}}, "connections of a genome are a list; got dict"),
        ({"hidden": "tanh", "connections": [[0, 5]]}, "hidden nodes of a genome are a list; got str"),
        ({"hidden": ["tanh"] * 1_000_001, "connections": [[0, 5]]}, "at most 1,000,000 hidden nodes; got 1,000,001"),
    ],
)
def test_a_hostile_genome_is_refused_in_one_sentence(run, tmp_path, structure, sentence):
    description = json.loads((run.folder / "run.json").read_text())
    description["structure"] = structure
    (tmp_path / "run.json").write_text(json.dumps(description))
    for path in run.folder.iterdir():
        if path.name != "run.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(NetError, match=sentence):
        Run.load(tmp_path)


@pytest.mark.slow
def test_the_command_in_two_processes_writes_one_run(tmp_path):
    code = "from commonweight.cli import main; main()"
    words = ("train", "iris", "--net", "agnostic", "--epochs", "5", "--out", str(tmp_path / "both"))
    done = torchrun("--no-python", sys.executable, "-c", code, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = start_run(
        "iris", net="agnostic", target=None, task=None, seed=0, epochs=5, out=tmp_path / "alone",
        optimizer="auto", lr=None, batch_size=None, precision="auto", goal=None,
    )  # fmt: skip
    both = json.loads((tmp_path / "both" / "run.json").read_text())
    assert both["structure"] == alone.description["structure"]
    assert both["results"]["test"] == alone.results["test"]
