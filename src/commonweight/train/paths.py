"""The loss around a run, and the paths of training through weight space on it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight.data.dataset import Data
from commonweight.errors import TrainError
from commonweight.measure import surface
from commonweight.measure.figures.surface import Pictured
from commonweight.train.choice import WHOLE_BATCH
from commonweight.train.loop import Trainer
from commonweight.train.objective import loss_function, loss_kind
from commonweight.train.run import BY_RULE, SHARED, Run, build_net
from commonweight.train.settings import Settings, choose_settings

MARGIN = 0.15


def path(model: nn.Module, data: Data, settings: Settings) -> Tensor:
    """Train a network in place, as `fit` does, and write down where it has been: (checks + 1, P).

    The rows are the weights that the update rule moves, not their running average.

    Example:
        >>> from commonweight import data, nets
        >>> from commonweight.train.settings import choose_settings
        >>> iris = data.load("iris")
        >>> net = nets.build("mlp", iris.in_shape, iris.n_outputs, structure={"hidden": [5]})
        >>> kept = {"goal": None, "lr": None, "batch_size": None, "precision": "auto", "device": "cpu", "seed": 0}
        >>> path(net, iris, choose_settings(net, iris, epochs=8, optimizer="adam", **kept)).shape
        torch.Size([3, 43])
    """
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        trainer = Trainer(model, data, settings, Run(model, {}, [], None))
        rows = [surface.weight_row(model).cpu()]
        rows += [surface.weight_row(model).cpu() for _ in trainer.checks(None)]
    return torch.stack(rows)


def surface_of_run(run: Run, data: Data, side: int, samples: int) -> Pictured:
    """The loss of some training samples around the weights of a run, in two random directions."""
    directions = surface.random_directions(run.model)
    axis = torch.linspace(-1, 1, side)
    found = surface.surface(run.model, *_height(run.model, data, samples), directions, axis, axis)
    return Pictured("two random directions", "steps as long as each filter", found)


def surface_of_paths(
    run: Run, data: Data, rules: Sequence[str], side: int, samples: int, net: str | None = None
) -> Pictured:
    """The loss on the plane on which several update rules part most, and their paths from the start of the run.

    Each rule trains the net from the first weights of the run at its own default rate; rules that take batches, for as
    many epochs as the run and in the same order of samples, if the run took batches too.

    Raises:
        TrainError: a net that does not learn by gradients, one that was compressed, or no such rule.
    """
    if run.results.get("stopped") == BY_RULE or run.folder is None:
        raise TrainError(f"{run.name} was learned in one piece by a rule of its own: there is no path to draw.")
    if SHARED in run.description:
        raise TrainError(f"{run.folder} was compressed: no path leads from its start to codebooks; leave --paths out.")
    walked = {}
    for rule in rules:
        model = build_net(run.folder, run.description, net)
        walked[rule] = path(model, data, choose_settings(model, data, **_kept(run, rule)))
    centre = surface.weight_row(run.model)
    directions, shares = surface.path_directions(centre, list(walked.values()))
    drawn = {rule: surface.on_plane(rows, centre, directions) for rule, rows in walked.items()}
    points = torch.cat([*drawn.values(), torch.zeros(1, 2)])
    room = MARGIN * (points.amax(0) - points.amin(0))
    low, high = (points.amin(0) - room).tolist(), (points.amax(0) + room).tolist()
    along, up = (torch.linspace(start, stop, side) for start, stop in zip(low, high, strict=True))
    found = surface.surface(run.model, *_height(run.model, data, samples), directions, along, up, centre)
    return Pictured("the plane of the paths", f"it holds {sum(shares):.0%} of their squared distances", found, drawn)


def _kept(run: Run, rule: str) -> dict[str, Any]:
    """The settings of a run for another rule: rules that take all samples at each step have epochs of their own."""
    given = run.description["settings"]
    kept = {"seed": given["seed"], "goal": None, "lr": None, "precision": "float32", "device": "cpu", "optimizer": rule}
    kept["init"] = given.get("init", "auto")
    names = () if rule in WHOLE_BATCH or given["optimizer"] in WHOLE_BATCH else ("epochs", "batch_size")
    return kept | {name: given[name] if name in names else None for name in ("epochs", "batch_size")}


def _height(model: nn.Module, data: Data, samples: int) -> tuple[surface.Loss, Tensor, Tensor]:
    """The loss, without smoothing, and the samples, evenly from the training part."""
    chosen = data.train[torch.linspace(0, len(data.train) - 1, min(samples, len(data.train))).long()]
    targets = data.normalisation.apply_target(data.y[chosen])
    loss = F.cross_entropy if loss_kind(model, data) == "softmax" else loss_function(model, data, 0.0)
    return loss, data.normalisation.apply(data.x[chosen]), targets
