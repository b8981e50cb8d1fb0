"""Compress a trained network: its weights become codebooks with codes, which are stored, trained and multiplied so.

A weight that has a pattern becomes the free weights of it instead, where `follow` finds one.

`share` does it to a live model, `share_file` to a file of tensors; `save` writes the packed file, which
`commonweight.load` reads as any other, and `open_shared` takes into a model whose weights stay compressed. What can
be one weight is tied before: `share_depth` makes neighbouring layers one, `follow` ties what is equal.
"""

from commonweight.compress.following import follow, follow_in_tensors, share_depth
from commonweight.compress.patterned import PatternWeight
from commonweight.compress.report import Followed, Line, Report
from commonweight.compress.sharing import share, share_tensors, shared_weights
from commonweight.compress.storing import open_shared, save, save_tensors
from commonweight.compress.weight import SharedWeight
from commonweight.compress.whole_file import share_file

__all__ = ["Followed", "Line", "PatternWeight", "Report", "SharedWeight", "follow", "follow_in_tensors", "open_shared"]
__all__ += ["save", "save_tensors", "share", "share_depth", "share_file", "share_tensors", "shared_weights"]
