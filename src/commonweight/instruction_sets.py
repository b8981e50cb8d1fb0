"""The instruction sets that kernels are made for, and which one COMMONWEIGHT_KERNELS asks for; without torch."""

import os

from commonweight.errors import KernelError

VARIABLE = "COMMONWEIGHT_KERNELS"
CHOICES = ("off", "portable", "avx2", "avx512", "amx")  # each runs on processors that can run a later one


def wanted_instructions() -> str:
    """One of CHOICES; nothing for the best that the processor has.

    Raises:
        KernelError: the variable names none of them.
    """
    wanted = os.environ.get(VARIABLE, "")
    if wanted and wanted not in CHOICES:
        raise KernelError(f"{VARIABLE} is {wanted!r}; expected {', '.join(CHOICES)}, or nothing for the best.")
    return wanted
