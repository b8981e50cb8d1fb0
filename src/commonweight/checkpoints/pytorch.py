"""The names of the tensors in a file of `torch.save` (PyTorch 1.6 and later), whatever was saved.

The file is a zip archive: a pickle says what there is and how tensors are views of storages, and each storage is an
entry of its own. Nothing is unpickled, so a whole model or a TorchScript archive can be read without its code.

Names are the keys on the way to a tensor, joined by dots. In an object they are its attributes; the parameters,
persistent buffers and modules of an `nn.Module` are called as in its state dict. What goes with training is no weight:
at the top, entries that begin with optim, lr_, scheduler, scaler, callbacks or loops are left out unless they are
tensors. If then the only entry with tensors is `state_dict`, `model_state_dict` or `model`, that word is left out of
the names.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from commonweight.checkpoints.bounded import MAX_TENSORS, damaged, shown
from commonweight.checkpoints.pickled import Made, Named
from commonweight.checkpoints.storages import Archive
from commonweight.checkpoints.stored import Stored

_MAX_DEPTH = 100
_TRAINING = ("optim", "lr_", "scheduler", "scaler", "callbacks", "loops")
_INNER = ("state_dict", "model_state_dict", "model")
_REBUILD = "torch._utils._rebuild_"
_VIEWS = {f"{_REBUILD}{what}" for what in ("tensor", "tensor_v2", "tensor_v3")}
_PARAMETERS = {f"{_REBUILD}{what}" for what in ("parameter", "parameter_with_state")}
_SUBCLASS = "torch._tensor._rebuild_from_type_v2"


def read_pytorch(path: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of a file of `torch.save` by name; the format has no metadata.

    Raises:
        FileError: the file cannot be read, breaks the format, or holds tensors without plain bytes.
    """
    archive = Archive(path)
    found: dict[str, Stored] = {}
    for name, made in _tensors(_weights(archive.tree(), path), path):
        if name in found:
            raise damaged(path, f"two of its tensors are called {shown(name)}", "save a plain state dict")
        found[name] = archive.view(name, made)
    return found, {}


def _weights(top: Any, path: Path) -> Any:
    """What is left of the top without what goes with training, and without a word around all of it."""
    items = top.items if isinstance(top, Made) and _by(top).endswith(".OrderedDict") else top
    if not isinstance(items, dict):
        return top
    left = {key: value for key, value in items.items() if not str(key).startswith(_TRAINING) or _is_tensor(value)}
    holders = [key for key, value in left.items() if next(_tensors({key: value}, path), None) is not None]
    alone = len(holders) == 1 and holders[0] in _INNER and not _is_tensor(left[holders[0]])
    return left[holders[0]] if alone else left


def _tensors(top: Any, path: Path) -> Iterator[tuple[str, Made]]:
    """All tensors below a node, under the name of each way that leads there.

    Raises:
        FileError: nested too deep or too often, a tensor below a key that is no text, or one without plain bytes.
    """
    waiting: list[tuple[tuple[Any, ...], Any]] = [((), top)]
    met = 0
    while waiting:
        keys, node = waiting.pop()
        node = _bare(node)
        if not _is_tensor(node):
            for key, value in _below(node):
                if isinstance(value, _CONTAINERS):
                    waiting.append(((*keys, key), value))
                    met += 1
                    if met > MAX_TENSORS or len(keys) >= _MAX_DEPTH:
                        what = f"its pickle leads to more than {MAX_TENSORS:,} things, or deeper than {_MAX_DEPTH}"
                        raise damaged(path, what, "save a plain state dict")
            continue
        if not all(isinstance(key, str | int) for key in keys):
            raise damaged(path, "one of its tensors has a key that is neither text nor a number", "rename it")
        name = ".".join(map(str, keys)) or "tensor"
        if _by(node) not in _VIEWS:
            raise damaged(
                path, f"{shown(name)} is made by {_by(node):.80}, it has no plain bytes", "save it as a dense tensor"
            )
        yield name, node


_CONTAINERS = (dict, list, tuple, Made)


def _below(node: Any) -> Iterator[tuple[Any, Any]]:
    """What is in a container or an object, by key."""
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list | tuple):
        yield from enumerate(node)
    elif isinstance(node, Made):
        state = node.state if isinstance(node.state, dict) else {}
        if "_modules" in state and "_parameters" in state:
            yield from _below(state["_parameters"])
            passing = set(_texts(state.get("_non_persistent_buffers_set")))
            yield from ((key, value) for key, value in _below(state.get("_buffers")) if key not in passing)
            yield from _below(state["_modules"])
            return
        yield from enumerate(node.arguments)
        yield from node.items.items()
        for part in node.state if isinstance(node.state, tuple) else (node.state,):  # a pair where there are slots
            yield from _below(part)


def _texts(node: Any) -> Iterator[str]:
    """The words in a set, which a pickle makes of a list."""
    for part in node.arguments if isinstance(node, Made) else (node,):
        yield from (word for word in part if isinstance(word, str)) if isinstance(part, list) else ()


def _bare(node: Any) -> Any:
    """The tensor itself, without the calls that make it a Parameter or another class."""
    while (_by(node) in _PARAMETERS and node.arguments) or (_by(node) == _SUBCLASS and len(node.arguments) > 2):
        if _by(node) != _SUBCLASS:
            node = node.arguments[0]
        elif isinstance(node.arguments[2], tuple):
            node = Made(node.arguments[0], node.arguments[2])
        else:
            return None
    return node


def _is_tensor(node: Any) -> bool:
    return _by(_bare(node)).startswith(_REBUILD)


def _by(node: Any) -> str:
    """By which class or function a node is made; "" for what is not."""
    return node.by.path if isinstance(node, Made) and isinstance(node.by, Named) else ""
