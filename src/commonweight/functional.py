"""A model called with other weights than its own, which it keeps: `torch.func` for models that share modules.

torch's own `functional_call` puts new weights into a module once for each name that the module has. Of a module with
two names it takes the new weight for the old one the second time, and leaves it in the model.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call


def call(model: nn.Module, weights: Mapping[str, Tensor], *inputs: Any) -> Any:
    """What a model answers to inputs with these weights in the places of its own.

    Args:
        model: stays as it is.
        weights: by their names in `named_parameters`; a shared one is used wherever the model uses it. Weights that
            are not named stay the model's own.
        inputs: what the model's forward takes.

    >>> import torch
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> twice = nn.Sequential(layer, layer)
    >>> call(twice, {"0.weight": torch.tensor([[3.0]])}, torch.ones(1, 1))
    tensor([[9.]])
    """
    name_of = {parameter: name for name, parameter in model.named_parameters()}
    places = {
        f"{path}.{leaf}" if path else leaf: name_of[parameter]
        for path, module in model.named_modules()  # each module under its first name
        for leaf, parameter in module._parameters.items()
        if parameter is not None
    }
    given = {place: weights[name] for place, name in places.items() if name in weights}
    return functional_call(model, given, inputs, tie_weights=False)
