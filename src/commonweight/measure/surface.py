"""The loss around a trained net: two directions of weight space, and the loss at every crossing of a grid on them.

    L(a, b) = loss(θ* + a·δ + b·η) on one batch of samples, all other things equal

All weights are one row, each once, in the order of `model.parameters()`. Many points are evaluated as one batch of
nets: see `evaluate`. What a net remembers (running means) stays as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional as F

from commonweight.compress import shared_weights
from commonweight.errors import DataError, require_kind, require_seed
from commonweight.functional import call
from commonweight.kernels.chains import answers_on_plane, chain_of
from commonweight.measure.report.observe import observing
from commonweight.measure.subject import require_net

Loss = Callable[[Tensor, Tensor], Tensor]
AT_ONCE = 1 << 20
"""Numbers that nets evaluated at once may need between them, by `vmap` for weights and the answers of their widest
layers, compiled for their outputs. 4 MB: what does not fit into the cache of a processor is slower together."""

PRODUCTS = 1 << 20
"""Weights times samples above which one net at a time keeps a processor busy, so that nothing is won by more."""


@dataclass(frozen=True, eq=False)
class Surface:
    """The loss on a grid.

    Attributes:
        along, up: (G,) the values of a and of b.
        loss: (G, G); `loss[i, j]` is at a = along[j], b = up[i].
    """

    along: Tensor
    up: Tensor
    loss: Tensor


def weight_row(model: nn.Module) -> Tensor:
    """All weights in one row, (P,), each once."""
    require_net(model)
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def random_directions(model: nn.Module, seed: int = 0) -> Tensor:
    """Two random directions, each filter as long as the filter itself: (2, P).

    δ_f ← δ_f / ‖δ_f‖ · ‖θ_f‖ for each filter f (the weights into one output unit or channel), with δ normally
    distributed; biases and other weights with one axis stay where they are. So the picture does not depend on how a
    net shares its scale between layers. Source: Li, Xu, Taylor, Studer, Goldstein, "Visualizing the loss landscape of
    neural nets" (2018).

    Raises:
        NetError: no net.
        DataError: a seed out of range.

    >>> layer = nn.Linear(3, 2)
    >>> first = random_directions(layer)[0]
    >>> torch.allclose(first[:6].reshape(2, 3).norm(dim=1), layer.weight.norm(dim=1)), first[6:].tolist()
    (True, [0.0, 0.0])
    """
    require_net(model)
    generator = torch.Generator().manual_seed(require_seed(seed, DataError))
    rows = []
    for _ in range(2):
        parts = []
        for weight in model.parameters():
            drawn = torch.randn(weight.shape, generator=generator)
            parts.append(_as_long_as(weight.detach(), drawn) if weight.ndim > 1 else torch.zeros(weight.numel()))
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def _as_long_as(weight: Tensor, drawn: Tensor) -> Tensor:
    """Each filter that was drawn, scaled to the length of the filter in its place; flat."""
    filters, wanted = drawn.flatten(1), weight.float().cpu().flatten(1).norm(dim=1, keepdim=True)
    scaled: Tensor = filters / filters.norm(dim=1, keepdim=True) * wanted
    return scaled.flatten()


def path_directions(centre: Tensor, paths: list[Tensor]) -> tuple[Tensor, list[float]]:
    """The two directions in which paths of training differ most from the centre: the plane to draw them on.

    The first two right singular vectors of the rows θ_t - θ*, of all paths (each (T, P)) together: orthonormal, (2, P);
    and for each the share of the squared distances that it holds. Source: Li et al. (2018), 7.2.

    Raises:
        DataError: fewer than two points that differ from the centre.
    """
    away = torch.cat(paths) - centre
    if int((away.norm(dim=1) > 0).sum()) < 2:
        raise DataError("A plane needs at least two points beside its centre: give a path with more checks.")
    values, axes = torch.linalg.eigh((away @ away.T).double())
    shares = (values / values.sum()).flip(0)[:2].tolist()
    directions = axes.flip(1)[:, :2].T.to(away.dtype) @ away
    return directions / directions.norm(dim=1, keepdim=True), shares


def on_plane(path: Tensor, centre: Tensor, directions: Tensor) -> Tensor:
    """Where the points of a path (T, P) fall on the plane: (T, 2) of a and b, by least squares."""
    away = (path - centre) @ directions.T
    found: Tensor = torch.linalg.solve(directions @ directions.T, away.T).T
    return found


def surface(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    y: Tensor,
    directions: Tensor,
    along: Tensor,
    up: Tensor,
    centre: Tensor | None = None,
) -> Surface:
    """The loss of a batch on the grid along × up over two directions (2, P).

    Args:
        loss: of outputs and targets, such as `torch.nn.functional.cross_entropy`.
        x, y: normalised samples and targets.
        centre: θ*, (P,); by default the weights of the model.

    Raises:
        NetError: no net.
        DataError: a loss that is no function, or what should be a tensor and is none.

    Example:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> _ = nn.init.zeros_(net.weight)
        >>> x, y, axis = torch.eye(2), torch.zeros(2, 1), torch.tensor([-1.0, 0.0, 1.0])
        >>> surface(net, nn.functional.mse_loss, x, y, torch.eye(2), axis, axis).loss
        tensor([[1.0000, 0.5000, 1.0000],
                [0.5000, 0.0000, 0.5000],
                [1.0000, 0.5000, 1.0000]])
    """
    require_kind(loss, Callable, "A loss is a function of outputs and targets, such as F.cross_entropy", DataError)
    centre = weight_row(model) if centre is None else centre
    given = {"x": x, "y": y, "directions": directions, "along": along, "up": up, "centre": centre}
    for name, tensor in given.items():
        require_kind(tensor, Tensor, f"surface takes a tensor as {name}", DataError)
    b, a = torch.meshgrid(up, along, indexing="ij")
    points = torch.stack([a.flatten(), b.flatten()], 1)
    losses = evaluate(model, loss, x, y, centre, directions, points)
    return Surface(along, up, losses.reshape(len(up), len(along)))


def evaluate(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, centre: Tensor, directions: Tensor, points: Tensor
) -> Tensor:
    """The loss at points (N, 2) of the plane, (N,): many nets at once, or one by one where that is no slower.

    Many at once are the compiled perceptrons (`kernels.chains`) where the net is one, else `vmap`, which torch's
    recurrent layers and weights that are codebooks do not go through.
    """
    chain = chain_of(model, x)
    if chain:
        at_once = max(1, AT_ONCE // (len(x) * chain[-1][0].out_features))
        losses = []
        with torch.no_grad():
            for part in torch.split(points, at_once):
                losses.append(_losses(loss, answers_on_plane(chain, centre, directions, part, x), y))
        return torch.cat(losses)
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    if recurrent or shared_weights(model) or len(centre) * len(x) > PRODUCTS:
        return evaluate_one_by_one(model, loss, x, y, centre, directions, points)
    weights = dict(model.named_parameters())
    sizes = [weight.numel() for weight in weights.values()]
    shapes = [weight.shape for weight in weights.values()]

    def at(point: Tensor) -> Tensor:
        row = centre + point @ directions
        parts = [part.reshape(shape) for part, shape in zip(torch.split(row, sizes), shapes, strict=True)]
        return loss(call(model, dict(zip(weights, parts, strict=True)), x), y)

    at_once = max(1, AT_ONCE // (sum(sizes) + _widest(model, x)))
    with observing(model):
        parts = [vmap(at)(part) for part in torch.split(points, at_once)]
    return torch.cat(parts)


def _losses(loss: Loss, outputs_PBK: Tensor, y: Tensor) -> Tensor:
    """The loss of each net, (P,), for which its outputs may be used up.

    Torch's own cross entropy takes longer over few classes than a small net does, and more memory.
    """
    if loss is F.cross_entropy and not y.is_floating_point():
        outputs_PBK -= outputs_PBK.amax(2, keepdim=True)
        right_PB1 = outputs_PBK.gather(2, y[:, None].expand(len(outputs_PBK), -1, 1))
        return (outputs_PBK.exp_().sum(2).log_() - right_PB1.squeeze(2)).mean(1)
    return vmap(loss, (0, None))(outputs_PBK, y)


def evaluate_one_by_one(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, centre: Tensor, directions: Tensor, points: Tensor
) -> Tensor:
    """The same by setting the weights of the model for each point."""
    weights = list(model.parameters())
    sizes = [weight.numel() for weight in weights]
    before = weight_row(model)

    def put(row: Tensor) -> None:
        for weight, part in zip(weights, torch.split(row, sizes), strict=True):
            weight.copy_(part.reshape(weight.shape))

    with observing(model):
        losses = []
        for point in points:
            put(centre + point @ directions)
            losses.append(loss(model(x), y))
        put(before)
    return torch.stack(losses)


def _widest(model: nn.Module, x: Tensor) -> int:
    """How many values the widest layer puts out for the batch."""
    widest = [x.numel()]

    def note(module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            widest[0] = max(widest[0], output.numel())

    handles = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with observing(model):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return widest[0]
