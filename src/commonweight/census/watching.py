"""Watch one real forward pass: which module uses which weights, in which operation, for how many connections.

Two watchers stand in PyTorch's way. One sees every operation before it reaches a device (`TorchDispatchMode`), however
it was called: through a module or a function, with a transposed, sliced or computed weight, out of compiled or scripted
code. The other sees calls of public functions (`TorchFunctionMode`) and is asked only what is lost below: that the
first argument of a linear map is a signal whatever it is, and what the fused recurrent networks do.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils.parametrize import ParametrizationList
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from commonweight.census.operations import RULES, SUMS, Operation, meets_signal, uses
from commonweight.census.origins import Ancestry, Origin, Origins
from commonweight.census.preserving import Preserved

Shape = tuple[int, ...]
WHOLE = Origin(Fraction(1), Fraction(1))

# How many of the first arguments of a function are signals, whatever they are made of.
SIGNALS = {F.linear: 1, torch.bilinear: 2, F.multi_head_attention_forward: 3}
RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}
CELLS = {torch.lstm_cell, torch.gru_cell, torch.rnn_tanh_cell, torch.rnn_relu_cell}


class Record(NamedTuple):
    """One use of weights, for one sample: by which layer, which parameters, how many connections, how often.

    `joined` are the input and output units whose weighted sums these are; (0, 0) for biases, gains and lookups.
    """

    layer: str
    origins: Origins
    connections: Fraction
    full: Fraction
    times: int = 1
    joined: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0))


@dataclass
class _Call:
    """A module in whose forward the pass is now."""

    name: str
    module: nn.Module
    positions: Fraction = Fraction(0)
    used: set[str] = field(default_factory=set)


class Watch:
    """What was seen of the forward pass of a model.

    Args:
        names: the model's modules and their names, itself first.
        ancestry: what is known of its parameters.
        batch: number of samples in the batch.
        batch_dim: their dimension.
        state: what is told before a parameter is written to.

    Attributes:
        records: every use of weights, in order.
        steps: how often a layer was used, where that is more than the uses of any one of its parameters.
        shapes: for each module the shapes of its first input and output at its first call, without the batch.
        notes: what could not be counted, each once.
    """

    def __init__(
        self, names: Mapping[nn.Module, str], ancestry: Ancestry, batch: int, batch_dim: int | None, state: Preserved
    ) -> None:
        self._names, self._ancestry, self._state = names, ancestry, state
        self._batch, self._batch_dim = batch, batch_dim
        self._calls = [_Call(name, module) for module, name in names.items()][:1]
        self._counted_as_one: _Call | None = None
        self._paused = False
        self.records: list[Record] = []
        self.steps: dict[str, int] = {}
        self.shapes: dict[str, list[Shape | None]] = {}
        self.notes: dict[str, None] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch what runs inside, without fused paths that hide weights: torch's own modules leave theirs when a
        `TorchFunctionMode` is on, fused attention is told to."""
        with ExitStack() as stack:
            for module in self._names:
                if isinstance(module, torch.jit.ScriptModule):  # takes no hooks: its uses are its caller's
                    continue
                enter = module.register_forward_pre_hook(self._enter, with_kwargs=True, prepend=True)
                stack.callback(enter.remove)
                stack.callback(module.register_forward_hook(self._leave, with_kwargs=True, always_call=True).remove)
            # Copies of weights in lower precision, kept from an earlier pass, would not be known as weights.
            torch.clear_autocast_cache()
            stack.enter_context(torch.no_grad())
            stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            stack.enter_context(_Operations(self))
            stack.enter_context(_Functions(self))
            yield

    # Modules

    def _enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        call = _Call(self._names[module], module)
        self._calls.append(call)
        first = next(_tensors((args, kwargs)), None)
        self.shapes.setdefault(call.name, [None, None])
        self._note_shape(call.name, 0, first)
        if self._counted_as_one is None and first is not None and has_pattern(module):
            samples = self._batch if self._ancestry.batched(first) else 1
            pattern: Any = module.pattern
            call.positions = Fraction(first.numel(), int(pattern.n_in) * samples)
            self._counted_as_one = call

    def _leave(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: object) -> None:
        call = self._calls.pop()
        self._note_shape(call.name, 1, next(_tensors(output), None))
        if call is self._counted_as_one:
            self._counted_as_one = None
            self._record_pattern(call)

    def _note_shape(self, name: str, end: int, tensor: Tensor | None) -> None:
        if tensor is None or self.shapes[name][end] is not None:
            return
        dim = self._batch_dim
        per_sample = dim is not None and -tensor.ndim <= dim < tensor.ndim and tensor.shape[dim] == self._batch
        shape = list(tensor.shape)
        if dim is not None and per_sample:
            del shape[dim]
        self.shapes[name][end] = tuple(shape)

    def _record_pattern(self, call: _Call) -> None:
        """Count a call of a module that has a pattern from the pattern's closed form."""
        module: Any = call.module
        pattern, bias = module.pattern, getattr(module, "bias_pattern", None)
        inputs, outputs = call.positions * int(pattern.n_in), call.positions * int(pattern.n_out)
        shift = getattr(module, "bias", None)
        shifts = set(self._ancestry.origins(shift)) if isinstance(shift, Tensor) else set()
        matrix = dict.fromkeys(sorted(call.used - shifts), WHOLE)
        connections = call.positions * int(pattern.n_connections)
        self.records.append(Record(call.name, matrix, connections, inputs * outputs, joined=(inputs, outputs)))
        if bias is not None:
            connections = call.positions * int(bias.n_connections)
            self.records.append(Record(call.name, dict.fromkeys(sorted(shifts), WHOLE), connections, outputs))
        self.steps[call.name] = self.steps.get(call.name, 0) + 1

    # Operations

    def operation(self, function: torch._ops.OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation, count what weights it uses, and follow what it makes."""
        operation = Operation(function, args, kwargs)
        if torch.is_inference_mode_enabled() and operation.name not in RULES:
            with _Operations(self):
                taken_apart = function.decompose(*args, **kwargs)
            if taken_apart is not NotImplemented:
                return taken_apart
        for tensor in operation.written:
            self._state.before_write(self._ancestry.parameters_in(tensor))
        out = function(*args, **kwargs)
        operation.outputs = list(_tensors(out))
        preparing = any(isinstance(call.module, ParametrizationList) for call in self._calls)
        counts = meets_signal(operation, self._ancestry, preparing)
        signals = [tensor for tensor in operation.inputs if self._ancestry.is_signal(tensor)]
        if counts and not signals:
            others = [tensor for tensor in operation.inputs if not self._ancestry.origins(tensor)]
            signals = others or operation.inputs[:1]
        batched = any(map(self._ancestry.batched, signals))
        if counts:
            self._count(operation, self._batch if batched else 1)
        for tensor in operation.inputs:
            self._note_stranger(tensor)
        self._ancestry.follow(operation, bool(signals), batched)
        return out

    def _count(self, operation: Operation, samples: int) -> None:
        known = uses(operation, self._ancestry)
        for use in known:
            outputs = Fraction(use.outputs, samples)
            inputs = Fraction(use.inputs or 0, samples)
            full = outputs if use.inputs is None else outputs * inputs
            joined = (inputs, outputs) if inputs and operation.name in SUMS else (Fraction(0), Fraction(0))
            connections = Fraction(use.connections, samples)
            self._record(self._ancestry.origins(use.weights), connections, full, joined=joined)
        for tensor in operation.inputs:
            origins = self._ancestry.origins(tensor)
            if origins and not any(use.weights is tensor for use in known):
                self._record(origins, Fraction(0), Fraction(0))
                if self._counted_as_one is None and not self._paused:
                    self.notes[
                        f"{operation.name} in {self._layer} uses {', '.join(origins)} in a way that is not known here: "
                        f"its connections are not counted."
                    ] = None

    def _record(
        self,
        origins: Origins,
        connections: Fraction,
        full: Fraction,
        times: int = 1,
        joined: tuple[Fraction, Fraction] = (Fraction(0), Fraction(0)),
    ) -> None:
        if self._counted_as_one is not None:
            self._counted_as_one.used.update(origins)
        elif not self._paused:
            self.records.append(Record(self._layer, origins, connections, full, times, joined))

    @property
    def _layer(self) -> str:
        return self._calls[-1].name

    def _note_stranger(self, tensor: Tensor) -> None:
        """Report a parameter that the model has not registered, such as one in a plain list."""
        owner = tensor if tensor._base is None else tensor._base
        if isinstance(owner, nn.Parameter) and not self._ancestry.origins(tensor):
            self.notes[
                f"{self._layer} uses an nn.Parameter of shape {tuple(owner.shape)} that is not among the model's "
                f"parameters: neither it nor its connections are counted."
            ] = None

    # Functions

    def function(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a public function of torch, after taking down what the operations below it no longer show."""
        if (function in RECURRENT or function in CELLS) and not kwargs:
            return self._recurrent(function, args)
        n = SIGNALS.get(function, 0)
        if n:
            # q, k and v may be one tensor, and must then stay one: attention asks.
            signals = {id(value): self._as_signal(value) for value in args[:n]}
            args = (*(signals[id(value)] for value in args[:n]), *args[n:])
        out = function(*args, **kwargs)
        if function is F.pad:
            self._ancestry.add_copy(out, args[0] if args else kwargs["input"])
        return out

    def _as_signal(self, value: Any) -> Any:
        """A tensor that enters as a signal; weights that do, such as learned queries, connect to a constant 1."""
        if not isinstance(value, Tensor) or self._ancestry.is_signal(value):
            return value
        batched, origins = self._ancestry.batched(value), self._ancestry.origins(value)
        signal = value.clone()
        self._ancestry.add_signal(signal, batched)
        if origins:
            connections = Fraction(value.numel(), self._batch if batched else 1)
            self._record(origins, connections, connections)
        return signal

    def _recurrent(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Every weight of a recurrent cell is used once at each time step. A step is a layer of the unrolled net, and
        is already fully connected: there `full` is the number of connections."""
        shape = args[0].shape
        if function in CELLS:
            # (input, state, the cell's weights...)
            at, rows, steps, layers = 2, shape[0], 1, 1
        elif isinstance(args[3], bool):
            # (input, state, weights, has_biases, layers, dropout, train, both ways, batch_first)
            at, rows, steps, layers = 2, shape[0] * shape[1], shape[1 if args[8] else 0], args[4] * (1 + args[7])
        else:
            # A packed sequence: (data, batch sizes, state, weights, has_biases, layers, dropout, train, both ways)
            at, rows, steps, layers = 3, shape[0], args[1].numel(), args[5] * (1 + args[8])
        weights = args[at:] if function in CELLS else args[at]
        args = (*tree_map_only(Tensor, self._as_signal, args[:at]), *args[at:])
        samples = self._batch if self._ancestry.batched(args[0]) else 1
        for tensor in _tensors(weights):
            connections = Fraction(rows * tensor.numel(), samples)
            units = (0, 0) if tensor.ndim == 1 else (tensor.shape[1], tensor.shape[0])
            joined = (Fraction(rows * units[0], samples), Fraction(rows * units[1], samples))
            self._record(self._ancestry.origins(tensor), connections, connections, steps, joined)
        if self._counted_as_one is None:
            self.steps[self._layer] = self.steps.get(self._layer, 0) + steps * layers
        self._paused, before = True, self._paused
        try:
            return function(*args)
        finally:
            self._paused = before


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own lacks types
    def __init__(self, watch: Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = watch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._watch.operation(func, args, kwargs or {})


class _Functions(TorchFunctionMode):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._watch.function(func, args, kwargs or {})


def has_pattern(module: nn.Module) -> bool:
    """Whether the module says in closed form how it is connected."""
    pattern = getattr(module, "pattern", None)
    return all(hasattr(pattern, name) for name in ("n_in", "n_out", "n_connections", "n_weights"))


def _tensors(values: object) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
