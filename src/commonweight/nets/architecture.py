"""A network without its weights, as JSON; and a whole one, architecture and weights, from one safetensors file.

    {"format": 1, "name": "cnn", "in_shape": [1, 8, 8], "n_outputs": 10, "task": "classification", "structure": {}}

`commonweight.save` stores this text in the metadata of the file, beside the manifest, for every net of `nets.build`.
"""

import json
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import nn

from commonweight.atomic import own_tensors
from commonweight.checkpoints import open_checkpoint
from commonweight.equations import tie
from commonweight.errors import FileError, NetError, TieError
from commonweight.files import ARCHITECTURE, layout, load
from commonweight.manifest import find
from commonweight.nets.own import is_own

FORMAT = 1
LONGEST = 1 << 20
LARGEST = 1 << 22
MOST_WEIGHTS = 1 << 31
"""Characters of the JSON, inputs or outputs, and weights of a net that are believed."""
_KINDS = {"name": str, "n_outputs": int, "task": str, "structure": dict}


@dataclass(frozen=True)
class Architecture:
    """What `nets.build` was told, but for the seed.

    Attributes:
        name: of the family, or file.py:factory.
        in_shape: of one sample.
        n_outputs: number of classes or of values.
        task: "classification" or "regression".
        structure: further arguments of the family, made of numbers, words, lists and dicts.

    Example, as `model.to_json` and `model_from_json` of Keras do it:
        >>> from commonweight import nets
        >>> text = architecture(nets.build("mlp", (4,), 3, structure={"hidden": [5]})).to_json()
        >>> Architecture.from_json(text).build(seed=1)[1]
        Linear(in_features=4, out_features=5, bias=True)
    """

    name: str
    in_shape: tuple[int, ...]
    n_outputs: int
    task: str = "classification"
    structure: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON.

        Raises:
            NetError: a structure of things that JSON has no word for.
        """
        try:
            return json.dumps({"format": FORMAT, **asdict(self)})
        except TypeError as error:
            raise NetError(
                f"The structure of a net is made of numbers, words, lists and dicts, to be stored as JSON ({error})."
            ) from error

    @staticmethod
    def from_json(text: str) -> "Architecture":
        """Read `to_json` back; the text may come from a stranger.

        Raises:
            NetError: not such a text.
        """
        try:
            if len(text) > LONGEST:
                raise ValueError(f"it has {len(text):,} characters, at most {LONGEST:,} are read")
            fields = json.loads(text)
            if fields.pop("format") != FORMAT:
                raise ValueError(f"only format {FORMAT} is known")
            read = Architecture(**fields | {"in_shape": tuple(fields["in_shape"])})
            if not all(type(getattr(read, name)) is kind for name, kind in _KINDS.items()):
                raise ValueError("a field is of another kind")
            for size in (prod(read.in_shape) * bool(read.in_shape), read.n_outputs):
                if type(size) is not int or not 0 < size <= LARGEST:
                    raise ValueError(f"inputs and outputs are 1 to {LARGEST:,} values, not {size}")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise NetError(f"Not the architecture of a net: {text[:80]!r} ({error}).") from error
        return read

    def build(self, *, seed: int = 0, net: str | None = None, most_weights: int = MOST_WEIGHTS) -> nn.Module:
        """Make the net with first weights by `seed`; it is counted on the meta device before any memory is taken.

        Args:
            net: its name again, if it is a net of your own: its file is run only because you name it here.

        Raises:
            NetError: more weights than `most_weights`, a net of one's own that is not named, or whatever `nets.build`
                refuses.
        """
        from commonweight import nets

        if is_own(self.name) and net != self.name:
            raise NetError(f"This is a net of your own: say net={self.name!r} to run that file.")
        given: dict[str, Any] = {"task": self.task, "seed": seed, "structure": self.structure}
        if not is_own(self.name):
            with torch.device("meta"):
                counted = nets.build(self.name, self.in_shape, self.n_outputs, **given)
            n_weights = sum(tensor.numel() for tensor in own_tensors(counted).values())
            if n_weights > most_weights:
                raise NetError(
                    f"This {self.name} has {n_weights:,} weights; at most {most_weights:,} fit: make it smaller."
                )
        return nets.build(self.name, self.in_shape, self.n_outputs, **given)


def architecture(net: nn.Module) -> Architecture:
    """How a net was made.

    Raises:
        NetError: not by `nets.build`.
    """
    text = getattr(net, "architecture", None)
    if not isinstance(text, str):
        raise NetError(
            f"This {type(net).__name__} was not made by nets.build: only its own code knows its architecture."
        )
    return Architecture.from_json(text)


def load_net(path: str | Path, *, net: str | None = None) -> nn.Module:
    """The whole net of a file of `commonweight.save`: built by its architecture, tied and filled, in evaluation mode.

    Args:
        path: of a safetensors file, such as weights.safetensors of a run.
        net: file.py:factory, for a net of your own.

    Raises:
        FileError: not such a file, a file without an architecture, or with weights that are not the net's.
        NetError: an architecture that cannot be built, or not by the weights in the file.

    Example:
        >>> from commonweight import nets, save
        >>> save(nets.build("mlp", (4,), 3), "mlp.safetensors")
        >>> load_net("mlp.safetensors")(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    metadata = open_checkpoint(path).metadata
    if ARCHITECTURE not in metadata:
        raise FileError(
            f"{path} holds weights without an architecture: build the net, then commonweight.load(path, net)."
        )
    stored = load(path)
    n_stored = sum(tensor.numel() for tensor in stored.values())
    model = Architecture.from_json(metadata[ARCHITECTURE]).build(net=net, most_weights=n_stored)
    dtypes = {tensor.dtype for tensor in stored.values() if tensor.is_floating_point()}
    if len(dtypes) == 1:  # a net that was saved after net.bfloat16(), say
        model = model.to(dtypes.pop())
    manifest = find(metadata)
    _, held = layout(model)
    try:
        for equation in manifest.ties if manifest else ():
            if equation not in held:
                tie(model, str(equation), keep="source")
    except TieError as error:
        raise FileError(f"{path} has ties that its net cannot have ({error}).") from error
    return load(path, model).eval()
