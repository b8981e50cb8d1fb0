"""The page has a word for every setting that it shows, and for every choice: names come from here, words from web."""

import re
from dataclasses import fields
from importlib import import_module
from pathlib import Path

import pytest

from commonweight.lab.sessions import VIEWS, open_session
from commonweight.lab.sessions.running_folder import KEPT

WORDS = Path(__file__).parents[1] / "web" / "src" / "words"
VIEW_FILES = Path(__file__).parents[1] / "web" / "src" / "views"


def keys(part):
    """The names that a part of the English dictionary has words for."""
    text = (WORDS / "en.ts").read_text()
    body = re.search(rf"\n  {part}: \{{(.*?)\n  \}}", text, re.DOTALL)[1]
    return set(re.findall(r'(?:^|[\s,{])"?([\w-]+)"?: "', body))


@pytest.mark.parametrize("view", VIEWS)
def test_every_choice_and_every_shown_setting_has_a_word(view, tmp_path):
    settings = type(open_session(view, tmp_path).settings)
    choices = {option for entry in fields(settings) for option in entry.metadata.get("options", ())}
    rules = {"adam", "sgd", "momentum", "nesterov", "rmsprop"}  # names of the field, the same in every language
    activations = {"tanh", "relu", "leaky_relu", "sigmoid", "step"}
    assert choices - rules - activations <= keys("options")
    module = import_module(f"commonweight.lab.sessions.{VIEWS[view]}")
    page = (VIEW_FILES / f"{module.SESSION.__name__.removesuffix('Session')}.svelte").read_text()
    shown = set(re.findall(r'"(\w+)"', " ".join(re.findall(r"(?:shown|folded)=\{.*\}", page))))
    assert shown & {entry.name for entry in fields(settings)} <= keys("labels")


def test_every_setting_of_a_run_that_is_shown_has_a_word():
    body = re.search(r"\n    settings: \{(.*?)\n    \}", (WORDS / "en.ts").read_text(), re.DOTALL)[1]
    assert set(KEPT) <= set(re.findall(r'(\w+): "', body))
