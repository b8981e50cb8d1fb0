"""Descend: update rules race down the same loss surface, from the same start, by the same batches."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from commonweight.lab.curves import Curves
from commonweight.lab.frames import Frame
from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions.descend_code import program
from commonweight.lab.sessions.descend_problems import FAR, PROBLEMS, RULES, TwoWeights
from commonweight.lab.sessions.rules import make_optimizer
from commonweight.lab.settings import changed, choice, real, whole
from commonweight.measure.surface import surface

SIDE = 81
RETAKEN = 100
"""Steps, at most, that are taken again when a slider moves: the paths bend under it, and it stays fast."""


@dataclass(frozen=True)
class DescendSettings:
    """What can be set.

    Attributes:
        problem: whose loss it is.
        rate: of all rules.
        momentum: of momentum and Nesterov's, and the first β of Adam.
        batch: samples of a step; all of them where there are not as many.
        start_a, start_b: where all begin, from -1 to 1 across the surface.
        seed: of the split and the order of samples.
    """

    problem: str = choice("line", tuple(PROBLEMS))
    rate: float = real(0.02, 1e-4, 10.0)
    momentum: float = real(0.9, 0.0, 0.99)
    batch: int = whole(16, 1, 1000)
    start_a: float = real(-0.7, -1.0, 1.0)
    start_b: float = real(0.7, -1.0, 1.0)
    seed: int = whole(0, 0, 9999)


class DescendSession:
    """The surface, and a net of two weights for each rule."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.settings = DescendSettings()
        self._see()
        self._restart()

    def change(self, given: Mapping[str, Any]) -> None:
        """Take new settings and begin anew if any differs; under a slider the last steps are taken again at once."""
        new = changed(self.settings, given)
        old, self.settings = self.settings, new
        if new == old:
            return
        steps = min(self.step, RETAKEN)
        if (new.problem, new.seed) != (old.problem, old.seed):
            self._see()
        self._restart()
        if replace(old, rate=new.rate, momentum=new.momentum, batch=new.batch) == new:
            for _ in range(steps):
                self.advance()

    def act(self, action: str, given: Mapping[str, Any]) -> None:
        """`restart` goes back to the start."""
        if action != "restart":
            raise RefusalError("no_action", actions="restart", got=quoted(action))
        self._restart()

    def facts(self) -> dict[str, Any]:
        """The problem, the part of the plane that is shown, and the rules."""
        problem = PROBLEMS[self.settings.problem]
        return {
            "rules": list(RULES),
            "answer": problem.written,
            "middle": list(problem.middle),
            "reach": list(problem.reach),
            "samples": len(self.x),
            "side": SIDE,
        }

    def code(self) -> str:
        """The program of these settings, from the start."""
        return program(self.settings, self._start(), self.step or 100)

    def advance(self) -> bool:
        """One step of every rule that has not diverged."""
        batch = min(self.settings.batch, len(self.x))
        batches = len(self.x) // batch
        order = np.random.default_rng([self.settings.seed, self.step // batches]).permutation(len(self.x))
        chosen = order[self.step % batches * batch :][:batch]
        for place, (net, optimizer) in enumerate(zip(self.nets, self.optimizers, strict=True)):
            if self.diverged[place]:
                continue
            optimizer.zero_grad()
            torch.autograd.backward(F.mse_loss(net(self.x[chosen]), self.y[chosen]))
            optimizer.step()
            self.diverged[place] = self._is_far(net.weight)
        self.step += 1
        if self.paths.due(self.step):
            self._note()
        return not all(self.diverged)

    def structure(self) -> Frame:
        """The loss over the plane."""
        arrays = {"surface": self.surface.loss, "along": self.surface.along, "up": self.surface.up}
        numbers = {name: array.numpy() for name, array in arrays.items()}
        return Frame("structure", self.step, {"lowest": float(self.surface.loss.min())}, numbers)

    def live(self) -> Frame:
        """Where each rule is, on which path it came, and its loss over all samples."""
        places = torch.stack([net.weight.detach() for net in self.nets]).numpy()
        table = self.paths.table()
        values = {"losses": self._losses(), "diverged": [int(gone) for gone in self.diverged]}
        arrays = {
            "places": places,
            "paths": table[:, 1:].reshape(len(table), len(RULES), 2).transpose(1, 0, 2),
            "curves": self.curves.table(),
        }
        return Frame("live", self.step, values, arrays)

    def _is_far(self, weight: Tensor) -> bool:
        problem = PROBLEMS[self.settings.problem]
        away = (weight.detach() - torch.tensor(problem.middle)).abs() / torch.tensor(problem.reach)
        return not bool((away < FAR).all())

    @torch.no_grad()
    def _losses(self) -> list[float]:
        return [float(F.mse_loss(net(self.x), self.y)) for net in self.nets]

    def _note(self) -> None:
        self.paths.add(self.step, [float(value) for net in self.nets for value in net.weight.detach()])
        self.curves.add(self.step, self._losses())

    def _see(self) -> None:
        """The samples of the problem, and its loss over the plane."""
        problem = PROBLEMS[self.settings.problem]
        self.x, self.y = problem.samples(self.settings.seed)
        net = TwoWeights(problem, problem.middle)
        along, up = (torch.linspace(-reach, reach, SIDE) for reach in problem.reach)
        self.surface = surface(net, F.mse_loss, self.x, self.y, torch.eye(2), along, up)

    def _start(self) -> tuple[float, float]:
        """a and b at the start, to four places."""
        problem, shares = PROBLEMS[self.settings.problem], (self.settings.start_a, self.settings.start_b)
        a, b = (
            round(middle + share * reach, 4)
            for middle, share, reach in zip(problem.middle, shares, problem.reach, strict=True)
        )
        return a, b

    def _restart(self) -> None:
        settings = self.settings
        self.nets = [TwoWeights(PROBLEMS[settings.problem], self._start()) for _ in RULES]
        self.optimizers = [
            make_optimizer(net, rule, settings.rate, settings.momentum)
            for rule, net in zip(RULES, self.nets, strict=True)
        ]
        self.diverged = [False] * len(RULES)
        self.step, self.paths, self.curves = 0, Curves(2 * len(RULES), 1), Curves(len(RULES), 1)
        self._note()


SESSION = DescendSession
