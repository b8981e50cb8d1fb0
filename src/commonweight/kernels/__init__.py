"""Products, sums and clusters of shared weights in C++; the same answers by torch or numpy where the C++ cannot be.

`COMMONWEIGHT_KERNELS` chooses at run time: `off` (torch alone), `portable`, `avx2`, `avx512`, `amx`; by default the
best one that was compiled and that the processor has. The kernels are operators of torch with fake and autograd
implementations, so that `torch.compile` and `torch.export` see them.
"""

from commonweight.kernels.codes import bits_for, pack, unpack
from commonweight.kernels.kmeans import Clusters, kmeans
from commonweight.kernels.matrix_unit import on_matrix_unit, spread_product
from commonweight.kernels.product import codebook_product
from commonweight.kernels.sums import SortedIndex, adjoint, sorted_index, spread
from commonweight.kernels.transformed import transformed

__all__ = [
    "Clusters",
    "SortedIndex",
    "adjoint",
    "bits_for",
    "codebook_product",
    "kmeans",
    "on_matrix_unit",
    "pack",
    "sorted_index",
    "spread",
    "spread_product",
    "transformed",
    "unpack",
]
