"""The session of a network that one plays with: what it shows is what the net computes, and its code is true."""

import contextlib
import io
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from commonweight.errors import DataError, LabError
from commonweight.lab.sessions import open_session
from commonweight.lab.sessions.folder_files import holds_data
from commonweight.lab.sessions.play_look import BOUNDARY, PICTURE, square


@pytest.fixture
def session(tmp_path):
    return open_session("play", tmp_path)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"data": "xor", "rule": "nesterov", "l2": 0.01, "hidden": [3], "activation": "relu"},
        {"data": "moons", "l1": 0.003, "l2": 0.001, "dropout": 0.3, "batch_norm": "yes", "seed": 3},
        {"data": "digits", "net": "cnn", "dropout": 0.5, "batch_norm": "no"},
        {"data": "circles", "rule": "rmsprop", "hidden": []},
        {"data": "painted", "rule": "sgd", "rate": 0.5},
        {"data": "digits", "net": "cnn", "rule": "momentum", "batch": 100},
        {"data": "moons", "seed": 4, "batch": 1},
    ],
    ids=str,
)
def test_the_code_takes_the_same_steps(session, given):
    session.change(given)
    for _ in range(45):
        session.advance()
    said = io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(said):
        exec(compile(session.code(), "shown", "exec"), {})
    loss = float(re.search(r"loss of the last batch: (\d+\.\d+)", said.getvalue())[1])
    assert loss == pytest.approx(session.loss, abs=1e-5)


def test_the_pictures_are_what_the_net_and_its_units_answer(session):
    for _ in range(3):
        session.advance()
    arrays = session.live().arrays
    net, reach = session.net.eval(), session.structure().values["reach"]
    with torch.no_grad():
        shares = net(square(BOUNDARY, reach)).softmax(1)[:, 1]
        first = torch.tanh(net.hidden1(square(PICTURE, reach)))
    assert np.allclose(arrays["boundary"].ravel(), shares, atol=1e-6)
    assert np.allclose(arrays["hidden1.picture"], first.T, atol=1e-6)
    assert np.array_equal(arrays["hidden2.weight"], net.hidden2.weight.detach())
    corner = square(3, 2.0)
    assert corner[0].tolist() == [-2, 2]
    assert corner[-1].tolist() == [2, -2]


def test_the_bent_space_keeps_the_distances_of_the_plane_it_is_drawn_in(session):
    """A turn of axes between frames changes no distance, and two hidden units are shown as they are."""
    session.change({"hidden": [5, 2]})
    session.live()
    for _ in range(5):
        session.advance()
    live = session.live()
    with torch.no_grad():
        seen = session.test[:400]
        for layer in list(session.net)[:-1]:
            seen = layer(seen)
    shown = torch.from_numpy(live.arrays["space"])
    assert torch.allclose(torch.pdist(seen), torch.pdist(shown), atol=1e-4)
    assert live.values["share"] == pytest.approx(1, abs=1e-5)


def test_whoever_steps_by_hand_is_told_the_score_of_each_step(session):
    session.change({"data": "digits"})
    for _ in range(3):
        session.advance()
        before = session.live().values["scores"]
        session.facts()
        told = session.live().values["scores"]
        with torch.no_grad():
            answers = session.net(session.validation[:200])
        assert told[1] == pytest.approx(
            float(torch.nn.functional.cross_entropy(answers, session.validation_labels[:200]))
        )
        assert told != before
    assert len(session.curves.table()) == 1


def test_rewinding_leads_to_the_same_weights(session):
    for _ in range(7):
        session.advance()
    weights = [weight.detach().clone() for weight in session.net.parameters()]
    for _ in range(5):
        session.advance()
    session.act("rewind", {"step": 7})
    assert session.step == 7
    assert all(torch.equal(a, b) for a, b in zip(weights, session.net.parameters(), strict=True))


def test_what_goes_on_and_what_begins_anew(session):
    session.advance()
    session.change({"rate": 0.5, "rule": "sgd", "batch": 8, "l1": 0.1, "l2": 0.1, "sample": 3})
    assert session.step == 1
    session.change({"hidden": [4]})
    assert session.step == 0
    session.change({"data": "painted"})
    session.advance()
    session.change({"points": [*session.facts()["points"], [0.5, 0.5, 1]]})
    assert session.step == 1
    assert len(session.data) == 25


def test_settings_that_cannot_be_learned_change_nothing(session):
    with pytest.raises(DataError, match="needs at least 10"):
        session.change({"data": "painted", "points": [[0, 0, 1]] * 3})
    assert session.settings.data == "spirals"
    session.advance()
    with pytest.raises(LabError, match="Here one can do restart, rewind, sample; got 'jump'"):
        session.act("jump", {})
    with pytest.raises(LabError, match="step is a whole number from 0 to 1; got 5"):
        session.act("rewind", {"step": 5})


def test_a_loss_that_is_no_number_is_said(session):
    session.change({"rule": "sgd", "rate": 10.0, "activation": "relu", "l2": 1.0})
    with pytest.raises(LabError, match=r"The loss became .* lower the learning rate"):
        train(session, 500)


def train(session, steps):
    for _ in range(steps):
        session.advance()


def test_the_penalty_is_added_to_the_gradient_of_weights_and_not_of_biases(session):
    """The first step of gradient descent, by hand: θ - rate (∂loss/∂θ + λ₁ sign θ + λ₂ θ)."""
    plain, rate = open_session("play", session.folder), 0.25
    for one in (plain, session):
        one.change({"rule": "sgd", "rate": rate})
    session.change({"l1": 0.5, "l2": 0.125})
    first = session.net.hidden1.weight.detach().clone()
    for one in (plain, session):
        one.advance()
    pulled = plain.net.hidden1.weight - rate * (0.5 * first.sign() + 0.125 * first)
    assert torch.allclose(session.net.hidden1.weight, pulled, atol=1e-6)
    assert torch.equal(session.net.hidden1.bias, plain.net.hidden1.bias)


def test_dropout_and_batch_normalisation_are_parts_of_the_net(session):
    session.change({"dropout": 0.5, "batch_norm": "yes"})
    assert [name for name, _ in session.net.named_children()][2:6] == [
        "hidden1_norm", "hidden1_state", "hidden1_dropout", "hidden2",
    ]  # fmt: skip
    train(session, 7)
    weights = [weight.detach().clone() for weight in session.net.parameters()]
    torch.rand(3)  # what dropout takes out does not depend on what else is drawn
    session.act("rewind", {"step": 7})
    assert all(torch.equal(a, b) for a, b in zip(weights, session.net.parameters(), strict=True))
    assert session.live().arrays["hidden1.picture"].shape == (8, PICTURE**2)
    with pytest.raises(LabError, match="needs 2 samples in a batch at least; got 1"):
        session.change({"batch": 1})
    session.change({"batch_norm": "no", "batch": 1})


def test_a_convolutional_net_gives_way_where_there_is_no_image(session):
    session.change({"data": "digits", "net": "cnn", "sample": 200})
    assert session.live().values["sample"] == 200
    session.change({"data": "moons"})
    assert session.settings.net == "mlp"
    assert session.settings.sample == len(session.test) - 1


@pytest.fixture
def own(tmp_path):
    """A folder with a table and a folder of pictures of two classes."""
    rows = ["a,b,c,kind", *(f"{k % 7},{k % 5},{k % 3},{'xy'[k % 2]}" for k in range(60))]
    (tmp_path / "own.csv").write_text("\n".join(rows) + "\n")
    for name, level in (("dark", 40), ("bright", 210)):
        (tmp_path / "deep" / "pictures" / name).mkdir(parents=True)
        for k in range(12):
            picture = Image.new("L", (9, 8), level + k)
            picture.save(tmp_path / "deep" / "pictures" / name / f"{k}.png")
    return tmp_path


def test_a_table_of_ones_own(own):
    session = open_session("play", own)
    session.change({"data": "own", "file": "own.csv"})
    session.advance()
    facts = session.facts()
    assert (facts["kind"], set(facts["files"])) == ("table", {"own.csv", "deep/pictures"})
    assert session.live().arrays["confusion"].shape == (2, 2)
    (own / "values.csv").write_text("a,b\n" + "".join(f"{k},{k / 7}\n" for k in range(40)))
    for file, error, sentence in [
        ("values.csv", LabError, "has values to predict"),
        ("none.csv", LabError, "There is no file or folder 'none.csv'"),
        ("../own.csv", LabError, r"There is no file or folder '\.\./own\.csv' in the folder"),
        ("x" * 300, LabError, "There is no file or folder 'xxx"),
        ("\ud800", LabError, r"There is no file or folder '\\ud800'"),
    ]:
        with pytest.raises(error, match=sentence):
            session.change({"file": file})
        assert session.settings.file == "own.csv"


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_a_folder_of_pictures_of_ones_own(own, net):
    session = open_session("play", own)
    session.change({"data": "own", "file": "deep/pictures", "net": net, "sample": 1})
    train(session, 160)
    facts = session.facts()
    assert (facts["kind"], facts["in_shape"], facts["classes"]) == ("image", [1, 8, 9], ["bright", "dark"])
    assert session.live().arrays["image"].shape == (8, 9)
    assert session.scores[2] == 1.0
    said = io.StringIO()
    with torch.random.fork_rng(), contextlib.redirect_stdout(said):
        exec(compile(session.code(), "shown", "exec"), {})
    assert f"loss of the last batch: {session.loss:.6f}" in said.getvalue()


def test_the_first_of_ones_own_is_taken_and_none_is_said(own, tmp_path_factory):
    session = open_session("play", own)
    session.change({"data": "own"})
    assert session.settings.file in {"own.csv", "deep/pictures"}
    empty = open_session("play", tmp_path_factory.mktemp("empty"))
    with pytest.raises(LabError, match=r"empty.* holds no table and no folder of pictures"):
        empty.change({"data": "own"})
    assert empty.settings.data == "spirals"


def test_no_link_out_of_a_folder_of_pictures_is_read(own, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(own / "deep" / "pictures" / "dark", elsewhere / "dim")
    pictures = own / "deep" / "pictures"
    (pictures / "dim").symlink_to(elsewhere / "dim")
    session = open_session("play", own)
    for link, left in [("dim", "dim"), ("dark/x.png", "dark/x.png")]:
        with pytest.raises(LabError, match=f"pictures holds the link '{link}', which leads out of the folder"):
            session.change({"data": "own", "file": "deep/pictures"})
        (pictures / left).unlink()
        (pictures / "dark" / "x.png").symlink_to(elsewhere / "dim" / "0.png")
    (pictures / "dark" / "x.png").unlink()
    (pictures / "grey").symlink_to(pictures / "dark")  # in the folder
    session.change({"data": "own", "file": "deep/pictures"})
    assert session.facts()["classes"] == ["bright", "dark", "grey"]


def test_links_to_classes_are_not_followed_in_search_of_data(own):
    (own / "linked").mkdir()
    for name in ("bright", "dark"):
        (own / "linked" / name).symlink_to(own / "deep" / "pictures" / name)
    assert not holds_data(own / "linked")


@pytest.mark.parametrize("name", ["notes.txt", "x-images-idx3-ubyte"])
def test_a_file_that_is_no_table_is_refused(own, name):
    """An IDX file has its labels in another file beside it, which could be a link."""
    (own / name).write_bytes(b"1")
    with pytest.raises(LabError, match=f"'{name}' is neither a table"):
        open_session("play", own).change({"data": "own", "file": name})


def test_a_subject_is_an_upload(own):
    session = open_session("play", own / "deep", "upload-0123")
    assert (session.settings.data, session.settings.file) == ("own", "pictures")
    with pytest.raises(LabError, match=r"opened for a file that was uploaded, or for nothing; got 'own\.csv'"):
        open_session("play", own, "own.csv")
