"""Share: a layer with a pattern beside the same net without sharing, on the same batches.

It shows who uses a weight, and how each of its users pulls at it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from commonweight import data
from commonweight.errors import LabError
from commonweight.lab.curves import Curves
from commonweight.lab.frames import Frame
from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions.rules import make_optimizer
from commonweight.lab.sessions.share_code import program
from commonweight.lab.sessions.share_graphs import graphs
from commonweight.lab.sessions.share_net import (
    CANVAS,
    MARGIN,
    OBJECT,
    UNITS,
    ShareNet,
    ShareSettings,
    make_pattern,
    place,
    untied,
)
from commonweight.lab.settings import changed, index_of

PLACES = CANVAS - OBJECT + 1
MOST_USERS = 2048
"""Users of a weight that are told one by one; of more, those that pull hardest."""

CHECK_STEPS = 10
RESTARTING = {"maps", "head", "seed"}
OPTIMISING = {"rule", "rate"}
LOOKING = {"map", "out", "inp", "sample"}


class ShareSession:
    """The tied net and its untied control.

    When only the pattern changes, training goes on: the new weights are those whose matrix is nearest to the old one.
    """

    def __init__(self, folder: Path, subject: str) -> None:
        self.settings = ShareSettings()
        self.weight = -1
        self._restart()

    def change(self, given: Mapping[str, Any]) -> None:
        """Take new settings; those that decide the start begin anew."""
        new = changed(self.settings, given)
        differing = {name for name in given if getattr(new, name) != getattr(self.settings, name)}
        self.settings = new
        learning = differing - LOOKING
        if learning:
            if learning & RESTARTING or self.step == 0:
                self._restart()
            elif learning <= OPTIMISING:
                self._optimise()
            elif learning != {"batch"}:
                self._switch()
            self._gradient()
        self.settings = replace(self.settings, sample=min(new.sample, len(self.test) - 1))
        if differing & {"map", "out", "inp"}:
            self._look_at(new.map, (new.out, new.inp))

    def act(self, action: str, given: Mapping[str, Any]) -> None:
        """`restart`; `map`, `weight`, `connection` (out, inp) and `sample` choose what is shown."""
        tied = self.nets[0]
        if action == "restart":
            self._restart()
        elif action == "map":
            self._look_at(index_of(given, "map", self.settings.maps), (-1, -1))
        elif action == "weight":
            users = tied.tiemap.users(index_of(given, "weight", tied.tiemap.n_weights))
            here = users[users[:, 0] // UNITS == self.settings.map]
            row = (here if len(here) else users)[len(here if len(here) else users) // 2]
            self._look_at(int(row[0]) // UNITS, (int(row[0]), int(row[1])))
        elif action == "connection":
            self._choose((index_of(given, "out", tied.tiemap.n_out), index_of(given, "inp", UNITS)))
        elif action == "sample":
            self.settings = replace(self.settings, sample=index_of(given, "sample", len(self.test)))
        else:
            raise RefusalError("no_action", actions="restart, map, weight, connection, sample", got=quoted(action))

    def facts(self) -> dict[str, Any]:
        """The ladder of both nets, and what can be chosen."""
        pattern = self.nets[0].layer.pattern
        uses = self.nets[0].tiemap.uses
        return {
            "notation": repr(pattern),
            "full": pattern.n_full,
            "connections": pattern.n_connections,
            "weights": pattern.n_weights,
            "control_weights": self.nets[1].layer.pattern.n_weights,
            "uses": [int(uses.min()), int(uses.max())],
            "canvas": CANVAS,
            "margin": MARGIN,
            "test_samples": len(self.data.test),
            "batches_per_epoch": self.batches,
            "graphs": graphs(),
        }

    def code(self) -> str:
        """The program of these settings, from the start."""
        return program(self.settings, repr(self.nets[0].layer.pattern), self.step or 200)

    def advance(self) -> bool:
        """One batch for both nets."""
        self._gradient()
        before = self.nets[0].layer.weight.detach().clone()
        for optimizer in self.optimizers:
            optimizer.step()
        self.moved = (self.nets[0].layer.weight.detach() - before).flatten()
        self.step += 1
        if self.curves.due(self.step):
            self._check()
        return True

    def structure(self) -> Frame:
        """Which weight each connection of the chosen map uses: (144, 144), -1 for no connection."""
        if self.shifted_at != self.step:  # training rests: let the test of shifted images catch up
            self._shift(PLACES**2)
        tiemap = self.nets[0].tiemap
        index = np.full(tiemap.n_full, -1.0, dtype=np.float32)
        index[tiemap.cells] = tiemap.weight
        arrays = {"index": index.reshape(-1, UNITS)[self._rows]}
        return Frame("structure", self.step, {"map": self.settings.map}, arrays)

    def live(self) -> Frame:
        """Weights, users and what they ask for, answers, curves and the test of shifted images."""
        self._shift(1)
        sample = self.settings.sample
        rows = self._rows
        tied, control = self.nets
        values, users, asks, by_place = self._users()
        with torch.no_grad():
            image = self.test[sample : sample + 1]
            answers = torch.cat([net(image).softmax(1) for net in self.nets])
            maps = torch.cat([net.sums[:, rows] for net in self.nets])
        values |= {"map": self.settings.map, "sample": sample, "label": int(self.test_labels[sample])}
        values |= {"losses": self.losses, "accuracies": self.accuracies}
        arrays = {
            "matrix": tied.matrix()[rows],
            "control": control.matrix()[rows],
            "users": users,
            "asks": asks,
            "by_place": by_place,
            "image": image.flatten(),
            "maps": maps,
            "answers": answers,
            "curves": self.curves.table(),
            "shift": self.shifted,
        }
        return Frame("live", self.step, values, {name: np.asarray(array) for name, array in arrays.items()})

    def _users(self) -> tuple[dict[str, Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
        """What each user of the chosen weight adds to its gradient: facts, users (out, inp), and what they ask for."""
        tied, control = self.nets
        tiemap = tied.tiemap
        chosen = np.flatnonzero(tiemap.weight == self.weight)
        out, inp = tiemap.out[chosen], tiemap.inp[chosen]
        each = self.gradients[0].numpy()[out, inp] * tiemap.signs[chosen]
        by_place = np.bincount(out, each, tiemap.n_out)[self._rows]
        shown = np.arange(len(chosen))
        if len(shown) > MOST_USERS:
            shown = np.sort(np.argsort(-np.abs(each), kind="stable")[:MOST_USERS])
        gradient = tied.layer.weight.grad
        values = {
            "weight": self.weight,
            "anchor": list(self.anchor),
            "value": float(tied.layer.weight.detach().flatten()[self.weight]),
            "n_users": len(chosen),
            "sum": float(each.sum()),
            "gradient": 0.0 if gradient is None else float(gradient.flatten()[self.weight]),
            "moved": float(self.moved[self.weight]),
            "control_value": float(control.matrix()[self.anchor]),
            "control_gradient": float(self.gradients[1][self.anchor]),
        }
        return values, np.stack([out[shown], inp[shown]], 1), each[shown], by_place

    def _restart(self) -> None:
        """The first weights of the seed, for both nets."""
        settings = self.settings
        self.data = data.load("digits", seed=settings.seed)
        self.train, self.labels = place(self.data.x[self.data.train]), self.data.y[self.data.train]
        self.test, self.test_labels = place(self.data.x[self.data.test]), self.data.y[self.data.test]
        self.validation = place(self.data.x[self.data.validation])
        self.batches = len(self.train) // settings.batch
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            tied = self._first()
            self.nets = (tied, tied.with_pattern(untied(tied.layer.pattern, settings)))
        self.step, self.curves = 0, Curves(4, CHECK_STEPS)
        self._optimise()
        self._renew()
        self._check()

    def _first(self) -> ShareNet:
        settings = self.settings
        if settings.pattern != "codebook":
            return ShareNet(make_pattern(settings), settings.maps, settings.head)
        dense = ShareNet(make_pattern(replace(settings, pattern="dense")), settings.maps, settings.head)
        return dense.with_pattern(make_pattern(settings, dense.matrix()))

    def _switch(self) -> None:
        """Other ties at the present weights."""
        pattern = make_pattern(self.settings, self.nets[0].matrix())
        tied, control = self.nets
        self.nets = (tied.with_pattern(pattern), control.with_pattern(untied(pattern, self.settings)))
        self._optimise()
        self._renew()

    def _optimise(self) -> None:
        self.optimizers = [make_optimizer(net, self.settings.rule, self.settings.rate) for net in self.nets]

    def _renew(self) -> None:
        """What is known of nets that are new."""
        self.moved = torch.zeros(self.nets[0].tiemap.n_weights)
        self.shifted = np.zeros((2, PLACES, PLACES), dtype=np.float32)
        self.next_place = 0
        self._shift(PLACES**2)
        self._gradient()
        self._look_at(self.settings.map, self.anchor)

    @property
    def _rows(self) -> slice:
        """The output units of the map that is looked at."""
        first = self.settings.map * UNITS
        return slice(first, first + UNITS)

    @property
    def anchor(self) -> tuple[int, int]:
        """The connection whose weight is looked at."""
        return self.settings.out, self.settings.inp

    def _look_at(self, number: int, connection: tuple[int, int]) -> None:
        """Show a map, or the last one where there are fewer, and a connection, or the liveliest where there is none."""
        self.settings = replace(self.settings, map=min(number, self.settings.maps - 1))
        try:
            self._choose(connection)
        except LabError:
            self._choose(self._liveliest())

    def _liveliest(self) -> tuple[int, int]:
        """The connection of the chosen map that asks for the largest change."""
        tiemap = self.nets[0].tiemap
        of_map = np.flatnonzero(tiemap.out // UNITS == self.settings.map)
        out, inp = tiemap.out[of_map], tiemap.inp[of_map]
        most = int(np.abs(self.gradients[0].numpy()[out, inp]).argmax())
        return int(out[most]), int(inp[most])

    def _choose(self, connection: tuple[int, int]) -> None:
        """Choose the weight that a connection uses.

        Raises:
            LabError: there is no such connection.
        """
        tiemap, (out, inp) = self.nets[0].tiemap, connection
        found = np.flatnonzero((tiemap.out == out) & (tiemap.inp == inp))
        if not len(found):
            raise RefusalError("no_connection", inp=inp, out=out)
        self.weight = int(tiemap.weight[found[0]])
        self.settings = replace(self.settings, out=out, inp=inp)

    def _batch(self) -> tuple[Tensor, Tensor]:
        epoch, batch = divmod(self.step, self.batches)
        order = np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.train))
        chosen = torch.from_numpy(order[batch * self.settings.batch :][: self.settings.batch])
        return self.train[chosen], self.labels[chosen]

    def _gradient(self) -> None:
        """The gradients of the batch that comes next, for both nets, and what each connection would ask for alone."""
        self.batches = len(self.train) // self.settings.batch
        x, y = self._batch()
        self.losses, self.gradients = [], []
        for net, optimizer in zip(self.nets, self.optimizers, strict=True):
            optimizer.zero_grad()
            logits = net(x)
            net.sums.retain_grad()
            loss = F.cross_entropy(logits, y)
            torch.autograd.backward(loss)
            self.losses.append(float(loss.detach()))
            assert net.sums.grad is not None
            self.gradients.append(net.sums.grad.T @ x.flatten(1))

    @torch.no_grad()
    def _check(self) -> None:
        """The loss of the last batch and the validation accuracy of both nets, as a point of the curves."""
        truth = self.data.y[self.data.validation]
        self.accuracies = [float((net(self.validation).argmax(1) == truth).float().mean()) for net in self.nets]
        self.curves.add(self.step, [*self.losses, *self.accuracies])

    @torch.no_grad()
    def _shift(self, places: int) -> None:
        """Test accuracy with the digit at so many further places; the round goes on with the next call."""
        images = self.data.x[self.data.test]
        for _ in range(places):
            down, right = divmod(self.next_place, PLACES)
            moved = place(images, down, right)
            for which, net in enumerate(self.nets):
                right_answers = net(moved).argmax(1) == self.test_labels
                self.shifted[which, down, right] = float(right_answers.float().mean())
            self.next_place = (self.next_place + 1) % PLACES**2
        if places == PLACES**2:
            self.shifted_at = self.step


SESSION = ShareSession
