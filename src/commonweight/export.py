"""ONNX files in which each weight is stored once, under its PyTorch name, however many times a model uses it.

torch's exporter loses ties when it simplifies the graph: what is computed from a small weight, such as the transpose in
a tied head, is folded into a second tensor. Here it is not shown the values of the weights. The file is audited and run
before it takes its name.
"""

import copy
import logging
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from commonweight.atomic import replacing
from commonweight.checkpoints import Checkpoint, content_of, contents
from commonweight.checkpoints.onnx_initializers import read_onnx
from commonweight.equations import Level, record, tie, ties
from commonweight.errors import FileError, TieError, require_kind
from commonweight.folding import fold_norms
from commonweight.lower import Operator
from commonweight.notation import Equation
from commonweight.operators.plan import Run, fit
from commonweight.operators.products import linear
from commonweight.operators.spread import Spread, numbers

NEEDS = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-5
LARGEST = 3 << 29  # bytes; protobuf holds 2 GiB, graph included


@dataclass(frozen=True)
class Exported:
    """An ONNX file that was written and checked.

    Attributes:
        path: the file.
        ties: each of them holds in the file, by one initializer.
        difference: max |Δ| between the model and onnxruntime, relative to the largest output if that is above 1.
        n_bytes: of the file.
    """

    path: Path
    ties: tuple[Equation, ...]
    difference: float
    n_bytes: int

    def __str__(self) -> str:
        kept = "".join(f"\n  {equation}" for equation in self.ties)
        return f"{self.path}: {self.n_bytes:,} bytes, onnxruntime agrees to {self.difference:.1e}{kept}"


def to_onnx(
    model: nn.Module, inputs: Tensor | tuple[Tensor, ...], path: str | Path, *, dynamic_shapes: Any = None
) -> Exported:
    """Write a model as an ONNX file for inference, and compare the file with the model.

    Each Parameter is one initializer under its first name. What ties compute from it, and what a `Tied` layer spreads
    out of it, is computed in the graph. Tensors that only have equal values, or equal ones up to transpose, flips and
    sign, are written once as well; not so ties that were given up by `commonweight.untie`. Batch normalisation becomes
    part of the weight and bias of the layer before it (`commonweight.folding`), where nothing else uses these.

    Args:
        model: stays as it is, on its device and in its mode; a copy of it is exported, in evaluation mode.
        inputs: one real sample of what the model takes; onnxruntime's outputs for it must be within 1e-5 of the
            model's, relative to the largest one if that is above 1 (4 machine epsilons where that is more).
        path: of the file, which ends in .onnx; it is whole and checked, or not there.
        dynamic_shapes: as `torch.export.export` takes it, for instance ({0: torch.export.Dim("batch")},): by default
            every axis has the size that it has in `inputs`.

    Raises:
        FileError: onnx, onnxscript or onnxruntime is not installed; not a model, or no sample that it makes finite
            numbers of; tensors without values; the model cannot be exported, or is larger than 1.5 GiB; onnxruntime
            disagrees; the file cannot be written, or would hold a weight twice.
    """
    require_kind(model, nn.Module, "to_onnx writes a model, a torch.nn.Module", FileError)
    require_kind(path, str | PathLike, "to_onnx writes a file to a path", FileError)
    path = Path(path)
    if missing := [name for name in NEEDS if find_spec(name) is None]:
        raise FileError(f"ONNX files need {', '.join(missing)}: say pip install 'commonweight[export]'.")
    if path.suffix != ".onnx":
        raise FileError(f"The name of an ONNX file ends in .onnx; got {path}.")
    given = _sample(inputs)
    _refuse(model, given)
    single = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    expected = _outputs(single, given)
    apart = _tie_equals(single)
    _widen_transforms(single)
    _replace_kernels(single)
    weights = {name for name, _ in single.named_parameters()}
    program = _traced(single, given, dynamic_shapes)
    _merge_names(program.model.graph, single)
    _merge_constants(program.model.graph, weights)
    _optimise(program.model, weights)
    fold_norms(program.model.graph)
    _widen_indices(program.model.graph)
    with replacing(path) as temporary:
        _save(program.model, temporary)
        difference = _compare(temporary, given, expected)
        _refuse_copies(temporary, weights, apart)
    strong = (Level.SAME_MODULE, Level.SAME_PARAMETER)
    kept = tuple(tie.equation for tie in ties(single) if tie.level in strong)
    return Exported(path, kept, difference, path.stat().st_size)


def _sample(inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    tensors = (inputs,) if isinstance(inputs, Tensor) else inputs
    if not isinstance(tensors, tuple | list) or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise FileError(f"The sample is a tensor, or a tuple of tensors; got a {type(inputs).__name__}.")
    return tuple(tensor if tensor.is_meta else tensor.detach().cpu() for tensor in tensors)


def _outputs(model: nn.Module, given: tuple[Tensor, ...]) -> list[Tensor]:
    """What the model makes of the sample, for the file to be compared with."""
    try:
        with torch.no_grad():
            found = _tensors(model(*given))
    except Exception as error:  # a model may raise anything
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in given) or "nothing"
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise FileError(f"The model fails on the sample, {shapes} ({reason}); give inputs that it takes.") from error
    if not all(bool(tensor.isfinite().all()) for tensor in found if tensor.is_floating_point()):
        raise FileError(
            "The model's outputs for the sample are not all finite, so that nothing can be compared; give another."
        )
    return found


def _tie_equals(model: nn.Module) -> set[str]:
    """Tie all equal weights of a model; returns the names of those that are to stay apart."""
    equal = (Level.SAME_STORAGE, Level.EQUAL_BITS, Level.EQUAL_TRANSFORMED)
    apart = []
    for found in ties(model):
        if found.origin == "untied":
            apart.append(found.equation)
        elif found.origin == "found" and found.level in equal:
            try:
                tie(model, str(found.equation), keep="source")
            except TieError:  # of a recurrent layer, which computes no alias
                apart.append(found.equation)
    names = {name for equation in apart for name in (equation.alias, equation.source)}
    modules = {name: record.submodule(model, name) for name in names}
    within = (f"{name}.{leaf}" for name, module in modules.items() if module for leaf in record.tensor_names(module))
    return names | set(within)


def _with_operators(model: nn.Module) -> Iterator[Any]:
    """Its parts that run by `lower`: `Tied` layers, and weights that have a pattern (`commonweight.compress`)."""
    return (module for module in model.modules() if isinstance(getattr(module, "operator", None), Operator))


def _widen_transforms(model: nn.Module) -> None:
    """Run Fourier transforms in float64: in float32, those of onnxruntime are off by up to 1e-4."""
    for module in _with_operators(model):
        if "fft" in module.operator.operator:
            module.operator = replace(module.operator, run=_in_double(module.operator.run))


def _in_double(run: Run) -> Run:
    def widened(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return run(x.double(), weight.double(), None if bias is None else bias.double()).to(x.dtype)

    return widened


def _replace_kernels(model: nn.Module) -> None:
    """Run looked-up weights by operators that ONNX has: the matrix, gathered, and one product."""
    for module in _with_operators(model):
        if module.operator.rule in ("codebook", "hashed"):
            pattern, bias = module.pattern, getattr(module, "bias", None)
            plan = linear(Spread((pattern.n_out, pattern.n_in), numbers(pattern)))
            run = fit(plan, pattern, None if bias is None else tuple(bias.shape)).run
            module.operator = replace(module.operator, run=run)


def _refuse(model: nn.Module, inputs: Iterable[Tensor]) -> None:
    if isinstance(model, torch.jit.ScriptModule):
        raise FileError(f"{type(model).__name__} is compiled by torch.jit: export the model that it was made from.")
    tensors = [*model.parameters(), *model.buffers()]
    if any(nn.parameter.is_lazy(tensor) or tensor.is_meta for tensor in (*tensors, *inputs)):
        raise FileError(
            "The model or the sample has tensors without values, which are lazy or on the meta device: run the model "
            "once, or load it on the CPU, first."
        )
    if (n_bytes := sum(tensor.nbytes for tensor in tensors)) > LARGEST:
        raise FileError(f"The model has {n_bytes:,} bytes; one ONNX file holds at most {LARGEST:,}: export its parts.")
    if any(tensor.dtype == torch.bfloat16 for tensor in (*tensors, *inputs)):
        raise FileError(
            "onnxruntime takes no bfloat16 from Python, so that it could not be checked: say model.float()."
        )


def _tensors(outputs: Any) -> list[Tensor]:
    """The tensors in what a model gives back, in order."""
    if isinstance(outputs, Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, dict) else outputs if isinstance(outputs, list | tuple) else ()
    return [tensor for part in parts for tensor in _tensors(part)]


def _traced(model: nn.Module, inputs: tuple[Tensor, ...], dynamic_shapes: Any) -> Any:
    """torch's ONNX program, not optimised.

    Raises:
        FileError: torch cannot export the model; the sentence gives the first cause.
    """
    options = {"dynamo": True, "optimize": False, "verbose": False, "dynamic_shapes": dynamic_shapes}
    try:
        with _quiet():
            return torch.onnx.export(model, inputs, **options)
    except torch.onnx.OnnxExporterError as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = " ".join(str(cause).split())[:300]
        raise FileError(
            f"torch cannot export {type(model).__name__} to ONNX ({type(cause).__name__}: {reason}); replace what it "
            f"names, or export the parts around it."
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself: functions of torch that torch deprecates, lists that a layer of
    torch keeps, packages that it misses."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.filterwarnings("ignore", r"The tensor attributes? self\._flat_weights")  # of recurrent layers
            yield
    finally:
        logger.setLevel(level)


def _merge_names(graph: Any, model: nn.Module) -> None:
    """Give each Parameter and buffer one initializer, with the first of its names, whichever of them were exported."""
    names: defaultdict[Tensor, list[str]] = defaultdict(list)
    named = (*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False))
    for name, tensor in named:
        names[tensor].append(name)
    for aliases in names.values():
        values = [graph.initializers.pop(name) for name in aliases if name in graph.initializers]
        for value in values[1:]:
            value.replace_all_uses_with(values[0])
        for value in values[:1]:
            value.name = aliases[0]
            graph.initializers[aliases[0]] = value


def _merge_constants(graph: Any, weights: set[str]) -> None:
    """Make one initializer of all equal tensors that are no weights, such as the tables of equal layers."""
    first: dict[tuple[Any, ...], Any] = {}
    for name, value in sorted(graph.initializers.items(), key=lambda item: item[0] not in weights):
        content = sha256(value.const_value.tobytes()).digest()
        kept = first.setdefault((value.dtype, *value.shape, content), value)
        if kept is not value and name not in weights:
            value.replace_all_uses_with(kept)
            del graph.initializers[name]


def _optimise(model: Any, weights: set[str]) -> None:
    """Simplify the graph in place, with the weights as inputs, whose values it does not know."""
    from onnxscript import optimizer

    graph = model.graph
    hidden = [graph.initializers.pop(name) for name in list(graph.initializers) if name in weights]
    constants = [value.const_value for value in hidden]
    for value in hidden:
        value.const_value = None
        graph.inputs.append(value)
    optimizer.optimize(model)
    del graph.inputs[len(graph.inputs) - len(hidden) :]
    for value, constant in zip(hidden, constants, strict=True):
        value.const_value = constant
        graph.initializers[value.name] = value


def _widen_indices(graph: Any) -> None:
    """Make the indices of ScatterND int64, as ONNX wants them; torch's exporter leaves int32 as it is."""
    import onnx_ir

    for node in graph:
        if node.op_type == "ScatterND" and node.inputs[1].dtype == onnx_ir.DataType.INT32:
            to = onnx_ir.AttrInt64("to", int(onnx_ir.DataType.INT64))
            cast = onnx_ir.Node("", "Cast", [node.inputs[1]], [to])
            graph.insert_before(node, cast)
            node.replace_input_with(1, cast.outputs[0])


def _save(model: Any, path: Path) -> None:
    import onnx_ir

    onnx_ir.save(model, path)


def _compare(path: Path, inputs: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """How far onnxruntime's outputs are from the model's.

    Raises:
        FileError: too far, or of another number, or there are none.
    """
    answers = _run(path, inputs)
    if len(answers) != len(expected):
        raise FileError(
            f"The ONNX graph gives {len(answers)} tensors, the model {len(expected)}: let it give tensors only."
        )
    worst = 0.0
    for answer, wanted in zip(answers, expected, strict=True):
        delta = (answer.double() - wanted.double()).abs()
        relative = float(delta.max() / wanted.double().abs().max().clamp_min(1.0)) if delta.numel() else 0.0
        eps = torch.finfo(wanted.dtype).eps if wanted.is_floating_point() else 0.0
        if not relative <= max(TOLERANCE, 4 * eps):
            raise FileError(
                f"onnxruntime computes something else than the model, by {relative:.2g} of the largest output; allowed "
                f"is {max(TOLERANCE, 4 * eps):.1g}: nothing was written."
            )
        worst = max(worst, relative)
    return worst


def _run(path: Path, inputs: Sequence[Tensor]) -> list[Tensor]:
    """What onnxruntime makes of the file.

    Raises:
        FileError: it cannot load or run it.
    """
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]
        outputs = session.run(None, {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)})
    except Exception as error:  # its classes have no base of their own
        reason = " ".join(str(error).split())[:300]
        raise FileError(
            f"onnxruntime cannot run the graph that torch exported ({reason}): nothing was written."
        ) from error
    return [torch.from_numpy(output) for output in outputs]


def _refuse_copies(path: Path, weights: set[str], apart: set[str]) -> None:
    """Audit the file itself.

    Raises:
        FileError: it holds a weight, or its transpose, under two names.
    """
    tensors, _ = read_onnx(path)
    checkpoint = Checkpoint(path, "onnx", tensors)
    floats = [name for name, stored in checkpoint.tensors.items() if stored.dtype and stored.dtype.is_floating_point]
    holder: dict[str, str] = {}
    found = contents(checkpoint, floats)
    for name in sorted(floats, key=lambda name: (name not in weights, name)):
        if found[name].constant:  # such as biases that start at 0
            continue
        hashes = [found[name].sha256]
        if len(checkpoint.tensors[name].shape) == 2:
            hashes.append(content_of(checkpoint.read(name).T).sha256)
        other = next((holder[one] for one in hashes if one in holder), name)
        if other != name and other in weights and not {other, name} <= apart:
            raise FileError(f"The file would hold `{other}` a second time, as `{name}`: nothing was written.")
        holder.setdefault(hashes[0], name)
