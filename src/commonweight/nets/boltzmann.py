"""The restricted Boltzmann machine: one matrix that leads up from visible to hidden units, and transposed down again.

E(v, h) = -b·v - c·h - h·W v        P(v, h) = exp(-E(v, h)) / Z
P(h_j = 1 | v) = σ(c_j + W_j v)     P(v_i = 1 | h) = σ(b_i + h W_i)

With Gaussian visible units of variance 1, E(v, h) = ½‖v - b‖² - c·h - h·W v, and v given h is N(b + h W, 1).

Sources: Smolensky 1986 ("harmonium"); Hinton, "Training products of experts by minimizing contrastive divergence"
(2002); Tieleman, "Training restricted Boltzmann machines using approximations to the likelihood gradient" (2008);
Hinton, "A practical guide to training restricted Boltzmann machines" (2010); Montavon & Müller, "Deep Boltzmann
machines and the centering trick" (2012); Larochelle & Bengio, "Classification using discriminative restricted
Boltzmann machines" (2008).

How likely data is by the constant Z is in `boltzmann_likelihood.py`, the estimators are in `boltzmann_estimators.py`.
"""

from collections.abc import Callable
from math import prod

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from commonweight.errors import NetError
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.nets.unit_interval import Shape, UnitInterval, as_pictures
from commonweight.views import View

VISIBLE = ("bernoulli", "gaussian")
LEAST = 1e-3
"""A unit that is never on in the data gets the bias of one that is on so often."""


def sample(probabilities: Tensor, generator: Generator) -> Tensor:
    """0 or 1, each 1 with its probability, rounded up to a multiple of 2⁻¹⁶: 16 random bits a unit."""
    n = probabilities.numel()
    words = torch.empty((n + 3) // 4, dtype=torch.int64, device=probabilities.device)
    bits = words.random_(-(2**63), None, generator=generator).view(torch.int16)[:n].view(probabilities.shape)
    threshold = (probabilities * 2**16).sub_(2**15)
    return torch.gt(threshold, bits, out=threshold)


class RestrictedBoltzmannMachine(nn.Module):
    """Visible units, hidden units, a weight for each pair of them, used upwards and downwards.

    Args:
        n_visible: V, the number of visible units.
        n_hidden: H, the number of hidden units.
        visible: "bernoulli" for values from 0 to 1, which are taken as probabilities; "gaussian" for real values of
            variance near 1.

    Attributes:
        weight: shape (H, V); starts normal with deviation 0.01 (Hinton 2010), from torch's random state.
        visible_bias, hidden_bias: shapes (V,) and (H,).

    Raises:
        NetError: no units, or another kind of visible unit.

    Example:
        >>> import commonweight as cw
        >>> rbm = RestrictedBoltzmannMachine(6, 4)
        >>> rbm(torch.zeros(3, 6)).shape
        torch.Size([3, 6])
        >>> census = cw.count(rbm, torch.zeros(3, 6))
        >>> census.weights, census.connections  # 6·4 + 6 + 4 weights; the matrix makes 24 connections up and 24 down
        (34, 58)
    """

    def __init__(self, n_visible: int, n_hidden: int, *, visible: str = "bernoulli") -> None:
        if min(n_visible, n_hidden) < 1:
            raise NetError(f"A Boltzmann machine has at least 1 unit on each side; got {n_visible} and {n_hidden}.")
        if visible not in VISIBLE:
            raise NetError(f"Visible units are {' or '.join(VISIBLE)}; got {visible!r}.")
        super().__init__()
        self.kind = visible
        self.weight = nn.Parameter(torch.randn(n_hidden, n_visible) * 0.01)
        self.visible_bias = nn.Parameter(torch.zeros(n_visible))
        self.hidden_bias = nn.Parameter(torch.zeros(n_hidden))

    def hidden(self, v: Tensor) -> Tensor:
        """P(h = 1 | v): (B, V) -> (B, H)."""
        return torch.sigmoid(F.linear(v, self.weight, self.hidden_bias))

    def visible(self, h: Tensor) -> Tensor:
        """The mean of v given h: (B, H) -> (B, V)."""
        mean = F.linear(h, self.weight.T, self.visible_bias)
        return mean if self.kind == "gaussian" else torch.sigmoid(mean)

    def forward(self, v: Tensor) -> Tensor:
        """Up and down once, by means: the reconstruction of v, (B, V) -> (B, V)."""
        return self.visible(self.hidden(v))

    def sample_hidden(self, v: Tensor, generator: Generator) -> Tensor:
        """Draw h given v: (B, V) -> (B, H)."""
        return sample(self.hidden(v), generator)

    def sample_visible(self, h: Tensor, generator: Generator) -> Tensor:
        """Draw v given h: (B, H) -> (B, V)."""
        mean = self.visible(h)
        if self.kind == "gaussian":
            return mean + torch.randn(mean.shape, generator=generator, dtype=mean.dtype)
        return sample(mean, generator)

    @torch.no_grad()
    def gibbs(self, v: Tensor, generator: Generator, steps: int = 1) -> Tensor:
        """Draw h, then v, `steps` times: (B, V) -> (B, V)."""
        for _ in range(steps):
            v = self.sample_visible(self.sample_hidden(v, generator), generator)
        return v

    def free_energy(self, v: Tensor) -> Tensor:
        """F(v) = -log Σ_h exp(-E(v, h)) = -b·v - Σ_j log(1 + exp(c_j + W_j v)): (B, V) -> (B,).

        With Gaussian units the first term is ½‖v - b‖².
        """
        rest = F.softplus(F.linear(v, self.weight, self.hidden_bias)).sum(1)
        if self.kind == "gaussian":
            return ((v - self.visible_bias) ** 2).sum(1) / 2 - rest
        return -(v @ self.visible_bias) - rest

    @torch.no_grad()
    def pseudo_likelihood(self, v: Tensor, generator: Generator) -> Tensor:
        """An estimate of Σ_i log P(v_i | all others): V log σ(F(v with unit i flipped) - F(v)), i drawn for each row.

        Source: Besag 1975; the estimate is that of scikit-learn's BernoulliRBM. (B, V) -> (B,).

        Raises:
            NetError: Gaussian visible units, which cannot be flipped.
        """
        if self.kind == "gaussian":
            raise NetError("The pseudo-likelihood flips units from 0 to 1, which Gaussian units do not have.")
        flipped, rows = v.clone(), torch.arange(len(v))
        units = torch.randint(v.shape[1], (len(v),), generator=generator)
        flipped[rows, units] = 1 - flipped[rows, units]
        return v.shape[1] * F.logsigmoid(self.free_energy(flipped) - self.free_energy(v))


class LabelledBoltzmannMachine(RestrictedBoltzmannMachine):
    """A machine that sees samples and their labels: the last C visible units are one label, of which one is on.

    The label given h is a softmax, and P(y | v) is exact: softmax of -F(v, y) over y (Larochelle & Bengio 2008).

    Args:
        n_visible: V, without the label.
        n_classes: C.
        n_hidden: H.

    Attributes:
        weight: shape (H, V + C).

    Example:
        >>> machine = LabelledBoltzmannMachine(6, 3, 4)
        >>> machine(torch.zeros(5, 6)).shape
        torch.Size([5, 3])
    """

    def __init__(self, n_visible: int, n_classes: int, n_hidden: int) -> None:
        super().__init__(n_visible + n_classes, n_hidden)
        self.n_classes = n_classes

    def join(self, v: Tensor, index: Tensor) -> Tensor:
        """Samples (B, V) and the index of the class of each (B,) -> visible states (B, V + C)."""
        return torch.cat([v, F.one_hot(index, self.n_classes).to(v)], 1)

    def visible(self, h: Tensor) -> Tensor:
        """The mean of v and of the label given h: (B, H) -> (B, V + C)."""
        v, label = self._parts(F.linear(h, self.weight.T, self.visible_bias))
        return torch.cat([torch.sigmoid(v), label.softmax(1)], 1)

    def sample_visible(self, h: Tensor, generator: Generator) -> Tensor:
        """Draw v and one label given h: (B, H) -> (B, V + C)."""
        v, label = self._parts(self.visible(h))
        return self.join(sample(v, generator), torch.multinomial(label, 1, generator=generator)[:, 0])

    def forward(self, v: Tensor) -> Tensor:
        """log P(y | v) but for a constant, d_y + Σ_j log(1 + exp(c_j + W_j v + U_jy)): (B, V) -> (B, C)."""
        weight, label_weight = self._parts(self.weight)
        up = F.linear(v, weight, self.hidden_bias)
        return F.softplus(up.unsqueeze(1) + label_weight.T).sum(2) + self.visible_bias[-self.n_classes :]

    @torch.no_grad()
    def imagine(self, index: Tensor, generator: Generator, steps: int = 500) -> Tensor:
        """Samples for labels that are held fixed: (B,) -> means of v, shape (B, V), at the end of Gibbs chains."""
        biases = self._parts(self.visible_bias.expand(len(index), -1))[0]
        v = sample(torch.sigmoid(biases), generator)
        for _ in range(steps):
            h = self.sample_hidden(self.join(v, index), generator)
            mean = self._parts(self.visible(h))[0]
            v = sample(mean, generator)
        return mean

    def _parts(self, joined: Tensor) -> tuple[Tensor, Tensor]:
        """The columns of the samples and those of the labels."""
        return joined[:, : -self.n_classes], joined[:, -self.n_classes :]


class ContrastiveDivergence:
    """The learning rule: up the probability of data, down that of what the machine makes of it.

    ΔW = ⟨h vᵀ⟩ over data - ⟨h vᵀ⟩ over the model's samples, which Gibbs sampling in `steps` steps draws from the data
    itself (CD-k, Hinton 2002), or from where the last batch left it (persistent, Tieleman 2008). With the offsets
    μ = ⟨v⟩ over data and λ = a running mean of h (Montavon & Müller 2012, for plain parameters), the update is
    ΔW = ⟨(h - λ)(v - μ)ᵀ⟩ over data - the same over samples,  Δb = Δ⟨v⟩ - λ ΔW,  Δc = Δ⟨h⟩ - ΔW μ.

    Args:
        machine: its visible biases are set to what gives the mean of the data (Hinton 2010).
        mean: of the data, shape (V,).
        rate: of learning; sums over a batch are divided by its size.
        momentum: the share of the last update in the next one.
        decay: the share of the weights, times the rate, that is taken away at each step.
        steps: k.
        chains: 0 to start at the data, or the number of persistent chains.
        centred: False for offsets of 0.
        generator: of the samples.
    """

    def __init__(
        self,
        machine: RestrictedBoltzmannMachine,
        mean: Tensor,
        *,
        rate: float = 0.1,
        momentum: float = 0.5,
        decay: float = 0.0,
        steps: int = 1,
        chains: int = 0,
        centred: bool = True,
        generator: Generator,
    ) -> None:
        self.machine, self.rate, self.momentum, self.decay = machine, rate, momentum, decay
        self.steps, self.centred, self.generator = steps, centred, generator
        start = mean if machine.kind == "gaussian" else torch.logit(mean, LEAST)
        machine.visible_bias.data.copy_(start)
        n_hidden = len(machine.hidden_bias)
        self.mean = mean if centred else torch.zeros_like(mean)
        self.hidden_mean = torch.full((n_hidden,), 0.5 if centred else 0.0, dtype=mean.dtype)
        idle = torch.full((chains, n_hidden), 0.5, dtype=mean.dtype)
        self.chains = sample(idle, generator) if chains else None
        self.velocity = [torch.zeros_like(parameter.data) for parameter in machine.parameters()]

    @torch.no_grad()
    def step(self, v: Tensor) -> Tensor:
        """Learn from a batch (B, V), and return the model's samples, shape (B or chains, V)."""
        machine, generator = self.machine, self.generator
        h = machine.hidden(v)
        state = sample(h, generator) if self.chains is None else self.chains
        model_v = machine.gibbs(machine.sample_visible(state, generator), generator, self.steps - 1)
        model_h = machine.hidden(model_v)
        if self.chains is not None:
            self.chains = sample(model_h, generator)
        weight, visible, hidden = self.velocity
        share, model_share = self.rate / len(v), self.rate / len(model_v)
        d_visible = v.sum(0).mul_(share).sub_(model_v.sum(0), alpha=model_share)
        d_hidden = h.sum(0).mul_(share).sub_(model_h.sum(0), alpha=model_share)
        d_weight = torch.mm(h.T, v).mul_(share).addmm_(model_h.T, model_v, alpha=-model_share)
        if self.centred:
            self.hidden_mean.lerp_(h.mean(0), 0.01)
            d_weight.addr_(self.hidden_mean, d_visible, alpha=-1).addr_(d_hidden, self.mean, alpha=-1)
            d_visible.sub_(self.hidden_mean @ d_weight)
            d_hidden.sub_(d_weight @ self.mean)
        if self.decay:
            d_weight.sub_(machine.weight, alpha=self.rate * self.decay)
        for velocity, change in zip((weight, visible, hidden), (d_weight, d_visible, d_hidden), strict=True):
            velocity.mul_(self.momentum).add_(change)
        machine.weight.add_(weight)
        machine.visible_bias.add_(visible)
        machine.hidden_bias.add_(hidden)
        return model_v


class LabelledNet(nn.Module):
    """Samples scaled to [0, 1], then a labelled machine: P(y | v) exactly, from one matrix that also makes samples.

    Args:
        in_shape: of one sample; it is flattened.
        n_outputs: number of classes.
        hidden: units.

    Raises:
        NetError: sizes that are no whole numbers from 1.

    Example:
        >>> LabelledNet((1, 8, 8), 10, hidden=32)(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
    """

    def __init__(self, in_shape: Shape, n_outputs: int, *, hidden: int = 256) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        super().__init__()
        n_features = prod(in_shape)
        self.interval = UnitInterval(n_features)
        self.machine = LabelledBoltzmannMachine(n_features, n_outputs, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """log P(y | x) but for a constant: (B, ...) -> (B, C)."""
        scores: Tensor = self.machine(self.interval(x))
        return scores

    @torch.no_grad()
    def generate(self, index: Tensor, generator: Generator) -> Tensor:
        """Samples of classes, in the units of the inputs: (B,) -> (B, F)."""
        return self.interval.restore(self.machine.imagine(index, generator))

    def views(self, inputs: Tensor, targets: Tensor) -> list[View]:
        """The weights of hidden units, and samples drawn for each class."""
        shape, machine = tuple(inputs.shape[1:]), self.machine
        return [
            filters_view(machine.weight[:, : -machine.n_classes], shape),
            samples_view(self.generate, machine.n_classes, shape),
        ]


def filters_view(weight: Tensor, shape: Shape) -> View:
    """The weights (H, V) between each hidden unit and all inputs, as pictures."""
    caption = f"The weights between a hidden unit and all inputs: {min(64, len(weight))} of {len(weight)} units."
    labels = [f"hidden unit {number}" for number in range(1, 65)]
    return View("Filters", caption, as_pictures(weight[:64], shape), labels, signed=True)


def samples_view(generate: Callable[[Tensor, Generator], Tensor], n_classes: int, shape: Shape) -> View:
    """Samples that a machine draws for each class."""
    each = 6
    index = torch.arange(min(n_classes, 20)).repeat_interleave(each)
    pictures = as_pictures(generate(index, Generator().manual_seed(0)), shape)
    caption = f"Made by the machine: {each} samples for each class, its label held fixed at the top."
    return View("Samples", caption, pictures, [f"a sample of class {int(one)}" for one in index])
