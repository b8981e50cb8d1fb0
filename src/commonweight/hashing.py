"""`hashed`: a hash says which weight a connection uses, so that any matrix can have any number of weights.

Nothing is stored but a seed. See Chen et al. 2015, "Compressing Neural Networks with the Hashing Trick" (HashedNets).
"""

import numpy as np
from numpy.typing import NDArray

from commonweight.errors import PatternError
from commonweight.patterns import Pattern
from commonweight.sizes import WHOLE, whole
from commonweight.tiemap import Index, TieMap

TILE = 16  # weights that lie side by side, in a row of the matrix and in θ: a line of the cache


class Hashed(Pattern):
    """`hashed(n_in, n_out, weights, seed)`: W[o, i] = ξ(o, i) · θ[h(o, i)], with h and the sign ξ from one hash.

    Args:
        n_in, n_out: units.
        weights: P, from 1 (with `tile`, from 16) to the number of connections.
        seed: of the hash, at least 0.
        tile: False for the hash of single connections, as published. True for a hash of 1 × 16 tiles: a tile takes 16
            weights that lie side by side in θ, from a hashed place on, all with one sign, so that writing the matrix
            out copies lines of the cache (as ROAST does, Desai et al. 2022).

    The hash of a cell is the output of that number of the generator SplitMix64 (Steele, Lea, Flood 2014), started at
    the seed. Deviation: a weight that no connection got (about P · exp(-E / P) of them) takes one from a weight that
    has several, in the order of a second hash, because every weight of a pattern is used.

    >>> hashed(4, 2, 3, seed=0).tiemap().weight.tolist()
    [1, 0, 1, 1, 1, 0, 2, 2]
    """

    def __init__(self, n_in: int, n_out: int, weights: int, seed: int = 0, *, tile: bool = False) -> None:
        n_in, n_out, weights = whole("hashed", n_in, n_out, weights)
        notation = f"hashed({n_in}, {n_out}, {weights}, seed={seed}{', tile=True' if tile else ''})"
        super().__init__(notation, (n_in,), (n_out,), (weights,), n_in * n_out)
        least = TILE if tile else 1
        if not least <= weights <= self.n_full:
            raise PatternError(
                f"{notation}: the weights number from {least} to the {self.n_full:,} connections; got {weights:,}."
            )
        if not isinstance(seed, WHOLE) or not 0 <= seed < 1 << 63:
            raise PatternError(f"{notation}: a seed is a whole number from 0 to 2^63 - 1; got {seed!r}.")
        self.seed, self.tile = int(seed), tile

    def _tiemap(self) -> TieMap:
        cells = np.arange(self.n_full)
        hashes = self._hashes()
        sign = np.where(hashes >> np.uint64(63), -1, 1).astype(np.int8)
        out, inp = np.divmod(cells, self.n_in)
        return TieMap(self.n_out, self.n_in, self.n_weights, out, inp, self._weights(hashes), sign)

    def _hashes(self) -> NDArray[np.uint64]:
        """One for each cell; the same for the cells of a tile."""
        rows, columns = np.arange(self.n_out, dtype=np.uint64), np.arange(self.n_in, dtype=np.uint64)
        if self.tile:
            columns //= TILE
        return mixed((rows[:, None] * np.uint64(self.n_in) + columns).ravel(), self.seed)

    def _weights(self, hashes: NDArray[np.uint64]) -> Index:
        if not self.tile:
            weight = (hashes % np.uint64(self.n_weights)).astype(np.int64)
        else:
            first = (hashes % np.uint64(self.n_weights - TILE + 1)).astype(np.int64)
            weight = first + np.tile(np.arange(self.n_in) % TILE, self.n_out)
        return self._none_without_a_use(weight)

    def _none_without_a_use(self, weight: Index) -> Index:
        uses = np.bincount(weight, minlength=self.n_weights)
        without = np.flatnonzero(uses == 0)
        if not len(without):
            return weight
        order = np.argsort(mixed(np.arange(self.n_full, dtype=np.uint64), self.seed + 1), kind="stable")
        # The uses of a weight beyond its first, in that order, are free to be given away.
        ranked = weight[order]
        by_weight = np.argsort(ranked, kind="stable")
        starts = np.cumsum(uses) - uses
        rank = np.empty(self.n_full, dtype=np.int64)
        rank[by_weight] = np.arange(self.n_full) - starts[ranked[by_weight]]
        weight[order[np.flatnonzero(rank > 0)[: len(without)]]] = without
        return weight


def mixed(numbers: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """What SplitMix64, started at `seed`, gives at each place: number n is its n-th output, from 0 on."""
    z = np.uint64(seed) + (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2^64, as all of this
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


hashed = Hashed
