"""What the view Play shows of a network: arrays, computed anew for each frame from one pass through its layers."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.measure.space import principal_plane

BOUNDARY, PICTURE, LATTICE = 48, 20, 13
"""Points along a side of the decision regions, of a unit's picture, and of the lattice that shows how space is bent."""

REGIONS, PICTURES, BENT = BOUNDARY**2, PICTURE**2, LATTICE**2

MOST_UNITS = 16
"""Units of a layer that are drawn."""


def with_classes(points: Tensor, labels: Tensor) -> Tensor:
    """Points (n, 2) with their classes as a third column."""
    return torch.cat([points, labels[:, None].float()], 1)


def square(side: int, reach: float) -> Tensor:
    """A grid of the square from -reach to reach, row by row from top to bottom: (side², 2)."""
    along = torch.linspace(-reach, reach, side)
    return torch.stack([along.expand(side, side), along.flip(0)[:, None].expand(side, side)], 2).reshape(-1, 2)


@lru_cache(maxsize=4)
def grids(reach: float) -> Tensor:
    """The points of the plane for which a net is drawn, of regions, pictures and lattice, one after the other."""
    return torch.cat([square(side, reach) for side in (BOUNDARY, PICTURE, LATTICE)])


def layer_outputs(net: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """What each layer makes of the samples, by its name, in order."""
    outputs = {}
    for name, layer in net.named_children():
        x = outputs[name] = layer(x)
    return outputs


def weights(net: nn.Sequential) -> tuple[list[dict[str, Any]], dict[str, Tensor]]:
    """The layers of a perceptron with their sizes, and their weights (O, I)."""
    layers = [(name, layer) for name, layer in net.named_children() if isinstance(layer, nn.Linear)]
    told = [{"name": name, "inputs": layer.in_features, "outputs": layer.out_features} for name, layer in layers]
    return told, {f"{name}.weight": layer.weight[:, : max(MOST_UNITS, 64)] for name, layer in layers}


def plane_pictures(outputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The probability of class 1 over the plane, and each hidden unit's activation over it.

    Args:
        outputs: of each layer, for the `grids` and whatever follows them.
    """
    answers = list(outputs.values())[-1][:REGIONS].T.contiguous()  # a softmax along the first axis is the quicker one
    pictures = {"boundary": answers.softmax(0)[1].reshape(BOUNDARY, BOUNDARY)}
    for name, output in outputs.items():
        if name.endswith("_state"):
            pictures[f"{name.removesuffix('_state')}.picture"] = output[REGIONS:][:PICTURES, :MOST_UNITS].T
    return pictures


def kernels(net: nn.Module, in_shape: Sequence[int]) -> dict[str, Tensor]:
    """What the units of the first layer look for, averaged over channels: (units, height, width)."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            return {"kernels": layer.weight.mean(1)}
        if isinstance(layer, nn.Linear):
            return {"kernels": layer.weight.reshape(-1, *in_shape).mean(1)}
    return {}


def bent(seen: Tensor, lattice: Tensor | None, axes: Tensor | None) -> tuple[dict[str, Tensor], float, Tensor]:
    """Samples as the last layer is handed them, in their principal plane; for the plane also a lattice of inputs.

    Args:
        seen, lattice: both as the last layer is handed them, (n, F) and (LATTICE², F).
        axes: of the frame before, by which the new ones are turned, so that the picture does not jump.

    Returns:
        The arrays, the share of the variance that the plane holds, and its axes.
    """
    origin, found, points, share = principal_plane(seen)
    if axes is not None and axes.shape == found.shape:
        found = _turned(found, axes)
        points = (seen - origin) @ found.T
    arrays = {"space": points}
    if lattice is not None:
        arrays["lattice"] = ((lattice - origin) @ found.T).reshape(LATTICE, LATTICE, 2)
    return arrays, share, found


def _turned(axes: Tensor, before: Tensor) -> Tensor:
    """The same plane with its axes turned as near as can be to those before (orthogonal Procrustes)."""
    left, _, right = torch.linalg.svd(before @ axes.T)
    turned: Tensor = left @ right @ axes
    return turned
