"""Principal components and singular values of a layer's weights, and what it costs to keep only a few of them."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from commonweight.data.dataset import Data
from commonweight.errors import DataError, require_whole
from commonweight.measure.report.observe import ask, observing
from commonweight.measure.subject import require_data, require_net


@dataclass(frozen=True, eq=False)
class Spectrum:
    """A layer's weights as a matrix W: a row for each output (unit or channel), of the weights it looks through.

    Attributes:
        name: of the parameter.
        shape: (rows, columns) of W.
        singular: the singular values s of W, from the largest; float64 (min(rows, columns),).
        variance: what share of the variance of the rows around their mean each principal component holds; they are the
            right singular vectors of W less its mean row (Pearson 1901); of the same shape.
    """

    name: str
    shape: tuple[int, int]
    singular: Tensor
    variance: Tensor

    @property
    def stable_rank(self) -> float:
        """‖W‖²_F / s₁², between 1 and the rank: how many directions matter (Rudelson & Vershynin 2007)."""
        return float((self.singular**2).sum() / self.singular[0] ** 2) if float(self.singular[0]) else 0.0

    def components_for(self, share: float) -> int:
        """How many principal components hold at least this share of the variance; 0 where there is none."""
        below = int((self.variance.cumsum(0) < share - 1e-9).sum())
        return below + 1 if below < len(self.variance) else 0


@dataclass(frozen=True)
class Kept:
    """The score of a net of which one layer, or every one, kept only its first principal components.

    Attributes:
        layer: name of the parameter; empty where all were cut to the same share of variance at once.
        components: how many were kept; 0 leaves each unit the mean of all units.
        variance: the share of the variance that was kept.
        score: accuracy, or R², on the test part.
    """

    layer: str
    components: int
    variance: float
    score: float


def matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights that make a matrix: two axes or more, and more than one row and column. Each once."""
    require_net(model)
    return {
        name: weight
        for name, weight in model.named_parameters()
        if weight.ndim > 1 and min(len(weight), weight[0].numel()) > 1
    }


def spectra(model: nn.Module) -> list[Spectrum]:
    """The spectrum of each weight matrix, in the order of the model.

    >>> layer = nn.Linear(3, 2, bias=False)
    >>> _ = nn.init.eye_(layer.weight)
    >>> (only,) = spectra(layer)
    >>> only.singular.tolist(), only.stable_rank, only.variance.round().tolist()
    ([1.0, 1.0], 2.0, [1.0, 0.0])
    """
    return [_spectrum(name, weight) for name, weight in matrices(model).items()]


def _spectrum(name: str, weight: nn.Parameter) -> Spectrum:
    rows = weight.detach().cpu().double().flatten(1)
    around_mean = torch.linalg.svdvals(rows - rows.mean(0)) ** 2
    variance = around_mean / (around_mean.sum() or 1.0)
    return Spectrum(name, (rows.shape[0], rows.shape[1]), torch.linalg.svdvals(rows), variance)


def truncated(weight: Tensor, components: int) -> Tensor:
    """The weight with each row on the plane of the first principal components: mean + (W - mean) V_k V_kᵀ.

    Of all matrices of that kind it is the nearest to W (Eckart & Young 1936).

    Raises:
        DataError: a number of components below 0.
    """
    components = require_whole(components, "components", DataError)
    rows = weight.double().flatten(1)
    mean = rows.mean(0)
    first: Tensor = torch.linalg.svd(rows - mean, full_matrices=False)[2][:components]
    return (mean + (rows - mean) @ first.T @ first).to(weight.dtype).reshape(weight.shape)


def score(model: nn.Module, data: Data) -> float:
    """Accuracy, or R² pooled over the targets, on the test part."""
    from sklearn.metrics import r2_score

    require_data(data)
    with observing(model):
        answers = ask(model, data)
    if data.task == "classification":
        return float(answers.right.float().mean())
    return float(r2_score(answers.target, answers.predicted, multioutput="variance_weighted"))


def cost_of_dropping(model: nn.Module, data: Data) -> Iterator[Kept]:
    """Score a copy of the net with fewer and fewer components: layer by layer, then in all layers at once.

    A layer keeps 0, 1, 2, 4, 8, ... of its components, and all others stay whole; then every layer keeps as many as
    hold 50, 70, 80, 90, 95, 99 and 100 % of its variance.

    Raises:
        NetError: no net.
        DataError: no data, or not of the shape that the net takes.
    """
    net = deepcopy(model)
    whole = {name: weight.detach().clone() for name, weight in matrices(net).items()}
    found = {one.name: one for one in spectra(net)}
    try:
        score(net, data)
    except RuntimeError as error:
        raise DataError(f"{data.name}, samples of shape {data.in_shape}, does not fit this net ({error}).") from error
    for name, weight in matrices(net).items():
        for kept in _ladder(len(found[name].variance)):
            weight.data.copy_(truncated(whole[name], kept))
            yield Kept(name, kept, float(found[name].variance[:kept].sum()), score(net, data))
        weight.data.copy_(whole[name])
    for share in (0.5, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0):
        counts = {name: one.components_for(share) for name, one in found.items()}
        for name, weight in matrices(net).items():
            weight.data.copy_(truncated(whole[name], counts[name]))
        yield Kept("", sum(counts.values()), share, score(net, data))


def _ladder(most: int) -> list[int]:
    """0, 1, 2, 4, 8, ... and `most`.

    >>> _ladder(6)
    [0, 1, 2, 4, 6]
    """
    return [0, *(1 << power for power in range(most.bit_length()) if 1 << power < most), most]
