"""The deep belief net: layers learned greedily, tuned by wake and sleep, with the labels at the top.

The two top layers are a machine of undirected connections, which joins the label to the state below it. Under it lead
recognition weights up, to infer, and generation weights down, to make samples. Learned greedily, layer by layer, as
restricted Boltzmann machines, both are one matrix, `generation.k.weight = recognition.k.weight.T`; wake-sleep unties
them: what is best to make samples is not the exact inverse of what is best to infer.

Source: Hinton, Osindero, Teh, "A fast learning algorithm for deep belief nets" (2006), appendix B for wake-sleep
("up-down"); Hinton, Dayan, Frey, Neal, "The wake-sleep algorithm for unsupervised neural networks" (1995).
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Generator, Tensor, nn

from commonweight.equations import tie, untie
from commonweight.errors import NetError
from commonweight.nets.boltzmann import (
    ContrastiveDivergence,
    LabelledBoltzmannMachine,
    RestrictedBoltzmannMachine,
    filters_view,
    sample,
    samples_view,
)
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.nets.unit_interval import Shape, UnitInterval, as_pictures
from commonweight.views import View, spread

CHAINS = 100
"""Persistent chains of the top machine."""


class DeepBeliefNet(nn.Module):
    """v ⇅ h_1 ⇅ ... ⇅ h_{L-1} = top machine of (h_{L-1}, label) and h_L.

    Up:   P(h_k = 1 | h_{k-1}) = σ(R_k h_{k-1} + r_k), k < L
    Down: P(h_{k-1} = 1 | h_k) = σ(G_k h_k + g_k),      G_k = R_kᵀ until `untie_directions`
    Label: P(y | h_{L-1}) by the free energy of the top machine.
    Answer: the same with weights of its own, which begin as copies of R, r and the top machine (`copy_to_classifier`)
        and are for backpropagation to tune: what tells classes apart best makes no good samples any more.

    Args:
        in_shape: of one sample; it is flattened, and scaled to [0, 1].
        n_outputs: number of classes.
        hidden: units of h_1, ..., h_L; the last are those of the top machine.

    Attributes:
        recognition, generation: the layers below the top.
        top: a `LabelledBoltzmannMachine`.
        classifier: recognition layers and machine of the answers.

    Raises:
        NetError: sizes that are no whole numbers from 1, no hidden layer, or one without units.

    Example:
        >>> net = DeepBeliefNet((1, 8, 8), 10, hidden=(32, 48))
        >>> net(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 10])
        >>> net.tie_directions()
        >>> import commonweight as cw
        >>> print(*cw.ties(net))
        generation.0.weight = recognition.0.weight.T  (declared: same parameter)
    """

    recognition: Any  # an nn.ModuleList, which does not say of what
    generation: Any

    def __init__(self, in_shape: Sequence[int], n_outputs: int, *, hidden: Sequence[int] = (256, 512)) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        if not hidden or min(hidden) < 1:
            raise NetError(f"A deep belief net has one hidden layer or more, of at least 1 unit; got {tuple(hidden)}.")
        super().__init__()
        *below, top = (prod(in_shape), *hidden)
        self.interval = UnitInterval(below[0])
        self.recognition = nn.ModuleList(nn.Linear(low, high) for low, high in pairwise(below))
        self.generation = nn.ModuleList(nn.Linear(high, low) for low, high in pairwise(below))
        self.top = LabelledBoltzmannMachine(below[-1], n_outputs, top)
        self.classifier = nn.Sequential()
        for low, high in pairwise(below):
            self.classifier.extend([nn.Linear(low, high), nn.Sigmoid()])
        self.classifier.append(LabelledBoltzmannMachine(below[-1], n_outputs, top))

    def copy_to_classifier(self) -> None:
        """Let the answers be those of the recognition weights and the top machine as they are now."""
        for k, source in enumerate([*self.recognition, self.top]):
            self.classifier[2 * k].load_state_dict(source.state_dict())

    def tie_directions(self) -> None:
        """One matrix for both directions of each layer below the top, as in a restricted Boltzmann machine."""
        if len(self.recognition):
            tie(self, "generation.*.weight = recognition.*.weight.T", keep="source")

    def untie_directions(self) -> None:
        """Generation weights of their own, equal at first: `commonweight.ties` lists them as untied from then on."""
        for k in range(len(self.generation)):
            untie(self, f"generation.{k}.weight")

    def up(self, v: Tensor) -> Tensor:
        """Means from layer to layer, to the layer below the top: rows (B, F) -> (B, units)."""
        for layer in self.recognition:
            v = torch.sigmoid(layer(v))
        return v

    def down(self, h: Tensor, generator: Generator) -> Tensor:
        """A sample at each layer from the one above, at the inputs its means: (B, units) -> rows (B, F)."""
        mean = h
        for layer in reversed(self.generation):
            mean = torch.sigmoid(layer(sample(mean, generator)))
        return mean

    def label(self, v: Tensor) -> Tensor:
        """log P(y | up(v)) but for a constant: rows from 0 to 1, (B, F) -> (B, C)."""
        scores: Tensor = self.top(self.up(v))
        return scores

    def forward(self, x: Tensor) -> Tensor:
        """Scores of the classes: samples (B, ...) -> (B, C)."""
        scores: Tensor = self.classifier(self.interval(x))
        return scores

    @torch.no_grad()
    def generate(self, index: Tensor, generator: Generator, steps: int = 500) -> Tensor:
        """Samples of classes: their labels held fixed, Gibbs steps at the top, then one pass down.

        Args:
            index: of the class of each sample, shape (B,).
            generator: of the samples.
            steps: of Gibbs sampling at the top.

        Returns:
            In the units of the inputs, shape (B, F).
        """
        return self.interval.restore(self.down(self.top.imagine(index, generator, steps), generator))

    @torch.no_grad()
    def complete(self, x: Tensor, known: Tensor, generator: Generator, steps: int = 60) -> Tensor:
        """Fill in missing inputs: up, two Gibbs steps at the top, down, and again, with what is known held fixed.

        Args:
            x: samples, shape (B, ...); the values that are not known do not matter.
            known: shape (F,), true where an input is known.
            generator: of the samples.
            steps: passes; the means of the later half are averaged.

        Returns:
            In the units of the inputs, shape (B, F), what is known unchanged.
        """
        v = self.interval(x)
        typical = torch.sigmoid(self.generation[0].bias) if len(self.generation) else torch.full_like(v[0], 0.5)
        state = torch.where(known, v, typical)
        total, n_counted = torch.zeros_like(v), 0
        index = self.label(state).argmax(1)
        for step in range(steps):
            for layer in self.recognition:
                state = sample(torch.sigmoid(layer(state)), generator)
            joined = self.top.gibbs(self.top.join(state, index), generator, steps=2)
            n_below = joined.shape[1] - self.top.n_classes
            index = joined[:, n_below:].argmax(1)
            mean = self.down(joined[:, :n_below], generator)
            state = torch.where(known, v, mean)
            if 2 * step >= steps:
                total, n_counted = total + mean, n_counted + 1
        return torch.where(known, x.flatten(1), self.interval.restore(total / max(1, n_counted)))

    def views(self, inputs: Tensor, targets: Tensor) -> list[View]:
        """Weights, samples for each class, and pictures of which one half was missing."""
        shape = tuple(inputs.shape[1:])
        first = self.recognition[0].weight if len(self.recognition) else self.top.weight[:, : -self.top.n_classes]
        found = [filters_view(first, shape), samples_view(self.generate, self.top.n_classes, shape)]
        if len(shape) == 3:
            found.append(self._completions(inputs[spread(len(inputs), 20)], shape))
        return found

    def _completions(self, x: Tensor, shape: Shape) -> View:
        known = torch.ones(shape, dtype=torch.bool)
        known[:, shape[1] // 2 :] = False
        filled = self.complete(x, known.flatten(), Generator().manual_seed(0))
        pictures = torch.stack([as_pictures(x.flatten(1), shape), as_pictures(filled, shape)], 1).flatten(0, 1)
        labels = [f"image {number // 2 + 1}, {('whole', 'completed')[number % 2]}" for number in range(len(pictures))]
        caption = "Test images, each followed by what the net makes of its upper half: the lower half was hidden."
        return View("Missing halves", caption, pictures, labels)


def learn_greedily(
    net: DeepBeliefNet, rows: Tensor, index: Tensor, order: Sequence[Tensor], *, rate: float, momentum: float,
    generator: Generator,
) -> ContrastiveDivergence:  # fmt: skip
    """Each layer as a restricted Boltzmann machine on the means of the layer below; the top one sees the labels too.

    The layers below learn to infer, by CD-1; the top machine is to be sampled from, so its chains are persistent.

    Args:
        net: its directions must be tied, so that what is learned upwards holds downwards.
        rows: samples from 0 to 1, shape (N, F).
        index: of the class of each, shape (N,).
        order: the batches of each layer, by indices.
        rate, momentum: of contrastive divergence; at the top, half the rate.
        generator: of the samples.

    Returns:
        The rule of the top machine, with its chains.
    """
    for up, down in zip(net.recognition, net.generation, strict=True):
        machine = RestrictedBoltzmannMachine(up.in_features, up.out_features)
        rule = ContrastiveDivergence(machine, rows.mean(0), rate=rate, momentum=momentum, generator=generator)
        for batch in order:
            rule.step(rows[batch])
        with torch.no_grad():
            up.weight.copy_(machine.weight)
            up.bias.copy_(machine.hidden_bias)
            down.bias.copy_(machine.visible_bias)
            rows = machine.hidden(rows)
    joined = net.top.join(rows, index)
    top_rule = ContrastiveDivergence(
        net.top, joined.mean(0), rate=rate / 2, momentum=momentum, chains=CHAINS, generator=generator
    )
    for batch in order:
        top_rule.step(joined[batch])
    return top_rule


@torch.no_grad()
def wake_and_sleep(
    net: DeepBeliefNet, top_rule: ContrastiveDivergence, v: Tensor, index: Tensor, *, rate: float, generator: Generator
) -> None:
    """One update by a batch (Hinton et al. 2006, appendix B).

    Wake: sample up; each generation layer learns to make the state below it from the one above,
        ΔG_k = ⟨(h_{k-1} - σ(G_k h_k + g_k)) h_kᵀ⟩.
    Top: the rule of the machine, on the state with its label. The paper starts its Gibbs steps at this state; here the
        chains are persistent, as from CD alone the machine would not know what is far from data.
    Sleep: from where the chains are, sample down; each recognition layer learns to find the state that made what is
        below, ΔR_k = ⟨(s_k - σ(R_k s_{k-1} + r_k)) s_{k-1}ᵀ⟩.

    Args:
        net: with directions that are not tied.
        top_rule: of `net.top`.
        v: rows from 0 to 1, shape (B, F).
        index: of the class of each, shape (B,).
        rate: of learning.
        generator: of the samples.
    """
    awake = [v]
    for layer in net.recognition:
        awake.append(sample(torch.sigmoid(layer(awake[-1])), generator))
    dreamt = top_rule.step(net.top.join(awake[-1], index))
    asleep = [dreamt[:, : awake[-1].shape[1]]]
    for layer in reversed(net.generation):
        asleep.insert(0, sample(torch.sigmoid(layer(asleep[0])), generator))
    for k, (up, down) in enumerate(zip(net.recognition, net.generation, strict=True)):
        _delta_rule(down, awake[k + 1], awake[k], rate)
        _delta_rule(up, asleep[k], asleep[k + 1], rate)


def _delta_rule(layer: nn.Linear, given: Tensor, wanted: Tensor, rate: float) -> None:
    """One step up the mean log-probability of states (B, out) given (B, in), for units σ(W x + b)."""
    error = wanted - torch.sigmoid(layer(given))
    layer.weight.addmm_(error.T, given, alpha=rate / len(given))
    layer.bias.add_(error.mean(0), alpha=rate)
