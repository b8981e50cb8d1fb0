"""The radial basis function network: hidden units that answer near a centre of their own, and a linear output layer.

    φ_k(x) = exp(-‖x - c_k‖² / 2σ²),    y = W φ(x) + b

It learns in two steps. Centres first, without the targets: the means of k-means. Then the output layer, in one go: it
is linear, so its best weights solve a system of equations. Afterwards all of it can be trained on by gradients.
"""

from collections.abc import Callable
from copy import deepcopy
from math import log, prod
from typing import Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from sklearn.cluster import KMeans
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight import patterns
from commonweight.errors import NetError
from commonweight.nets.estimators import ModuleClassifier, ModuleEstimator, ModuleRegressor, require_whole, seed_of
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.nets.unit_interval import as_pictures
from commonweight.views import View

MOST_CENTRES = 1000
"""Centres that are placed at most, where nobody says how many."""

WIDTHS = (1.0, 2.0, 4.0, 8.0)
"""Widths that are tried, in typical distances between centres."""

RIDGES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Penalties that are tried."""

LLOYD_STEPS = 10
"""Steps of k-means."""

SMALLEST = 1e-12
"""1 - H_ii at least; it is 0 for a single sample."""

SURE = 0.9
"""Probability of the right class that the output layer is solved for."""

Loss = Callable[[Tensor, Tensor], Tensor]


class GaussianUnits(nn.Module):
    """φ_k(x) = exp(-‖x - c_k‖² / 2σ²): 1 at the centre, e^-½ at distance σ. All units share the one weight σ.

    Args:
        n_in: F, width of a sample.
        n_units: K.

    Example:
        >>> units = GaussianUnits(1, 2)
        >>> units.place(torch.tensor([[0.0], [2.0]]), width=1.0)
        >>> units(torch.tensor([[0.0], [1.0]]))
        tensor([[1.0000, 0.1353],
                [0.6065, 0.6065]], grad_fn=<ExpBackward0>)
    """

    def __init__(self, n_in: int, n_units: int) -> None:
        super().__init__()
        self.pattern, self.bias_pattern = patterns.dense(n_in, n_units), patterns.single(1, n_units)
        self.centres = nn.Parameter(torch.randn(n_units, n_in))
        self.log_width = nn.Parameter(torch.tensor([0.5 * log(n_in)]))  # the distance of normalised samples from 0

    @torch.no_grad()
    def place(self, centres_KF: Tensor, width: float) -> None:
        """Set centres and width."""
        self.centres.copy_(centres_KF)
        self.log_width.fill_(log(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) -> (B, K)."""
        scale = torch.exp(-self.log_width)  # before squares are taken, which could overflow
        return torch.exp(-0.5 * squared_distances(x * scale, self.centres * scale))


class RBF(nn.Module):
    """Gaussian units and a linear layer over them.

    Source: Broomhead, Lowe, "Multivariable functional interpolation and adaptive networks" (1988). Built alone it has
    random centres, and can be trained by gradients; `RBFClassifier` and `RBFRegressor` place them.

    Args:
        in_shape: of one sample; it is flattened.
        n_outputs: number of classes or values.
        n_centres: K.

    Shapes: x (B, *in_shape) -> (B, n_outputs).

    Raises:
        NetError: sizes that are no whole numbers from 1, or no centre.

    Example:
        >>> net = RBF((1, 8, 8), 10, n_centres=50)
        >>> net(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    def __init__(self, in_shape: tuple[int, ...], n_outputs: int, *, n_centres: int = 100) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        if n_centres < 1:
            raise NetError(f"An rbf network needs at least 1 centre; got {n_centres}.")
        super().__init__()
        self.flat = nn.Flatten()
        self.hidden = GaussianUnits(prod(in_shape), n_centres)
        self.output = nn.Linear(n_centres, n_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(B, *in_shape) -> (B, n_outputs)."""
        outputs: Tensor = self.output(self.hidden(self.flat(x)))
        return outputs

    def views(self, inputs: Tensor, targets: Tensor) -> list[View]:
        """The centres as samples, those first whose unit has the largest weights."""
        strength, first = self.output.weight.norm(dim=0).sort(descending=True)
        width = float(self.hidden.log_width.exp())
        return [
            View(
                title="Centres",
                caption=f"Each of the {len(first):,} hidden units answers to samples near its centre, up to a distance "
                f"of about {width:.3g}, the one width that all share. Values are normalised: zero is the mean of the "
                f"samples. Those whose outgoing weights are largest come first.",
                images=as_pictures(self.hidden.centres[first], inputs.shape[1:]),
                labels=[f"outgoing weights of norm {value:.3g}" for value in strength.tolist()],
                signed=True,
            )
        ]


class _RBFEstimator(ModuleEstimator):
    """What both tasks have in common; `RBFClassifier` says what the arguments are."""

    def __init__(
        self,
        *,
        n_centres: int | None = None,
        max_iter: int = 0,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.n_centres = n_centres
        self.max_iter = max_iter
        self.random_state = random_state

    @torch.no_grad()
    def scores(self, X: ArrayLike) -> Tensor:
        """In double precision: the terms of a small distance cancel, and how they are rounded depends on other rows."""
        x = self.checked(X).double()
        outputs: Tensor = deepcopy(self.module_).double().eval()(x)
        return outputs


class RBFClassifier(ModuleClassifier, _RBFEstimator):
    """Tells classes apart by an `RBF` network: k-means, a width, a ridge solve, then gradients if wanted.

    1. Centres: k-means over all samples, ten steps from random samples (Moody & Darken, "Fast learning in networks of
       locally-tuned processing units", 1989).
    2. Width: r times the median over the centres of the mean distance to the two nearest others. They give each unit a
       width of its own; one for all was as good or better here, on mnist-5k by 0.3 and 0.5 points on validation.
    3. Output layer: W = TᵀΦ (ΦᵀΦ + λI)⁻¹, columns centred, for targets T whose softmax gives the right class a
       probability of 0.9. Of the pairs r, λ in `WIDTHS` and `RIDGES` the one is taken that predicts samples best when
       they are left out, which for a linear layer needs no second fit: with H the matrix that makes ŷ of T, leaving
       out sample i turns its error T_i - ŷ_i into (T_i - ŷ_i) / (1 - H_ii) (Allen, "The relationship between variable
       selection and data augmentation and a method for prediction", 1974).
    4. With `max_iter`, so many passes of Adam over centres, width and output layer, by cross entropy.

    Args:
        n_centres: K, at most the number of distinct samples; None for half of the samples, but at most 1000.
        max_iter: passes of step 4, 0 for none. On digits, building and abelone 20 passes did no better than none; they
            pay with few centres.
        random_state: of k-means and of the order of samples.

    Attributes:
        module_: an `RBF`.
        n_iter_: steps of k-means and passes of step 4.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> x, y = load_iris(return_X_y=True)
        >>> RBFClassifier(n_centres=20, random_state=0).fit(x, y).score(x, y) > 0.95
        True
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from samples of shape (N, F) and their labels, shape (N,).

        Raises:
            ValueError: values that are not finite, one class only, or more centres than distinct samples.
        """
        x, target = self.encode(X, y)
        n_classes = len(self.classes_)
        logits = F.one_hot(target, n_classes).float() * log(SURE * (n_classes - 1) / (1 - SURE))
        learn(self, x, logits, target, F.cross_entropy)
        return self


class RBFRegressor(ModuleRegressor, _RBFEstimator):
    """Predicts values by an `RBF` network, as `RBFClassifier` does for classes, with squared errors in step 4.

    Args:
        n_centres, max_iter, random_state: as there.

    Example:
        >>> x = np.linspace(-3, 3, 60)[:, None]
        >>> RBFRegressor(n_centres=12, random_state=0).fit(x, np.sin(x[:, 0])).score(x, np.sin(x[:, 0])) > 0.999
        True
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from samples of shape (N, F) and targets of shape (N,) or (N, T).

        Raises:
            ValueError: values that are not finite, or more centres than distinct samples.
        """
        x, targets = self.encode(X, y)
        learn(self, x, targets, targets, F.mse_loss)
        return self


def learn(rule: _RBFEstimator, x_NF: Tensor, wanted_NO: Tensor, targets: Tensor, loss: Loss) -> None:
    """All steps, into the fitted attributes of `rule`.

    Args:
        wanted_NO: what the output layer is solved for.
        targets: what the gradients are of, by `loss`.

    Raises:
        ValueError: fewer than 0 passes, or a number of centres that cannot be placed.
    """
    require_whole(rule, 0, "max_iter")
    seed = seed_of(rule.random_state)
    centres, steps = place_centres(x_NF, rule.n_centres, seed)
    rule.structure_ = {"n_centres": len(centres)}
    with torch.random.fork_rng(devices=[]):
        net = RBF(x_NF.shape[1:], wanted_NO.shape[1], **rule.structure_)
    solve(net, x_NF, centres, wanted_NO)
    if rule.max_iter:
        train_on(net, x_NF, targets, loss, rule.max_iter, seed)
    rule.n_iter_ = steps + rule.max_iter
    rule.module_ = net


def place_centres(x_NF: Tensor, n_centres: int | None, seed: int) -> tuple[Tensor, int]:
    """The means of k-means, shape (K, F), and how many steps it took.

    Raises:
        ValueError: fewer than 1 centre, or more than distinct samples.
    """
    rows = x_NF.numpy()
    n_distinct = len(np.unique(rows, axis=0))
    if n_centres is None:
        n_centres = min(MOST_CENTRES, n_distinct, -(-len(rows) // 2))
    if not 1 <= n_centres <= n_distinct:
        raise ValueError(
            f"An rbf network has from 1 centre to as many as there are distinct samples, here {n_distinct}; got "
            f"n_centres={n_centres}."
        )
    means = KMeans(n_centres, init="random", n_init=1, max_iter=LLOYD_STEPS, random_state=seed).fit(rows)
    return torch.from_numpy(means.cluster_centers_).to(x_NF), means.n_iter_


def typical_distance(centres_KF: Tensor) -> float:
    """The median over the centres of the mean distance to the two nearest others; 1 if there are none.

    >>> typical_distance(torch.tensor([[0.0], [1.0], [3.0]]))  # of 2.0, 1.5 and 2.5
    2.0
    """
    if len(centres_KF) == 1:
        return 1.0
    squared = squared_distances(centres_KF, centres_KF).fill_diagonal_(torch.inf)
    nearest = squared.topk(min(2, len(centres_KF) - 1), largest=False).values
    return float(nearest.sqrt().mean(1).median())


def squared_distances(x_NF: Tensor, centres_KF: Tensor) -> Tensor:
    """‖x - c‖² = ‖x‖² - 2 x·c + ‖c‖² of all pairs, (N, K)."""
    middle_F = centres_KF.detach().mean(0)  # as the origin: far from their own no digits would be left
    x_NF, centres_KF = x_NF - middle_F, centres_KF - middle_F
    squares = x_NF.square().sum(1, keepdim=True) + centres_KF.square().sum(1)
    return torch.addmm(squares, x_NF, centres_KF.T, alpha=-2).clamp(min=0)


@torch.no_grad()
def solve(net: RBF, x_NF: Tensor, centres_KF: Tensor, wanted_NO: Tensor) -> None:
    """Place the centres, and find the width and the output layer that predict best what is left out."""
    distance, mean = typical_distance(centres_KF), wanted_NO.double().mean(0)
    rest_NO = wanted_NO.double() - mean
    least = torch.inf
    for factor in WIDTHS:
        net.hidden.place(centres_KF, factor * distance)
        phi_NK = net.hidden(x_NF).double()
        phi_mean = phi_NK.mean(0)
        phi_NK -= phi_mean
        scale_K, axes_KK = torch.linalg.eigh(phi_NK.T @ phi_NK)
        along_NK, goal_KO = phi_NK @ axes_KK, axes_KK.T @ (phi_NK.T @ rest_NO)
        for ridge in RIDGES:
            shrink_K = 1 / (scale_K.clamp(min=0) + ridge)
            weights_KO = shrink_K[:, None] * goal_KO
            leverage_N = along_NK.square() @ shrink_K + 1 / len(x_NF)
            left_out_NO = (rest_NO - along_NK @ weights_KO) / (1 - leverage_N).clamp(min=SMALLEST)[:, None]
            error = float(left_out_NO.square().mean())
            if error < least:
                least, width, output_OK = error, factor * distance, (axes_KK @ weights_KO).T
                bias = mean - output_OK @ phi_mean
    net.hidden.place(centres_KF, width)
    net.output.weight.copy_(output_OK)
    net.output.bias.copy_(bias)


def train_on(net: RBF, x: Tensor, targets: Tensor, loss: Loss, epochs: int, seed: int) -> None:
    """Adam over all weights, in batches of 64."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        for index in torch.split(torch.randperm(len(x), generator=generator), 64):
            optimizer.zero_grad()
            loss(net(x[index]), targets[index]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
