"""Which kernels run: the compiled ones by the processor's instruction set, or none.

`COMMONWEIGHT_KERNELS` chooses: `off`, `portable`, `avx2`, `avx512`, `amx`; without it, the best that the processor has.
"""

import ctypes
import warnings
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from commonweight.errors import KernelError
from commonweight.instruction_sets import CHOICES, VARIABLE, wanted_instructions

# What the compiled module has to offer; one built from another version of the sources may lack some.
FUNCTIONS = (
    "adjoint_float32",
    "adjoint_float64",
    "codebook_expand",
    "codebook_product",
    "codebook_sums",
    "instructions",
    "kmeans_float32",
    "kmeans_float64",
    "networks",
    "perceptron_answers",
    "perceptron_steps",
    "perceptrons_on_plane",
    "said",
    "spread_adjoint",
    "spread_float32",
    "spread_float64",
    "spread_product",
    "use_team",
)


@lru_cache(maxsize=1)
def library() -> ModuleType | None:
    """The compiled kernels; None when the package was built without a compiler, or, with a warning, when they are old
    or cannot be loaded."""
    try:
        module = import_module("commonweight.kernels._native")
    except ModuleNotFoundError:
        return None
    except ImportError as error:
        _warn(f"cannot be loaded ({error})")
        return None
    missing = [name for name in FUNCTIONS if not hasattr(module, name)]
    if missing:
        _warn(f"are of another version of it and lack {', '.join(missing)}")
        return None
    module.use_team(_team())
    return module


def _warn(why: str) -> None:
    warnings.warn(
        f"The compiled kernels of commonweight {why}: it computes by torch alone; install the package once more.",
        stacklevel=3,
    )


def compiled() -> ModuleType:
    """The compiled kernels, where `instructions` has found that there are some."""
    module = library()
    if module is None:
        raise KernelError("The kernels were not compiled; install a C++ compiler, and this package once more.")
    return module


def laid_out(tensor: Tensor) -> Tensor:
    """The tensor as the C++ reads it: one number after the other, each at a multiple of its size; copied if it must."""
    ready = tensor.contiguous()
    return ready.clone() if ready.data_ptr() % ready.element_size() else ready


def _team() -> int:
    """Where torch's OpenMP library has GOMP_parallel, 0 if it has none: threads of our own would fight with torch's."""
    folder = Path(torch.__file__).parent / "lib"
    for path in sorted(folder.glob("libtorch_cpu.*")):
        try:  # already loaded: this only asks for a handle, through which its dependencies are searched
            return ctypes.cast(ctypes.CDLL(str(path)).GOMP_parallel, ctypes.c_void_p).value or 0
        except (OSError, AttributeError):
            continue
    return 0


def instructions() -> str:
    """The instruction set in use: one of CHOICES.

    Raises:
        KernelError: COMMONWEIGHT_KERNELS names none of them, or one that this machine cannot run.
    """
    module = library()
    return _instructions(module.said(VARIABLE) if module else wanted_instructions())


@lru_cache
def _instructions(said: str) -> str:
    """The instruction set in use while the variable says this."""
    compiled, wanted = library(), wanted_instructions()
    best = compiled.instructions() if compiled else "off"
    if not wanted:
        return best
    if CHOICES.index(wanted) > CHOICES.index(best):
        why = "the kernels were not compiled" if compiled is None else "this processor has not those instructions"
        raise KernelError(f"{VARIABLE} asks for {wanted!r}, but {why}; unset it, or choose {best!r}.")
    return wanted
