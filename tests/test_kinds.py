"""What is of the wrong kind is refused in one sentence, and every family of networks has its place in the docs."""

from functools import partial
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import commonweight as cw
from commonweight import compress, nets, patterns
from commonweight.checkpoints import open_checkpoint
from commonweight.codebook import learn
from commonweight.errors import CommonweightError
from commonweight.export import to_onnx
from commonweight.lower import explain, lower
from commonweight.measure import components, features, selectivity, space, surface, watch
from commonweight.measure.start import check_start
from commonweight.measure.verification import one_shot_accuracy
from commonweight.measure.weights import values, write_values
from commonweight.nets.cnn import CNN
from commonweight.nets.deep_sets import DeepSets
from commonweight.nets.equivariant import P4, GroupPool, p4_conv2d, plain, reversal_conv1d
from commonweight.nets.fully_convolutional import FullyConvolutional
from commonweight.nets.group_cnn import P4CNN, GroupCNN
from commonweight.nets.own import load_factory
from commonweight.nets.recurrent import Recurrent
from commonweight.recognise import recognise
from commonweight.train import finetune
from commonweight.train.initialise import initialise
from commonweight.train.loop import resume
from commonweight.train.run import Run, findings_of
from commonweight.train.tune import tune

IRIS = cw.data.load("iris")
NET = nets.build("mlp", (4,), 3)
LAYER = features.layers(NET, IRIS)[1]
X, AXIS = torch.zeros(2, 4), torch.zeros(3)
TAKING = {
    "recognise takes a tie map": recognise,
    "lower takes a pattern": [lower, explain],
    "learn takes a weight": partial(learn, k=2),
    "fit trains a torch.nn.Module": partial(cw.fit, data=None),
    "fit trains on data as commonweight.data.load gives them": partial(cw.fit, nn.Linear(1, 1)),
    "resume goes on with a torch.nn.Module": partial(resume, "runs/none", data=None),
    "resume trains on data as commonweight.data.load gives them": partial(resume, "runs/none", nn.Linear(1, 1)),
    "check_start takes a torch.nn.Module": partial(check_start, batch=torch.zeros(2, 1)),
    r"check_start takes a batch of inputs, or \(inputs, targets\)": partial(check_start, nn.Linear(1, 1)),
    "initialise takes a torch.nn.Module": partial(initialise, rule="he", inputs=torch.zeros(2, 1)),
    "initialise takes normalised samples": partial(initialise, nn.Linear(1, 1), "he"),
    "share takes a model": partial(compress.share, k=2),
    "watch takes a model": partial(watch, optimizer=None),
    "watch takes an optimizer": partial(watch, nn.Linear(1, 1)),
    "lower takes a pattern, such as": cw.Tied,
    "bias is 'none', 'unit'": partial(cw.Tied, patterns.dense(2, 2)),
    "count takes a torch.nn.Module": cw.count,
    "Ties are those of a model": [
        cw.ties,
        cw.check,
        lambda model: cw.tie(model, "a = b"),
        lambda model: cw.untie(model, "a"),
    ],
    "save writes a model": partial(cw.save, path="a.safetensors"),
    "share_depth takes a model": partial(compress.share_depth, every=2),
    "shared_weights takes a model": compress.shared_weights,
    "to_onnx writes a model": partial(to_onnx, inputs=(), path="a.onnx"),
    "compared with those of another TieMap": patterns.dense(2, 2).tiemap().same_ties,
    "plain takes a layer, a Tied": plain,
    "p4_conv2d takes an input shape|p4_conv2d takes images": partial(p4_conv2d, out_channels=1, kernel=1),
    "reversal_conv1d takes an input shape|takes sequences": partial(reversal_conv1d, out_channels=1, kernel=1),
    "picture_grid draws a data set": partial(cw.data.picture_grid, path="a.png"),
    "picture_grid writes to a path|is to be a PNG": [lambda given: cw.data.picture_grid(cw.data.load("iris"), given)],
    "read_inputs takes a list of paths|nothing to predict": partial(cw.data.read_inputs, like=(4,)),
    "the shape of one sample by a tuple": partial(cw.data.read_inputs, ["x.csv"]),
    "The shape of a sample is a tuple|A size of in_shape is a whole number from 1|takes": partial(
        nets.build, "mlp", n_outputs=2
    ),
    "save writes to a path": lambda given: cw.save(nn.Linear(1, 1), None if given == "x" else given),
    "A net's structure is a dict": lambda given: nets.build("mlp", (4,), 3, structure=given or 3),
    "The shape of a sample is a tuple|A size of in_shape is a whole number from 1|got samples of": partial(
        nets.estimator, "svm", task="classification", seed=0
    ),
    "What is looked at is a torch.nn.Module": [
        partial(features.layers, data=IRIS),
        partial(features.answers, layer=LAYER, x=X),
        partial(features.handed, layer=LAYER, x=X),
        partial(features.strongest, data=IRIS, layer=LAYER),
        partial(features.favourites, data=IRIS, layer=LAYER, units=[0]),
        partial(features.receptive_field, layer=LAYER, in_shape=(4,), place=0),
        partial(selectivity.class_selectivity, data=IRIS, layer=LAYER),
        partial(space.bent, data=IRIS, layer=LAYER),
        partial(space.regions, data=IRIS),
        surface.random_directions,
        partial(surface.surface, loss=len, x=X, y=X, directions=X, along=AXIS, up=AXIS),
        components.spectra,
        lambda given: next(components.cost_of_dropping(given, IRIS)),
        values,
        partial(write_values, path="a.npz"),
        partial(finetune.importance, data=IRIS),
        partial(finetune.score, data=IRIS),
    ],
    "A net is looked at on data": [
        partial(features.layers, NET),
        partial(features.strongest, NET, layer=LAYER),
        partial(features.favourites, NET, layer=LAYER, units=[0]),
        partial(selectivity.class_selectivity, NET, layer=LAYER),
        partial(space.bent, NET, layer=LAYER),
        partial(space.regions, NET),
        space.plane,
        lambda given: next(components.cost_of_dropping(NET, given)),
        partial(finetune.importance, NET),
        partial(finetune.score, NET),
    ],
    "The net has no layer .*; it has .*hidden1": [
        partial(features.answers, NET, x=X),
        partial(features.handed, NET, x=X),
        partial(features.strongest, NET, IRIS),
        partial(space.bent, NET, IRIS),
    ],
    "samples of a net are a tensor": [partial(features.answers, NET, LAYER), partial(features.handed, NET, LAYER)],
    "shape of one sample is a tuple": lambda given: features.receptive_field(NET, LAYER, given, 0),
    "Units are a list of numbers": lambda given: features.favourites(NET, IRIS, LAYER, given if given != [] else 0.5),
    "surface takes a tensor as directions": lambda given: surface.surface(NET, len, X, X, given, AXIS, AXIS),
    "A loss is a function": lambda given: surface.surface(NET, given, X, X, X, AXIS, AXIS),
    "finetune trains for a whole number of epochs|epochs is a whole number": lambda given: finetune.finetune(
        NET, IRIS, epochs=given if given != 3 else 3.0
    ),
    "finetune takes a number above 0": lambda given: finetune.finetune(
        NET, IRIS, epochs=1, lr=given if given != 3 else "3"
    ),
    "storage is the URL|The storage 'x' cannot be used": lambda given: tune("iris", storage=given or []),
}
NAMED = {
    "load takes the path of a file|x cannot|x": cw.load,
    "Data is loaded by a name|data 'x' is unknown": cw.data.load,
    "A net is called by a name|There is no net 'x'": [
        nets.natural_shape,
        partial(nets.build, in_shape=(4,), n_outputs=2),
        partial(nets.estimator, in_shape=(4,), task="classification", seed=0),
    ],
    "A net of your own is written file.py:factory": load_factory,
    "open_checkpoint takes the path|x": open_checkpoint,
    "A run is given by the path of its folder|There is no run in x": [
        Run.load,
        findings_of,
        partial(resume, model=nn.Linear(1, 1), data=IRIS),
    ],
}
CASES = [
    (says, call, given)
    for table in (TAKING, NAMED)
    for says, calls in table.items()
    for call in (calls if isinstance(calls, list) else [calls])
    for given in (3, None, "x", [], {})
]


@pytest.mark.parametrize(("says", "call", "given"), CASES)
def test_the_wrong_kind_is_one_sentence(says, call, given):
    with pytest.raises(CommonweightError, match=says) as told:
        call(given)
    assert "\n" not in str(told.value)


def test_what_is_shown_on_several_lines_is_told_on_one():
    with pytest.raises(CommonweightError, match=r"got tuple: \(Sequential\( \(0\): ReLU"):
        features.layers((nn.Sequential(nn.ReLU(), nn.ReLU()),), IRIS)


@pytest.mark.parametrize("given", [3, "x", [], {}])
def test_what_draws_weights_is_a_generator(given):
    with pytest.raises(CommonweightError, match=r"Weights are drawn by a torch\.Generator; got"):
        cw.Tied(patterns.dense(2, 2), generator=given)


FAR = torch.cdist(IRIS.x, IRIS.x)
FAMILIES = [entry.factory.split(":") for entry in nets.entries() if entry.factory != "comparators:unfitted"]
NETS = [getattr(import_module(f"commonweight.nets.{file}"), name) for file, name in FAMILIES]
WHOLE = {
    "seed is a whole number from 0 to 4,294,967,295": [
        lambda seed: cw.data.load("iris", seed=seed),
        lambda seed: nets.build("mlp", (4,), 3, seed=seed),
        lambda seed: nets.estimator("svm", (4,), task="classification", seed=seed),
        lambda seed: initialise(NET, "auto", X, seed=seed),
        lambda seed: finetune.finetune(NET, IRIS, epochs=1, seed=seed),
        lambda seed: finetune.importance(NET, IRIS, seed=seed),
        lambda seed: features.favourites(NET, IRIS, LAYER, [0], seed),
        lambda seed: surface.random_directions(NET, seed),
        lambda seed: one_shot_accuracy(FAR, IRIS.y, ways=2, seed=seed),
    ],
    "top is a whole number from 1": lambda top: features.strongest(NET, IRIS, LAYER, top),
    "A unit is a whole number from 0 to 63": lambda unit: features.favourites(NET, IRIS, LAYER, [unit]),
    "place is a whole number from 0 to 0": lambda place: features.receptive_field(NET, LAYER, (4,), place),
    "side is a whole number from 2": [
        lambda side: space.bent(NET, IRIS, LAYER, side),
        lambda side: space.regions(NET, IRIS, side),
    ],
    "components is a whole number from 0": lambda kept: components.truncated(X, kept),
    "ways is a whole number from 2 to 3": lambda ways: one_shot_accuracy(FAR, IRIS.y, ways=ways),
    "trials is a whole number from 1": lambda trials: one_shot_accuracy(FAR, IRIS.y, ways=2, trials=trials),
    "A size of in_shape is a whole number from 1": [lambda size, net=net: net((1, 8, size), 3) for net in NETS],
    "n_outputs is a whole number from 1": [
        *(partial(net, (1, 8, 8)) for net in NETS),
        partial(nets.build, "mlp", (4,)),
    ],
    "width is a whole number from 1": [
        lambda width, net=net: net((1, 8, 8), 3, width=width) for net in (CNN, FullyConvolutional, P4CNN)
    ],
    "units is a whole number from 1": lambda units: Recurrent((1, 8), 3, units=units),
}


@pytest.mark.parametrize("given", ["x", None, 2.5, True, -1, [], X])
@pytest.mark.parametrize(
    ("says", "call"),
    [(says, call) for says, calls in WHOLE.items() for call in (calls if isinstance(calls, list) else [calls])],
)
def test_what_is_no_whole_number_is_one_sentence(says, call, given):
    with pytest.raises(CommonweightError, match=f"{says}; got {type(given).__name__}") as told:
        call(given)
    assert "\n" not in str(told.value)


def test_whole_numbers_of_numpy_are_whole_numbers():
    seed = np.int64(7)
    assert torch.equal(surface.random_directions(NET, seed), surface.random_directions(NET, 7))
    assert len(features.strongest(NET, IRIS, LAYER, np.int32(2))[0].samples) == 2


@pytest.mark.parametrize(
    ("index", "got"),
    [
        ("x", "of their indices, such as data.validation; got str: 'x'."),
        (True, "got bool: True."),
        (torch.zeros(2), r"got torch.float32 and shape \(2,\)."),
        (torch.tensor(3), r"got torch.int64 and shape \(\)."),
        (torch.tensor([150]), "of indices from 0 to 149, at least one"),
        (torch.tensor([-1]), "of indices from 0 to 149, at least one"),
        (torch.arange(0), "of indices from 0 to 149, at least one"),
    ],
)
def test_samples_to_score_are_indices_that_there_are(index, got):
    with pytest.raises(CommonweightError, match=f"^Samples to score are .*{got}"):
        finetune.score(NET, IRIS, index)


@pytest.mark.parametrize(
    "given", [{"device": "x"}, {"device": 2.5}, {"device": "cuda:99"}, {"dtype": "x"}, {"dtype": torch.int64}]
)
def test_weights_are_on_a_device_and_of_a_type_that_there_is(given):
    with pytest.raises(
        CommonweightError, match=r"The weights of dense\(2, 2\) cannot be had with device=.*: ."
    ) as told:
        cw.Tied(patterns.dense(2, 2), **given)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (GroupPool(), "GroupPool takes a field"),
        (DeepSets(4, 2), "A layer of Deep Sets takes sets"),
        (cw.Tied(patterns.dense(1, 2)), r"dense\(1, 2\) takes a tensor of shape \(1,\)"),
        (partial(P4.act, 1), "p4 turns a tensor"),
    ],
)
@pytest.mark.parametrize("given", ["x", None, 3, [[1.0]], np.zeros((2, 1))])
def test_what_layers_take_and_groups_turn_is_a_tensor(call, says, given):
    with pytest.raises(CommonweightError, match=f"{says}.*; got {type(given).__name__}"):
        call(given)


@pytest.mark.parametrize("given", [3, None, 2.5])
def test_the_shape_of_a_sample_is_a_tuple(given):
    for net in NETS:
        with pytest.raises(CommonweightError, match="The shape of a sample is a tuple"):
            net(given, 3)
    with pytest.raises(CommonweightError, match="GroupCNN takes a group"):
        GroupCNN(given, (1, 8, 8), 3)


def test_a_field_has_its_maps_on_the_third_axis():
    with pytest.raises(CommonweightError, match=r"GroupPool takes fields of shape .*; got \(2, 3\)"):
        GroupPool()(torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("setting", "given", "says"),
    [
        ("goal", 3, "A goal is a text, such as 'loss<=0.1'; got int: 3."),
        ("out", 3, "A run is stored in a folder, given by its path; got int: 3."),
        ("augment", 3, "Images are augmented by a list of words; got int: 3."),
        ("seed", None, "seed is a whole number from 0 to 4,294,967,295; got NoneType: None."),
        ("lr", "a", "lr is a number above 0, at most 1e+30; got 'a'."),
        ("epochs", True, "epochs is a whole number from 1 to 1,000,000,000; got True."),
        ("batch_size", True, "batch_size is a whole number from 1 to 106, the size of the training part; got True."),
        ("soft_sharing", True, "soft_sharing is a whole number from 1 to 256; got True."),
        ("patience", [], "patience is a number of epochs above 0; got []."),
        ("repair", "no", "repair is True or False; got str: 'no'."),
        ("l2", None, "l2 is a number, and 0 for none of it; got NoneType: None."),
        ("sparsity", "a", "sparsity is a number, and 0 for none of it; got str: 'a'."),
        ("max_norm", "a", "max_norm is a number above 0; got 'a'."),
        ("label_smoothing", "a", "label_smoothing is a number from 0 to below 1; got 'a'."),
    ],
)
def test_a_setting_of_the_wrong_kind_is_one_sentence(setting, given, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CommonweightError) as told:
        cw.fit(nn.Linear(4, 3), IRIS, progress=False, **{setting: given})
    assert str(told.value) == says
    assert list(tmp_path.iterdir()) == []


def test_every_file_of_networks_is_on_a_page():
    docs = Path(__file__).parents[1] / "docs"
    pages = "".join(page.read_text(encoding="utf-8") for page in docs.glob("*.md"))
    files = {path.stem for path in Path(nets.__file__).parent.glob("*.py")} - {"__init__", "catalogue"}
    assert {name for name in files if f"::: commonweight.nets.{name}\n" not in pages} == set()
