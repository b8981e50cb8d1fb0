"""Neural networks with shared weights, on PyTorch: which connections use the same weight, made visible.

Public names load on first use, so that `commonweight --help` answers without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from commonweight.census import count
    from commonweight.tied import Tied
    from commonweight.tiemap import TieMap
    from commonweight.train.loop import fit

__version__ = "0.1.0"
__all__ = ["TieMap", "Tied", "count", "fit"]

_HOME = {"TieMap": "tiemap", "Tied": "tied", "count": "census", "fit": "train.loop"}
_MODULES = ("data", "errors", "lower", "measure", "nets", "patterns", "recognise", "reference", "train")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"commonweight.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"commonweight.{name}")
    raise AttributeError(f"module 'commonweight' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
