"""The autoencoder: a net that gives back what it is given through a narrow code, its decoder the encoder transposed.

h_k = σ(W_k h_{k-1} + b_k) up to the code h_L, then down to ĥ_{k-1} = σ(W_kᵀ ĥ_k + a_k): `decoder.k.weight =
encoder.k.weight.T`, so each weight is used twice, and its gradient is the sum over both uses. At the input σ keeps the
reconstruction within the range that the samples had in training. The code itself is linear.

Sources: Hinton & Salakhutdinov, "Reducing the dimensionality of data with neural networks" (2006); Vincent, Larochelle,
Bengio, Manzagol, "Extracting and composing robust features with denoising autoencoders" (2008); Bengio et al., "Greedy
layer-wise training of deep networks" (2007).
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from commonweight.equations import tie
from commonweight.errors import NetError
from commonweight.nets.boltzmann import filters_view
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.nets.unit_interval import UnitInterval, as_pictures
from commonweight.views import View, spread


class Autoencoder(nn.Module):
    """Encoder, code, decoder, and a linear output that reads the code.

    Args:
        in_shape: of one sample; it is flattened, and scaled to [0, 1].
        n_outputs: number of classes or values.
        hidden: units of the layers of the encoder; the last are those of the code.
        tied: whether the decoder uses the weights of the encoder.

    Attributes:
        encoder, decoder: decoder.k leads from layer k+1 down to layer k.
        output: reads the code.

    Raises:
        NetError: sizes that are no whole numbers from 1, no hidden layer, or one without units.

    Example:
        >>> import commonweight as cw
        >>> net = Autoencoder((1, 8, 8), 10, hidden=(32, 8))
        >>> net(torch.zeros(5, 1, 8, 8)).shape, net.reconstruct(torch.zeros(5, 1, 8, 8)).shape
        (torch.Size([5, 10]), torch.Size([5, 64]))
        >>> print(*cw.ties(net), sep="\\n")
        decoder.0.weight = encoder.0.weight.T  (declared: same parameter)
        decoder.1.weight = encoder.1.weight.T  (declared: same parameter)
    """

    encoder: Any  # an nn.ModuleList, which does not say of what
    decoder: Any

    def __init__(
        self, in_shape: Sequence[int], n_outputs: int, *, hidden: Sequence[int] = (256, 32), tied: bool = True
    ) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        if not hidden or min(hidden) < 1:
            raise NetError(f"An autoencoder has one hidden layer or more, of at least 1 unit; got {tuple(hidden)}.")
        super().__init__()
        units = (prod(in_shape), *hidden)
        self.interval = UnitInterval(units[0])
        self.encoder = nn.ModuleList(nn.Linear(low, high) for low, high in pairwise(units))
        self.decoder = nn.ModuleList(nn.Linear(high, low) for low, high in pairwise(units))
        self.output = nn.Linear(units[-1], n_outputs)
        for layer in (*self.encoder, *self.decoder):
            nn.init.xavier_uniform_(layer.weight, gain=4.0)  # for sigmoids: Glorot & Bengio 2010
            nn.init.zeros_(layer.bias)
        if tied:
            tie(self, "decoder.*.weight = encoder.*.weight.T", keep="source")

    def encode(self, v: Tensor) -> Tensor:
        """Rows from 0 to 1, (B, F) -> codes (B, units)."""
        for layer in self.encoder[:-1]:
            v = torch.sigmoid(layer(v))
        code: Tensor = self.encoder[-1](v)
        return code

    def decode(self, code: Tensor) -> Tensor:
        """Codes (B, units) -> the input of the last sigmoid, (B, F), from which `logits` losses are computed."""
        *above, first = reversed(self.decoder)
        for layer in above:
            code = torch.sigmoid(layer(code))
        rows: Tensor = first(code)
        return rows

    def reconstruct(self, x: Tensor) -> Tensor:
        """Through the code and back, in the units of the samples: (B, ...) -> (B, F)."""
        return self.interval.restore(torch.sigmoid(self.decode(self.encode(self.interval(x)))))

    def forward(self, x: Tensor) -> Tensor:
        """What the output reads in the code: samples (B, ...) -> (B, n_outputs)."""
        outputs: Tensor = self.output(self.encode(self.interval(x)))
        return outputs

    def views(self, inputs: Tensor, targets: Tensor) -> list[View]:
        """Test samples beside their reconstructions, and the first weights."""
        shape, x = tuple(inputs.shape[1:]), inputs[spread(len(inputs), 20)]
        pictures = [as_pictures(rows, shape) for rows in (x.flatten(1), self.reconstruct(x))]
        labels = [f"sample {n // 2 + 1}, {('as it is', 'reconstructed')[n % 2]}" for n in range(2 * len(x))]
        units = self.encoder[-1].out_features
        caption = f"Test samples, each followed by what the decoder makes of its code of {units} numbers."
        seen = View("Reconstructions", caption, torch.stack(pictures, 1).flatten(0, 1), labels)
        return [seen, filters_view(self.encoder[0].weight, shape)]


def corrupt(v: Tensor, share: float, generator: Generator) -> Tensor:
    """Each value is set to 0 with probability `share` (Vincent et al. 2008): the same shape.

    >>> corrupt(torch.ones(1, 4), 1.0, Generator()).tolist()
    [[0.0, 0.0, 0.0, 0.0]]
    """
    return v * (torch.rand(v.shape, generator=generator) >= share) if share else v


def reconstruction_loss(logits: Tensor, v: Tensor) -> Tensor:
    """Cross entropy of rows from 0 to 1 under σ(logits), summed over the inputs, its mean over the batch."""
    return F.binary_cross_entropy_with_logits(logits, v, reduction="sum") / len(v)


def learn_layers(
    net: Autoencoder, rows: Tensor, order: Sequence[Tensor], *, rate: float, noise: float, generator: Generator
) -> None:
    """Greedy pretraining: each pair of layers learns to restore the state below it from a corrupted one.

    Args:
        net: its layers are learned from the first to the code.
        rows: samples from 0 to 1, shape (N, F).
        order: the batches of each layer, by indices.
        rate: of Adam.
        noise: the share of values that is set to 0.
        generator: of the noise.
    """
    last = len(net.encoder) - 1
    for k, (up, down) in enumerate(zip(net.encoder, net.decoder, strict=True)):
        optimizer = torch.optim.Adam({*up.parameters(), *down.parameters()}, lr=rate)
        for batch in order:
            v = rows[batch]
            state = up(corrupt(v, noise, generator))
            loss = reconstruction_loss(down(state if k == last else torch.sigmoid(state)), v)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch
            optimizer.step()
        with torch.no_grad():
            rows = torch.sigmoid(up(rows))
