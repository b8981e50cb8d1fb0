"""A net of the user's own: a function in a Python file that he names as file.py:factory."""

import sys
import traceback
from collections.abc import Callable
from difflib import get_close_matches
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from commonweight.errors import NetError, require_kind

Shape = tuple[int, ...]
Factory = Callable[[Shape, int], nn.Module]


def is_own(name: str) -> bool:
    """Whether a name of a net is meant as a file of the user's, and no family of the catalogue."""
    return ":" in name or name.endswith(".py")


def load_factory(spec: str) -> Factory:
    """Run a Python file and return the function (or class) in it that makes a net.

    Running the file runs whatever it says, as `python file.py` does: name only files that you trust. It may import
    files of its own folder. The function is called with (in_shape, n_outputs) and returns a `torch.nn.Module`.

    Args:
        spec: path and name joined by a colon, such as "nets/mine.py:wide".

    Returns:
        The function, its errors turned into sentences.

    Raises:
        NetError: another form, no such file, a file that raises, or no such name or no function in it; and when the
            function is called: it raises, or returns no module.
    """
    require_kind(spec, str, "A net of your own is written file.py:factory, such as nets.py:wide", NetError)
    path_part, _, name = spec.rpartition(":")
    if not path_part or not name:
        raise NetError(f"A net of your own is written file.py:factory, such as nets.py:wide; got {spec!r}.")
    path = Path(path_part)
    if path.suffix != ".py" or not path.is_file():
        raise NetError(f"There is no Python file {path} to take {name} from: check the path in {spec}.")
    module = _run(path)
    if not hasattr(module, name):
        made_here = [word for word, value in vars(module).items() if callable(value) and not word.startswith("_")]
        near = get_close_matches(name, made_here) or made_here
        hint = f"did you mean {' or '.join(near)}?" if near else "it defines no function."
        raise NetError(f"{path} has no {name}: {hint}")
    factory = getattr(module, name)
    if not callable(factory):
        raise NetError(
            f"{spec} is a {type(factory).__name__}; expected a function of (in_shape, n_outputs) that returns a net."
        )

    def make(in_shape: Shape, n_outputs: int, **structure: Any) -> nn.Module:
        arguments = "".join(f", {key}={value!r}" for key, value in structure.items())
        call = f"{spec}, called with ({in_shape}, {n_outputs}{arguments}),"
        try:
            net = factory(in_shape, n_outputs, **structure)
        except Exception as error:
            raise NetError(f"{call} raised {_told(error, path)}: correct the function.") from error
        if not isinstance(net, nn.Module):
            raise NetError(f"{call} returned a {type(net).__name__}; expected a torch.nn.Module: return the net.")
        return net

    return make


def _run(path: Path) -> ModuleType:
    """The file as a module; its folder is searched for imports meanwhile."""
    name, resolved = f"commonweight_own_{path.stem}", path.resolve()
    folder, module = str(resolved.parent), ModuleType(name)
    module.__file__ = str(resolved)
    sys.modules[name] = module  # dataclasses look their module up by name
    sys.path.insert(0, folder)
    try:
        SourceFileLoader(name, str(resolved)).exec_module(module)
    except Exception as error:
        raise NetError(f"Running {path} raised {_told(error, path)}: correct the file.") from error
    finally:
        if folder in sys.path:
            sys.path.remove(folder)
    return module


def _told(error: Exception, path: Path) -> str:
    """The error in words, with the line of the file where it came up."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path.resolve())
    ]
    where = f" in line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}{where} ({error})"
