"""The ties of a file: a JSON text in the metadata of a safetensors file, made here, and read with suspicion.

    {"sha256": ..., "tensors": {name: sha256}, "ties": [{"alias": ..., "source": ..., "transform": ...}], "version": 1}

Under `tensors` stands every tensor of the file, under `ties` every further name, with the tensor that owns its weights
and the transform in the notation of ties. A file of shared values has a field `codebooks` too: for each weight that is
looked up, which tensors hold its codes and its values; and a field `patterns`, for each weight that is the free weights
of a pattern. docs/manifest.md describes it for other programs, and the conventions of others that `declared` reads too.
"""

import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from commonweight.checkpoints.bounded import each_once, shown
from commonweight.errors import FileError, TieError
from commonweight.notation import Equation, parse_transforms
from commonweight.transforms import print_transforms

KEY = "commonweight"
VERSION = 1
LONGEST = 1 << 24
"""Characters of a manifest, about 100,000 tensors."""
_FIELDS = {"sha256", "tensors", "ties", "version"}
_CODED_FIELDS = {"bits": int, "codes": str, "name": str, "shape": list, "values": str}
_PATTERNED_FIELDS = {"arrays": list, "name": str, "pattern": str, "shape": list, "weights": str}
_MOST_AXES = 8
_PARTS = ('{"sha256":"', '"ties":[')
_LONGEST_TRANSFORM = 1000
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Coded:
    """A weight that a file stores as codes and codebooks.

    Attributes:
        name: of the weight.
        shape: of the weight, (O, …).
        bits: of a code.
        codes: the tensor with the codes of all elements, as `kernels.pack` lays out one row: int32, (1, words).
        values: the tensor with the codebooks: (codebooks, k); codebook c serves ⌈O / codebooks⌉ rows from there on.
    """

    name: str
    shape: tuple[int, ...]
    bits: int
    codes: str
    values: str

    @property
    def parts(self) -> tuple[str, ...]:
        """The tensors that the weight is made of."""
        return (self.codes, self.values)


@dataclass(frozen=True)
class Patterned:
    """A weight that a file stores as the free weights of a pattern.

    Attributes:
        name: of the weight.
        shape: of the weight, (O, …).
        pattern: the notation of the weight as a matrix (O, product of the rest), see `pattern_text`.
        weights: the tensor with the free weights, of the pattern's weight_shape.
        arrays: the tensors with what the notation leaves out, in its order.
    """

    name: str
    shape: tuple[int, ...]
    pattern: str
    weights: str
    arrays: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """The tensors that the weight is made of."""
        return (self.weights, *self.arrays)


@dataclass(frozen=True)
class Manifest:
    """What a file of ours says about itself.

    Attributes:
        tensors: every tensor that it stores, by name, with the SHA-256 of its content (`checkpoints.contents`).
        ties: its further names, each as an equation whose source is one of the tensors, or a weight of `made`.
        coded: the weights that it stores as codes and codebooks.
        patterned: the weights that it stores as the free weights of a pattern.

    Example:
        >>> print(Manifest({}, ()))
        {"sha256":"...","tensors":{},"ties":[],"version":1}
    """

    tensors: Mapping[str, str]
    ties: tuple[Equation, ...]
    coded: tuple[Coded, ...] = ()
    patterned: tuple[Patterned, ...] = ()

    @property
    def made(self) -> tuple[Coded | Patterned, ...]:
        """The weights that are made of tensors of other names."""
        return (*self.coded, *self.patterned)

    @property
    def names(self) -> set[str]:
        """Of the model's tensors that the file holds, in one way or the other; the ties add further ones."""
        parts = {name for one in self.made for name in one.parts}
        return (self.tensors.keys() - parts) | {one.name for one in self.made}

    def __str__(self) -> str:
        fields: dict[str, Any] = {
            "version": VERSION,
            "tensors": dict(self.tensors),
            "ties": [
                {"alias": tie.alias, "source": tie.source, "transform": print_transforms(tie.transforms)}
                for tie in self.ties
            ],
        }
        if self.coded:
            fields["codebooks"] = [asdict(one) for one in self.coded]
        if self.patterned:
            fields["patterns"] = [asdict(one) for one in self.patterned]
        return _canonical({**fields, "sha256": _sha256(fields)})


def find(metadata: Mapping[str, str]) -> Manifest | None:
    """The manifest in the metadata of a file; None if it is not a file of ours.

    Raises:
        FileError: it is damaged, or stands under another key.
    """
    if KEY in metadata:
        return parse(metadata[KEY])
    for key, text in metadata.items():
        if any(part in key + text for part in _PARTS):
            raise FileError(f"The manifest, or a part of it, stands under {shown(key)}, not {KEY!r}: it is damaged.")
    return None


def parse(text: str) -> Manifest:
    """Read a manifest that anyone may have written.

    Raises:
        FileError: too long, no JSON, a name twice, another version, not what the format asks for, changed since it was
            written, or ties that cannot be: an alias that is tied twice or stored, a source that is not stored.
    """
    if len(text) > LONGEST:
        raise FileError(f"The manifest has {len(text):,} characters; expected at most {LONGEST:,}.")
    try:
        fields = json.loads(text, object_pairs_hook=each_once)
    except (ValueError, RecursionError) as error:
        raise FileError(f"The manifest cannot be read: {error}.") from error
    version = fields.get("version") if isinstance(fields, dict) else None
    if type(version) is not int or version != VERSION:
        raise FileError(
            f"The manifest has version {shown(version)} and this program reads version {VERSION}: "
            f"update commonweight, or save the model again."
        )
    _refuse_other_form(fields)
    if fields.pop("sha256") != _sha256(fields):
        raise FileError("The manifest does not have the SHA-256 that it states: it was changed after it was written.")
    coded = (Coded(**{**one, "shape": tuple(one["shape"])}) for one in fields.get("codebooks", ()))
    patterned = (
        Patterned(**{**one, "shape": tuple(one["shape"]), "arrays": tuple(one["arrays"])})
        for one in fields.get("patterns", ())
    )
    ties = tuple(_equation(**tie) for tie in fields["ties"])
    manifest = Manifest(fields["tensors"], ties, tuple(coded), tuple(patterned))
    _refuse_impossible_parts(manifest.made, manifest.tensors)
    refuse_impossible(manifest.ties, manifest.names)
    return manifest


def _refuse_impossible_parts(made: Collection[Coded | Patterned], stored: Collection[str]) -> None:
    """Do nothing if each weight has a name of its own, and stored tensors that serve nothing else."""
    used: set[str] = set()
    for one in made:
        for name in one.parts:
            if name not in stored or name in used:
                why = "another weight has too" if name in used else "the file does not store"
                raise FileError(f"The manifest makes {shown(one.name)} of {shown(name)}, which {why}.")
            used.add(name)
    names = [one.name for one in made]
    for name in names:
        if name in stored or names.count(name) > 1:
            raise FileError(f"The manifest makes {shown(name)} of others, and has that name for something else too.")


def refuse_impossible(ties: Collection[Equation], stored: Collection[str]) -> None:
    """Do nothing if every tie gives one further name to a tensor that is stored; so none can go round in a circle.

    Raises:
        FileError: an alias that is tied twice or stored, a source that is not stored.
    """
    aliases: set[str] = set()
    for tie in ties:
        if tie.alias in aliases:
            raise FileError(f"The manifest ties {shown(tie.alias)} twice.")
        if tie.alias in stored:
            raise FileError(f"The manifest ties {shown(tie.alias)}, which the file also stores as a tensor.")
        if tie.source not in stored:
            raise FileError(
                f"The manifest ties {shown(tie.alias)} to {shown(tie.source)}, which the file does not store."
            )
        aliases.add(tie.alias)


def declared(metadata: Mapping[str, str], names: Collection[str]) -> list[Equation]:
    """The ties that the metadata of a file declares.

    Three conventions are read: the manifest, which then speaks alone; the entries `alias: name that is stored` of
    `safetensors.torch.save_model`; and the same entries beside `"format": "pt"`, as Hugging Face writes and Keras Hub
    reads them. Any other entry is no tie. A manifest never ties a name that is stored; the others may. Ties to a weight
    that is made of codebooks or by a pattern are left out: there is no tensor under that name.

    Args:
        metadata: of one file, or of all the shards of one checkpoint.
        names: the tensors that are stored.

    Raises:
        FileError: the manifest is damaged, or does not fit the names; a name owns another one and is tied itself.

    Example:
        >>> print(*declared({"format": "pt", "lm_head.weight": "wte.weight"}, ["wte.weight"]))
        lm_head.weight = wte.weight
    """
    manifest = find(metadata)
    stored = set(names)
    if manifest is not None:
        made = {one.name for one in manifest.made}
        refuse_impossible(manifest.ties, stored | made)
        return [tie for tie in manifest.ties if tie.source not in made]
    entries = sorted(metadata.items())
    pairs = {alias: kept for alias, kept in entries if kept in stored and alias not in ("format", kept)}
    for alias, kept in pairs.items():
        if kept in pairs:
            raise FileError(
                f"The metadata ties {shown(alias)} to {shown(kept)} and that to {shown(pairs[kept])}; "
                f"expected one owner for each name."
            )
    return [Equation(alias, kept) for alias, kept in pairs.items()]


def _refuse_other_form(fields: dict[str, Any]) -> None:
    """Everything that the types of version 1 do not allow."""
    if fields.keys() - {"codebooks", "patterns"} != _FIELDS:
        names = ", ".join(sorted(_FIELDS))
        raise FileError(f"The manifest has the fields {shown(sorted(fields))}; expected {names}.")
    tensors, ties = fields["tensors"], fields["ties"]
    if not isinstance(tensors, dict) or not isinstance(ties, list):
        raise FileError("The manifest needs an object under `tensors` and a list under `ties`.")
    for name, value in tensors.items():
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise FileError(f"The manifest gives {shown(name)} the SHA-256 {shown(value)}; expected 64 hex digits.")
    for tie in ties:
        texts = tie.values() if isinstance(tie, dict) and tie.keys() == {"alias", "source", "transform"} else [None]
        if not all(isinstance(text, str) for text in texts):
            raise FileError(f"The manifest has the tie {shown(tie)}; expected the texts alias, source and transform.")
    for name in ("codebooks", "patterns"):
        if not isinstance(fields.get(name, []), list):
            raise FileError(f"The manifest needs a list under `{name}`.")
    for one in fields.get("codebooks", []):
        typed = isinstance(one, dict) and {name: type(value) for name, value in one.items()} == _CODED_FIELDS
        if not typed or not _possible_shape(one["shape"]):
            raise FileError(
                f"The manifest has the codebooks {shown(one)}; expected the texts name, codes and values, a whole "
                f"number of bits, and a shape of 2 to {_MOST_AXES} sizes from 1 on."
            )
    for one in fields.get("patterns", []):
        typed = isinstance(one, dict) and {name: type(value) for name, value in one.items()} == _PATTERNED_FIELDS
        if not typed or not _possible_shape(one["shape"]) or not all(isinstance(name, str) for name in one["arrays"]):
            raise FileError(
                f"The manifest has the pattern {shown(one)}; expected the texts name, pattern and weights, a list of "
                f"texts as arrays, and a shape of 2 to {_MOST_AXES} sizes from 1 on."
            )


def _possible_shape(shape: list[Any]) -> bool:
    sizes = all(type(size) is int and 1 <= size < 1 << 48 for size in shape)
    return sizes and 2 <= len(shape) <= _MOST_AXES


def _equation(alias: str, source: str, transform: str) -> Equation:
    if len(transform) > _LONGEST_TRANSFORM:
        raise FileError(
            f"The manifest ties {shown(alias)} by a transform of {len(transform):,} characters; "
            f"expected at most {_LONGEST_TRANSFORM:,}."
        )
    try:
        return Equation(alias, source, parse_transforms(transform))
    except TieError as error:
        raise FileError(f"The manifest ties {shown(alias)} by {shown(transform)}, which is no transform.") from error


def _canonical(fields: object) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"))


def _sha256(fields: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(fields).encode()).hexdigest()
