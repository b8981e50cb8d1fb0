"""Recurrent networks: Elman's, the LSTM and the GRU, which use the same weights at every time step."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from commonweight.errors import NetError, require_whole
from commonweight.lower import lower
from commonweight.nets.sample_shape import output_number, sample_shape
from commonweight.patterns import copies, dense
from commonweight.views import View, spread

GATES = {"elman": 1, "gru": 3, "lstm": 4}
FUSED: dict[str, Callable[..., nn.Module]] = {"elman": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
SHOWN = 8
"""Sequences whose states are shown, at most."""


class Recurrent(nn.Module):
    """A cell goes through the sequence, and a linear layer answers from its state.

        h_t = cell(x_t, h_{t-1}),  h_0 = 0;  answer = V r + c,  with r = h_T or the mean of h_1 ... h_T

    See `Unrolled` for the cells and their sources. The weights are those of one time step, whatever the length: a
    series of T steps uses each of them T times, and its gradient is the sum over the T uses. They start uniform in
    ±1/√units, as torch's do; claim 24 shows what the start means for remembering.

    Args:
        in_shape: (C, L) of a series, L steps of C values, or (C, H, W) of an image, H steps of its C·W values in a row.
        n_outputs: number of classes, or of values, such as the next ones of the series.
        cell: "elman", "lstm" or "gru".
        units: size of the state, at least 1.
        read: "mean" over the states, or the "last" one.
        fused: whether torch's layer runs the cell, which is faster, or `Unrolled`; weights and answers are the same.

    Shapes: x (B, *in_shape) -> (B, n_outputs). Other lengths than that of `in_shape` are taken too; see `forward`.

    Raises:
        NetError: sizes that are no whole numbers from 1, samples that are neither series nor images, an unknown cell
            or way to read, or sequences without steps.

    Example:
        >>> import commonweight as cw
        >>> net = Recurrent((2, 50), 4, cell="lstm", units=8)
        >>> net(torch.zeros(3, 2, 50)).shape
        torch.Size([3, 4])
        >>> layer = cw.count(net, torch.zeros(1, 2, 50)).layers[0]
        >>> layer.weights, layer.connections  # 4·8·(2 + 8 + 1 + 1), 50 times
        (384, 19200)
    """

    def __init__(
        self,
        in_shape: tuple[int, ...],
        n_outputs: int,
        *,
        cell: str = "lstm",
        units: int = 64,
        read: str = "mean",
        fused: bool = True,
    ) -> None:
        in_shape, n_outputs = sample_shape(in_shape), output_number(n_outputs)
        units = require_whole(units, "units", NetError, least=1)
        if len(in_shape) not in (2, 3):
            raise NetError(
                f"A recurrent net takes series of shape (channels, length) or images of shape (channels, height, "
                f"width), but the samples have shape {in_shape}: use mlp."
            )
        if cell not in GATES:
            raise NetError(f"The cell of a recurrent net is {', '.join(GATES)}; got {cell!r}.")
        if read not in ("mean", "last"):
            raise NetError(f"A recurrent net reads the mean of its states or the last one; got {read!r}.")
        super().__init__()
        self.read = read
        n_in = in_shape[0] * (in_shape[2] if len(in_shape) == 3 else 1)
        self.cell = FUSED[cell](n_in, units, batch_first=True) if fused else Unrolled(cell, n_in, units)
        self.output = nn.Linear(units, n_outputs)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The answers, shape (B, n_outputs).

        Args:
            x: sequences, shape (B, *in_shape); the number of steps may differ from that of `in_shape`.
            lengths: steps of each sequence, shape (B,), where they differ: what comes after them changes nothing. By
                default all steps.
        """
        n_steps = x.shape[2]
        is_given = lengths is not None
        lengths = torch.full((len(x),), n_steps, device=x.device) if lengths is None else lengths
        if n_steps < 1:
            raise NetError(
                "A recurrent net takes sequences of at least 1 step; got some of 0: leave out the empty ones."
            )
        if is_given and not bool(((lengths >= 1) & (lengths <= n_steps)).all()):
            raise NetError(
                f"Each of these sequences has 1 to {n_steps} steps; got lengths of {int(lengths.min())} to "
                f"{int(lengths.max())}: leave out the empty ones, and pad the others to the longest."
            )
        states_BTU = self.states(x)
        if self.read == "last":
            seen_BU = states_BTU[torch.arange(len(x), device=x.device), lengths - 1]
        else:
            after_BT = torch.arange(n_steps, device=x.device) >= lengths[:, None]
            seen_BU = states_BTU.masked_fill(after_BT[..., None], 0).sum(1) / lengths[:, None]
        answers: Tensor = self.output(seen_BU)
        return answers

    def states(self, x: Tensor) -> Tensor:
        """h_1 ... h_T of sequences (B, *in_shape): shape (B, T, units)."""
        states: Tensor = self.cell(x.transpose(1, 2).flatten(2))[0]
        return states

    def views(self, inputs: Tensor, targets: Tensor) -> list[View]:
        """The states over time: of the first sample of each class, or of a few of all."""
        if targets.ndim == 1:
            classes = torch.unique(targets)[:SHOWN].tolist()
            chosen = [int((targets == label).nonzero()[0]) for label in classes]
            labels = [f"sample {place + 1}, of class {label}" for place, label in zip(chosen, classes, strict=True)]
        else:
            chosen = spread(len(inputs), SHOWN).tolist()
            labels = [f"sample {place + 1}" for place in chosen]
        states = self.states(inputs[chosen]).transpose(1, 2).cpu()
        caption = (
            f"What the {states.shape[1]} units hold at each of {states.shape[2]} time steps: one row for each unit, "
            f"time runs to the right. The same weights lead from each column to the next. In order: "
            f"{'; '.join(labels)}."
        )
        return [View("States over time", caption, states, labels, signed=True)]


class Unrolled(nn.Module):
    """A recurrent layer written out: the same cell at each time step, as `copies` of it that hand on their state.

        elman  h' = tanh(a + b)                                                          Elman 1990
        lstm   c' = σ(f) c + σ(i) tanh(g),  h' = σ(o) tanh(c'),  (i, f, g, o) = a + b    Hochreiter, Schmidhuber 1997;
                                                                     the forget gate f: Gers, Schmidhuber, Cummins 2000
        gru    h' = (1 - σ(z)) n + σ(z) h,  n = tanh(a_n + σ(r) b_n),
               (r, z) = a + b without their last third                                   Cho et al. 2014

    with a = W x + b_ih of the input and b = U h + b_hh of the state before, for all gates at once. It is torch's
    nn.RNN, nn.LSTM or nn.GRU of one layer with batch_first=True: the same weights by the same names, the same outputs
    and gradients. All steps together use the weights W as the pattern copies(T, dense(n_in, gates·units)), and U as
    copies(T, dense(units, gates·units)); W can do so in one product, U has to wait for the state of each step.

    Args:
        cell: "elman", "lstm" or "gru".
        n_in: values of each step.
        units: size of the state.

    Shapes: x (B, T, n_in) -> (B, T, units), and the last state: (1, B, units), or a pair of them for the LSTM.

    Example:
        >>> x = torch.randn(4, 7, 3)
        >>> ours, theirs = Unrolled("gru", 3, 5), nn.GRU(3, 5, batch_first=True)
        >>> _ = ours.load_state_dict(theirs.state_dict())
        >>> torch.allclose(ours(x)[0], theirs(x)[0], atol=1e-6)
        True
    """

    def __init__(self, cell: str, n_in: int, units: int) -> None:
        super().__init__()
        self.kind, self.n_in, self.units = cell, n_in, units
        rows, bound = GATES[cell] * units, units**-0.5
        self.weight_ih_l0 = nn.Parameter(torch.empty(rows, n_in).uniform_(-bound, bound))
        self.weight_hh_l0 = nn.Parameter(torch.empty(rows, units).uniform_(-bound, bound))
        self.bias_ih_l0 = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))
        self.bias_hh_l0 = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """One product for the inputs of all steps, then step by step."""
        n_samples, n_steps, _ = x.shape
        shared = copies(n_steps, dense(self.n_in, len(self.bias_ih_l0)))
        inputs_BTG = lower(shared, "none").run(x, self.weight_ih_l0, None) + self.bias_ih_l0
        h_BU = c_BU = x.new_zeros(n_samples, self.units)
        states = []
        for step in range(n_steps):
            h_BU, c_BU = self.step(inputs_BTG[:, step], h_BU, c_BU)
            states.append(h_BU)
        return torch.stack(states, 1), (h_BU[None], c_BU[None]) if self.kind == "lstm" else h_BU[None]

    def step(self, a_BG: Tensor, h_BU: Tensor, c_BU: Tensor) -> tuple[Tensor, Tensor]:
        """The state after one more step; c is the LSTM's memory, which the others hand on untouched."""
        b_BG = F.linear(h_BU, self.weight_hh_l0, self.bias_hh_l0)
        if self.kind == "elman":
            return torch.tanh(a_BG + b_BG), c_BU
        if self.kind == "lstm":
            i, f, g, o = (a_BG + b_BG).chunk(4, 1)
            c_BU = f.sigmoid() * c_BU + i.sigmoid() * g.tanh()
            return o.sigmoid() * c_BU.tanh(), c_BU
        (a_r, a_z, a_n), (b_r, b_z, b_n) = a_BG.chunk(3, 1), b_BG.chunk(3, 1)
        n, z = torch.tanh(a_n + (a_r + b_r).sigmoid() * b_n), (a_z + b_z).sigmoid()
        return (1 - z) * n + z * h_BU, c_BU


def windows(series: Tensor, length: int, horizon: int = 1) -> tuple[Tensor, Tensor]:
    """Every stretch of a series, and the values that come next: what a net learns to forecast from.

    Neighbouring windows overlap; cut the series into its earlier and its later part before, to test on the later one.

    Args:
        series: shape (C, L), L steps of C values.
        length: steps of each window.
        horizon: steps to forecast.

    Returns:
        Windows, shape (N, C, length), and for each the values after it, shape (N, C·horizon), with
        N = L - length - horizon + 1.

    Raises:
        NetError: a length or a horizon below 1, or a series that is shorter than the two together.

    Example:
        >>> x, y = windows(torch.arange(6.0)[None], length=3, horizon=2)
        >>> x[1], y[1]
        (tensor([[1., 2., 3.]]), tensor([4., 5.]))
    """
    if length < 1 or horizon < 1 or series.shape[-1] < length + horizon:
        raise NetError(
            f"Windows of {length} steps with {horizon} to forecast, each at least 1, need a series of "
            f"{length + horizon} steps or more; got {series.shape[-1]}: take shorter windows."
        )
    stretches = series.unfold(1, length + horizon, 1).transpose(0, 1)
    return stretches[..., :length], stretches[..., length:].flatten(1)


elman = partial(Recurrent, cell="elman")
gru = partial(Recurrent, cell="gru")
lstm = partial(Recurrent, cell="lstm")
