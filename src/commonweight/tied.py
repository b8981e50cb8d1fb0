"""The module that runs a pattern: its parameters are exactly the free weights."""

from math import sqrt

import torch
from torch import Tensor, nn

from commonweight import patterns
from commonweight.errors import PatternError, require_kind
from commonweight.lower import lower
from commonweight.patterns import Pattern


class Tied(nn.Module):
    """A layer y = W x + b whose ties are a pattern; it runs as the operator that `lower` chooses for it.

    Args:
        pattern: which connections there are, and which share a weight.
        bias: "channel" (one for each channel, the default), "unit" (one for each output) or "none".
        generator: draws the start; torch's default one when omitted, as in torch's layers.
        device, dtype: of the parameters; torch's defaults when omitted.

    Attributes:
        weight: the free weights, of shape pattern.weight_shape.
        bias: of shape (out_shape[0],) for "channel" or out_shape for "unit"; None for "none".
        pattern, bias_pattern: the connections from the inputs, and those of the bias to a constant 1 (or None).

    Weights and bias start uniform in ±1/√(fan-in), with the mean number of connections into an output as fan-in: the
    rule of torch's own linear and convolution layers. What the operator derives from the pattern (index tables) is
    neither a parameter nor a buffer: `state_dict` holds the weights and nothing else.

    Raises:
        PatternError: no pattern, no such kind of bias, no generator, a device or type that torch does not have here, or
            an input that is no tensor, of another shape than the pattern's, or of a type that does not go with that of
            the weights.

    Example:
        >>> from commonweight.patterns import conv2d
        >>> layer = Tied(conv2d((1, 28, 28), 6, kernel=5))
        >>> layer
        Tied(conv2d((1, 28, 28), 6, kernel=5), bias='channel')
        >>> layer(torch.zeros(64, 1, 28, 28)).shape
        torch.Size([64, 6, 24, 24])
        >>> {name: tuple(tensor.shape) for name, tensor in layer.state_dict().items()}
        {'weight': (6, 1, 5, 5), 'bias': (6,)}
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(
        self,
        pattern: Pattern,
        bias: str = "channel",
        *,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.operator = lower(pattern, bias)
        self.pattern, self.bias_pattern = pattern, patterns.bias(bias, pattern.out_shape)
        try:
            self.weight = nn.Parameter(torch.empty(pattern.weight_shape, device=device, dtype=dtype))
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
            told = str(error).partition("\n")[0]  # torch goes on with a trace of its own
            raise PatternError(
                f"The weights of {pattern} cannot be had with device={device!r} and dtype={dtype!r}: {told:.200}"
            ) from error
        shape = pattern.out_shape[:1] if bias == "channel" else pattern.out_shape
        absent = self.bias_pattern is None
        self.bias = None if absent else nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters(generator)

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draws weights and bias anew.

        Raises:
            PatternError: no generator.
        """
        require_kind(generator, torch.Generator | None, "Weights are drawn by a torch.Generator", PatternError)
        bound = 1 / sqrt(self.pattern.n_connections / self.pattern.n_out)
        for parameter in (self.weight, self.bias):
            if parameter is not None:
                nn.init.uniform_(parameter, -bound, bound, generator)

    def forward(self, x: Tensor) -> Tensor:
        """x of shape (*lead, *in_shape) -> (*lead, *out_shape), with any number of leading axes."""
        try:
            if x.shape[1:] == self.pattern.in_shape:
                return self.operator.run(x, self.weight, self.bias)
            lead = self._lead(x)
            batch = x.reshape(lead.numel(), *self.pattern.in_shape)
            return self.operator.run(batch, self.weight, self.bias).reshape(*lead, *self.pattern.out_shape)
        except (AttributeError, TypeError, RuntimeError) as error:
            require_kind(x, Tensor, f"{self.pattern} takes a tensor of shape {self.pattern.in_shape}", PatternError)
            if x.dtype == self.weight.dtype:
                raise
            raise PatternError(
                f"{self.pattern} has weights of {self.weight.dtype} and cannot take an input of {x.dtype}: give both "
                f"one type, as layer.to({x.dtype}) or x.to({self.weight.dtype}) does."
            ) from error

    def _lead(self, x: Tensor) -> torch.Size:
        """The sizes of the leading axes of an input."""
        n_lead = x.ndim - len(self.pattern.in_shape)
        if n_lead < 0 or x.shape[n_lead:] != self.pattern.in_shape:
            raise PatternError(
                f"{self.pattern} takes an input of shape {self.pattern.in_shape}, after any leading axes; "
                f"got {tuple(x.shape)}."
            )
        return x.shape[:n_lead]

    def extra_repr(self) -> str:
        """The notation."""
        return f"{self.pattern}, bias={self.operator.bias!r}"
