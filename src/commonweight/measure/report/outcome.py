"""How good the answers on the test part are: confusion matrix for classes, target against prediction for quantities."""

from collections.abc import Mapping

import torch
from torch import Tensor

from commonweight.data.dataset import Data
from commonweight.measure.report.charts import scatter
from commonweight.measure.report.markup import Markup, figure, paragraph, scrolling, section, tag
from commonweight.measure.report.naming import short
from commonweight.measure.report.observe import Answers
from commonweight.measure.report.pictures import image, signed
from commonweight.numerals import counted, number, percent

MAX_TABLE, MAX_PICTURE = 26, 512
"""Classes up to which the confusion matrix is a table with numbers, and up to which it is a picture."""

MAX_TARGETS = 6
"""Targets of a regression that are drawn."""

_LISTED = 8
"""Confusions put into words."""


def outcome(answers: Answers, data: Data, scores: Mapping[str, float]) -> Markup:
    """The section on the test part as a whole; `scores` are those that training ended with."""
    return _classes(answers, data, scores) if data.task == "classification" else _quantities(answers, data)


def _classes(answers: Answers, data: Data, scores: Mapping[str, float]) -> Markup:
    n, right = len(answers.target), int(answers.right.sum())
    commonest = int(data.y[data.train].bincount(minlength=len(data.classes)).argmax())
    luck = float((answers.target == commonest).float().mean())
    words = [
        paragraph(
            f"The test part, {counted(n, 'sample')}, was kept away from training. ",
            tag("strong", f"{right:,} of {n:,} are right, {percent(right / n)}."),
            f" Always answering “{short(data.classes[commonest])}”, the commonest class, gives {percent(luck)}.",
        ),
        paragraph(
            "Each row holds the samples of one true class, each column one answer. Blue cells, on the diagonal, are "
            "right answers, orange cells mistakes; the deeper the colour, the larger the share of the row.",
            class_="aside",
        ),
    ]
    if abs(scores["accuracy"] - right / n) > 0.5 / n:
        other = f"The score on top, {percent(scores['accuracy'])}, was taken in the number format of the training; "
        words.append(paragraph(other + "this page asks the net in float32.", class_="aside"))
    parts = [_confusions(answers, data)]
    if len(data.classes) <= MAX_PICTURE:
        matrix = confusion_matrix(answers, len(data.classes))
        parts.insert(0, _table(matrix, data.classes) if len(matrix) <= MAX_TABLE else _picture(matrix))
    return section("outcome", "Right and wrong", words, parts)


def confusion_matrix(answers: Answers, n_classes: int) -> Tensor:
    """Samples of true class i answered as j: int64 (n_classes, n_classes)."""
    cells = answers.target * n_classes + answers.predicted
    return cells.bincount(minlength=n_classes**2).reshape(n_classes, n_classes)


def _table(matrix: Tensor, classes: tuple[str, ...]) -> Markup:
    names = [short(name, 16) for name in classes]
    found = matrix.diagonal() / matrix.sum(1)
    sure = matrix.diagonal() / matrix.sum(0)
    rows = []
    for true, counts in enumerate(matrix.tolist()):
        cells = [_cell(count, true, answer, sum(counts), names) for answer, count in enumerate(counts)]
        share = tag("td", _share(found[true]), class_="share")
        rows.append(tag("tr", tag("th", names[true], scope="row", title=classes[true]), *cells, share))
    last = [tag("td", _share(value), class_="share") for value in sure]
    rows.append(tag("tr", tag("th", "right when said, %", scope="row", class_="share"), *last, tag("td")))
    columns = [tag("th", name, scope="col") for name in (*names, "found, %")]
    head = tag("thead", tag("tr", tag("th", "true ↓ answer →", scope="col", class_="corner"), *columns))
    caption = "Confusion matrix of the test part"
    body = tag("table", tag("caption", caption), head, tag("tbody", *rows), class_="confusion")
    return figure("Confusion matrix", scrolling(body, caption), None, class_="wide")


def _cell(count: int, true: int, answer: int, total: int, names: list[str]) -> Markup:
    if not count:
        return tag("td", "·", class_="none")
    strength = 100 * (0.15 + 0.85 * (count / total) ** 0.5)
    said = f"{names[true]} answered as {names[answer]}: {count:,} of {total:,}"
    kind = "right" if true == answer else "wrong"
    return tag("td", f"{count:,}", class_=kind, title=said, style=f"--share:{strength:.0f}%")


def _share(value: Tensor) -> str:
    """A share in hundredths; the unit stands in the heading."""
    return "–" if value.isnan() else percent(float(value), 0).removesuffix("\u00a0%")


def _picture(matrix: Tensor) -> Markup:
    strength = (matrix / matrix.sum(1, keepdim=True).clamp(min=1)).sqrt()
    coloured = torch.where(torch.eye(len(matrix), dtype=torch.bool), -strength, strength)
    said = (
        f"Confusion matrix of {len(matrix)} classes, one pixel a cell; the list below names the most frequent mistakes."
    )
    return figure("Confusion matrix", image(signed(coloured, 1.0), said, class_="matrix"), said, class_="wide")


def _confusions(answers: Answers, data: Data) -> Markup:
    wrong = ~answers.right
    if not wrong.any():
        return paragraph("Not one answer on the test part is wrong.")
    pairs = torch.stack([answers.target[wrong], answers.predicted[wrong]], 1)
    kinds, counts = torch.unique(pairs, dim=0, return_counts=True)
    order = counts.argsort(descending=True, stable=True)[:_LISTED]
    items = []
    for (true, answer), count in zip(kinds[order].tolist(), counts[order].tolist(), strict=True):
        names = tag("strong", short(data.classes[true])), " taken for ", tag("strong", short(data.classes[answer]))
        items.append(
            tag("li", *names, ", " + ("once" if count == 1 else "twice" if count == 2 else f"{count:,} times"))
        )
    return figure("Most frequent mistakes", tag("ul", *items, class_="confusions"), None)


def _quantities(answers: Answers, data: Data) -> Markup:
    error = answers.error
    spread = (data.y[data.test] - data.y[data.train].mean(0)).square().mean().sqrt()
    words = [
        paragraph(
            f"The test part, {counted(len(error), 'sample')}, was kept away from training. ",
            tag("strong", f"The typical error (RMSE) is {number(float(error.square().mean().sqrt()))}"),
            f"; always answering the mean of the training part gives {number(float(spread))}.",
        ),
        paragraph(
            "Each dot is a test sample. On the line, prediction and target are equal; above it the net says too much, "
            "below it too little.",
            class_="aside",
        ),
    ]
    figures = []
    for column in range(min(error.shape[1], MAX_TARGETS)):
        target, predicted = answers.target[:, column], answers.predicted[:, column]
        near = number(float(error[:, column].abs().median()))
        said = f"Half of the predictions are within {near} of {_target_name(data, column)}."
        picture = scatter(
            target, predicted, text=f"Prediction against target. {said}", x_name="target", y_name="prediction"
        )
        figures.append(figure("Prediction against target", picture, said))
    return section("outcome", "How close it comes", words, figures)


def _target_name(data: Data, column: int) -> str:
    name = short(data.target) if data.target else "the target"
    return name if data.n_outputs == 1 else f"{name} {column + 1} of {data.n_outputs}"
