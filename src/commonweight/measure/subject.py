"""What is looked at: a net, a layer of it by its name, and data; anything else is refused in one sentence."""

from typing import Any

from torch import nn

from commonweight.data.dataset import Data
from commonweight.errors import DataError, NetError, require_kind


def require_net(model: Any) -> None:
    """Refuse what is no net.

    Raises:
        NetError: as said.
    """
    require_kind(model, nn.Module, "What is looked at is a torch.nn.Module, such as nets.build makes", NetError)


def require_data(data: Any) -> None:
    """Refuse what are no data.

    Raises:
        DataError: as said.
    """
    require_kind(data, Data, "A net is looked at on data as commonweight.data.load gives them", DataError)


def module_of(model: nn.Module, layer: str) -> nn.Module:
    """The module of that name.

    Raises:
        NetError: no net, or one without such a layer.
    """
    require_net(model)
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if not isinstance(layer, str) or layer not in modules:
        raise NetError(f"The net has no layer {layer!r:.60}; it has {', '.join(filter(None, modules))}.")
    return modules[layer]
