"""How the net learned: loss, score, learning rate and the size of the steps over the epochs."""

import math
from collections.abc import Sequence

from commonweight.data.dataset import Data
from commonweight.measure.records import Record
from commonweight.measure.report.charts import Line, line_chart, share
from commonweight.measure.report.markup import Markup, figure, paragraph, section
from commonweight.measure.report.naming import layer_name
from commonweight.numerals import number, percent

_LOG_FROM = 30
"""A loss that changes by more than this factor is drawn by logarithm."""


def learning(records: Sequence[Record], data: Data) -> Markup:
    """The section of curves."""
    words = [
        paragraph(
            "An epoch is one pass over all samples of the training part. The solid line is measured on the validation "
            "part, which the net never learns from; the dotted line on the samples it was learning from."
        ),
        paragraph(
            "When the dotted line keeps improving while the solid one turns worse, a net has begun to memorise. The "
            "dot marks the best check: its weights are the ones that are kept.",
            class_="aside",
        ),
    ]
    if not records:
        return section("learning", "How it learned", words, [paragraph("This run has no records.")])
    if len(records) == 1 and not records[0].rate:
        return section("learning", "How it learned", [paragraph(_once(records[0], data))], [])
    best = min(records, key=lambda record: _rank(record, data))
    figures = [_loss(records, best), _score(records, best, data), _rate(records), _updates(records)]
    return section("learning", "How it learned", words, figures)


def _once(record: Record, data: Data) -> str:
    """What a net that learned in one piece, by a rule of its own, came to."""
    metric, words = ("accuracy", percent) if data.task == "classification" else ("typical error", number)
    return (
        f"It was measured once, in the end: {metric} {words(record.validation_metric)} on the validation part, which "
        f"the net never learns from, and {words(record.metric)} on the training part."
    )


def _rank(record: Record, data: Data) -> tuple[float, float]:
    """Smaller is better: the score, then the loss; what is not a number comes last."""
    score = -record.validation_metric if data.task == "classification" else record.validation_metric
    loss = record.validation_loss
    return (math.inf if math.isnan(score) else score, math.inf if math.isnan(loss) else loss)


def _loss(records: Sequence[Record], best: Record) -> Markup:
    lines = _pair(records, "loss")
    seen = [v for line in lines for v in line.y if math.isfinite(v)]
    log = bool(seen) and min(seen) > 0 and max(seen) > _LOG_FROM * min(seen)
    said = (
        f"Validation loss: {number(records[0].validation_loss)} at first, {number(best.validation_loss)} at the best "
    )
    said += f"check, {number(records[-1].validation_loss)} in the end."
    mark = (best.epoch, best.validation_loss)
    picture = line_chart(lines, text=f"Loss by epoch. {said}", x_name="epoch", log=log, mark=mark)
    return figure("Loss, logarithmic scale" if log else "Loss", picture, said)


def _score(records: Sequence[Record], best: Record, data: Data) -> Markup:
    rising = data.task == "classification"
    name = "Accuracy" if rising else "Typical error (RMSE)"
    words, axis = (percent, share) if rising else (number, number)
    said = (
        f"On the validation part: {words(records[0].validation_metric)} at first, {words(best.validation_metric)} at "
    )
    said += f"the best check (epoch {number(best.epoch, 3)}), {words(records[-1].validation_metric)} in the end."
    lines, mark = _pair(records, "metric"), (best.epoch, best.validation_metric)
    picture = line_chart(lines, text=f"{name} by epoch. {said}", x_name="epoch", words=axis, mark=mark)
    return figure(name, picture, said)


def _rate(records: Sequence[Record]) -> Markup:
    rates = [record.rate for record in records]
    line = Line("learning rate", [record.epoch for record in records], rates, "validation")
    said = f"The factor by which the optimiser scales its steps: at most {number(max(rates), 3)}."
    picture = line_chart([line], text=f"Learning rate by epoch. {said}", x_name="epoch")
    return figure("Learning rate", picture, said)


def _updates(records: Sequence[Record]) -> Markup | None:
    """How far one step moves the weights of the first and the last layer, relative to their size."""
    watched = [record for record in records if record.layers]
    if not watched:
        return None
    places = {"validation": 0, "training": len(watched[-1].layers) - 1}
    lines = []
    for style, place in places.items():
        ratios = [record.layers[place].update_ratio for record in watched]
        name = layer_name(watched[-1].layers[place].name)
        lines.append(Line(name, [record.epoch for record in watched], ratios, style))
    said = "‖change‖ / ‖weights‖ of one step, for the first layer and the last; near 0.001 is usual."
    lines = lines if places["training"] else lines[:1]
    picture = line_chart(lines, text=f"Relative size of a step by epoch. {said}", x_name="epoch", log=True)
    return figure("Relative size of a step", picture, said)


def _pair(records: Sequence[Record], name: str) -> list[Line]:
    epochs = [record.epoch for record in records]
    return [
        Line("validation", epochs, [getattr(record, f"validation_{name}") for record in records], "validation"),
        Line("training", epochs, [getattr(record, name) for record in records], "training"),
    ]
