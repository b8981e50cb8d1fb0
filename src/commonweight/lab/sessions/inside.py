"""Look inside: one digit on its way through a small convolutional net, with the arithmetic of every value."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from commonweight import data
from commonweight.lab.curves import Curves
from commonweight.lab.frames import Frame
from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions.inside_code import program
from commonweight.lab.sessions.inside_net import SIDE, STAGES, InsideSettings, arithmetic, make_net, out_size, stages
from commonweight.lab.sessions.rules import make_optimizer
from commonweight.lab.settings import changed, index_of

CHECK_STEPS = 10
GOING_ON = {"drawing", "batch", "rule", "rate", "sample", "stage", "map", "row", "column"}
_DRAWING = re.compile(f"d[0-9a-f]{{{SIDE * SIDE}}}")


class InsideSession:
    """The net, the image that is shown to it, and the value that is looked at."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.settings = InsideSettings()
        self._load()
        self._restart()

    def change(self, given: Mapping[str, Any]) -> None:
        """Take new settings; those in `GOING_ON` leave the weights as they are."""
        new = changed(self.settings, given)
        if new.drawing and not _DRAWING.fullmatch(new.drawing):
            raise RefusalError("no_drawing", pixels=SIDE * SIDE, got=quoted(new.drawing, 20))
        old, self.settings = self.settings, new
        differing = {name for name in given if getattr(new, name) != getattr(old, name)}
        if "seed" in differing:
            self._load()
        self.settings = replace(new, sample=min(new.sample, len(self.tests) - 1))
        if differing - GOING_ON:
            self._restart()
        elif differing & {"rule", "rate"}:
            self.optimizer = make_optimizer(self.net, new.rule, new.rate)
        self._look_at(new.stage, new.map, new.row, new.column)

    def act(self, action: str, given: Mapping[str, Any]) -> None:
        """`restart`; `sample` shows a test sample; `choose` a value by stage, map, row and column."""
        if action == "restart":
            self._restart()
        elif action == "sample":
            self.settings = replace(self.settings, sample=index_of(given, "sample", len(self.tests)), drawing="")
        elif action == "choose":
            stage = index_of(given, "stage", len(STAGES))
            sizes = zip(("map", "row", "column"), self._shape(stage), strict=True)
            self._look_at(stage, *(index_of(given, name, size) for name, size in sizes))
        else:
            raise RefusalError("no_action", actions="restart, sample, choose", got=quoted(action))

    def image(self) -> Tensor:
        """What is shown to the net: (1, 1, 14, 14), from 0 to 1."""
        drawing = self.settings.drawing
        if not drawing:
            return self.tests[self.settings.sample : self.settings.sample + 1]
        levels = [int(letter, 16) / 15 for letter in drawing[1:]]
        return torch.tensor(levels).reshape(1, 1, SIDE, SIDE)

    def facts(self) -> dict[str, Any]:
        """The sizes from layer to layer, and how many weights there are."""
        settings = self.settings
        first = out_size(SIDE, settings.kernel, settings.stride, settings.padding)
        pooled = out_size(first, 2, 2, 0)
        layers = [
            {"in": SIDE, "kernel": settings.kernel, "stride": settings.stride, "padding": settings.padding},
            {"in": first, "kernel": 2, "stride": 2, "padding": 0},
            {"in": pooled, "kernel": 3, "stride": 1, "padding": 1},
        ]
        for layer in layers:
            layer["out"] = out_size(*(layer[name] for name in ("in", "kernel", "stride", "padding")))
        return {
            "layers": layers,
            "stages": list(STAGES),
            "weights": sum(weight.numel() for weight in self.net.parameters()),
            "test_samples": len(self.tests),
            "drawn": bool(settings.drawing),
        }

    def code(self) -> str:
        """The program of these settings, from the start."""
        return program(self.settings, self.step)

    def advance(self) -> bool:
        """One batch."""
        settings, x, y = self.settings, self.train, self.labels
        batches = len(x) // settings.batch
        order = np.random.default_rng([settings.seed, self.step // batches]).permutation(len(x))
        chosen = order[self.step % batches * settings.batch :][: settings.batch]
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.net(x[chosen]), y[chosen])
        torch.autograd.backward(loss)
        self.optimizer.step()
        self.step += 1
        if self.curves.due(self.step):
            self.curves.add(self.step, [float(loss.detach()), self._accuracy()])
        return True

    def structure(self) -> Frame | None:
        """All changes with each step."""
        return None

    def live(self) -> Frame:
        """The maps of all stages, both poolings of the chosen map, and the arithmetic of the chosen value."""
        image = self.image()
        found = stages(self.net, image)
        stage, number, row, column = self.chosen
        sums = arithmetic(self.net, self.settings, image, self.chosen)
        shown = torch.relu(found["first"])[number if stage in ("first", "pooled") else 0]
        table = self.curves.table()
        values = {
            "chosen": [self.settings.stage, number, row, column],
            "value": float(found[stage][number, row, column]),
            "bias": sums.bias,
            "origin": [sums.first_map, sums.top, sums.left],
            "sample": self.settings.sample,
            "label": -1 if self.settings.drawing else int(self.test_labels[self.settings.sample]),
            "accuracy": float(table[-1, 2]),
            "loss": float(table[-1, 1]),
        }
        arrays = {name: maps.numpy() for name, maps in found.items()}
        arrays |= {
            "image": image[0, 0].numpy(),
            "probabilities": found["classes"].flatten().softmax(0).numpy(),
            "seen": sums.values,
            "weights": sums.weights,
            "unpooled": shown.numpy(),
            "largest": F.max_pool2d(shown[None], 2)[0].numpy(),
            "mean": F.avg_pool2d(shown[None], 2)[0].numpy(),
            "curves": table,
        }
        return Frame("live", self.step, values, arrays)

    @torch.no_grad()
    def _accuracy(self) -> float:
        return float((self.net(self.validation).argmax(1) == self.validation_labels).float().mean())

    def _load(self) -> None:
        found = data.load("mnist-5k", seed=self.settings.seed)
        x = F.avg_pool2d(found.x, 2)
        self.train, self.labels = x[found.train], found.y[found.train]
        self.validation, self.validation_labels = x[found.validation], found.y[found.validation]
        self.tests, self.test_labels = x[found.test], found.y[found.test]

    def _restart(self) -> None:
        """The first weights of the seed."""
        settings = self.settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.net = make_net(settings)
        self.optimizer = make_optimizer(self.net, settings.rule, settings.rate)
        self.step, self.curves = 0, Curves(2, CHECK_STEPS)
        with torch.no_grad():
            loss = F.cross_entropy(self.net(self.validation), self.validation_labels)
        self.curves.add(0, [float(loss), self._accuracy()])

    @property
    def chosen(self) -> tuple[str, int, int, int]:
        """The value that is looked at: its stage, map, row and column."""
        settings = self.settings
        return STAGES[settings.stage], settings.map, settings.row, settings.column

    def _shape(self, stage: int) -> torch.Size:
        return stages(self.net, self.image())[STAGES[stage]].shape

    def _look_at(self, stage: int, *at: int) -> None:
        """Show this value, or the last ones where there are fewer maps, rows or columns."""
        number, row, column = (min(place, size - 1) for place, size in zip(at, self._shape(stage), strict=True))
        self.settings = replace(self.settings, stage=stage, map=number, row=row, column=column)


SESSION = InsideSession
