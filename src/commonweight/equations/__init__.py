"""Ties between the tensors of a live model: declared as equations, kept alive, shown, checked and given up.

`tie` makes a plain alias the very same Parameter as its owner, and any other alias a tensor that is computed from its
owner at each access. Either way `model.parameters()` yields each weight once, the gradient of the owner is the sum over
all uses, and the state dict has the keys that the model has without ties.
"""

from commonweight.equations.checking import check, ties
from commonweight.equations.declaring import tie, untie
from commonweight.equations.layers import share_layers, shared_state, unshare_layers
from commonweight.equations.sameness import Level, Tie

__all__ = ["Level", "Tie", "check", "share_layers", "shared_state", "tie", "ties", "unshare_layers", "untie"]
