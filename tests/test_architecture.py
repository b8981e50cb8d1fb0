"""The architecture of a net as JSON, and a whole net in one file: by them no stranger fills the memory or runs code."""

import json

import pytest
import torch
from torch import nn

from commonweight import data, load, nets, save, tie, ties
from commonweight.errors import FileError, NetError
from commonweight.files import ARCHITECTURE
from commonweight.nets.architecture import LONGEST, Architecture, architecture, load_net
from commonweight.train.start import start_run

BY_GRADIENTS = [entry for entry in nets.entries() if not entry.estimators and entry.name != "resnet152"]
"""All but the largest, which is resnet50 with more of the same blocks."""
TEXT = Architecture("mlp", (4,), 3, structure={"hidden": [5]}).to_json()


def changed(**fields):
    return json.dumps(json.loads(TEXT) | fields)


@pytest.mark.parametrize("entry", BY_GRADIENTS, ids=lambda entry: entry.name)
def test_the_json_of_a_net_makes_one_of_the_same_shapes_and_weights(entry):
    one = nets.build(entry.name, entry.natural_shape, 3, task=entry.tasks[0], seed=5)
    two = Architecture.from_json(architecture(one).to_json()).build(seed=5)
    for (name, a), (again, b) in zip(one.state_dict().items(), two.state_dict().items(), strict=True):
        assert name == again
        assert torch.equal(a, b)


def test_a_net_goes_through_one_file_with_its_structure(tmp_path):
    net = nets.build("mlp", (4,), 3, seed=1, structure={"hidden": [7, 5], "activation": "tanh"}).eval()
    save(net, tmp_path / "net.safetensors")
    again = load_net(tmp_path / "net.safetensors")
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again(x), net(x))
    assert architecture(again) == architecture(net)
    assert not again.training


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["cnn", "autoencoder"])
def test_a_net_of_other_precision_goes_through_one_file(tmp_path, name, dtype):
    net = nets.build(name, (1, 8, 8), 3).to(dtype)
    save(net, tmp_path / "net.safetensors")
    again = load_net(tmp_path / "net.safetensors").state_dict()
    assert {key: tensor.dtype for key, tensor in again.items()} == {
        key: tensor.dtype for key, tensor in net.state_dict().items()
    }
    assert all(torch.equal(again[key], tensor) for key, tensor in net.state_dict().items())


def test_ties_made_after_the_building_come_back(tmp_path):
    net = nets.build("mlp", (4,), 4, structure={"hidden": [4, 4]})
    tie(net, "hidden2.weight = hidden1.weight.T", keep="source")
    save(net, tmp_path / "net.safetensors")
    again = load_net(tmp_path / "net.safetensors")
    assert "hidden2.weight = hidden1.weight.T" in [str(one.equation) for one in ties(again)]
    x = torch.ones(2, 4)
    assert torch.equal(again(x), net(x))


@pytest.mark.parametrize("net", ["cnn", "som", "twin"])
def test_the_weights_of_a_run_are_a_whole_net(tmp_path, net):
    run = start_run("digits", net=net, target=None, task=None, seed=0, out=tmp_path / "run", epochs=1)
    again = load_net(tmp_path / "run" / "weights.safetensors")
    x = run.normalisation.apply(data.load("digits").x[:5])
    with torch.no_grad():
        torch.testing.assert_close(again(x), run.model(x))


def test_a_net_of_ones_own_runs_only_when_named(tmp_path):
    (tmp_path / "own.py").write_text("from torch import nn\ndef make(shape, n): return nn.Linear(shape[0], n)\n")
    own = f"{tmp_path / 'own.py'}:make"
    save(nets.build(own, (4,), 3), tmp_path / "net.safetensors")
    with pytest.raises(NetError, match=r"This is a net of your own: say net='.*own.py:make' to run that file"):
        load_net(tmp_path / "net.safetensors")
    assert isinstance(load_net(tmp_path / "net.safetensors", net=own), nn.Linear)


@pytest.mark.parametrize(
    "text",
    [
        *("", "3", "null", "[]", "{}", "[" * 10_000, TEXT + " " * LONGEST, changed(format=2), changed(more=1)),
        *(
            changed(name=3),
            changed(structure=[]),
            changed(task=None),
            changed(n_outputs="3"),
            changed(n_outputs=10**19),
        ),
        *(changed(in_shape=shape) for shape in ([4.0], [0], [10**9], [], 3)),
    ],
)
def test_what_is_no_architecture_is_refused(text):
    with pytest.raises(NetError, match="Not the architecture of a net: "):
        Architecture.from_json(text)


@pytest.mark.parametrize(
    ("structure", "says"),
    [
        ({"hidden": [10**6, 10**6]}, r"This mlp has 1,000,009,000,003 weights; at most 2,147,483,648 fit"),
        ({"hidden": [10**19]}, "mlp cannot be built"),
        ({"hidden": "many"}, "hidden is a list of the units of each hidden layer of an mlp"),
        ({"hidden": 3}, "hidden is a list of the units of each hidden layer of an mlp"),
        ({"widths": [3]}, "mlp has no argument 'widths'"),
    ],
)
def test_what_cannot_be_built_is_refused_before_it_takes_memory(structure, says):
    with pytest.raises(NetError, match=says):
        Architecture.from_json(changed(structure=structure)).build()


def test_a_structure_that_json_cannot_hold_is_refused():
    with pytest.raises(NetError, match="The structure of a net is made of numbers, words, lists and dicts"):
        nets.build("mlp", (4,), 3, structure={"softmax": torch.tensor(True)})


def test_a_net_that_was_not_built_by_name_has_no_architecture(tmp_path):
    with pytest.raises(NetError, match=r"This Linear was not made by nets\.build"):
        architecture(nn.Linear(2, 2))
    save(nn.Linear(2, 2), tmp_path / "net.safetensors")
    with pytest.raises(FileError, match="holds weights without an architecture"):
        load_net(tmp_path / "net.safetensors")


def test_a_file_whose_architecture_is_larger_than_its_weights_is_refused(tmp_path):
    net = nets.build("mlp", (4,), 3)
    net.architecture = changed(structure={"hidden": [1000]})
    save(net, tmp_path / "net.safetensors")
    with pytest.raises(FileError, match="belongs to another model"):
        load_net(tmp_path / "net.safetensors")
    net.architecture = changed(structure={"hidden": [10**5]})
    save(net, tmp_path / "net.safetensors")
    with pytest.raises(NetError, match="This mlp has 800,003 weights; at most 9,091 fit"):
        load_net(tmp_path / "net.safetensors")
    assert ARCHITECTURE == "commonweight.architecture"
    assert load(tmp_path / "net.safetensors").keys() == net.state_dict().keys()


def test_ties_that_the_net_cannot_have_are_refused(tmp_path):
    net = nets.build("mlp", (4,), 4, structure={"hidden": [4]})
    tie(net, "output.weight = hidden1.weight.T", keep="source")
    net.architecture = changed(structure={"hidden": []}, n_outputs=4)
    save(net, tmp_path / "net.safetensors")
    with pytest.raises(FileError, match="has ties that its net cannot have"):
        load_net(tmp_path / "net.safetensors")
