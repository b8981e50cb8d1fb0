"""Text and gaps in tables: what features they give, and that other tables are read the same way."""

import dataclasses

import pandas
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

from commonweight import data
from commonweight.data.columns import read
from commonweight.data.tables import read_table
from commonweight.errors import DataError

ROWS = [
    (20 + n % 40 if n % 7 else "", ("Rome", "Bonn", "Paris", "")[n % 4], f"name {n}", n % 5, ("no", "yes")[n % 2])
    for n in range(60)
]
HEAD = "age,city,name,rooms,bought"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("\n".join([HEAD, *(",".join(map(str, row)) for row in ROWS)]) + "\n")
    return path


def test_features_are_those_of_scikit_learn(path):
    people = data.load(path)
    assert people.features == ("age", "age is missing", "city=Bonn", "city=Paris", "city=Rome", "rooms")
    (note,) = people.notes
    assert note.startswith("column 'name' is left out: it holds 60 different texts, such as '")
    assert "plainly" not in note
    frame = pandas.read_csv(path, keep_default_na=False)
    city = OneHotEncoder(categories=[["Bonn", "Paris", "Rome"]], handle_unknown="ignore").fit_transform(frame[["city"]])
    assert people.x[:, 2:5].tolist() == city.toarray().tolist()
    age = pandas.to_numeric(frame["age"]).to_frame()
    imputer = SimpleImputer(add_indicator=True).fit(age.iloc[people.train.numpy()])
    assert torch.allclose(people.x[:, :2], torch.tensor(imputer.transform(age), dtype=torch.float32))


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        (
            "nr",
            range(1, 61),
            "column 'nr' looks like an identifier, with another whole number in each row (1, 2, 3, ...)",
        ),
        (
            "year",
            range(1960, 2020),
            "(1960, 1961, 1962, ...), and is learned from as a quantity; take it out of the table",
        ),
        *(
            (name, range(900, 300, -10), f"column '{name}' looks like")
            for name in ("ID", "Index", "user_id", "PassengerId")
        ),
        ("humid", range(900, 300, -10), None),
        ("id", [n // 2 for n in range(60)], None),
        ("id", [n + 0.5 for n in range(60)], None),
        ("nr", ["", *range(1, 60)], None),
        ("nr", [*range(59), 60], None),
    ],
)
def test_a_column_that_looks_like_an_identifier_is_learned_from_and_said_to_be(tmp_path, name, values, told):
    path = tmp_path / "table.csv"
    rows = [f"{value},{n % 7},{'ab'[n % 2]}" for n, value in enumerate(values)]
    path.write_text("\n".join([f"{name},days,target", *rows]))
    loaded = data.load(path)
    assert loaded.features[0] == name
    assert len(loaded.notes) == (told is not None)
    assert (told or "") in "".join(loaded.notes)


@pytest.mark.parametrize("way", ["standard", "mean", "none", "zca"])
def test_rows_to_come_are_read_as_those_of_the_training(path, way):
    people = data.load(path, prepare=way)
    _, x = data.read_inputs([path], people.in_shape, people.features, people.target, missing=people.normalisation.mean)
    assert torch.allclose(x, people.x)
    apart = path.with_name("other.csv")
    apart.write_text("city,age,rooms\n,,2\nRome,30,1\n")
    _, x = data.read_inputs([apart], people.in_shape, people.features, people.target, people.normalisation.mean)
    filled = float(people.normalisation.mean[0])
    assert torch.allclose(x, torch.tensor([[filled, 1, 0, 0, 0, 2], [30, 0, 0, 0, 1, 1]]))


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        (
            "30,Oslo,x,1",
            r"'Oslo' in column 'city' \(line 2\), of which nothing was learned; expected one of 'Bonn', 'Paris', 'R",
        ),
        ("old,Rome,x,1", r"text in column 'age' \(line 2: 'old'\), where the others are numbers"),
        ("30,Rome,x,", "holds nan in line 2, column 'rooms'"),
        ("inf,Rome,x,1", "holds inf in line 2, column 'age'"),
    ],
)
def test_rows_that_do_not_fit_are_refused(path, row, sentence):
    people = data.load(path)
    new = path.with_name("new.csv")
    new.write_text(f"age,city,name,rooms\n{row}\n")
    with pytest.raises(DataError, match=sentence):
        read(read_table(new), people.features)


def test_a_missing_column_is_named_as_in_the_file(path):
    new = path.with_name("new.csv")
    new.write_text("age,town,rooms\n1,Rome,2\n")
    with pytest.raises(DataError, match="has no column 'city'; it has 'age', 'town', 'rooms'"):
        read(read_table(new), data.load(path).features)


def test_numbers_as_text_and_signs_in_names(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("a=b,y\n" + "".join(f"{('7', 'x', 'x=1')[n % 3]},{n * 0.5}\n" for n in range(30)))
    odd = data.load(path)
    assert odd.features == ("a=b=7", "a=b=x", "a=b=x=1")
    assert odd.x[:3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["red", "blue", "green", ""]), min_size=30, max_size=40))
def test_every_row_of_text_is_one_value_or_none(tmp_path_factory, cells):
    path = tmp_path_factory.mktemp("colours") / "colours.csv"
    path.write_text("n,colour,y\n" + "".join(f"{n},{cell},{n * 0.5}\n" for n, cell in enumerate(cells)))
    colours = data.load(path)
    ones = colours.x[:, 1:].sum(1) if any(cells) else torch.zeros(len(cells))
    assert ones.tolist() == [float(cell != "") for cell in cells]


def test_semicolons_go_with_decimal_commas(tmp_path):
    path = tmp_path / "german.csv"
    path.write_text("x;y\n" + "".join(f"{n},5;-{n * 2},25\n" for n in range(12)))
    german = data.load(path)
    assert german.x[:, 0].tolist() == [n + 0.5 for n in range(12)]
    assert german.y[:, 0].tolist() == [-(n * 2 + 0.25) for n in range(12)]


def test_a_stream_with_text_and_gaps_is_learned(path):
    import io

    from commonweight.train.stream import learn_stream

    text = path.read_text()
    body = text.partition("\n")[2]
    run = learn_stream(io.StringIO(text + body * 9), net="mlp", out=None, say=lambda line: None)
    assert run.results["stream"]["rows"] == 600 - 499
    assert "column 'name' is left out" in run.summary()


@pytest.mark.parametrize("cell", ['"1,{:03}"', "1'{:03}", "${:03}.50", "{:03} €", "{:03}%"])
def test_numbers_that_are_written_otherwise_are_told(tmp_path, cell):
    file = tmp_path / "prices.csv"
    file.write_text("price,x,y\n" + "".join(f"{cell.format(n)},{n},{n % 2}\n" for n in range(60)))
    loaded = data.load(file)
    assert loaded.features == ("x",)
    told = "'price' is left out: it holds 60 different texts, such as '{}'; write its numbers plainly, as 1234.5"
    assert told.format(cell.format(0).strip('"')) in loaded.notes[0]


def test_a_wide_table_takes_time_by_its_columns_not_by_their_square(tmp_path):
    """Names are looked up, not searched: 20,000 columns would take half a minute."""
    n = 20_000
    file = tmp_path / "genes.csv"
    file.write_text(",".join(f"g{i}" for i in range(n)) + "\n" + f"{','.join('12' * (n // 2))}\n" * 12)
    table = read_table(file)
    searched = []

    class Names(tuple):
        def __contains__(self, name):
            searched.append(name)
            return super().__contains__(name)

    read(dataclasses.replace(table, names=Names(table.names)), table.names)
    assert not searched


def test_a_run_answers_rows_with_text_and_gaps(path, tmp_path, monkeypatch, capsys):
    import sys

    from commonweight.cli import main

    for arguments in (
        ["train", str(path), "--epochs", "3", "--out", str(tmp_path / "run")],
        ["predict", str(tmp_path / "run"), str(path)],
    ):
        monkeypatch.setattr(sys, "argv", ["commonweight", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("column 'name' is left out: it holds 60 different texts, such as '") for line in lines)
    assert sum("people.csv:" in line and line.endswith("%") for line in lines) == 60
