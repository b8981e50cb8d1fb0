"""In which order samples are taken: shuffled anew for each epoch, by the seed and the number of the epoch alone."""

import numpy as np
import torch
from torch import Tensor


class Order:
    """Batches of one size; what is left over at the end of an epoch waits for the next shuffle.

    Args:
        n_samples: how many there are.
        batch_size: samples of each batch.
        seed: of the shuffles.

    Example:
        >>> order = Order(7, batch_size=3, seed=0)
        >>> order.batches(0, 4).shape, len(order.batches(0, 2).unique())
        (torch.Size([4, 3]), 6)
    """

    def __init__(self, n_samples: int, batch_size: int, seed: int) -> None:
        self.n_samples, self.batch_size, self.seed = n_samples, batch_size, seed
        self.per_epoch = n_samples // batch_size
        self.epoch, self.shuffled = -1, torch.empty(0, batch_size, dtype=torch.int64)

    def batches(self, first: int, stop: int) -> Tensor:
        """The samples of the steps first … stop - 1, by number: shape (stop - first, batch_size)."""
        parts = []
        while first < stop:
            epoch, begin = divmod(first, self.per_epoch)
            parts.append(self._of(epoch)[begin : begin + stop - first])
            first += parts[-1].shape[0]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _of(self, epoch: int) -> Tensor:
        if epoch != self.epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self.n_samples)
            whole = order[: self.per_epoch * self.batch_size].reshape(self.per_epoch, self.batch_size)
            self.epoch, self.shuffled = epoch, torch.from_numpy(whole)
        return self.shuffled
