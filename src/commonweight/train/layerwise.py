"""First weights layer by layer: by the variance of what a layer gives, or by learning to restore what it takes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from commonweight.errors import TrainError

CLOSE = 0.01
ROUNDS = 10
EPOCHS, STEPS = 10, 1000
BATCH = 64
RATE = 3e-3


@torch.no_grad()
def scale_layers(model: nn.Module, inputs: Tensor, weights: Sequence[tuple[str, nn.Parameter]]) -> None:
    """Layer-sequential unit variance: from the first layer to the last, θ <- θ / √Var(outputs of the layer).

    Mishkin & Matas, "All you need is a good init" (2016), who begin with orthogonal weights. It is repeated until the
    variance, over units and samples, is within `CLOSE` of 1, which one division gives unless the layer itself is not
    linear. A layer that gives no tensor (a recurrent one) or only zeros keeps its weights, as do layers all of whose
    weights belong to one before: a tied weight is set once.

    Args:
        model: any module; its buffers and mode stay as they are.
        inputs: a batch, shape (B, ...).
        weights: names of layers with the parameters that each is the first to use, in the order of use.
    """
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    modules = dict(model.named_modules())
    layers: dict[str, list[nn.Parameter]] = {}
    for name, weight in weights:
        layers.setdefault(name, []).append(weight)
    for name, own in layers.items():
        for _ in range(ROUNDS):
            variance = _variance(model, modules.get(name, model), inputs)
            if variance == 0 or abs(variance - 1) < CLOSE:
                break
            for weight in own:
                weight.div_(variance**0.5)
    for buffer, before in buffers:
        buffer.copy_(before)


def _variance(model: nn.Module, layer: nn.Module, inputs: Tensor) -> float:
    """The variance of what a layer gives; 0 where that is no tensor, or not finite."""
    seen: list[Any] = []
    handle = layer.register_forward_hook(lambda module, args, output: seen.append(output))
    try:
        model(inputs)
    finally:
        handle.remove()
    outputs = seen[0]
    variance = float(outputs.var(correction=0)) if isinstance(outputs, Tensor) else 0.0
    return variance if variance < float("inf") else 0.0


def learn_layers(model: nn.Module, inputs: Tensor, generator: Generator) -> None:
    """Greedy pretraining: each hidden layer learns to restore its input, then hands its outputs to the next one.

        minimise Σ ‖V f(W x + b) + a - x‖²,  f the activation that follows the layer

    Bengio, Lamblin, Popovici, Larochelle, "Greedy layer-wise training of deep networks" (2007). The decoder V begins as
    Wᵀ, is linear, since inputs are normalised, and is thrown away. Adam, for each layer `EPOCHS` epochs or `STEPS`
    steps, whichever is more.

    Args:
        model: a chain (nn.Sequential) of linear layers, activations and other modules without weights.
        inputs: the training part, shape (N, ...).
        generator: of the order of samples.

    Raises:
        TrainError: any other net, or one without a hidden layer.
    """
    chain = list(model.children())
    linear = [module for module in chain if isinstance(module, nn.Linear)]
    n_others = sum(1 for module in chain if not isinstance(module, nn.Linear) for _ in module.parameters())
    if not isinstance(model, nn.Sequential) or n_others or len(linear) < 2:
        raise TrainError(
            f"An autoencoder start learns the hidden layers of a chain of linear layers, such as mlp; "
            f"{type(model).__name__} is none: use lsuv."
        )
    x = inputs
    for place, module in enumerate(chain):
        if module is linear[-1]:
            return
        if isinstance(module, nn.Linear):
            _restore(module, chain[place + 1], x, generator)
        with torch.no_grad():
            x = module(x)


def _restore(layer: nn.Linear, activation: nn.Module, x: Tensor, generator: Generator) -> None:
    """One layer, with what follows it, learns to restore x of shape (N, n_in)."""
    decoder = layer.weight.detach().T.clone().requires_grad_()
    shift = torch.zeros(layer.in_features, device=x.device, requires_grad=True)
    optimizer = torch.optim.Adam([*layer.parameters(), decoder, shift], lr=RATE)
    for _ in range(max(EPOCHS, -(-STEPS * BATCH // len(x)))):
        for batch in torch.split(torch.randperm(len(x), generator=generator).to(x.device), BATCH):
            restored = F.linear(activation(layer(x[batch])), decoder, shift)
            optimizer.zero_grad()
            F.mse_loss(restored, x[batch]).backward()  # type: ignore[no-untyped-call]  # torch
            optimizer.step()
