"""The worst mistakes, one by one: what the net saw, what it was, and how sure the net was of something else."""

from collections.abc import Iterable

import torch

from commonweight.data.dataset import Data
from commonweight.data.normalise import Normalisation
from commonweight.measure.report.markup import Markup, paragraph, section, table, tag, together
from commonweight.measure.report.naming import feature_names, short
from commonweight.measure.report.observe import Answers
from commonweight.measure.report.pictures import image, sample_picture
from commonweight.numerals import counted, number

SHOWN = 12
"""Mistakes that are shown."""

_COLUMNS = 8
"""Features up to which a row is shown whole; of more, those that stand out most."""


def mistakes(answers: Answers, data: Data) -> Markup:
    """The section of the worst mistakes: least probability for the true class, or largest error."""
    if data.task == "regression":
        badness, n = torch.linalg.vector_norm(answers.error / _scale(data), dim=1), len(answers.target)
        about = f"The {counted(min(SHOWN, n), 'test sample')} with the largest errors."
    else:
        badness = _badness(answers)
        wrong = ~answers.right
        n = int(wrong.sum()) or len(wrong)
        badness = torch.where(wrong, badness.clamp(min=0) + 1, badness)
        about = f"{counted(n, 'test sample')} {'is' if n == 1 else 'are'} answered wrongly. "
        about += "Shown first: those whose true class the net found least probable."
        if answers.scores_only:
            about = about.replace("the net found least probable", "scored farthest below the answer")
        if not wrong.any():
            about = "No test sample is answered wrongly. These are the right answers that the net was least sure of."
    worst = badness.nan_to_num(nan=2.0).argsort(descending=True, stable=True)[: min(SHOWN, n)].tolist()
    hint = "Look for what they have in common: is it a kind of sample that training rarely showed?"
    if data.is_image:
        hint = "Look at them: some are hard for people too, and some may be labelled wrongly."
    aside = paragraph(hint, class_="aside")
    show = _rows if len(data.in_shape) == 1 else _cards
    return section("mistakes", "Worst mistakes", [paragraph(about), aside], [show(worst, answers, data)])


def _badness(answers: Answers) -> torch.Tensor:
    """(N,) how improbable the true class was; of scores, how far the best of the others is above it."""
    true = answers.target[:, None]
    if answers.scores_only:
        others = answers.scores.scatter(1, true, -torch.inf)
        return others.amax(1) - answers.scores.gather(1, true)[:, 0]
    return 1 - answers.probability.gather(1, true)[:, 0]


def _scale(data: Data) -> torch.Tensor:
    scale = data.normalisation.target_scale
    return torch.ones(1) if scale is None else scale


def _cards(worst: list[int], answers: Answers, data: Data) -> Markup:
    cards = []
    for place in worst:
        sample = int(answers.index[place])
        said = list(_said(place, answers, data))
        text = f"Sample {sample}: " + ", ".join(f"{key} {value} {detail}".strip() for key, value, detail in said)
        words = [tag("span", f"{key} ", tag("strong", value), f" {detail}") for key, value, detail in said]
        picture = sample_picture(sample, data)
        shown = None if picture is None else image(picture, text, class_="sample")
        cards.append(tag("li", shown, tag("p", *words), class_="card"))
    return tag("ul", *cards, class_="cards")


def _rows(worst: list[int], answers: Answers, data: Data) -> Markup:
    features = [short(name, 24) for name in feature_names(data)]
    few = len(features) <= _COLUMNS
    head = ["sample", *(key for key, _, _ in _said(worst[0], answers, data)), *(features if few else ["stands out by"])]
    rows = []
    for place in worst:
        sample = int(answers.index[place])
        values = [number(v) for v in data.x[sample].tolist()] if few else [_standing_out(sample, features, data)]
        told = [f"{value} {detail}".strip() for _, value, detail in _said(place, answers, data)]
        rows.append([str(sample), *told, *values])
    note = "+2.1σ: 2.1 standard deviations above the mean of the training part."
    shown = table(head, rows, "A sample a row, counted from 0")
    return shown if few else together([shown, paragraph(note, class_="aside")])


def _said(place: int, answers: Answers, data: Data) -> Iterable[tuple[str, str, str]]:
    """What was true and what the net said: a word, its value, and how sure the net was of it."""
    if data.task == "regression":
        yield "target", _numbers(answers.target[place]), ""
        yield "predicted", _numbers(answers.predicted[place]), ""
        yield "error", _numbers(answers.error[place]), ""
        return
    for word, label in (("true", answers.target[place]), ("said", answers.predicted[place])):
        yield word, short(data.classes[label], 24), f"({answers.sure(place, int(label))})"


def _numbers(values: torch.Tensor) -> str:
    return ", ".join(number(value) for value in values[:3].tolist()) + (", …" if len(values) > 3 else "")


def _standing_out(sample: int, features: list[str], data: Data) -> str:
    """The three features of a row that are farthest from the mean of the training part."""
    deviation = Normalisation.fit(data.x, data.y, data.train).apply(data.x[sample])
    farthest = deviation.abs().argsort(descending=True, stable=True)[:3].tolist()
    words = []
    for column in farthest:
        sign = "+" if deviation[column] > 0 else ""
        words.append(
            f"{features[column]} {number(float(data.x[sample, column]))} ({sign}{number(float(deviation[column]), 2)}σ)"
        )
    return ", ".join(words)
