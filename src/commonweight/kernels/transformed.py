"""Whether torch differentiates or maps in a way that sees no further than its own operators."""

import torch
from torch.autograd import forward_ad


def transformed() -> bool:
    """Whether a transform of torch.func, or a level of forward-mode differentiation, is active.

    An operator of this package has a derivative for `backward` alone, and no rule for vmap: under these it would be an
    error, or lose a tangent without a word. So what is called then is made of operators of torch.
    """
    if torch.compiler.is_compiling():
        return False
    return bool(torch._C._are_functorch_transforms_active()) or forward_ad._current_level >= 0
