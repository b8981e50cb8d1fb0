"""What is meant to be tied in a checkpoint: what its metadata declares, and what its `config.json` says."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from commonweight import manifest
from commonweight.notation import Equation
from commonweight.verdicts.families import FAMILIES, INNER_CONFIGS, Family, Pair, family
from commonweight.verdicts.words import say, without_brackets

FLAG = "tie_word_embeddings"

# Classes of transformers that have a head; any other class of a table's model type is taken for one without.
_HEADED = re.compile(r"LMHead|ForCausalLM|ForConditionalGeneration|ForMaskedLM|MTModel")


@dataclass(frozen=True)
class Intent:
    """One tie that someone declared, or, with `tied` false, that a configuration says there is not.

    Attributes:
        equation: between the names that the checkpoint or the model has.
        says: who declared it, as a part of a sentence, with details in brackets.
        settles: what to do when the values contradict it, as a sentence.
        tied: whether the two are to be one.
        fact: nobody declared it, but something else has the two as one.
    """

    equation: Equation
    says: str
    settles: str
    tied: bool = True
    fact: bool = False

    @property
    def by(self) -> str:
        """Who declared it, without the details."""
        return without_brackets(self.says)


def of_metadata(metadata: Mapping[str, str], names: Collection[str]) -> list[Intent]:
    """What the metadata of safetensors files declare.

    Raises:
        FileError: a manifest that is damaged.
    """
    says, settles = say("manifest" if manifest.KEY in metadata else "metadata"), say("save_holding")
    return [Intent(equation, says, settles) for equation in manifest.declared(metadata, names)]


def of_config(config: Mapping[str, object], names: Collection[str]) -> list[Intent]:
    """What a Hugging Face `config.json` declares about tensors of these names.

    `tie_word_embeddings` is read from the configuration and from that of a language model inside of it; true in either
    is true; where neither has it, the default of the architecture holds. Tensors are found under the names of the
    table, with or without the first parts of their paths, since they differ between versions and wrappers.
    """
    inner = next((found for key in INNER_CONFIGS if isinstance(found := config.get(key), dict)), {})
    given = [flag for flag in (config.get(FLAG), inner.get(FLAG)) if isinstance(flag, bool)]
    types = (config.get("model_type"), inner.get("model_type"))
    line, kind = next(((found, kind) for kind in types if (found := family(kind)) is not None), (None, None))
    if line is None:
        return list(_unknown(names)) if any(given) else []
    tied = any(given) if given else kind in line.tied
    says = say("config", flag=FLAG, value=str(tied).lower()) if given else say("default", kind=kind, flag=FLAG)
    headed = _headed(config.get("architectures"))
    return list(_of_family(line, tied, says, headed, names))


def _headed(architectures: object) -> bool | None:
    """Whether the model has a language head; None where the configuration does not name its class."""
    if not isinstance(architectures, list) or not architectures:
        return None
    return any(isinstance(name, str) and _HEADED.search(name) for name in architectures)


def _of_family(line: Family, tied: bool, says: str, headed: bool | None, names: Collection[str]) -> Iterator[Intent]:
    settles = say("stale_or_false", flag=FLAG)
    alias, source = _place_pair(_choose(line, names), names)
    there = (alias in names, source in names)
    if tied and (headed or there[0] or (there[1] and headed is None)):
        yield Intent(Equation(alias, source), says, settles)
    elif not tied and headed and there == (False, True):
        yield Intent(Equation(alias, source), says, settles, tied=False)
    owners: dict[str, str] = {}  # where a source is not there, the first of its aliases stands for it
    for pair in (*(line.ties if tied else ()), *line.always):
        alias, source = _place_pair(pair, names)
        part = alias.removesuffix(pair[0]) + pair[0].split(".")[0]
        if source not in names and alias in names:
            source = owners.setdefault(source, alias)
        if source in names and alias != source and any(name.startswith(f"{part}.") for name in names):
            yield Intent(Equation(alias, source), says, settles)


def _choose(line: Family, names: Collection[str]) -> Pair:
    """The tie of the head, or the other one if more of its tensors are there."""
    pairs = [line.head] if line.other is None else [line.head, line.other]
    return max(pairs, key=lambda pair: sum(name in names for name in _place_pair(pair, names)))


def _place_pair(pair: Pair, names: Collection[str]) -> Pair:
    """A pair of the table under the names of a checkpoint; what is not there gets the beginning of the other."""
    alias, source = place(pair[0], names, whole=True), place(pair[1], names)
    if alias is None and source is not None and source.endswith(f".{pair[1]}"):
        alias = source.removesuffix(pair[1]) + pair[0]
    return alias or pair[0], source or pair[1]


def _unknown(names: Collection[str]) -> Iterator[Intent]:
    """For an architecture that is not in the table: the first of its lines of which both tensors are there."""
    says, settles = say("config", flag=FLAG, value="true"), say("false_or_stale", flag=FLAG)
    for line in FAMILIES:
        alias, source = (place(name, names, whole=True) for name in line.head)
        if alias is not None and source is not None:
            yield Intent(Equation(alias, source), says, settles)
            return


def place(path: str, names: Collection[str], whole: bool = False) -> str | None:
    """The name under which a checkpoint has a tensor of the table.

    That is the path itself, or the only name that ends with it; else the same without its first part, then without its
    first two, as long as a module and its tensor are left. What stands below `encoder` or `decoder` stays there.

    Args:
        whole: take the path as it is, without leaving parts of it out.

    Example:
        >>> place("model.embed_tokens.weight", ["language_model.model.embed_tokens.weight"])
        'language_model.model.embed_tokens.weight'
        >>> place("transformer.wte.weight", ["wte.weight", "wpe.weight"])
        'wte.weight'
    """
    if path in names:
        return path
    ends = [name for name in names if name.endswith(f".{path}")]
    if len(ends) == 1:
        return ends[0]
    first, _, rest = path.partition(".")
    if whole or "." not in rest or first in ("encoder", "decoder"):
        return None
    return place(rest, names)
