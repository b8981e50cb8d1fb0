"""The page about a run: it is whole and safe HTML, and every number on it is the one that was given or measured."""

import base64
import io
import math
import re
from dataclasses import fields
from html.parser import HTMLParser
from inspect import signature
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import confusion_matrix, root_mean_squared_error
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from commonweight import data as datasets
from commonweight import nets
from commonweight.census import count
from commonweight.cli.training import train
from commonweight.data.dataset import Samples, prepare
from commonweight.errors import FileError
from commonweight.measure.records import LayerStatistics, Record
from commonweight.measure.report import write_report
from commonweight.measure.report.charts import Line, Scale, histogram, line_chart
from commonweight.measure.report.ladder import ladder
from commonweight.measure.report.markup import tag
from commonweight.measure.report.observe import ask, observing, stages, weights
from commonweight.measure.report.page import OPTIONS, RESTRAINTS, STYLE, _flat, command
from commonweight.measure.report.pictures import NEGATIVE, POSITIVE, photo, signed
from commonweight.measure.report.plane import SIDE
from commonweight.nets.comparators import Fitted
from commonweight.numerals import number, percent
from commonweight.train.settings import Settings

EVIL = "<script>alert('1')</script>&\ud800\x00"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Reads a page and insists that every element is closed where it must be."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.words = [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], f"never closed: {self.open}"

    def handle_starttag(self, name, attributes):
        assert len(dict(attributes)) == len(attributes), f"<{name}> has an attribute twice"
        self.elements.append((name, dict(attributes)))
        if name not in VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        self.words.append((tuple(self.open), data))

    def all(self, name, **wanted):
        return [a for n, a in self.elements if n == name and all(a.get(k.rstrip("_")) == v for k, v in wanted.items())]

    @property
    def text(self):
        shown = (words for path, words in self.words if path[-1:] not in (("style",), ("title",)))
        return re.sub(r"\s+", " ", " ".join(shown))


def small_cnn(in_shape, n_outputs, channels=4):
    net = nn.Sequential()
    net.add_module("conv", nn.Conv2d(in_shape[0], channels, 3, padding=1))
    net.add_module("relu", nn.ReLU(inplace=True))
    net.add_module("pool", nn.MaxPool2d(2))
    net.add_module("drop", nn.Dropout(0.5))
    net.add_module("flat", nn.Flatten())
    net.add_module("output", nn.Linear(channels * (in_shape[1] // 2) * (in_shape[2] // 2), n_outputs))
    return net


def small_mlp(in_shape, n_outputs):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(math.prod(in_shape), 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, n_outputs)
    )


class Recurrent(nn.Module):
    """Reads the features one after another; its LSTM puts out more than one tensor."""

    def __init__(self, n_outputs):
        super().__init__()
        self.lstm, self.head = nn.LSTM(1, 5, batch_first=True), nn.Linear(5, n_outputs)

    def forward(self, x):
        return self.head(self.lstm(x[:, :, None])[0][:, -1])


def made(make, *arguments, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make(*arguments)


def some_records(n=5):
    layers = [LayerStatistics(name, 0.0, 0.1, 0.3, 1.0, 1e-3, 0.0, 1.0, 0.5) for name in ("first", "last")]
    return [
        Record(k, k / 2, k * 1.0, 0.01 / k, 2.0**-k, 1 - 2.0**-k, 2.2**-k, 1 - 2.2**-k, tuple(layers))
        for k in range(1, n + 1)
    ]


def some_description(model, data, census, **changes):
    test = (
        {"accuracy": 0.5, "loss": 0.25} if data.task == "classification" else {"rmse": 3.25, "r2": 0.125, "loss": 0.5}
    )
    return {
        "net": "cnn",
        "data": {
            "name": data.name,
            "source": "digits",
            "target": "",
            "task": data.task,
            "in_shape": list(data.in_shape),
            "sizes": [1, 2, 3],
        },
        "settings": {"epochs": 7, "goal": None, "lr": 0.0125, "batch_size": 64},
        "versions": {"commonweight": "0.1.0", "torch": "2.13.0"},
        "results": {
            "epochs": 2.5,
            "train_seconds": 12.5,
            "goal_seconds": None,
            "test": test,
            "weights": census.weights,
            "connections": census.connections,
            "stopped": "patience",
        },
        "seed": 3,
    } | changes


def report(tmp_path, model, data, *, records=None, with_census=True, scores=None, **changes):
    census = count(model, data.normalisation.apply(data.x[:1]))
    description = some_description(model, data, census, **changes)
    description["results"]["test"] |= scores or {}
    path = tmp_path / "report.html"
    write_report(
        path,
        description=description,
        records=some_records() if records is None else records,
        census=census if with_census else None,
        model=model,
        data=data,
    )
    return path.read_text(encoding="utf-8")


def outputs(model, data):
    with observing(model):
        return model(data.normalisation.apply(data.x[data.test]))


def images(n_classes, shape=(1, 8, 8), each=4, names=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n_classes).repeat(each)
    x = torch.rand(len(y), *shape, generator=generator)
    classes = tuple(names or (f"class {k}" for k in range(n_classes)))
    return prepare(Samples(name="made", task="classification", x=x, y=y, classes=classes), seed=0)


def pixels(uri):
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


CASES = {
    "digits": lambda: (datasets.load("digits"), small_cnn),
    "spirals": lambda: (datasets.load("spirals"), small_mlp),
    "diabetes": lambda: (datasets.load("diabetes"), small_mlp),
    "breast-cancer": lambda: (datasets.load("breast-cancer"), small_mlp),
    "colour": lambda: (images(3, (3, 10, 12)), small_cnn),
    "recurrent": lambda: (datasets.load("iris"), lambda _, n_outputs: Recurrent(n_outputs)),
    "lenet5": lambda: (datasets.load("digits"), lambda *shape: nets.build("lenet5", *shape)),
}
SECTIONS = {
    "digits": "learning outcome mistakes ladder kernels through weights run",
    "spirals": "learning outcome plane mistakes ladder through weights run",
    "diabetes": "learning outcome mistakes ladder through weights run",
    "breast-cancer": "learning outcome mistakes ladder through weights run",
    "colour": "learning outcome mistakes ladder kernels through weights run",
    "recurrent": "learning outcome mistakes ladder through weights run",
    "lenet5": "learning outcome mistakes ladder kernels through weights run",
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    data, make = CASES[request.param]()
    model = made(make, data.in_shape, data.n_outputs)
    text = report(tmp_path_factory.mktemp("run"), model, data)
    return request.param, text, Page(text), model, data


def test_all_sections_are_there_and_the_contents_lead_to_them(case):
    name, _, page, *_ = case
    wanted = SECTIONS[name].split()
    assert [section["id"] for section in page.all("section")] == wanted
    assert [link["href"] for link in page.all("a")] == [f"#{name}" for name in wanted]
    assert len(page.all("h1")) == 1
    assert len(page.all("h2")) == len(wanted)


def test_the_page_needs_nothing_else(case):
    _, text, page, *_ = case
    assert text.startswith("<!doctype html>\n")
    assert not page.all("script")
    assert not page.all("link")
    assert "://" not in text
    assert "@import" not in text
    assert "url(" not in text
    for name, attributes in page.elements:
        for reference in (attributes.get("src"), attributes.get("href")):
            assert reference is None or reference.startswith(("data:image/png;base64,", "#")), f"<{name}> {reference}"
        assert not any(attribute.startswith("on") for attribute in attributes)


def test_the_page_can_be_read_without_seeing_it(case):
    _, _, page, *_ = case
    assert page.all("html", lang="en")
    assert all(image["alt"] for image in page.all("img"))
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.all("svg"))
    levels = [int(name[1]) for name, _ in page.elements if name in ("h1", "h2", "h3")]
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_the_page_stays_small(case):
    assert len(case[1].encode()) < 400_000


def test_nothing_on_the_page_is_not_a_number(case):
    page = case[2]
    for name, attributes in page.elements:
        for attribute in ("x", "y", "cx", "cy", "x1", "x2", "y1", "y2", "width", "height", "r"):
            assert math.isfinite(float(attributes.get(attribute, 0))), f"<{name}> {attribute}"
    assert "nan" not in page.text.split()


def test_the_numbers_on_top_are_those_given(case):
    page, data = case[2], case[4]
    score = ("50 %", "0.25") if data.task == "classification" else ("3.25", "0.125", "0.5")
    census = count(case[3], data.normalisation.apply(data.x[:1]))
    for figure in (*score, "2.5", "12.5 s", f"{census.weights:,}", f"{census.connections:,}"):
        assert f" {figure} " in page.text
    assert f"cnn on {data.name}" in page.text
    assert "had not got better" in page.text


def test_the_ladder_holds_the_census(case):
    page, model, data = case[2:]
    census = count(model, data.normalisation.apply(data.x[:1]))
    cells = [words for path, words in page.words if "section" in path and path[-1] in ("td", "th")]
    rows = [cells[k : k + 4] for k in range(len(cells) - 3)]
    for layer in census.layers:
        path = f"layer {layer.name}" if layer.name.isdecimal() else layer.name
        assert [path, f"{layer.full:,}", f"{layer.connections:,}", f"{layer.weights:,}"] in rows
    assert ["the whole net", *(f"{n:,}" for n in (census.full, census.connections, census.weights))] in rows


def test_the_confusion_matrix_is_that_of_scikit_learn(case):
    page, model, data = case[2:]
    if data.task == "regression":
        assert not page.all("table", class_="confusion")
        return
    wanted = confusion_matrix(data.y[data.test], outputs(model, data).argmax(1), labels=range(len(data.classes)))
    cells = [a for name, a in page.elements if name == "td" and a.get("class") in ("right", "wrong", "none")]
    titles = [cell["title"] for cell in cells if "title" in cell]
    found = np.zeros_like(wanted)
    for title in titles:
        true, answer, counted = re.fullmatch(r"(.+) answered as (.+): ([\d,]+) of [\d,]+", title).groups()
        names = [name[:16] for name in data.classes]
        found[names.index(true), names.index(answer)] = int(counted.replace(",", ""))
    assert len(cells) == len(data.classes) ** 2
    assert found.sum() == len(data.test)
    np.testing.assert_array_equal(found, wanted)
    right = int(np.trace(wanted))
    share = percent(right / len(data.test)).replace("\u00a0", " ")
    assert f"{right:,} of {len(data.test):,} are right, {share}." in page.text


def test_a_score_in_another_number_format_is_said(tmp_path):
    data = datasets.load("iris")
    model = made(small_mlp, data.in_shape, data.n_outputs)
    right = float((outputs(model, data).argmax(1) == data.y[data.test]).float().mean())
    assert "in float32" not in Page(report(tmp_path, model, data, scores={"accuracy": right})).text
    assert "in float32" in Page(report(tmp_path, model, data, scores={"accuracy": right - 0.1})).text


def test_targets_and_predictions_are_drawn_where_they_are(tmp_path):
    data = datasets.load("diabetes")
    model = made(small_mlp, data.in_shape, data.n_outputs)
    text = report(tmp_path, model, data)
    predicted = data.normalisation.restore_target(outputs(model, data))[:, 0]
    target = data.y[data.test][:, 0]
    points = [a for a in Page(text).all("circle") if a.get("class") == "point"]
    x, y = (torch.tensor([float(a[key]) for a in points]) for key in ("cx", "cy"))
    assert len(points) == len(data.test)
    both = torch.stack([target, torch.ones(len(target))], 1)
    slope, start = torch.linalg.lstsq(both, x[:, None]).solution[:, 0]
    torch.testing.assert_close(x, slope * target + start, atol=0.02, rtol=0)
    torch.testing.assert_close(y, 410 - (slope * predicted + start), atol=0.06, rtol=0)
    assert f"RMSE) is {number(root_mean_squared_error(target, predicted))}" in Page(text).text


def test_worst_mistakes_come_first(tmp_path):
    data = datasets.load("digits")
    model = made(small_cnn, data.in_shape, data.n_outputs)
    logits, y = outputs(model, data), data.y[data.test]
    probability = logits.softmax(1).gather(1, y[:, None])[:, 0]
    probability[logits.argmax(1) == y] = 1
    wanted = data.test[probability.argsort(stable=True)[:12]].tolist()
    alts = [a["alt"] for a in Page(report(tmp_path, model, data)).all("img", class_="sample")]
    shown = [int(match[1]) for alt in alts if (match := re.match(r"Sample (\d+): true", alt))]
    assert shown == wanted
    first = data.test.tolist().index(wanted[0])
    assert alts[0].startswith(f"Sample {wanted[0]}: true {data.classes[y[first]]} (")
    assert f"said {data.classes[logits[first].argmax()]} (" in alts[0]


def test_largest_errors_come_first(tmp_path):
    data = datasets.load("diabetes")
    model = made(small_mlp, data.in_shape, data.n_outputs)
    error = data.normalisation.restore_target(outputs(model, data)) - data.y[data.test]
    worst = error[:, 0].abs().argsort(descending=True)[:12]
    page = Page(report(tmp_path, model, data))
    rows = [words for path, words in page.words if path[-3:] == ("tbody", "tr", "th") and words.isdecimal()]
    assert rows[:12] == [str(k) for k in data.test[worst].tolist()]
    assert f" {number(float(error[worst[0], 0]))} " in page.text


class Perfect(nn.Module):
    """Knows the answers by heart: the first pixel of each image says the class."""

    def __init__(self, scale, mean):
        super().__init__()
        self.factor, self.scale, self.mean = nn.Parameter(torch.tensor(100.0)), scale, mean

    def forward(self, x):
        label = (x * self.scale + self.mean)[:, 0, 0, 0] * 2
        return -self.factor * (label[:, None] - torch.arange(3)).square()


def test_a_net_without_mistakes(tmp_path):
    made_up = images(3, each=8)
    x = made_up.x.clone()
    x[:, 0, 0, 0] = made_up.y / 2
    data = prepare(Samples(name="easy", task="classification", x=x, y=made_up.y, classes=("a", "b", "c")), seed=0)
    page = Page(
        report(tmp_path, Perfect(data.normalisation.scale, data.normalisation.mean), data, scores={"accuracy": 1.0})
    )
    assert "Not one answer on the test part is wrong." in page.text
    assert "the right answers that the net was least sure of" in page.text


@pytest.mark.parametrize(("n_classes", "table", "picture"), [(26, True, False), (27, False, True), (520, False, False)])
def test_many_classes(tmp_path, n_classes, table, picture):
    data = images(n_classes)
    page = Page(report(tmp_path, made(small_mlp, data.in_shape, n_classes), data))
    assert bool(page.all("table", class_="confusion")) == table
    matrices = page.all("img", class_="matrix")
    assert bool(matrices) == picture
    if picture:
        assert pixels(matrices[0]["src"]).shape == (n_classes, n_classes, 4)
    assert " taken for " in page.text


def test_names_from_files_are_only_text(tmp_path):
    data = images(3, names=(EVIL, "b" * 5000, '" onload="x'))
    model = made(small_mlp, data.in_shape, 3)
    text = report(tmp_path, model, data, net=EVIL, settings={EVIL: EVIL, "epochs": 1})
    page = Page(text)
    assert not page.all("script")
    assert not any("onload" in attributes for _, attributes in page.elements)
    assert "<script>alert('1')</script>&\ufffd\ufffd" in page.text
    assert len(text) < 200_000


def test_names_of_columns_are_only_text(tmp_path):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(40, 2, generator=generator), torch.arange(40) % 2
    samples = Samples(name=EVIL, task="classification", x=x, y=y, classes=("a", "b"), features=(EVIL, "b"))
    data = prepare(samples, seed=0)
    page = Page(report(tmp_path, made(small_mlp, data.in_shape, 2), data))
    assert not page.all("script")
    assert page.text.count("<script>alert('1')</script>&") >= 3


@pytest.mark.parametrize("n_features", [2, 9])
def test_columns_without_names_are_numbered(tmp_path, n_features):
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(40, n_features, generator=generator), torch.arange(40) % 2
    data = prepare(Samples(name="bare", task="classification", x=x, y=y, classes=("a", "b")), seed=0)
    page = Page(report(tmp_path, made(small_mlp, data.in_shape, 2), data))
    heads = [words for path, words in page.words if path[-3:] == ("thead", "tr", "th")]
    few = ["feature 1", "feature 2"] if n_features == 2 else ["stands out by"]
    assert [word for word in heads if word in ("feature 1", "feature 2", "stands out by")] == few
    assert ("feature 1 from left to right, feature 2 from bottom to top" in page.text) == (n_features == 2)
    assert "feature 9" in page.text or n_features == 2


def test_the_same_run_gives_the_same_bytes_and_the_net_is_left_alone(tmp_path):
    data = datasets.load("digits")
    model = made(small_cnn, data.in_shape, data.n_outputs).train()
    model.conv.eval()
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    assert report(tmp_path, model, data) == report(tmp_path, model, data)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_hooks_and_modes_are_put_back_when_the_net_fails(tmp_path):
    data = datasets.load("digits")
    model = made(small_cnn, data.in_shape, data.n_outputs).train()
    model.output = nn.Linear(1, 10)
    with pytest.raises(RuntimeError), observing(model):
        stages(model, data.x[0], data)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "report.html").mkdir()
    data = datasets.load("iris")
    with pytest.raises(FileError, match=r"Cannot write .*report\.html"):
        report(tmp_path, made(small_mlp, data.in_shape, 3), data)


def test_a_run_that_diverged_still_has_a_page(tmp_path):
    data = datasets.load("digits")
    model = made(small_cnn, data.in_shape, data.n_outputs)
    for parameter in model.parameters():
        nn.init.constant_(parameter, math.nan)
    bad = [Record(k, float(k), 1.0, 0.1, math.nan, 0.1, math.inf, math.nan) for k in range(3)]
    page = Page(report(tmp_path, model, data, records=bad, scores={"loss": math.nan}))
    assert "36 weights, 36 of them not finite" in page.text


def test_nothing_recorded_and_nothing_counted(tmp_path):
    data = datasets.load("iris")
    page = Page(report(tmp_path, made(small_mlp, data.in_shape, 3), data, records=[], with_census=False))
    assert "This run has no records." in page.text
    assert "ladder" not in [section["id"] for section in page.all("section")]


def test_a_single_record_is_a_dot(tmp_path):
    data = datasets.load("iris")
    page = Page(report(tmp_path, made(small_mlp, data.in_shape, 3), data, records=some_records(1)))
    assert len([a for a in page.all("circle") if a.get("class", "").startswith("dot")]) >= 4


def test_what_learned_in_one_piece_has_scores_and_no_curves(tmp_path):
    data = datasets.load("iris")
    records = [Record(4, 4.0, 1.0, 0.0, 0.2, 0.975, 0.3, 0.875)]
    page = Page(report(tmp_path, made(small_mlp, data.in_shape, 3), data, records=records))
    assert "measured once, in the end: accuracy 87.5 % on the validation part" in page.text
    assert "and 97.5 % on the training part" in page.text
    assert not [a for a in page.all("circle") if a.get("class", "").startswith("dot")]


def test_the_curves_are_the_records_and_the_dot_is_the_best_check(tmp_path):
    scores = [
        (0.9, 0.5),
        (0.4, 0.8),
        (0.3, 0.9),
        (0.2, 0.9),
        (0.6, 0.7),
    ]  # validation loss and accuracy; fourth is best
    records = [
        Record(k, k / 2, 1.0, 0.01, 1 / k, 0.5 + k / 100, loss, accuracy)
        for k, (loss, accuracy) in enumerate(scores, 1)
    ]
    data = datasets.load("iris")
    page = Page(report(tmp_path, made(small_mlp, data.in_shape, 3), data, records=records))
    said = [words for path, words in page.words if path[-2:] == ("circle", "title")]
    for record in records:
        epoch = number(record.epoch)
        assert f"epoch {epoch}: validation {number(record.validation_loss)}" in said
        assert f"epoch {epoch}: training {number(record.loss)}" in said
        assert f"epoch {epoch}: validation {percent(record.validation_metric, 1)}" in said
        assert f"epoch {epoch}: training {percent(record.metric, 1)}" in said
    x = Scale.over([record.epoch for record in records], 50, 390)
    dots = [a for a in page.all("circle") if a.get("class") == "dot validation"]
    assert [float(dot["cx"]) for dot in dots] == [x(2.0), x(2.0)]
    assert "90 % at the best check (epoch 2), 70 % in the end" in page.text


def test_kernels_can_be_read(tmp_path):
    data = datasets.load("digits")
    model = made(small_cnn, data.in_shape, data.n_outputs)
    tiles = [a for a in Page(report(tmp_path, model, data)).all("img") if a["alt"].startswith("Kernel")]
    assert [tile["alt"] for tile in tiles] == [f"Kernel {k} of 4" for k in (1, 2, 3, 4)]
    largest = float(model.conv.weight.detach().abs().max())
    for tile, kernel in zip(tiles, model.conv.weight.detach()[:, 0], strict=True):
        read = [float(word.replace("−", "-")) for word in re.findall(r"[+−]\d\.\d\d", tile["title"])]
        np.testing.assert_allclose(read, kernel.flatten(), atol=0.0051)
        np.testing.assert_array_equal(pixels(tile["src"]), signed(kernel, largest))


def test_lenet5_shows_the_sixty_kernels_of_its_table(tmp_path):
    data = datasets.load("digits")
    text = report(tmp_path, nets.build("lenet5", data.in_shape, data.n_outputs), data)
    shown = [a["alt"] for a in Page(text).all("img") if a["alt"].startswith("Kernel")]
    assert shown.count("Kernel 1 of 6") == 1
    assert sum("of 60" in alt for alt in shown) == 32
    assert "32 of 60 kernels of 5 × 5" in Page(text).text
    assert {"1,516", "151,600", "340,908", "60,000"} <= set(Page(text).text.split())


def test_a_fully_connected_first_layer_is_shown_as_pictures(tmp_path):
    data = datasets.load("digits")
    model = made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3), nn.ReLU(), nn.Linear(3, 10)))
    tiles = [a for a in Page(report(tmp_path, model, data)).all("img") if a["alt"].startswith("Kernel")]
    assert len(tiles) == 3
    weight = model[1].weight.detach().reshape(3, 8, 8)
    np.testing.assert_array_equal(pixels(tiles[1]["src"]), signed(weight[1], float(weight.abs().max())))


def test_a_later_layer_as_wide_as_the_image_is_no_picture(tmp_path):
    data = datasets.load("digits")
    page = Page(report(tmp_path, nets.build("elman", data.in_shape, data.n_outputs), data))  # a state of 64 units
    assert not [a for a in page.all("img") if a["alt"].startswith("Kernel")]


def test_a_model_without_weights_has_no_histograms(tmp_path):
    data = datasets.load("iris")
    tree = DecisionTreeClassifier().fit(data.x[data.train].numpy(), data.y[data.train].numpy())
    assert "How its weights are spread" not in Page(report(tmp_path, Fitted(tree), data)).text


@pytest.mark.parametrize("name", ["iris", "moons"])
def test_scores_that_are_no_probabilities_are_called_scores(tmp_path, name):
    """The margins of support vectors; the same answers as logits are probabilities."""
    data = datasets.load(name)
    machine = Fitted(SVC(C=1e-3).fit(data.x[data.train].numpy(), data.y[data.train].numpy()))
    sure = r"(score −?\d|\d+(\.\d)?\xa0% ?\)|at \d+(\.\d)?\xa0%)"
    told = {text.partition(" ")[0].strip("(") for text, *_ in re.findall(sure, report(tmp_path, machine, data))}
    assert told == {"score"}
    page = Page(report(tmp_path, machine, data)).text
    assert "scored farthest below the answer" in page
    answers = ask(machine, data)
    worst = max((answers.scores.amax(1) - answers.scores.gather(1, answers.target[:, None])[:, 0]).tolist())
    assert worst > 0
    machine.scores_only = False
    assert "score " not in re.sub("The score on top", "", Page(report(tmp_path, machine, data)).text)


def test_how_to_repeat_a_run_names_its_threads(tmp_path):
    data = datasets.load("iris")
    model = made(small_mlp, data.in_shape, data.n_outputs)
    assert "same versions and 2 threads (OMP_NUM_THREADS=2)" in Page(report(tmp_path, model, data, threads=2)).text
    assert "same versions and number of threads" in Page(report(tmp_path, model, data)).text


def test_stages_are_the_outputs_of_the_layers():
    data = datasets.load("digits")
    model = made(small_cnn, data.in_shape, data.n_outputs)
    with observing(model):
        seen = stages(model, data.x[0], data)
        conv = model.conv(data.normalisation.apply(data.x[:1]))[0]
        pooled = nn.functional.max_pool2d(conv.relu(), 2)
    assert [stage.name for stage in seen] == ["conv", "relu", "pool", "output"]
    torch.testing.assert_close(seen[0].values, conv)  # though the next layer overwrote it in place
    torch.testing.assert_close(seen[1].values, conv.relu())
    torch.testing.assert_close(seen[2].values, pooled)
    torch.testing.assert_close(seen[3].values, model.output(pooled.flatten()))


def test_maps_of_a_group_are_stages_too():
    data = datasets.load("digits")
    with observing(model := nets.build("p4_cnn", data.in_shape, data.n_outputs)):
        seen = {stage.name: stage.values for stage in stages(model, data.x[0], data)}
        first = model.conv1(data.normalisation.apply(data.x[:1]))[0]
    assert first.shape == (8, 4, 8, 8)
    torch.testing.assert_close(seen["conv1"], first.reshape(32, 8, 8))


def test_a_weight_that_layers_share_is_counted_once():
    model = made(lambda: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    assert [name for name, _ in weights(model)] == ["0", "1"]
    model[1].weight = model[0].weight
    assert [name for name, _ in weights(model)] == ["0"]


def test_kernels_of_all_positions_are_told_from_one_kernel(tmp_path):
    data = datasets.load("digits")
    page = Page(report(tmp_path, nets.build("locally_connected", data.in_shape, data.n_outputs), data))
    assert "16 sheets, each the kernels of all positions side by side, of 22 × 22" in page.text
    assert "a weight is used about once on average" in page.text


@pytest.mark.parametrize(
    ("n_units", "tens", "ticks"),
    [
        (100, "ten", ["1", "10", "100", "1 k", "10 k", "100 k"]),
        (30_000, "a hundred", ["1", "100", "10 k", "1 M", "100 M"]),
    ],
)
def test_the_scale_of_the_ladder_is_numbered_as_far_as_there_is_room(n_units, tens, ticks):
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(64, n_units), nn.Linear(n_units, n_units))
    page = Page(str(ladder(count(model, torch.zeros(1, 64, device="meta")))))
    assert f"Each step along the scale is {tens} times as many." in page.text
    assert [words for _, words in page.words if re.fullmatch(r"10*( [kMG])?", words)] == ticks


def test_the_plane_has_the_colour_of_the_answers(tmp_path):
    data = datasets.load("spirals")
    model = made(small_mlp, data.in_shape, data.n_outputs)
    page = Page(report(tmp_path, model, data))
    ground = pixels(page.all("image")[0]["href"])
    assert ground.shape == (SIDE, SIDE, 4)
    marks = [a["transform"] for a in page.all("g")]
    with observing(model):
        answers = ask(model, data)
    for mark, answer in zip(marks, answers.predicted.tolist(), strict=True):
        x, y = (float(v) / 400 * SIDE for v in re.findall(r"[\d.]+", mark))
        near = ground[max(int(y) - 1, 0) : int(y) + 2, max(int(x) - 1, 0) : int(x) + 2, :3].reshape(-1, 3)
        assert (near == (NEGATIVE, POSITIVE)[answer]).all(1).any()
    rings = len(page.all("circle", class_="ring"))
    assert rings == int((~answers.right).sum())


def test_histograms_count_every_weight():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    drawing = Page(histogram(torch.cat([values, torch.tensor([math.nan, math.inf])]), text="x"))
    counts = [int(words.rpartition(": ")[2]) for path, words in drawing.words if path[-1] == "title"]
    assert sum(counts) == 1000


def test_curves_break_where_there_is_no_number():
    line = Line("loss", [1.0, 2.0, 3.0, 4.0], [3.0, math.nan, 2.0, 1.0], "validation")
    path = Page(line_chart([line], text="x", x_name="epoch")).all("path")[0]["d"]
    assert re.sub(r"[^ML]", "", path) == "MML"


finite = st.floats(-1e12, 1e12)


@given(st.lists(finite, min_size=1, max_size=20), st.booleans())
def test_scales_keep_their_values_and_ticks_inside(values, log):
    values = [abs(v) + 1e-9 for v in values] if log else values
    scale = Scale.over(values, 50, 390, log)
    assert all(49.99 <= scale(value) <= 390.01 for value in values)
    assert all(scale.low <= tick <= scale.high for tick in scale.ticks())
    assert len(scale.ticks()) <= 16
    assert sorted(values, key=scale) == sorted(values, key=lambda v: (scale(v), 0))


@given(st.floats(-1e300, 1e300))
def test_numbers_keep_four_digits(value):
    plain = number(value).replace("−", "-").replace(",", "")
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    mantissa, _, exponent = plain.partition("\u00a0·\u00a010")
    read = float(mantissa + ("e" + exponent.translate(digits) if exponent else ""))
    assert read == pytest.approx(value, rel=5.1e-4)


@given(st.text(), st.text())
def test_any_text_survives_as_text(text, attribute):
    page = Page(tag("p", text, title=attribute))
    allowed = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
    assert "".join(words for _, words in page.words) == allowed.sub("\ufffd", text)
    assert page.all("p")[0]["title"] == allowed.sub("\ufffd", attribute)


def test_colour_says_the_sign_and_opacity_the_size():
    drawn = signed(torch.tensor([[-1.0, 0.0, 0.5, math.nan]]), 1.0)
    assert drawn[0, 0].tolist() == [*NEGATIVE, 255]
    assert drawn[0, 1, 3] == drawn[0, 3, 3] == 0
    assert drawn[0, 2, :3].tolist() == list(POSITIVE)
    assert abs(int(drawn[0, 2, 3]) - 128) <= 3


def test_samples_are_drawn_as_they_are():
    assert photo(torch.tensor([[[0.0, 1.0]]])).tolist() == [[0, 255]]
    assert photo(torch.tensor([[[1.0]], [[0.0]], [[0.2]]])).tolist() == [[[255, 0, 51]]]
    assert photo(torch.tensor([[[1.0]], [[0.0]]])).tolist() == [[128]]
    assert photo(torch.rand(3, 300, 200)).shape == (96, 96, 3)


def test_a_large_net_on_large_images_stays_within_three_megabytes(tmp_path):
    data = images(10, (3, 64, 64), each=10)
    wide = nn.Sequential(
        nn.Conv2d(3, 64, 11, padding=5), nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 3, padding=1)
    )
    model = made(lambda: nn.Sequential(wide, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)))
    assert len(report(tmp_path, model, data)) < 3_000_000


def test_the_command_repeats_the_run():
    settings = {"epochs": 5, "goal": "accuracy>=0.9", "batch_size": 64, "patience": 3.0, "lr": None}
    about = {"source": "digits", "target": "", "task": "classification"}
    run = {"net": "cnn", "data": about, "settings": settings, "seed": 4}
    options = "--epochs 5 --goal 'accuracy>=0.9' --batch-size 64 --patience 3.0 --seed 4"
    assert command(run) == f"commonweight train digits --net cnn {options}"
    rows = {"source": "my rows.csv", "target": "price", "task": "regression"}
    named = "'my rows.csv' --net cnn --target price --task regression"
    assert command(run | {"data": rows}) == f"commonweight train {named} {options}"
    call = "commonweight.fit(model, data, epochs=5, goal='accuracy>=0.9', batch_size=64, patience=3.0, seed=4)"
    assert command(run | {"net": None}) == command(run | {"data": about | {"source": ""}}) == call


def test_the_command_names_structure_preparation_and_restraints():
    settings = {"l2": 0.01, "l1": 0.0, "augment": ["shift", "flip"], "label_smoothing": 0.0}
    about = {"source": "digits", "target": "", "task": "classification", "prepare": "zca"}
    run = {"net": "mlp", "data": about, "structure": {"hidden": [8]}, "settings": settings, "seed": 3}
    says = "commonweight train digits --net mlp --prepare zca --structure 'hidden=[8]' --label-smoothing 0.0 --l2 0.01"
    assert command(run) == f"{says} --augment shift,flip --seed 3"
    svm = run | {"net": "svm", "settings": {"C": 0.5, "gamma": None, "seed": 3}, "results": {"stopped": "rule"}}
    says = "commonweight train digits --net svm --prepare zca --structure C=0.5 --structure gamma=null --seed 3"
    assert command(svm) == says
    dbn = svm | {"net": "dbn", "settings": {"batch_size": 20, "noise": 0.2}}
    says = "commonweight train digits --net dbn --prepare zca --structure batch_size=20 --structure noise=0.2 --seed 3"
    assert command(dbn) == says  # batch_size and noise are options too, but of other rules


def test_every_setting_that_is_an_option_is_in_the_command():
    arguments = set(signature(train).parameters)
    assert {field.name for field in fields(Settings)} & arguments == {*OPTIONS, *RESTRAINTS, "seed"}


def test_the_command_stands_on_the_page(case):
    page = case[2]
    words = "".join(words for path, words in page.words if "code" in path)
    assert words == "commonweight train digits --net cnn --epochs 7 --lr 0.0125 --batch-size 64 --seed 3"


def test_a_setting_that_says_nothing_is_a_dash():
    plain = {"notes": "–", "augment": "–", "goal": "–", "sizes": "7, 2"}
    assert _flat({"notes": (), "augment": [], "goal": None, "sizes": (7, 2)}) == plain


@pytest.mark.parametrize("kind", ["right", "wrong"])
def test_counts_can_be_read_on_the_deepest_colour(kind):
    """Contrast of ink on a cell that holds all of its row, light and dark: 4.5 at least (WCAG 2.2, 1.4.3)."""
    style = STYLE.read_text()
    rule = re.search(rf"td\.{kind} .*rgb\((\d+) (\d+) (\d+)\) calc\(var\(--share\) \* ([\d.]+)\)", style)
    colour, share = np.array(rule.groups()[:3], float), float(rule[4])
    inks, grounds = (re.findall(rf"--{name}: #(\w+);", style) for name in ("ink", "faint"))
    assert len(inks) == len(grounds) == 2
    for ink, ground in zip(inks, grounds, strict=True):
        mixed = share * colour + (1 - share) * np.array(list(bytes.fromhex(ground)))
        one, other = sorted(map(luminance, (mixed, np.array(list(bytes.fromhex(ink))))))
        assert (other + 0.05) / (one + 0.05) >= 4.5


def luminance(rgb):
    """Relative luminance as WCAG 2.2 defines it, of three values to 255."""
    parts = rgb / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
