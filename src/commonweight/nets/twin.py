"""Networks that share all of their weights: each embeds one sample, and a head says how far apart two samples are.

Such twins learn to compare, not to name classes, so they can tell apart people whom they never saw. Here are the twins,
three heads that they learn by, their encoder, and what recognises samples by them; `twin_estimators` fits them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from math import ceil, prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from commonweight.equations import tie
from commonweight.errors import NetError
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.views import View, spread

HIDDEN = 128
"""Units of the hidden layer for samples that are no images."""
WIDTH = 16
"""Feature maps of the first stage for images; the second has twice as many."""
LARGEST, SMALLEST = 32, 4
"""Images are averaged to at most LARGEST pixels a side, and have to have at least SMALLEST."""
SHOWN = 10
"""Pairs in a view."""


class Twin(nn.Module):
    """n networks with the same weights θ, and a head: z_k = f(x_k; θ) for k = 1 to n, compared by d(z_k, z_l).

    Source: Bromley, Guyon, LeCun, Säckinger, Shah, "Signature verification using a 'siamese' time delay neural network"
    (1993). The networks are `branches.0`, `branches.1`, ..., tied by equations: `commonweight.ties` lists them,
    `commonweight.check` says whether they still are one, and `commonweight.untie` gives one of them weights of its own.

    While they are one, all n inputs pass as one batch. In training, where every pair (or triplet) of a batch counts, it
    does not even matter which network a sample goes through, so each passes once.

    Args:
        encoder: f, takes (B, *in_shape), gives (B, d).
        n: number of networks, at least 2.
        head: `Contrastive` (the default), `Triplet` or `Binary`.

    Raises:
        NetError: fewer than two networks.

    Example:
        >>> import commonweight as cw
        >>> twin = Twin(encoder((1, 8, 8), 16))
        >>> print(*cw.ties(twin))
        branches.1 = branches.0  (declared: same module)
        >>> a, b = torch.zeros(2, 5, 1, 8, 8)
        >>> twin(a, b).shape
        torch.Size([2, 5, 16])
        >>> {layer.uses for layer in cw.count(twin, a, b, together=False).layers}
        {2}
    """

    def __init__(self, encoder: nn.Module, n: int = 2, head: "Head | None" = None) -> None:
        super().__init__()
        if n < 2:
            raise NetError(f"Twins are at least 2 networks that share weights; got n = {n}.")
        self.branches = nn.ModuleList([encoder] * n)
        self.head = Contrastive() if head is None else head
        tie(self, *(f"branches.{k} = branches.0" for k in range(1, n)))

    @property
    def are_one(self) -> bool:
        """Whether all networks still are the same."""
        return all(branch is self.branches[0] for branch in self.branches)

    def forward(self, *inputs: Tensor, together: bool = True) -> Tensor:
        """Embed a sample by each network.

        Args:
            inputs: one for each network, all of the same shape (B, *in_shape).
            together: pass them as one batch, if the networks are one; the result is the same, except that batch
                normalisation then takes its statistics over all inputs while training.

        Returns:
            Shape (n, B, d).

        Raises:
            NetError: another number of inputs, or shapes that differ.
        """
        if len(inputs) != len(self.branches):
            raise NetError(f"{len(self.branches)} twins take as many inputs, one each; got {len(inputs)}.")
        if len({x.shape for x in inputs}) > 1:
            shapes = ", ".join(str(tuple(x.shape)) for x in inputs)
            raise NetError(f"Twins share one encoder, so their inputs have one shape; got {shapes}: make them equal.")
        if together and self.are_one:
            z: Tensor = self.branches[0](torch.cat(inputs))
            return torch.stack(z.chunk(len(inputs)))
        return torch.stack([branch(x) for branch, x in zip(self.branches, inputs, strict=True)])

    def ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the first and the last network make of the same samples: (N, *in_shape) -> (N, d) each."""
        first = self.branches[0](x)
        return first, first if self.are_one else self.branches[-1](x)

    def pair_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """The head's loss over all pairs of a batch: x (N, *in_shape), classes y (N,)."""
        loss: Tensor = self.head(self.distance(x), y)
        return loss

    def distance(self, x: Tensor) -> Tensor:
        """How far sample i, seen by the first network, is from sample j, seen by the last one: shape (N, N)."""
        return self.head.distance(*self.ends(x))


def pairs(y: Tensor) -> tuple[Tensor, Tensor]:
    """Which pairs (i, j), i ≠ j, are of the same class, and which of different ones: bool of shape (N, N) each."""
    same = y[:, None] == y
    return same & ~torch.eye(len(y), dtype=torch.bool, device=y.device), ~same


def mean(values: Tensor) -> Tensor:
    """The mean, or 0 where there is nothing."""
    return values.sum() / max(1, values.numel())


class Head(nn.Module):
    """A distance of embeddings and, as `forward`, the loss of the distances (N, N) in a batch of classes y (N,)."""

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """d(a, b) = ‖a - b‖, exactly 0 for equal ones: (N, d), (M, d) -> (N, M)."""
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


class Contrastive(Head):
    """Pull pairs of one class together, push others a margin m apart.

        L = mean of d² over pairs of one class + mean of max(0, m - d)² over the other pairs

    Source: Hadsell, Chopra, LeCun, "Dimensionality reduction by learning an invariant mapping" (2006). There each pair
    has a weight of 1/2; in a batch with all pairs few are of one class, so here both kinds count alike.

    Args:
        margin: m, above 0; embeddings of `encoder` are at most 2 apart.
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, d: Tensor, y: Tensor) -> Tensor:
        same, other = pairs(y)
        return mean(d[same].square()) + mean(F.relu(self.margin - d[other]).square())


class Triplet(Head):
    """Every sample is to be nearer to all of its own class than to any other, by a margin m.

        L = mean over samples i of max(0, m + max_j d(i, j) - min_k d(i, k)), j of the class of i, k of another

    Source: Schroff, Kalenichenko, Philbin, "FaceNet" (2015); with the hardest j and k of the batch for each i: Hermans,
    Beyer, Leibe, "In defense of the triplet loss" (2017).

    Args:
        margin: m, above 0.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, d: Tensor, y: Tensor) -> Tensor:
        same, other = pairs(y)
        usable = same.any(1) & other.any(1)
        farthest = d.masked_fill(~same, -torch.inf).amax(1)[usable]
        nearest = d.masked_fill(~other, torch.inf).amin(1)[usable]
        return mean(F.relu(self.margin + farthest - nearest))


class Binary(Head):
    """The probability that two samples are of one class: p = σ(c - Σ_k w_k |a_k - b_k|), with weights w, c that learn.

        L = mean of -log p over pairs of one class + mean of -log(1 - p) over the other pairs

    The distance is the logit of a different class, Σ_k w_k |a_k - b_k| - c. Source: Koch, Zemel, Salakhutdinov,
    "Siamese neural networks for one-shot image recognition" (2015); both kinds of pairs count alike, as there.

    Args:
        n_features: d. At first w = 1 and c = 4, near the middle for embeddings of `encoder`.
    """

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n_features))
        self.bias = nn.Parameter(torch.tensor(4.0))

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """(N, d), (M, d) -> (N, M)."""
        return (a[:, None] - b).abs() @ self.weight - self.bias

    def forward(self, d: Tensor, y: Tensor) -> Tensor:
        same, other = pairs(y)
        return mean(F.softplus(d[same])) + mean(F.softplus(-d[other]))


class UnitLength(nn.Module):
    """x / ‖x‖, shape (B, d): embeddings lie on a sphere, so that no loss can be lowered by their size alone."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=1)


def encoder(in_shape: Sequence[int], n_features: int) -> nn.Sequential:
    """A network that embeds a sample on the unit sphere: convolutional for images, else with one hidden layer.

    Images are averaged to at most 32 pixels a side; then come two stages of convolution (5×5 to 16 maps, 3×3 to 32),
    batch normalisation, ReLU and 2×2 max pooling, sizes rounded down; then a linear layer.

    Args:
        in_shape: of one sample.
        n_features: d, at least 1.

    Raises:
        NetError: an image smaller than 4×4, or no features.

    >>> encoder((1, 112, 92), 64)(torch.zeros(2, 1, 112, 92)).shape
    torch.Size([2, 64])
    """
    if n_features < 1:
        raise NetError(f"An embedding has at least 1 feature; got {n_features}.")
    if len(in_shape) != 3:
        hidden = nn.Linear(prod(in_shape), HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU()
        return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(HIDDEN, n_features), UnitLength())
    channels, rows, columns = in_shape
    if min(rows, columns) < SMALLEST:
        raise NetError(
            f"Twins halve an image twice and need at least {SMALLEST}×{SMALLEST} pixels, but these have "
            f"{rows}×{columns}: enlarge them."
        )
    area = ceil(max(rows, columns) / LARGEST)
    area = min(area, rows // SMALLEST, columns // SMALLEST)
    layers: list[nn.Module] = [nn.AvgPool2d(area)] if area > 1 else []
    for maps, side in ((WIDTH, 5), (2 * WIDTH, 3)):
        convolution = nn.Conv2d(channels, maps, side, padding=side // 2, bias=False)
        layers += [convolution, nn.BatchNorm2d(maps), nn.ReLU(), nn.MaxPool2d(2)]
        channels = maps
    units = channels * (rows // area // 4) * (columns // area // 4)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(units, n_features), UnitLength())


def make_twins(in_shape: Sequence[int], head: str, n_features: int) -> Twin:
    """Two twins, or three for triplets, with the encoder for such samples.

    Raises:
        NetError: a head that does not exist, or what `encoder` refuses.
    """
    heads: dict[str, Callable[[], Head]] = {
        "contrastive": Contrastive,
        "triplet": Triplet,
        "binary": partial(Binary, n_features),
    }
    if head not in heads:
        raise NetError(f"There is no head {head!r} for twins: use {', '.join(heads)}.")
    return Twin(encoder(in_shape, n_features), 3 if head == "triplet" else 2, heads[head]())


class Recogniser(nn.Module):
    """Says of which class a sample is by twins: one has seen the examples of each class, the other sees the sample.

    The score of a class is -d(z, c), with c the mean of the embeddings of its enrolled examples. With one example of
    each, this is one-shot recognition (Koch 2015); with the mean of several, that of Snell, Swersky, Zemel,
    "Prototypical networks for few-shot learning" (2017). Scores are distances, not log-probabilities: the largest one
    is the answer, how sure it is they do not say.

    Args:
        in_shape: of one sample.
        n_outputs: number of classes.
        head: "contrastive", "triplet" or "binary".
        n_features: d, of an embedding.

    Attributes:
        twin: the networks and their head.
        enrolled: c of each class, shape (n_outputs, d); at first 0.

    Shapes: x (B, *in_shape), or flat, -> (B, n_outputs).

    Raises:
        NetError: sizes that are no whole numbers from 1, a head that does not exist, no features, or images smaller
            than 4×4.

    Example:
        >>> net = Recogniser((1, 8, 8), 2)
        >>> net.enrol(torch.randn(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]), 2)
        >>> net(torch.zeros(3, 64)).shape
        torch.Size([3, 2])
    """

    enrolled: Tensor
    scores_only = True  # distances: their softmax is no probability

    def __init__(self, in_shape: Sequence[int], n_outputs: int, *, head: str = "triplet", n_features: int = 64) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        super().__init__()
        self.in_shape = in_shape
        self.twin = make_twins(in_shape, head, n_features)
        self.register_buffer("enrolled", torch.zeros(n_outputs, n_features))

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = -self.twin.head.distance(self.embed(x), self.enrolled)
        return scores

    def embed(self, x: Tensor) -> Tensor:
        """What the first network makes of samples: (B, *in_shape), or flat, -> (B, d)."""
        z: Tensor = self.twin.branches[0](x.reshape(-1, *self.in_shape))
        return z

    @torch.no_grad()
    def enrol(self, x: Tensor, y: Tensor, n_classes: int) -> None:
        """Forget the classes, and take these examples for them, with nothing learned anew.

        Args:
            x: shape (N, *in_shape), or flat.
            y: the class of each, from 0 to n_classes - 1; each has one example at least.
            n_classes: their number, from now on `n_outputs`.
        """
        z: Tensor = self.eval().twin.branches[-1](x.reshape(-1, *self.in_shape))
        of_class = F.one_hot(y, n_classes).to(z)
        self.enrolled = of_class.T @ z / of_class.sum(0)[:, None]

    @torch.no_grad()
    def views(self, inputs: Tensor, targets: Tensor) -> list[View]:
        """Pairs of test images beside each other, from the nearest to the farthest: of one class, and of two."""
        if len(self.in_shape) != 3:
            return []
        distance, found = self.twin.distance(inputs), []
        words = ("Pairs of one class", "near", "far"), ("Pairs of different classes", "far", "near")
        for chosen, (title, right, wrong) in zip(pairs(targets), words, strict=True):
            first, second = chosen.triu().nonzero(as_tuple=True)
            order = distance[first, second].argsort()
            order = order[spread(len(order), SHOWN)]
            first, second = first[order], second[order]
            images = torch.cat([inputs[first], inputs[second]], 3).mean(1)
            labels = [f"distance {distance[i, j]:.2f}" for i, j in zip(first, second, strict=True)]
            caption = (
                f"Two test images each, from the nearest pair to the farthest; these should be {right}, and the "
                f"{wrong} ones are where the twins go wrong."
            )
            found.append(View(title, caption, images, labels))
        return found
