"""Models and state dicts as sides of an audit, and what is meant to be tied in a model."""

import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle

from torch import Tensor, nn, strided

from commonweight.checkpoints import Content, content_of
from commonweight.equations import Level, record
from commonweight.equations.living import computed, holds
from commonweight.equations.sameness import find
from commonweight.errors import TieError
from commonweight.notation import Equation
from commonweight.verdicts.intent import FLAG, Intent
from commonweight.verdicts.report import Verdict
from commonweight.verdicts.sides import Entry, Found, Side, State
from commonweight.verdicts.words import say

_LEVELS: dict[Level, tuple[Verdict, str]] = {
    Level.SAME_MODULE: (Verdict.SAME_OBJECT, say("one_module")),
    Level.SAME_PARAMETER: (Verdict.SAME_OBJECT, say("one_parameter")),
    Level.SAME_STORAGE: (Verdict.SAME_STORAGE, say("parameters_on_one_memory")),
    Level.EQUAL_BITS: (Verdict.EQUAL_BITS, say("copies")),
    Level.EQUAL_TRANSFORMED: (Verdict.TRANSFORMED, say("equal_turned")),
}


@dataclass
class Model(Side):
    """A model: what is declared in it must be one object, or computed; equal values are not enough."""

    module: nn.Module = None  # type: ignore[assignment]

    def state(self, equation: Equation) -> State:
        modules = [record.submodule(self.module, path) for path in (equation.alias, equation.source)]
        if modules[0] is not None and modules[0] is modules[1]:
            return State(Verdict.SAME_OBJECT, 0.0, say("one_module"), True)
        return super().state(equation)

    def compare(self, equation: Equation) -> State:
        alias, source = self.entries.get(equation.alias), self.entries.get(equation.source)
        if alias is None or source is None:
            return State(
                Verdict.MISSING, None, say("no_name", name=equation.alias if alias is None else equation.source), False
            )
        if holds(self.module, equation):
            made = computed(self.module, equation.alias)
            return State(Verdict.SAME_OBJECT, 0.0, say("computed" if made else "one_parameter"), True)
        if not (alias.filled and source.filled):
            return State(Verdict.NEVER_INITIALISED, None, say("two_unfilled"), False)
        if not equation.transforms and alias.place == source.place:
            return State(Verdict.SAME_STORAGE, 0.0, say("parameters_on_one_memory"), False)
        return replace(self._valued(equation, alias, source), holds=False)

    def found(self) -> Iterator[Found]:
        together: defaultdict[tuple[Verdict, str, str], list[Equation]] = defaultdict(list)
        for tie in find(self.module, values=self.values):
            verdict, text = _LEVELS[tie.level]
            together[verdict, text, tie.equation.source].append(tie.equation)
        for (verdict, text, _), equations in together.items():
            yield Found(verdict, tuple(equations), text)


def of_memory(subject: object, values: bool) -> Side:
    """A model or a state dict as a side.

    Raises:
        TieError: it is neither, or a state dict without tensors.
    """
    if isinstance(subject, nn.Module):
        return of_model(subject, values)
    if isinstance(subject, Mapping):
        return of_state_dict(subject, values)
    raise TieError(f"An audit takes a model, a state dict or the path of a checkpoint; got {type(subject).__name__}.")


def of_model(model: nn.Module, values: bool) -> Side:
    """A model as a side: the tensors of its state dict, and the ties that it declares."""
    tensors = {
        name: tensor
        for name, tensor in model.state_dict(keep_vars=True).items()
        if isinstance(tensor, Tensor) and not nn.parameter.is_lazy(tensor)
    }
    entries = _entries(tensors)
    for name, entry in entries.items():
        if computed(model, name):
            entries[name] = replace(entry, nbytes=0, memory=("computed", name), weight=False)
        elif not isinstance(tensors[name], nn.Parameter):
            entries[name] = replace(entry, weight=False)
    intents = [
        Intent(
            equation,
            "cw.tie",
            say("tie_or_untie", equation=equation, alias=equation.alias),
        )
        for equation in record.declared(model)
    ]
    unsaved = getattr(model, "_keys_to_ignore_on_save", None) or ()  # of transformers' models
    known = {intent.equation for intent in intents}
    intents += [intent for intent in of_keys(model) if intent.equation not in known]
    return Model(
        label=type(model).__name__,
        entries=entries,
        intents=intents,
        read=lambda name: tensors[name].detach(),
        digest=_digest(tensors),
        values=values,
        in_memory=True,
        live=True,
        untied=tuple(record.untied(model)),
        unsaved=frozenset(name for name in entries if any(re.search(key, name) for key in unsaved)),
        module=model,
    )


def of_state_dict(state: Mapping[str, object], values: bool) -> Side:
    """A state dict as a side.

    Raises:
        TieError: there is no tensor in it.
    """
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        held = ", ".join(map(repr, list(state)[:6])) or "nothing"
        raise TieError(
            f"A state dict has tensors under their names; this one has none, but {held}: give the right one."
        )
    entries = _entries(tensors)
    return Side(
        "the state dict", entries, [], lambda name: tensors[name].detach(), _digest(tensors), values, in_memory=True
    )


def of_keys(model: nn.Module) -> Iterator[Intent]:
    """What transformers' models declare by `_tied_weights_keys`, in the form {alias: source} or as a list of aliases.

    The names are regular expressions, searched from the start of a path as transformers 5 does it. A list names no
    sources: they are the input embeddings, and for `X.decoder.bias` it is `X.bias`. Where the configuration says
    `tie_word_embeddings` is false, nothing is declared.
    """
    settles = say("tie_weights", flag=FLAG)
    seen: set[Equation] = set()
    for path, module in model.named_modules():
        keys = getattr(module, "_tied_weights_keys", None)
        if not keys or not _flag(module, default=not isinstance(keys, Mapping)):
            continue
        names = record.tensor_names(module)
        pairs = _of_mapping(keys, names) if isinstance(keys, Mapping) else _of_list(module, keys, names)
        prefix = f"{path}." if path else ""
        for alias, source in pairs:
            equation = Equation(prefix + alias, prefix + source)
            if alias != source and equation not in seen:
                seen.add(equation)
                yield Intent(equation, say("keys", kind=type(module).__name__), settles)


def _flag(module: nn.Module, default: bool) -> bool:
    config = getattr(module, "config", None)
    inner = getattr(config, "get_text_config", None)
    if default and inner is not None:  # a list: transformers 4 asked the language model's part
        config = inner(decoder=True)
    return bool(getattr(config, FLAG, default))


def _of_mapping(keys: Mapping[str, str], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for alias, source in keys.items():
        aliases, sources = (sorted(n for n in names if re.search(f"^{key}", n)) for key in (alias, source))
        if aliases and sources:
            yield from zip(aliases, cycle(sources), strict=False)


def _of_list(module: nn.Module, keys: Iterable[str], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    aliases = [name for name in names if any(re.search(key, name) for key in keys)]
    embeddings = getattr(module, "get_input_embeddings", lambda: None)()
    owners = [path for path, inner in module.named_modules() if inner is embeddings and f"{path}.weight" in names]
    for alias in aliases:
        if alias.endswith(".weight") and owners:
            yield alias, f"{owners[0]}.weight"
        elif alias.endswith(".decoder.bias") and (source := f"{alias.removesuffix('decoder.bias')}bias") in names:
            yield alias, source


def _entries(tensors: Mapping[str, Tensor]) -> dict[str, Entry]:
    holders: dict[int, str] = {}  # all alive while this runs, so that equal ids mean one object
    entries = {}
    for name, tensor in tensors.items():
        holder = holders.setdefault(id(tensor), name)
        readable = _readable(tensor)
        memory: Hashable = ("object", holder)
        if readable and tensor.numel():
            memory = (tensor.device, tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.dtype)
        entries[name] = Entry(
            shape=tuple(tensor.shape),
            nbytes=tensor.numel() * tensor.element_size(),
            memory=memory,
            strides=tensor.stride() if readable else None,
            holder=holder,
            floating=tensor.is_floating_point() or tensor.is_complex(),
            readable=readable,
            filled=not tensor.is_meta,
        )
    return entries


def _readable(tensor: Tensor) -> bool:
    """Whether this is an ordinary tensor with values, and no sharded, sparse or quantised one."""
    ordinary = type(tensor) in (Tensor, nn.Parameter)
    return ordinary and tensor.layout is strided and not tensor.is_meta and not tensor.is_quantized


def _digest(tensors: Mapping[str, Tensor]) -> Callable[[Sequence[str]], dict[str, Content]]:
    return lambda names: {name: content_of(tensors[name]) for name in names}
