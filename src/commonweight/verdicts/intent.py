"""What is meant to be tied in a checkpoint: what its metadata declares, and what its `config.json` says."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from commonweight import manifest
from commonweight.notation import Equation
from commonweight.verdicts.families import FAMILIES, INNER_CONFIGS, Family, family

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
    """

    equation: Equation
    says: str
    settles: str
    tied: bool = True

    @property
    def by(self) -> str:
        """Who declared it, without the details."""
        return re.sub(r" \(.*?\)", "", self.says)


def of_metadata(metadata: Mapping[str, str], names: Collection[str]) -> list[Intent]:
    """What the metadata of safetensors files declare.

    Raises:
        FileError: a manifest that is damaged.
    """
    says = "the manifest of the file" if manifest.KEY in metadata else "the metadata of the file"
    settles = "Save it again from a model whose ties hold (cw.check finds out)."
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
    says = f"config.json ({FLAG}: {str(tied).lower()})"
    if not given:
        says = f"the default of {kind} (config.json has no {FLAG})"
    headed = _headed(config.get("architectures"))
    return list(_of_family(line, tied, says, headed, names))


def _headed(architectures: object) -> bool | None:
    """Whether the model has a language head; None where the configuration does not name its class."""
    if not isinstance(architectures, list) or not architectures:
        return None
    return any(isinstance(name, str) and _HEADED.search(name) for name in architectures)


def _of_family(line: Family, tied: bool, says: str, headed: bool | None, names: Collection[str]) -> Iterator[Intent]:
    settles = (
        f"If they are one weight, delete the stale one from the file; if both are meant, "
        f'set "{FLAG}": false in config.json.'
    )
    pairs = [(pair, tied) for pair in line.ties] + [(pair, True) for pair in line.always]
    for (alias, source), meant in pairs:
        is_head = (alias, source) == line.ties[0]
        has_alias, has_source = place(alias, names, whole=True), place(source, names)
        if not meant:
            wanted = is_head and headed and has_alias is None and has_source is not None
        elif has_alias is None and has_source is None:
            wanted = is_head and headed
        else:
            wanted = has_alias is not None or headed is not False
        if wanted:
            if has_alias is None and has_source is not None and has_source.endswith(f".{source}"):
                alias = has_source.removesuffix(source) + alias
            yield Intent(Equation(has_alias or alias, has_source or source), says, settles, meant)


def _unknown(names: Collection[str]) -> Iterator[Intent]:
    """For an architecture that is not in the table: the first of its lines of which both tensors are there."""
    says = f"config.json ({FLAG}: true)"
    settles = f'If both tensors are meant, set "{FLAG}": false in config.json; if not, delete the stale one.'
    for line in FAMILIES:
        alias, source = (place(name, names, whole=True) for name in line.ties[0])
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
