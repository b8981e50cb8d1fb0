"""Map: a self-organising map that unfolds over its data, and which sample lands where."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from commonweight import data
from commonweight.lab.curves import Curves
from commonweight.lab.frames import Frame
from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions.mapping_code import program
from commonweight.lab.settings import changed, choice, index_of, real, whole
from commonweight.nets.som import Grid, SelfOrganisingMap
from commonweight.nets.som_learning import learn_batch, learn_online, principal_start, shrinking

SETS = ("digits", "iris", "spirals", "moons", "circles", "xor")
FINAL_RADIUS = 0.5
ONLINE_SAMPLES = 64
"""Samples that the online rule takes in one step of the view."""


@dataclass(frozen=True)
class MapSettings:
    """What can be set.

    Attributes:
        data: a set by name; the map never sees its labels.
        rows, columns, grid: of the units, squares or hexagons.
        edges: whether the grid ends at its edges, or goes on at the other side, as a torus.
        start: the first weights, at random around the mean or spread along the principal components.
        learning: all samples at once, or one after the other.
        radius: of the neighbourhood at first; at last it is 0.5.
        rate: of the online rule at first; at last it is a hundredth of that.
        passes: over the samples.
        seed: of the split, the first weights and the order of samples.
        unit, sample: what is looked at.
        feature: of the component plane; -1 for that in which samples differ most.
    """

    data: str = choice("digits", SETS)
    rows: int = whole(12, 2, 24)
    columns: int = whole(12, 2, 24)
    grid: str = choice("hexagons", ("hexagons", "squares"))
    edges: str = choice("planar", ("planar", "torus"))
    start: str = choice("random", ("random", "components"))
    learning: str = choice("batch", ("batch", "online"))
    radius: int = whole(5, 1, 12)
    rate: float = real(0.5, 0.001, 1.0)
    passes: int = whole(60, 1, 200)
    seed: int = whole(0, 0, 9999)
    unit: int = whole(0, 0, 24 * 24 - 1)
    sample: int = whole(0, 0, 9999)
    feature: int = whole(-1, -1, 9999)


FIRST_LOOK: dict[str, Any] = {"unit": 0, "sample": 0, "feature": -1}


class MapSession:
    """A map, the unit that is looked at, and the sample whose place is shown."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.settings = MapSettings()
        self._restart()

    def change(self, given: Mapping[str, Any]) -> None:
        """Take new settings, and begin anew if any differs that is not about what is looked at."""
        old, new = self.settings, changed(self.settings, given)
        if new.grid == "hexagons" and new.edges == "torus" and new.rows % 2:
            raise RefusalError("odd_torus", rows=new.rows)
        if new.data != old.data:
            new = replace(new, **{name: given.get(name, default) for name, default in FIRST_LOOK.items()})
        self.settings = new
        if replace(new, **FIRST_LOOK) != replace(old, **FIRST_LOOK):
            self._restart()
        self._look_at(new.unit, new.sample, new.feature)

    def act(self, action: str, given: Mapping[str, Any]) -> None:
        """`restart`; `unit`, `sample` and `feature` choose what is shown."""
        if action == "restart":
            self._restart()
        elif action == "unit":
            self.settings = replace(self.settings, unit=index_of(given, "unit", self.net.grid.units))
        elif action == "sample":
            self.settings = replace(self.settings, sample=index_of(given, "sample", len(self.tests)))
        elif action == "feature":
            self.settings = replace(self.settings, feature=index_of(given, "feature", self.x.shape[1]))
        else:
            raise RefusalError("no_action", actions="restart, unit, sample, feature", got=quoted(action))

    def facts(self) -> dict[str, Any]:
        """What the data are, and how many steps there are to go."""
        return {
            "classes": list(self.data.classes),
            "features": list(self.data.features) or None,
            "image": list(self.data.x.shape[2:]) if self.data.x.ndim > 2 else None,
            "samples": len(self.x),
            "test_samples": len(self.tests),
            "steps": self.steps,
        }

    def code(self) -> str:
        """The program of these settings, from the start."""
        return program(self.settings, self.step or self.steps, ONLINE_SAMPLES, FINAL_RADIUS)

    def advance(self) -> bool:
        """One pass of the batch rule, or some samples by the online rule; False when the radius has shrunk."""
        if self.step >= self.steps:
            return False
        weight, grid = self.net.weight, self.net.grid
        if self.settings.learning == "batch":
            weight.data = learn_batch(weight.data, self.x, grid, [self.radii[self.step]])
        else:
            some = slice(self.step * ONLINE_SAMPLES, (self.step + 1) * ONLINE_SAMPLES)
            radii = torch.tensor(self.radii[some])
            weight.data = learn_online(weight.data, self.x[self.order[some]], grid, radii, self.rates[some])
        self.step += 1
        if self.curves.due(self.step):
            self.curves.add(self.step, self._errors())
        return self.step < self.steps

    def structure(self) -> Frame:
        """Where units are on the grid, which touch, and where the samples are in the plane of their components."""
        grid = self.net.grid
        near = grid.squared_distances(torch.arange(grid.units)) < 1.1
        edges = torch.triu(near & grid.neighbours()).nonzero()
        arrays = {"positions": grid.positions(), "edges": edges, "points": self._flat(self.x), "labels": self.labels}
        return Frame("structure", self.step, {}, {name: array.numpy() for name, array in arrays.items()})

    def live(self) -> Frame:
        """The weights, in the plane and as maps, and what each unit wins."""
        net, grid = self.net, self.net.grid
        won = net.winners(self.x)
        classes = len(self.data.classes)
        votes = torch.bincount(won * classes + self.labels, minlength=grid.units * classes).reshape(-1, classes)
        unit, sample = self.settings.unit, self.settings.sample
        test = self.tests[sample : sample + 1]
        squared = net.squared_distances(test).detach()
        winner = int(squared.argmin())
        error, topographic = self._errors()
        values = {
            "unit": unit,
            "sample": sample,
            "feature": self.feature,
            "winner": winner,
            "distance": float(squared[0, winner].sqrt()),
            "label": int(self.test_labels[sample]),
            "error": error,
            "topographic": topographic,
            "radius": self.radii[max(min(self._reached(), len(self.radii)) - 1, 0)],
        }
        arrays = {
            "u_matrix": net.u_matrix(),
            "votes": votes,
            "plane": net.component_planes()[self.feature],
            "units": self._flat(net.weight.detach()),
            "sheet": net.weight.detach() if self.data.x.ndim > 2 else torch.zeros(0),
            "chosen": net.weight.detach()[unit],
            "nearest": net.weight.detach()[winner],
            "test": test[0],
            "place": self._flat(test),
            "curves": torch.from_numpy(self.curves.table()),
        }
        return Frame("live", self.step, values, {name: array.numpy() for name, array in arrays.items()})

    @property
    def feature(self) -> int:
        """Of the component plane."""
        chosen = self.settings.feature
        return chosen if chosen >= 0 else int(self.x.var(0).argmax())

    def _reached(self) -> int:
        return self.step * (1 if self.settings.learning == "batch" else ONLINE_SAMPLES)

    def _errors(self) -> list[float]:
        return [self.net.quantisation_error(self.x), self.net.topographic_error(self.x)]

    def _flat(self, rows: Tensor) -> Tensor:
        """Rows of shape (N, F) in the plane: as they are, or by the two principal components of the samples."""
        return rows if rows.shape[1] == 2 else (rows - self.x.mean(0)) @ self.axes

    def _restart(self) -> None:
        """The first weights of the seed, and how radius and rate will fall."""
        settings = self.settings
        self.data = data.load(settings.data, seed=settings.seed)
        self.x, self.labels = self.data.x[self.data.train].flatten(1), self.data.y[self.data.train]
        self.tests, self.test_labels = self.data.x[self.data.test].flatten(1), self.data.y[self.data.test]
        self.axes = torch.linalg.svd(self.x - self.x.mean(0), full_matrices=False).Vh[:2].T
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.net = SelfOrganisingMap(
                self.x.shape[1:],
                len(self.data.classes),
                rows=settings.rows,
                columns=settings.columns,
                hexagonal=settings.grid == "hexagons",
                torus=settings.edges == "torus",
            )
        self.net.weight.data = self._first(self.net.grid)
        self._plan()
        self.step, self.curves = 0, Curves(2, 1)
        self.curves.add(0, self._errors())

    def _look_at(self, unit: int, sample: int, feature: int) -> None:
        """Show these, or the last ones where there are fewer."""
        unit, sample = min(unit, self.net.grid.units - 1), min(sample, len(self.tests) - 1)
        self.settings = replace(self.settings, unit=unit, sample=sample, feature=min(feature, self.x.shape[1] - 1))

    def _first(self, grid: Grid) -> Tensor:
        if self.settings.start == "components":
            return principal_start(self.x, grid, self.settings.seed)
        return self.x.mean(0) + 0.3 * self.x.std(0) * self.net.weight.data

    def _plan(self) -> None:
        settings = self.settings
        if settings.learning == "batch":
            self.steps = settings.passes
            self.radii = shrinking(settings.radius, FINAL_RADIUS, self.steps)
            return
        generator = torch.Generator().manual_seed(settings.seed)
        orders = [torch.randperm(len(self.x), generator=generator) for _ in range(settings.passes)]
        self.order = torch.cat(orders)
        self.steps = -(-len(self.order) // ONLINE_SAMPLES)
        self.radii = shrinking(settings.radius, FINAL_RADIUS, len(self.order))
        self.rates = torch.tensor(shrinking(settings.rate, settings.rate / 100, len(self.order)))


SESSION = MapSession
