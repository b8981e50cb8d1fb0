"""How choosy units are: about the direction of an edge, and about the class of a sample."""

import math

import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.errors import DataError
from commonweight.measure.features import answers, middle
from commonweight.measure.report.observe import observing
from commonweight.measure.subject import require_data

DIRECTIONS, PHASES = 12, 8
PERIODS = (3.0, 4.0, 6.0, 8.0, 12.0)


def gratings(in_shape: tuple[int, ...]) -> Tensor:
    """Sine waves over an image: cos(2π (x cos θ + y sin θ) / period + phase), for θ = 0°, 15°, ... 165°.

    Returns:
        (directions, periods · phases, C, H, W), the same in all channels, mean 0 and deviation 1.
    """
    channels, height, width = in_shape
    y, x = torch.meshgrid(torch.arange(height) - height / 2, torch.arange(width) - width / 2, indexing="ij")
    angles = torch.arange(DIRECTIONS) * math.pi / DIRECTIONS
    along = x * angles.cos()[:, None, None] + y * angles.sin()[:, None, None]
    waves = [
        (2 * math.pi * along / period + 2 * math.pi * phase / PHASES).cos()
        for period in PERIODS
        for phase in range(PHASES)
    ]
    images = torch.stack(waves, 1)[:, :, None].expand(-1, -1, channels, -1, -1)
    axes = (2, 3, 4)
    return (images - images.mean(axes, keepdim=True)) / images.std(axes, correction=0, keepdim=True)


def orientation(model: nn.Module, layer: str, in_shape: tuple[int, ...]) -> Tensor:
    """How much the answer of each unit depends on the direction of a grating: 0 for not at all, 1 for only one.

    |Σ_θ R(θ) e^{2iθ}| / Σ_θ R(θ), with R(θ) = the best period's largest less smallest answer over the phases, at the
    middle place: one less the circular variance of Ringach, Shapley, Hawken (2002).

    Returns:
        (units,)

    Raises:
        DataError: the inputs are no images.
    """
    if len(in_shape) != 3:
        raise DataError(f"Only images have edges, of shape (channels, height, width); got samples of {in_shape}.")
    waves = gratings(in_shape)
    with observing(model):
        seen = answers(model, layer, waves.flatten(0, 1)).float()
    at = middle(seen).reshape(DIRECTIONS, len(PERIODS), PHASES, -1)
    strength = (at.amax(2) - at.amin(2)).amax(1)
    turned = 2 * math.pi * torch.arange(DIRECTIONS) / DIRECTIONS
    across, up = turned.cos() @ strength, turned.sin() @ strength
    return torch.hypot(across, up) / strength.sum(0).clamp_min(torch.finfo(strength.dtype).tiny)


def class_selectivity(model: nn.Module, data: Data, layer: str) -> Tensor:
    """(μ_max - μ_rest) / (μ_max + μ_rest) for each unit: 0 if it answers all classes alike, 1 if only one.

    μ is the mean over the test samples of a class of max(answer, 0), of a channel the largest of its places; μ_rest the
    mean over the other classes. Source: Morcos, Barrett, Rabinowitz, Botvinick, "On the importance of single directions
    for generalization" (2018). A unit that never answers has 0.

    Returns:
        (units,)

    Raises:
        DataError: regression.
    """
    require_data(data)
    if data.task != "classification":
        raise DataError(f"{data.name} has no classes that a unit could choose between; its task is {data.task}.")
    with observing(model):
        parts = [answers(model, layer, data.normalisation.apply(data.x[part])) for part in torch.split(data.test, 250)]
    positive = torch.cat([part.float().flatten(2).amax(2) if part.ndim > 2 else part.float() for part in parts]).relu()
    targets = data.y[data.test]
    means = torch.stack([positive[targets == label].mean(0) for label in set(targets.tolist())])
    largest = means.amax(0)
    rest = (means.sum(0) - largest) / (len(means) - 1)
    return (largest - rest) / (largest + rest).clamp_min(torch.finfo(means.dtype).tiny)
