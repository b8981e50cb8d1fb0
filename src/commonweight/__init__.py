"""Neural networks with shared weights, on PyTorch: which connections use the same weight, made visible.

Public names load on first use, so that `commonweight --help` answers without importing torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from commonweight.census import count
    from commonweight.equations import check, tie, ties, untie
    from commonweight.errors import TieError
    from commonweight.files import load, save
    from commonweight.tied import Tied
    from commonweight.tiemap import TieMap
    from commonweight.train.loop import fit
    from commonweight.verdicts import audit

__version__ = "0.1.0"
__all__ = ["TieError", "TieMap", "Tied", "audit", "check", "count", "fit", "load", "save", "tie", "ties", "untie"]

_HOME = {"TieMap": "tiemap", "Tied": "tied", "count": "census", "fit": "train.loop", "TieError": "errors"}
_HOME |= {"audit": "verdicts", "load": "files", "save": "files"}
_HOME |= dict.fromkeys(("tie", "untie", "ties", "check"), "equations")
_MODULES = (
    "codebook",
    "compress",
    "data",
    "equations",
    "errors",
    "export",
    "hashing",
    "lower",
    "measure",
    "nets",
    "parallel",
    "patterns",
    "recognise",
    "reference",
    "train",
    "verdicts",
)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"commonweight.{_HOME[name]}"), name)
    if name in _MODULES:
        return import_module(f"commonweight.{name}")
    raise AttributeError(f"module 'commonweight' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
