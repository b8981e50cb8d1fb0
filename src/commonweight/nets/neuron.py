"""The single neuron: McCulloch and Pitts' with fixed weights, and Rosenblatt's perceptron, which learns its own.

    y = 1 where Σ_j w_j x_j ≥ θ, else 0

**No neuron does XOR.** It would have to stay silent at (0, 0): 0 < θ; to fire at (1, 0) and (0, 1): w_1 ≥ θ and
w_2 ≥ θ; and to stay silent at (1, 1): w_1 + w_2 < θ. The two in the middle give w_1 + w_2 ≥ 2θ, which is more than θ
since θ > 0: a contradiction. In the plane, no line has two opposite corners of a square on one side and the other two
on the other (Minsky & Papert, "Perceptrons", 1969). Two layers do it: see `exclusive_or`.
"""

from collections.abc import Sequence
from math import prod
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state, check_X_y
from torch import Tensor, nn

from commonweight import patterns
from commonweight.errors import NetError
from commonweight.nets.estimators import ModuleClassifier, checked_pairs, require_whole
from commonweight.nets.sample_shape import output_number, sample_shape

BLOCK = 64
"""Samples whose scores the perceptron works out at once."""

SEPARATE = 1e-7
"""Classes whose margin is below this share of the radius count as not separable."""

Matrix = NDArray[np.float64]


class McCullochPitts(nn.Module):
    """A layer of neurons with fixed weights: y_i = 1 where Σ_j w_ij x_j ≥ θ_i, else 0.

    Source: McCulloch, Pitts, "A logical calculus of the ideas immanent in nervous activity" (1943). There, excitation
    has weight 1 and one active inhibition silences a neuron whatever else it gets; on inputs 0 and 1, a weight of minus
    the number of excitations does the same, so both are written as weights here. Nothing learns: `count` finds
    connections, and no weight.

    Args:
        weights: w, shape (neurons, inputs).
        thresholds: θ, shape (neurons,).

    Shapes: x (B, inputs) -> (B, neurons), zeros and ones.

    Raises:
        NetError: another number of thresholds than of rows of weights.

    Example:
        >>> majority = McCullochPitts([[1, 1, 1]], [2])
        >>> majority(torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]]))
        tensor([[1.],
                [0.]])
    """

    weights: Tensor
    thresholds: Tensor

    def __init__(self, weights: Sequence[Sequence[float]], thresholds: Sequence[float]) -> None:
        super().__init__()
        w, theta = torch.tensor(weights, dtype=torch.float32), torch.tensor(thresholds, dtype=torch.float32)
        if w.ndim != 2 or theta.shape != (len(w),):
            raise NetError(
                f"A layer of McCulloch-Pitts neurons has weights of shape (neurons, inputs) and a threshold for each "
                f"neuron; got shapes {tuple(w.shape)} and {tuple(theta.shape)}."
            )
        self.pattern, self.bias_pattern = patterns.dense(w.shape[1], len(w)), patterns.bias("unit", (len(w),))
        self.register_buffer("weights", w)
        self.register_buffer("thresholds", theta)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, inputs) -> (B, neurons)."""
        return (x @ self.weights.T >= self.thresholds).to(x)


def conjunction(n_inputs: int = 2) -> McCullochPitts:
    """AND: all inputs fire.

    >>> conjunction()(torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])).flatten().tolist()
    [0.0, 0.0, 0.0, 1.0]
    """
    return McCullochPitts([[1.0] * n_inputs], [n_inputs])


def disjunction(n_inputs: int = 2) -> McCullochPitts:
    """OR: at least one input fires.

    >>> disjunction()(torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])).flatten().tolist()
    [0.0, 1.0, 1.0, 1.0]
    """
    return McCullochPitts([[1.0] * n_inputs], [1.0])


def negation() -> McCullochPitts:
    """NOT: the input is silent.

    >>> negation()(torch.tensor([[0.0], [1.0]])).flatten().tolist()
    [1.0, 0.0]
    """
    return McCullochPitts([[-1.0]], [0.0])


def exclusive_or() -> nn.Sequential:
    """XOR by two layers: one neuron for OR, one for AND, and one that fires for the first without the second.

    >>> exclusive_or()(torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])).flatten().tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    return nn.Sequential(McCullochPitts([[1, 1], [1, 1]], [1, 2]), McCullochPitts([[1, -1]], [1]))


class Perceptron(nn.Sequential):
    """A score s_k = w_k · x + b_k for each class; the largest is the answer. All weights start at 0.

    Args:
        in_shape: of one sample; it is flattened.
        n_outputs: number of classes.

    Shapes: x (B, *in_shape) -> (B, n_outputs).

    Raises:
        NetError: sizes that are no whole numbers from 1.

    Example:
        >>> Perceptron((1, 8, 8), 10)(torch.ones(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    scores_only = True  # what it puts out are no logits: their softmax is no probability

    def __init__(self, in_shape: tuple[int, ...], n_outputs: int) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        super().__init__()
        self.flat = nn.Flatten()
        self.output = nn.Linear(prod(in_shape), n_outputs)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)


class PerceptronClassifier(ModuleClassifier):
    """Rosenblatt's perceptron: weights change only at mistakes, by the sample that was mistaken.

        sample x of class t, r the strongest of the other classes:
        where s_t ≤ s_r:    w_t += x,  b_t += 1,  w_r -= x,  b_r -= 1

    With two classes w_1 = -w_0, and this is the rule as published: w += x or w -= x when the answer is wrong. With more
    it is the same rule on Kesler's construction (Nilsson, "Learning machines", 1965). Each pass takes the samples in a
    new random order; learning ends with a pass without a mistake. If the classes can be separated, that comes after
    at most `novikoff_bound` mistakes; if not, never, and the weights go round. The average of the weights over all
    samples presented is then the better answer, and by default what is kept (Freund & Schapire 1999). Multiplying all
    weights by a number changes no answer, so scores are no probabilities, nor is `predict_proba`.

    Sources: Rosenblatt, "The perceptron: a probabilistic model for information storage and organization in the brain"
    (1958); Freund, Schapire, "Large margin classification using the perceptron algorithm" (1999).

    Args:
        average: whether to keep the average of the weights; otherwise the last ones, as Rosenblatt does.
        max_iter: passes over the samples, at most; at least 1.
        random_state: of the orders.

    Attributes:
        module_: a `Perceptron`.
        n_iter_: passes made.
        mistakes_: the number of mistakes in each pass.

    Example:
        >>> points, labels = [[0, 0], [0, 1], [1, 0], [1, 1]], ["no", "no", "no", "yes"]
        >>> rule = PerceptronClassifier(random_state=0, average=False).fit(points, labels)
        >>> rule.predict(points).tolist(), rule.mistakes_[-1]
        (['no', 'no', 'no', 'yes'], 0)
    """

    def __init__(
        self, *, average: bool = True, max_iter: int = 100, random_state: int | np.random.RandomState | None = None
    ) -> None:
        self.average = average
        self.max_iter = max_iter
        self.random_state = random_state

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Learn from the beginning.

        Args:
            X: samples, shape (N, F).
            y: labels of two classes at least, shape (N,).

        Raises:
            ValueError: values that are not finite, fewer than two classes, or no pass.
        """
        x, target = self.encode(X, y)
        require_whole(self, 1, "max_iter")
        generator = check_random_state(self.random_state)
        self._begin()
        for _ in range(self.max_iter):
            order = generator.permutation(len(x))
            if self._pass(x[order], target[order]) == 0:
                break
        return self._end()

    def partial_fit(self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None) -> Self:
        """One more pass, over these samples in the order given, from the weights so far.

        Args:
            X: samples, shape (N, F).
            y: labels, shape (N,).
            classes: all labels that will ever come; needed at the first call.

        Raises:
            ValueError: no classes at the first call or other ones later, unknown labels, or another width.
        """
        is_first = not hasattr(self, "classes_")
        if is_first and classes is None:
            raise ValueError("The first call of partial_fit must say all classes that will come: give classes.")
        x, labels = checked_pairs(self, X, y, reset=is_first)
        if is_first:
            self.classes_ = np.unique(np.asarray(classes))
            self._begin()
        elif classes is not None and not np.array_equal(self.classes_, np.unique(np.asarray(classes))):
            raise ValueError(
                f"The classes are {self.classes_.tolist()} since the first call of partial_fit; got others."
            )
        unknown = np.setdiff1d(labels, self.classes_)
        if len(unknown):
            raise ValueError(
                f"The label {unknown[0]} is none of the classes {self.classes_.tolist()}: name all at the first call."
            )
        self._pass(x, torch.from_numpy(np.searchsorted(self.classes_, labels)))
        return self._end()

    def _begin(self) -> None:
        """All weights are 0, nothing has been seen."""
        self._weights = np.zeros((len(self.classes_), self.n_features_in_ + 1))
        self._correction = np.zeros_like(self._weights)
        self._seen = 0
        self.mistakes_: list[int] = []

    def _pass(self, x: Tensor, target: Tensor) -> int:
        """Present samples one after the other; the number of mistakes.

        The weights stay as they are up to the next mistake, so the scores of a block are worked out together. After T
        samples, with a change d_i at sample i, the average is Σ_i d_i (T - i) / T = weights - correction / T.
        """
        rows = np.pad(x.numpy().astype(np.float64), ((0, 0), (0, 1)), constant_values=1.0)
        true = target.numpy()
        place = mistakes = 0
        while place < len(rows):
            block, classes = rows[place : place + BLOCK], true[place : place + BLOCK]
            scores = block @ self._weights.T
            each = np.arange(len(block))
            own = scores[each, classes]
            scores[each, classes] = -np.inf
            rival = scores.argmax(1)
            wrong = own <= scores[each, rival]
            first = int(wrong.argmax()) if wrong.any() else len(block)
            if first < len(block):
                change = np.outer([1.0, -1.0], block[first])
                self._weights[[classes[first], rival[first]]] += change
                self._correction[[classes[first], rival[first]]] += (self._seen + first) * change
                mistakes += 1
                first += 1
            place += first
            self._seen += first
        self.mistakes_.append(mistakes)
        return mistakes

    def _end(self) -> Self:
        """The module with the weights that were learned."""
        weights = self._weights - self._correction / self._seen if self.average else self._weights
        self.n_iter_ = len(self.mistakes_)
        self.structure_: dict[str, Any] = {}
        with torch.random.fork_rng(devices=[]):  # its first weights are drawn, then 0
            perceptron = Perceptron((self.n_features_in_,), len(self.classes_))
        with torch.no_grad():
            perceptron.output.weight.copy_(torch.from_numpy(weights[:, :-1]))
            perceptron.output.bias.copy_(torch.from_numpy(weights[:, -1]))
        self.module_ = perceptron
        return self


def novikoff_bound(X: ArrayLike, y: ArrayLike) -> float:
    """The most mistakes that the perceptron can make on these samples, in any order, however often: (R / γ)².

    R is the largest norm of a sample with a 1 appended for the bias, γ the largest margin: for two classes

        γ = max over unit vectors v of min_i ±v · (x_i, 1)

    and for more the same for Kesler's vectors, which hold (x_i, 1) in the place of its class and -(x_i, 1) in that of
    another. v is proportional to the shortest u with u · z_i ≥ R for all z_i, which Lawson and Hanson ("Solving least
    squares problems", 1974, chapter 23) find as a least squares problem with non-negative unknowns: if ρ is what
    remains of it, then (R / γ)² = 1 / ρ² - 1.

    Source: Novikoff, "On convergence proofs on perceptrons" (1962).

    Args:
        X: samples, shape (N, F).
        y: labels of two classes at least, shape (N,).

    Raises:
        ValueError: one class only, samples that are no finite numbers, or classes that cannot be separated: there is no
            bound.

    Example:
        >>> round(novikoff_bound([[3.0], [5.0]], ["left", "right"]))  # R² = 26, and v = (1, -4) / √17 gives γ² = 1 / 17
        442
    """
    rows, labels = check_X_y(X, y, dtype=np.float64)
    samples = np.pad(rows, ((0, 0), (0, 1)), constant_values=1.0)
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"A bound is for two classes at least, but y has only {classes[0]}: give samples of another.")
    vectors = kesler_vectors(samples, index)
    remainder = separation(vectors)
    if remainder < SEPARATE:
        raise ValueError(
            f"These {len(samples)} samples are not linearly separable: the perceptron would go on making mistakes for "
            f"ever, and Novikoff's bound is for classes that a plane can part."
        )
    return 1 / remainder**2 - 1


def kesler_vectors(samples_ND: Matrix, target_N: NDArray[np.int64]) -> Matrix:
    """One vector for each sample and each class r that is not its own t: x in the place of t, -x in that of r.

    The scores of a perceptron with the rows of weights v tell all samples apart where v · z > 0 for all vectors z.

    >>> kesler_vectors(np.array([[3.0, 1.0]]), np.array([1]))
    array([[-3., -1.,  3.,  1.]])
    """
    n_classes = int(target_N.max()) + 1
    own, other = np.nonzero(target_N[:, None] != np.arange(n_classes))
    place = np.eye(n_classes)
    sides = place[target_N[own]] - place[other]
    vectors: Matrix = sides[:, :, None] * samples_ND[own, None, :]
    return vectors.reshape(len(own), -1)


def separation(vectors: Matrix) -> float:
    """What remains of min ‖Σ_i u_i (z_i, R) - (0, 1)‖ over u ≥ 0, for vectors z_i and their largest norm R.

    It is 0 where no plane through 0 has all vectors on one side, and otherwise γ / √(γ² + R²).
    """
    from scipy.optimize import nnls

    radius = np.linalg.norm(vectors, axis=1).max()
    system = np.vstack([vectors.T / radius, np.ones(len(vectors))])
    _, remainder = nnls(system, np.eye(len(system))[-1])
    return float(remainder)
