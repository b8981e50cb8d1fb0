"""Watch any training loop of any `nn.Module`: records for the diagnosis, without a change to the loop."""

import math
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from commonweight.errors import TrainError, require_kind
from commonweight.measure.diagnosis import Evidence, Finding, diagnose
from commonweight.measure.diagnosis.model_facts import first_nonfinite, look, model_facts
from commonweight.measure.layers import StepStatistics, is_observed
from commonweight.measure.records import Record, mean_and_deviation

NAN = float("nan")


class watch:  # noqa: N801  # used as a verb: with watch(model, optimizer) as w
    """Within the block, each `optimizer.step()` is counted, and every so many steps one is recorded, layer by layer.

        with watch(model, optimizer) as w:
            for x, y in batches:
                optimizer.zero_grad()
                loss(model(x), y).backward()
                optimizer.step()
        for finding in w.findings():
            print(say(finding))

    The loss is what `backward` is called on: for the time of the block `torch.Tensor.backward` notes scalars. A loss
    that is scaled, as for half precision, is seen scaled. Nothing else of the loop is touched: the hooks of a recorded
    step are gone after it.

    Args:
        model: the net.
        optimizer: of its weights.
        every: steps from one record to the next, at least 1. Some of them have statistics of the layers, see
            `measure.layers.is_observed`.
        batch: inputs and targets of one batch, to look at net and loss before the first step; more is found with it.
        loss: outputs and targets to a scalar; needed with `batch`.

    Raises:
        TrainError: `every` below 1, or one of `batch` and `loss` without the other.

    Attributes:
        records: one for every so many steps. The epoch is unknown; a validation score is what `score` was told.
        evidence: what is known beside them.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=1e6)
        >>> with watch(net, optimizer, every=5) as w:
        ...     for _ in range(20):
        ...         optimizer.zero_grad()
        ...         (net(torch.ones(4, 2)) - 1).square().mean().backward()
        ...         optimizer.step()
        >>> w.findings()[0].code
        'not_finite'
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        every: int = 25,
        batch: tuple[Tensor, Tensor] | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        require_kind(model, nn.Module, "watch takes a model, a torch.nn.Module", TrainError)
        require_kind(optimizer, torch.optim.Optimizer, "watch takes an optimizer of torch", TrainError)
        if not isinstance(every, int) or every < 1:
            raise TrainError(f"every is a whole number of steps, at least 1; got {every!r}.")
        if (batch is None) != (loss is None):
            raise TrainError("To look at net and loss before the first step, watch takes both batch= and loss=.")
        learned = {id(weight) for group in optimizer.param_groups for weight in group["params"]}
        self.model, self.optimizer, self.every = model, optimizer, every
        self.records: list[Record] = []
        self.evidence = Evidence(model=model_facts(model, learned))
        if batch is not None and loss is not None:
            self.evidence = look(model, *batch, loss, learned)
        self.steps, self.started = 0, time.perf_counter()
        self.losses: list[Tensor] = []
        self.seen: StepStatistics | None = None
        self.given: Any = ()
        self.scores = (NAN, NAN, NAN)
        self.on_step: RemovableHandle | None = None
        self.on_forward: RemovableHandle | None = None
        self.backward: Any = None

    def __enter__(self) -> "watch":
        self.started = time.perf_counter()
        self.on_step = self.optimizer.register_step_post_hook(self._after)
        self._expect()
        self.backward = torch.Tensor.backward
        plain, losses = self.backward, self.losses

        def noted(tensor: Tensor, *given: Any, **named: Any) -> None:
            if tensor.numel() == 1:
                losses.append(tensor.detach())
            plain(tensor, *given, **named)

        torch.Tensor.backward = noted  # type: ignore[method-assign,assignment]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        torch.Tensor.backward = self.backward  # type: ignore[method-assign]
        for handle in filter(None, (self.on_step, self.on_forward)):
            handle.remove()
        if self.seen is not None:
            self.seen.detach()
            self.seen = None

    def score(self, training: float, validation: float, validation_loss: float = NAN) -> None:
        """Tell the accuracy (or error) on both parts, for the records from now on."""
        self.scores = (training, validation, validation_loss)

    def findings(self) -> list[Finding]:
        """What is wrong by now, the likeliest cause first."""
        return diagnose(self.records, self.evidence)

    def _expect(self) -> None:
        """Look at the next forward pass, if its step is to be recorded: a net with hooks is slower at each step."""
        if (self.steps + 1) % self.every == 0 and self.on_forward is None:
            self.on_forward = self.model.register_forward_pre_hook(self._before)

    def _before(self, model: nn.Module, inputs: Any) -> None:
        if model.training and self.on_forward is not None:
            self.on_forward.remove()
            self.on_forward = None
            self.seen = StepStatistics(model, due=is_observed(len(self.records) + 1))
            self.seen.attach()
            self.given = inputs

    def _after(self, optimizer: torch.optim.Optimizer, given: Any, named: Any) -> None:
        self.steps += 1
        if self.seen is not None:
            self.seen.detach()
            self.records.append(self._record(self.seen, float(optimizer.param_groups[0]["lr"])))
            if not math.isfinite(self.records[-1].loss) and not self.evidence.nonfinite:
                self._name_what_is_not_finite()
            self.seen, self.given = None, ()
        self._expect()

    def _record(self, seen: StepStatistics, rate: float) -> Record:
        loss, deviation = mean_and_deviation([float(loss) for loss in self.losses] or [NAN])
        self.losses.clear()
        training, validation, validation_loss = self.scores
        return Record(
            step=self.steps,
            epoch=NAN,
            seconds=time.perf_counter() - self.started,
            rate=rate,
            loss=loss,
            metric=training,
            validation_loss=validation_loss,
            validation_metric=validation,
            layers=seen.layers(),
            loss_deviation=deviation,
        )

    def _name_what_is_not_finite(self) -> None:
        """On a copy, for a forward pass may move statistics; not of a net that takes more than one tensor."""
        if len(self.given) == 1 and isinstance(self.given[0], Tensor):
            with torch.random.fork_rng(devices=[]):
                tensor = first_nonfinite(deepcopy(self.model), self.given[0])
            self.evidence = replace(self.evidence, nonfinite=tensor)
