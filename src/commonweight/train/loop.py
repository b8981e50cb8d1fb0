"""The training loop: batches, steps, checks, and a run folder from which training goes on after any interruption."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import asdict, replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from commonweight.atomic import append_text, fill, own_tensors, write_text
from commonweight.census import count
from commonweight.compress import open_shared
from commonweight.compress import save as save_shared
from commonweight.data.dataset import Data
from commonweight.errors import DivergedError, TrainError, require_kind
from commonweight.files import load, save
from commonweight.measure.diagnosis import Evidence, diagnose
from commonweight.measure.diagnosis.model_facts import first_nonfinite
from commonweight.measure.layers import is_observed, observe
from commonweight.measure.records import Record, mean_and_deviation, read_records, to_lines
from commonweight.measure.start import check_start
from commonweight.train.checkpoint import Progress, load_checkpoint, save_checkpoint
from commonweight.train.choice import WHOLE_BATCH
from commonweight.train.compiled_steps import compiled_steps
from commonweight.train.display import Display
from commonweight.train.facts import gather, recalls
from commonweight.train.flat import FlatNet, Objective
from commonweight.train.goal import Goal
from commonweight.train.initialise import initialise
from commonweight.train.objective import Part, error_sum, evaluate, loss_function, loss_kind, metric, part_of
from commonweight.train.optimise import averaging_at, make_optimizer, rate_at
from commonweight.train.order import Order
from commonweight.train.regularise import Regulariser, weights_of
from commonweight.train.run import (
    CHECKPOINT,
    DESCRIPTION,
    RECORDS,
    REPORT,
    SHARED,
    WEIGHTS,
    Run,
    as_folder,
    begin_folder,
    describe,
    interruptible,
    read_description,
    write_description,
)
from commonweight.train.settings import Settings, choose_settings, stored_settings
from commonweight.train.soft_sharing import is_shared, soft_share
from commonweight.train.together import Team

CHECKPOINT_SECONDS = 2.0
"""A checkpoint is written at the first check after so long, and at the end."""
START_SAMPLES = 64
"""Samples on which the start is checked, at most."""


def fit(
    model: nn.Module,
    data: Data,
    *,
    epochs: int | None = None,
    goal: str | None = None,
    optimizer: str = "auto",
    lr: float | None = None,
    batch_size: int | None = None,
    precision: str = "auto",
    device: str = "auto",
    seed: int = 0,
    init: str = "auto",
    out: str | Path | None = "auto",
    net: str | None = None,
    progress: bool = True,
    l1: float = 0.0,
    l2: float = 0.0,
    max_norm: float | None = None,
    noise: float = 0.0,
    sparsity: float = 0.0,
    augment: Sequence[str] = (),
    label_smoothing: float | None = None,
    patience: float | None = None,
    soft_sharing: int | None = None,
    repair: bool = False,
) -> Run:
    """Train a network, keep the weights of its best check, and score them once on the test part.

    Args:
        model: takes normalised samples, shape (B, *data.in_shape), and gives (B, data.n_outputs): logits or values. A
            method `loss(outputs, targets)` replaces cross entropy or mean squared error. It is trained in place.
        data: see `commonweight.data.load`.
        epochs, goal, optimizer, lr, batch_size, precision, device, seed: see `Settings`; what is None or "auto" is
            chosen from the size of the data and the kind of net.
        init: the rule for the first weights, see `commonweight.train.initialise`; "auto" keeps those of the model.
        out: the run folder, which must not hold a run yet; "auto" makes a new one such as runs/digits-lenet5-1; None
            writes nothing.
        net: how to build the model again, a name of `commonweight.nets` or file.py:factory; a model of
            `commonweight.nets.build` knows it.
        progress: show it on standard error.
        l1, l2, max_norm, noise, sparsity, augment, label_smoothing, patience, soft_sharing: what holds the net back,
            see `Settings`, `train.regularise` and `train.soft_sharing`.
        repair: begin again with what is wrong put right, and keep the better run: see `train.repair`.

    Returns:
        The run, with the best weights in `run.model`.

    Raises:
        TrainError: settings that cannot be met, or a loss that is no longer finite.
        FileError: the run folder cannot be written, or already holds a run.

    Example:
        >>> from commonweight import data, nets
        >>> iris = data.load("iris")
        >>> run = fit(nets.build("mlp", iris.in_shape, iris.n_outputs), iris, epochs=40, out=None, progress=False)
        >>> run.results["test"]["accuracy"] > 0.8
        True
    """
    require_kind(repair, bool, "repair is True or False", TrainError)
    settings = choose_settings(
        model,
        data,
        epochs=epochs,
        goal=goal,
        optimizer=optimizer,
        lr=lr,
        batch_size=batch_size,
        precision=precision,
        device=device,
        seed=seed,
        l1=l1,
        l2=l2,
        max_norm=max_norm,
        noise=noise,
        sparsity=sparsity,
        augment=augment,
        label_smoothing=label_smoothing,
        patience=patience,
        soft_sharing=soft_sharing,
        init=init,
    )
    net = net or getattr(model, "built_as", None)
    if repair:
        from commonweight.train.repair import fit_repaired  # which calls this function

        given = {name: value for name, value in asdict(settings).items() if name in signature(fit).parameters}
        said = {"optimizer": optimizer, "lr": lr, "batch_size": batch_size, "precision": precision}
        return fit_repaired(model, data, out=out, net=net, progress=progress, **given | said)
    description = describe(net, data, asdict(settings), getattr(model, "built_with", None))
    name = f"{data.name}-{net or type(model).__name__}"
    whitening = data.normalisation.whitening
    folder = None if out is None else Team.current().agree(lambda: begin_folder(out, name, description, whitening))
    return _train(model, data, settings, Run(model, description, [], folder, whitening=whitening), progress)


def resume(folder: str | Path, model: nn.Module, data: Data, *, progress: bool = True) -> Run:
    """Go on with a run that was interrupted, to the same weights, bit for bit, as if it had not been.

    Args:
        folder: the run folder.
        model: a network like the one that the run began with, such as `nets.build` makes with the seed of the run.
        data: the same data.
        progress: show it on standard error.

    Raises:
        TrainError: other data, or the same prepared otherwise; a run that was compressed.
        FileError: no run there, a damaged one, or one of another net.
    """
    folder = as_folder(folder)
    require_kind(model, nn.Module, "resume goes on with a torch.nn.Module, such as nets.build makes", TrainError)
    require_kind(data, Data, "resume trains on data as commonweight.data.load gives them", TrainError)
    description = read_description(folder)
    if SHARED in description and not (folder / CHECKPOINT).is_file():
        raise TrainError(f"{folder} was compressed, which no training goes on from: begin a new run.")
    about = description["data"]
    prepared = about.get("prepare", "standard")
    if data.prepare != prepared:
        raise TrainError(f"{folder} was begun on data prepared by {prepared}, not by {data.prepare}: give the same.")
    if data.fingerprint() != about["fingerprint"]:
        told = f"{about['name']}, with another content or split"
        raise TrainError(f"{folder} was begun with other data ({told}): give the same data and seed.")
    settings = stored_settings(folder / DESCRIPTION, description["settings"], model, data)
    run = Run(model, description, [], folder, whitening=data.normalisation.whitening)
    return _train(model, data, settings, run, progress)


def _train(model: nn.Module, data: Data, settings: Settings, run: Run, show: bool) -> Run:
    """Run the loop in a random state of its own, then score the best weights on the test part and write the results."""
    with torch.random.fork_rng(), interruptible(run):
        torch.manual_seed(settings.seed)
        trainer = Trainer(model, data, settings, run)
        show = show and trainer.team.leads
        display = Display(run.name, trainer.steps, trainer.metric, settings.batch_size) if show else None
        if display and settings.reason:
            display.say(f"optimizer {settings.optimizer}: {settings.reason}")
        if display:
            display.warn(run.description.get("start", []))
        try:
            for record, is_best in trainer.checks(display):
                if display:
                    display.check(record, is_best)
        finally:
            if display:
                display.close()
        trainer.finish(display)
    return run


class Trainer:
    """The state of one training, and the loop.

    Every random choice follows from the seed and the step, or from torch's random state, which the checkpoint holds: an
    interrupted run that goes on from its checkpoint takes exactly the steps that it would have taken. Where several
    processes train together, all of them run this loop; only the leader of the team has a folder to write to.
    """

    def __init__(self, model: nn.Module, data: Data, settings: Settings, run: Run) -> None:
        self.data, self.settings, self.run, self.team = data, settings, run, Team.current()
        self.folder = run.folder if self.team.leads else None
        self.model = model.to(settings.device).train()
        self.loss = loss_function(model, data, settings.label_smoothing)
        self.plain = loss_function(model, data, label_smoothing=0.0)
        self.train, self.validation = self._part(data.train), self._part(data.validation)
        if run.folder is None or not (run.folder / CHECKPOINT).is_file():
            self._initialise()
        self.team.begin(model, settings.batch_size)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = deepcopy(model).eval()
        self.averaged, self.averaging = _floats(self.average), _floats(model)
        self.optimizer = make_optimizer(model, settings)
        self.goal = None if settings.goal is None else Goal.parse(settings.goal, data.task)
        self.metric = "accuracy" if data.task == "classification" else "rmse"
        self.objective: Objective | None = None
        if settings.optimizer in WHOLE_BATCH:
            given = (self.train.inputs, self.train.targets, self.loss, loss_kind(model, data))
            self.objective = Objective(FlatNet(model), *given)
        self.order = Order(len(data.train), settings.batch_size, settings.seed)
        self.steps_per_epoch = self.order.per_epoch
        self.steps = settings.epochs * self.steps_per_epoch
        self.check_steps = max(self.steps_per_epoch // settings.checks_per_epoch, min(self.steps, settings.check_steps))
        self.evidence = self._evidence()
        self.regulariser = Regulariser(model, settings, self.steps)
        self.compiled = compiled_steps(model, self.average, self.optimizer, settings, self.train, data)
        self.progress = Progress()
        self.best: dict[str, Tensor] = {}
        self.is_shared = False

    def _initialise(self) -> None:
        """Give the net its first weights, and note in the run what will keep it from learning."""
        inputs, targets, settings = self.train.inputs, self.train.targets, self.settings
        if settings.init != "auto":
            initialise(self.model, settings.init, inputs.float(), targets, loss=self.loss, seed=settings.seed)
        order = np.random.default_rng([settings.seed, 0]).permutation(len(self.train))
        first = torch.from_numpy(order[:START_SAMPLES]).to(inputs.device)
        start = check_start(self.model, (inputs[first].float(), targets[first]), loss=self.loss)
        self.run.description["start"] = list(start.findings)

    def checks(self, display: Display | None) -> Iterator[tuple[Record, bool]]:
        """Train to the end, the goal, or until patience is over; yield each check and whether it is the best one."""
        self._take_up()
        self._keep()
        saved = time.perf_counter()
        while not self.progress.stopped:
            record, scores = self._advance(min(self.progress.step + self.check_steps, self.steps), display)
            self._require_finite(record)
            is_best = self._judge(record, scores)
            self._write_check(record, is_best)
            if self.progress.stopped or time.perf_counter() - saved > CHECKPOINT_SECONDS:
                self._save()
                saved = time.perf_counter()
            if display and record.layers:
                display.tell(diagnose(self.run.records, self.evidence))
            yield record, is_best

    def _advance(self, stop: int, display: Display | None) -> tuple[Record, dict[str, float]]:
        """Take the steps up to `stop`, the last one under observation if it is due; then score the averaged weights."""
        first, started = self.progress.step, time.perf_counter()
        due = is_observed(self.progress.checks + 1) or stop == self.steps
        losses, errors = self._take(first, stop - due, display)
        with observe(self.model, due) as seen:
            if due:
                loss, wrong = self._step(first + len(losses))
                losses, errors = [*losses, loss], [*errors, wrong]
        stop = first + len(losses)  # less where a loss was no number
        self.regulariser.prune(weights_of(self.average), stop - 1)
        self.progress.step = stop
        self.progress.seconds += time.perf_counter() - started
        scores = evaluate(self.average, self.validation, self.plain, self.data, self._precision, self.team, self.loss)
        loss, deviation = mean_and_deviation(losses)
        record = Record(
            step=stop,
            epoch=stop / self.steps_per_epoch,
            seconds=self.progress.seconds,
            rate=rate_at(stop - 1, self.settings, self.steps_per_epoch),
            loss=loss,
            metric=metric(sum(errors), (stop - first) * self.settings.batch_size, self.data),
            validation_loss=scores.pop("objective"),
            validation_metric=scores[self.metric],
            layers=seen.layers(),
            loss_deviation=deviation,
        )
        return record, scores

    def _take(self, step: int, stop: int, display: Display | None) -> tuple[list[float], list[float]]:
        """Take the steps before `stop`, up to a loss that is no number. Returns their losses and their `error_sum`s."""
        losses: list[float] = []
        errors: list[float] = []
        while step < stop and all(map(math.isfinite, losses[-1:])):
            if self.compiled is not None and step > 0:  # torch makes the first one, and with it the rule's state
                more, wrong = self.compiled.take(step, self.order.batches(step, stop))
            else:
                more, wrong = ([number] for number in self._step(step))
            losses, errors, step = losses + more, errors + wrong, step + len(more)
            if display:
                display.advance(step, losses[-1], metric(errors[-1], self.settings.batch_size, self.data))
        return losses, errors

    def _step(self, step: int) -> tuple[float, float]:
        """One batch: forward, backward, update, average. Returns its loss and its `error_sum`."""
        if self.objective is not None:
            return self._whole_step(step, self.objective)
        chosen = self.team.share(self.order.batches(step, step + 1)[0]).to(self.train.inputs.device)
        self.team.reseed(self.settings.seed, step)
        inputs, targets = self.regulariser.disturb(self.train.inputs[chosen]), self.train.targets[chosen]
        rate = rate_at(step, self.settings, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.zero_grad()
        with self._precision(), self.team.whole_batch():
            outputs = self.model(inputs)
        loss = self.loss(outputs, targets)
        errors, share = error_sum(outputs, targets, self.data), chosen.shape[0] / self.settings.batch_size
        sums = self.team.backward(self.model, loss, errors, share)
        self.regulariser.pull()
        self.optimizer.step()
        self.regulariser.project(step)
        self._average(step)
        return sums

    def _whole_step(self, step: int, objective: Objective) -> tuple[float, float]:
        """One update by all samples, then a look at where it led: their loss, their `error_sum`, and gradients."""
        self.optimizer.step(objective)  # type: ignore[call-overload]  # these rules take more than a closure
        self.optimizer.zero_grad()
        loss_sum = errors = 0.0
        for inputs, targets, share in objective.blocks():
            outputs = self.model(inputs)
            loss = share * self.loss(outputs, targets)
            loss.backward()  # type: ignore[no-untyped-call]
            loss_sum, errors = loss_sum + loss.item(), errors + float(error_sum(outputs, targets, self.data))
        self._average(step)
        return loss_sum, errors

    @torch.no_grad()
    def _average(self, step: int) -> None:
        """Move the running average of weights and statistics."""
        torch._foreach_lerp_(self.averaged, self.averaging, averaging_at(step, self.settings))

    def _judge(self, record: Record, scores: dict[str, float]) -> bool:
        """Whether these are the best scores so far; notes why training stops, if it does."""
        sign = 1 if self.metric == "accuracy" else -1
        score = [sign * scores[self.metric], -record.validation_loss]
        is_settled = self.regulariser.is_settled
        is_best = not self.progress.best or score > self.progress.best or not is_settled(self.progress.best_step)
        if is_best:
            self.progress.best, self.progress.best_step = score, record.step
            self.best = {name: tensor.clone() for name, tensor in own_tensors(self.average).items()}
        self.progress.checks += 1
        if self.goal and is_settled(record.step) and self.goal.reached(scores, len(self.validation)):
            self.progress.stopped, self.progress.goal_seconds = "goal", record.seconds
        elif record.step == self.steps:
            self.progress.stopped = "epochs"
        elif record.step - self.progress.best_step > self.settings.patience * self.steps_per_epoch:
            self.progress.stopped = "patience"
        return is_best

    def _evidence(self) -> Evidence:
        """The facts of the run: those stored with it, or those of now, before its first step."""
        if stored := self.run.description.get("evidence"):
            return Evidence.from_json(stored)
        return gather(self.model, self.data, self.train, self.loss, self.settings, self.optimizer, self.steps)

    def _require_finite(self, record: Record) -> None:
        """Stop, and keep what tells why, once the loss is no number any more.

        Raises:
            DivergedError: it is not.
        """
        if math.isfinite(record.loss):
            return
        with self._precision():
            tensor = first_nonfinite(self.model, self.train.inputs[: self.settings.batch_size])
        self._write_check(record, is_best=False)
        self._keep(nonfinite=tensor, ended=True)
        rate = self.settings.lr
        remedy = "begin with other weights, by --init, or choose another --optimizer"
        if rate is not None:
            remedy = f"lower the learning rate, which was at most {rate:g}, with --lr"
        raise DivergedError(
            f"The training loss became {record.loss} before step {record.step} (epoch {record.epoch:.2f}), and the "
            f"first tensor that is not finite is {tensor}: {remedy}.",
            self.run,
        )

    def _keep(self, **facts: Any) -> None:
        """Store the facts of the run with it, and with them these further ones."""
        self.evidence = replace(self.evidence, **facts)
        self.run.description["evidence"] = self.evidence.to_json()
        if self.folder is not None:
            write_description(self.folder, self.run.description)

    def _write_check(self, record: Record, is_best: bool) -> None:
        self.run.records.append(record)
        if self.folder is not None:
            append_text(self.folder / RECORDS, to_lines([record]))
            if is_best:
                save(self.average, self.folder / WEIGHTS)

    def _save(self) -> None:
        if self.folder is not None:
            models = {"model": self.model, "average": self.average}
            save_checkpoint(self.folder / CHECKPOINT, models, self.optimizer, self.progress)

    def _take_up(self) -> None:
        """Go back to the last checkpoint, if there is one; records written after it are taken back."""
        if (folder := self.run.folder) is None:
            return
        if (folder / CHECKPOINT).is_file():
            models = {"model": self.model, "average": self.average}
            self.progress = load_checkpoint(folder / CHECKPOINT, models, self.optimizer)
            self.best = own_tensors(load(folder / WEIGHTS, deepcopy(self.average)))
            self.is_shared = is_shared(folder / WEIGHTS)
            self.run.records[:] = read_records(folder / RECORDS)[: self.progress.checks]
        if self.folder is not None:
            write_text(folder / RECORDS, to_lines(self.run.records))

    def finish(self, display: Display | None = None) -> None:
        """Fill the model with its best weights, score them on the test part, count, and write results and report."""
        fill(self.model.eval(), self.best, self.run.folder or Path("memory"))
        if self.settings.soft_sharing is not None:
            self._share(self.settings.soft_sharing, display)
        test = evaluate(self.model, self._part(self.data.test), self.plain, self.data, self._precision, self.team)
        self.run.census = census = count(deepcopy(self.model).cpu().float(), torch.zeros(1, *self.data.in_shape))
        self.run.description["results"] = {
            "epochs": self.progress.step / self.steps_per_epoch,
            "train_seconds": self.progress.seconds,
            "goal_seconds": self.progress.goal_seconds,
            "stopped": self.progress.stopped,
            "best_epoch": self.progress.best_step / self.steps_per_epoch,
            "test": test,
            "weights": census.weights,
            "connections": census.connections,
        }
        with self._precision():
            self._keep(recalls=recalls(self.model, self.validation, self.data), ended=True)
        if display:
            display.tell(diagnose(self.run.records, self.evidence))
        if self.folder is not None:
            from commonweight.measure.report import write_report  # only here: what draws takes long to load

            about, records = self.run.description, self.run.records
            report = self.folder / REPORT
            write_report(report, description=about, records=records, census=census, model=self.model, data=self.data)

    def _share(self, k: int, display: Display | None) -> None:
        """Go on with the best weights under soft sharing, each process by itself; done once, however interrupted."""
        if self.is_shared and self.run.folder is not None:
            open_shared(self.run.folder / WEIGHTS, self.model)
        else:
            epochs = None if self.objective is not None else self.settings.epochs
            say = display.say if display else None
            soft_share(self.model.cpu(), self.data, k, epochs=epochs, seed=self.settings.seed, say=say)
            self.model.eval().to(self.settings.device)
            if self.folder is not None:
                save_shared(self.model, self.folder / WEIGHTS)
        self.run.description[SHARED] = {"codebook": k, "per": "tensor", "ties": []}

    def _part(self, index: Tensor) -> Part:
        """A part of the data as the net takes it."""
        dtype = torch.bfloat16 if self.settings.precision == "bfloat16" else torch.float32
        return part_of(self.data, index, self.settings.device, dtype)

    def _precision(self) -> AbstractContextManager[object]:
        if self.settings.precision == "bfloat16":
            return torch.autocast(torch.device(self.settings.device).type, torch.bfloat16)
        return nullcontext()


def _floats(model: nn.Module) -> list[Tensor]:
    """The parameters and the floating-point buffers of a model, each once."""
    return [tensor for tensor in (*model.parameters(), *model.buffers()) if tensor.is_floating_point()]
