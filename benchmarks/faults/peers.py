"""What other tools say of the same runs: traintools, trainwatch, and rules with published thresholds on our records.

traintools and trainwatch are asked while the run goes on, after each step, when the gradients are still there.
"""

import contextlib
import io
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any
from unittest.mock import patch

from torch import nn

from commonweight.measure.diagnosis import Evidence
from commonweight.measure.records import Record
from commonweight.train.loop import Trainer

EVERY = 25
SAID = {  # a part of a warning, and the finding that it means
    "non-finite": "not_finite",
    "vanished": "vanishing_gradient",
    "very large": "exploding_gradient",
    "ratio is high": "rate_too_high",
    "ratio is tiny": "rate_too_low",
    "nearly constant": "constant_features",
    "abs max": "unnormalised_input",
    "dominant class": "class_imbalance",
    "DORMANT": "dead_units",
    "variance spike": "oscillation",
    "no gradients": "frozen_layer",
}


class Listening:
    """Both tools, on one run: `warned` holds what each of them said, translated by `SAID`."""

    def __init__(self) -> None:
        from traintools import BatchInspector, GradientHealthMonitor
        from trainwatch import Watcher

        self.gradients, self.batches = GradientHealthMonitor(), BatchInspector()
        self.watcher: Any = Watcher(print_every=EVERY)
        self.probe: Any = None
        self.warned: dict[str, set[str]] = {"traintools": set(), "trainwatch": set()}
        self.seen_first = False

    def after(self, trainer: Trainer, step: int, loss: float) -> None:
        """Ask both after a step."""
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            if math.isfinite(loss):
                self.watcher.step(loss=loss)
            if (step + 1) % trainer.steps_per_epoch == 0:
                self.watcher.epoch_end()
        self._note("trainwatch", [said.getvalue()])
        if not math.isfinite(loss):
            self.warned["trainwatch"].add("not_finite")  # it prints the loss, where a person sees it
        if not self.seen_first:
            self.seen_first = True
            size = trainer.settings.batch_size
            report = self.batches.inspect(trainer.train.inputs[:size], trainer.train.targets[:size])
            self._note("traintools", report.warnings)
        if step % EVERY == 0 or not math.isfinite(loss):
            rate = trainer.optimizer.param_groups[0]["lr"]
            self._note("traintools", self.gradients.inspect(trainer.model, step=step, lr=rate).warnings)
            self._ask_probe(trainer.model, trainer)

    def _ask_probe(self, model: nn.Module, trainer: Trainer) -> None:
        import torch
        from traintools import PlasticityProbe

        probe = PlasticityProbe(model)
        with torch.no_grad():
            model.eval()
            model(trainer.train.inputs[:64])
            model.train()
        with contextlib.suppress(ValueError, RuntimeError):  # its SVD refuses NaN
            self._note("traintools", [flag for layer in probe.measure().layers for flag in layer.flags])
        probe.remove_hooks()

    def _note(self, tool: str, warnings: Sequence[str]) -> None:
        for warning in warnings:
            self.warned[tool] |= {code for part, code in SAID.items() if part in warning}


@contextlib.contextmanager
def listening() -> Iterator[Listening]:
    """Within the block, both tools hear each step of `fit`, which torch makes: no kernel takes many at once."""
    listener, plain = Listening(), Trainer._step

    def step_and_tell(trainer: Trainer, step: int) -> tuple[float, float]:
        loss, errors = plain(trainer, step)
        listener.after(trainer, step, loss)
        return loss, errors

    Trainer._step = step_and_tell  # type: ignore[method-assign]
    try:
        with patch.dict(os.environ, COMMONWEIGHT_KERNELS="off"):
            yield listener
    finally:
        Trainer._step = plain  # type: ignore[method-assign]


def published(records: Sequence[Record], evidence: Evidence) -> set[str]:
    """Rules with thresholds as published, on our records.

    Vanishing: mean |g| < 1e-7 (SageMaker Debugger), or first to last gradient < 1e-3 with the first < 1e-4 and accuracy
    below 60 % (AutoTrainer). Exploding: first to last > 70, loss ≥ 1000. Dead ReLU: ≥ 70 % zeros. Saturation: > 50 % of
    values at the ends. Update to weight ratio outside 1e-4 to 1e-1. Start: deviations of layers' outputs more than 10
    apart. Overfit: validation loss more than 10 % above training loss. The mean |g| is taken as norm / √n with the mean
    number n of weights of a layer.
    """
    said: set[str] = set()
    assert evidence.model is not None
    n = (evidence.model.n_weights / max(1, len(records[0].layers))) ** 0.5
    best = max(record.validation_metric for record in records)
    slow = evidence.data is not None and evidence.data.task == "classification" and best < 0.6
    for record in records:
        norms = [layer.gradient_norm for layer in record.layers]
        if any(norm / max(n, 1.0) < 1e-7 for norm in norms):
            said.add("vanishing_gradient")
        if len(norms) > 1 and norms[-1] > 0 and norms[0] / norms[-1] < 1e-3 and norms[0] < 1e-4 and slow:
            said.add("vanishing_gradient")
        if (len(norms) > 1 and norms[-1] > 0 and norms[0] / norms[-1] > 70) or record.loss >= 1000:
            said.add("exploding_gradient")
        if not math.isfinite(record.loss):
            said.add("not_finite")
        if any(layer.dead_fraction >= 0.7 for layer in record.layers):
            said.add("dead_units")
        if any(layer.saturated_fraction > 0.5 for layer in record.layers):
            said.add("saturation")
        if any(layer.update_ratio > 1e-1 for layer in record.layers):
            said.add("rate_too_high")
        if record.layers and all(layer.update_ratio < 1e-4 for layer in record.layers):
            said.add("rate_too_low")
    if evidence.start:
        spreads = [layer.activation_std for layer in evidence.start.layers]
        if min(spreads) == 0 or max(spreads) / min(spreads) > 10:
            said.add("unequal_start")
    last = records[-1]
    if last.loss > 0 and (last.validation_loss - last.loss) / last.loss > 0.1:
        said.add("overfit")
    return said
