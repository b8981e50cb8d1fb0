"""A folder laid out as Hugging Face does: `config.json`, and weights in one file or in shards with an index."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from commonweight.checkpoints.bounded import damaged, inside, read_json, shown
from commonweight.checkpoints.stored import Stored
from commonweight.errors import FileError

Reader: TypeAlias = Callable[[Path], tuple[dict[str, Stored], dict[str, str]]]

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "*.safetensors.index.json",
    "*.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "*.bin.index.json",
    "*.onnx",
)
"""What a folder's weights may be called, the first choice first, as transformers chooses."""

_MOST_SHARDS = 2**12


def weights_of(folder: Path) -> Path:
    """The file, or the index of shards, that holds a folder's weights.

    Raises:
        FileError: none, or several of the same rank.
    """
    try:
        entries = sorted(entry.name for entry in folder.iterdir())
    except OSError as error:
        raise FileError(f"Cannot read {folder}: {error.strerror or error}; check the path and its rights.") from error
    for pattern in _WEIGHTS:
        found = [name for name in entries if Path(name).match(pattern)]
        if len(found) > 1:
            names = ", ".join(map(shown, found[:3])) + (", ..." if len(found) > 3 else "")
            raise FileError(f"{folder} holds {len(found)} files {pattern} ({names}); give the path of one.")
        if found:
            return inside(folder, found[0], folder / found[0])
    raise FileError(f"{folder} holds no weights; expected one of {', '.join(_WEIGHTS)}.")


def config_of(folder: Path) -> Mapping[str, object] | None:
    """The folder's `config.json`, if it has one.

    Raises:
        FileError: it is not an object in JSON, or lies elsewhere.
    """
    if not (folder / "config.json").is_file():
        return None
    return read_json(inside(folder, "config.json", folder / "config.json"))


def read_shards(index: Path, reader: Reader) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of all shards that an index names, and their metadata together.

    Args:
        index: a file `*.index.json` whose `weight_map` says for each name which file beside it has the tensor.
        reader: reads one shard.

    Raises:
        FileError: more than 4,096 shards; one lies elsewhere or is missing or damaged; the index and the shards do not
            agree on who has which tensor, or two shards have metadata that contradict each other.
    """
    places: Any = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise damaged(index, f"its weight_map is {shown(places)}, expected a map from tensor to file")
    files: dict[str, Path] = {}
    for shard in places.values():
        if not isinstance(shard, str) or shard not in files:
            if len(files) == _MOST_SHARDS:
                raise damaged(index, f"it names more than {_MOST_SHARDS:,} files", "do not trust this checkpoint")
            files[shard] = inside(index.parent, shard, index)
    tensors: dict[str, Stored] = {}
    metadata: dict[str, str] = {}
    for file in sorted(set(files.values())):
        held, texts = reader(file)
        for name, stored in held.items():
            if name not in places or files[places[name]] != file:
                listed = f"says {shown(places[name])}" if name in places else "does not list it"
                raise damaged(index, f"{file.name} holds {shown(name)}, the index {listed}")
            tensors[name] = stored
        for key, text in texts.items():
            if metadata.setdefault(key, text) != text:
                raise damaged(index, f"{file.name} contradicts another shard about the metadata {shown(key)}")
    if missing := sorted(places.keys() - tensors.keys()):
        raise damaged(index, f"{shown(places[missing[0]])} does not hold {shown(missing[0])}, the index says so")
    return tensors, metadata
