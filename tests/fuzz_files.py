"""Damages files at random and holds every reader to its promise: 2,000 in the tests, here any number.

    python tests/fuzz_files.py --count 20000 --seed 0 --output tests/fuzz_files.md

The promise: a file is read as it was saved, or refused by one FileError. Never a crash, a hang, memory without bound, a
wrong weight, or a model that is changed although its file was refused.
"""

import argparse
import copy
import json
import platform
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from checkpoint_files import parts, signed, tensor_proto, write_onnx
from safetensors.torch import save_model
from torch import Tensor, nn

from commonweight.checkpoints import contents, open_checkpoint
from commonweight.equations import tie
from commonweight.errors import FileError, TieError
from commonweight.files import load, save
from commonweight.manifest import KEY
from commonweight.verdicts import audit

WORDS = ("refused", "loaded")
MOST_SECONDS = 10.0
MOST_BYTES = 300 << 20
ODD = [0, 1, -1, 7, 255, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, 0.5, 1e308, True, None]
ODD += [
    "",
    "F32",
    "F64",
    "BOOL",
    "F4",
    "x" * 5000,
    "\ud800",
    "\x00",
    ".T",
    "-",
    [],
    {},
    [0, 4],
    [2**40, 2**40],
    {"a": "b"},
]


@dataclass(frozen=True)
class Original:
    """A whole file, and what was saved in it.

    Attributes:
        hashed: it has a manifest, so that every change of a value must be found.
        make: makes a model that the file fills; None for a file that only the checkpoint readers take.
    """

    name: str
    data: bytes
    state: dict[str, Tensor]
    hashed: bool
    make: Callable[[int], nn.Module] | None


class Net(nn.Module):
    """A tie of every kind, and entries of several types, one of them without elements."""

    def __init__(self, seed: int):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.a, self.b, self.c = nn.Linear(3, 3), nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.d, self.e = nn.Linear(3, 2, bias=False), nn.Linear(2, 2)
            self.register_buffer("count", torch.randint(9, ()))
            self.register_buffer("mask", torch.rand(5) > 0.5)
            self.register_buffer("short", torch.randn(2, 3).to(torch.bfloat16))
            self.register_buffer("nothing", torch.zeros(0, 3))


def tied(seed: int) -> nn.Module:
    model = Net(seed)
    tie(model, "b.weight = a.weight", "c.weight = -a.weight.T.flip(0)", "d.weight = a.weight[:2]", keep="source")
    return model


def plainly_tied(seed: int) -> nn.Module:
    model = Net(seed)
    model.b.weight = model.a.weight
    return model


def originals(folder: Path) -> list[Original]:
    """One file of ours, one of safetensors with ties in its metadata, one of torch, and one of ONNX."""
    ours, theirs = tied(1), plainly_tied(1)
    save(ours, folder / "ours.safetensors")
    save_model(theirs, str(folder / "save_model.safetensors"), metadata={"format": "pt"})
    torch.save(theirs.state_dict(), folder / "torch.pt")
    more = [tensor_proto(f"b{n}", (3,), 6, None, (5, bytes([1, 2, 3]))) for n in range(3)]
    write_onnx(folder / "net.onnx", tensor_proto(), *more, graph=[(1, b"")])
    return [
        Original(name, (folder / name).read_bytes(), state_of(model), model is ours, make)
        for name, model, make in [
            ("ours.safetensors", ours, tied),
            ("save_model.safetensors", theirs, plainly_tied),
            ("torch.pt", theirs, None),
            ("net.onnx", nn.Module(), None),
        ]
    ]


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def bytes_changed(data: bytes, rng: random.Random) -> bytes:
    """One to three changes of bytes, anywhere or near the start."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        size = len(changed)
        at = rng.randrange(size + 1 if rng.random() < 0.7 else min(size, 64) + 1)
        length = rng.choice([1, 1, 2, 4, 8, rng.randrange(1, 200)])
        part = changed[at : at + length]
        other = rng.randrange(size + 1)
        match rng.randrange(9):
            case 0 | 1:
                changed[at : at + 1] = bytes(b ^ (1 << rng.randrange(8)) for b in changed[at : at + 1])
            case 2:
                changed[at : at + length] = rng.randbytes(len(part))
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = rng.randbytes(length)
            case 5:
                changed[at : at + length] = rng.choice([b"\0", b"\xff", b"0", b"9", b'"', b" "]) * len(part)
            case 6:
                changed[at : at + length] = changed[other : other + length]
            case 7:
                changed[other:other] = part
            case 8:
                del changed[at:]
    return bytes(changed)


def header_changed(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file whose header, or its length, says something else, and is JSON as a rule."""
    header, values = parts(data)
    if rng.random() < 0.1:
        length = len(data) - len(values) - 8
        number = rng.choice([0, 1, length - 1, length + 1, len(data), len(data) - 8, 2**31, 2**63, 2**64 - 1])
        return number.to_bytes(8, "little") + data[8:]
    return with_header(json_changed(header, rng), values, rng)


def manifest_changed(data: bytes, rng: random.Random) -> bytes:
    """A file of ours with another manifest that has the right SHA-256 of itself."""
    header, values = parts(data)
    fields = json.loads(header["__metadata__"]["commonweight"])
    fields.pop("sha256")
    fields = json_changed(fields, rng)
    header["__metadata__"]["commonweight"] = signed(fields) if isinstance(fields, dict) else json.dumps(fields)
    return with_header(header, values, rng)


def with_header(header: object, values: bytes, rng: random.Random) -> bytes:
    text = json.dumps(header)
    if rng.random() < 0.1:  # a key twice, which no dict has
        text = text.replace("{", '{"a": 1, "a": 1, ', 1) if rng.random() < 0.5 else text[:-1] + ", " + text[1:]
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "little") + raw + values


def json_changed(value: object, rng: random.Random) -> object:
    """One to three nodes replaced, renamed, removed or doubled."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        holders = [node for node in nodes(value) if isinstance(node, dict | list) and node]
        if not holders:
            return rng.choice(ODD)
        holder = rng.choice(holders)
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = rng.choice(keys)
        match rng.randrange(5):
            case 0 | 1:
                holder[key] = rng.choice(ODD)
            case 2:
                holder[key] = copy.deepcopy(rng.choice(nodes(value)))
            case 3:
                del holder[key]
            case 4 if isinstance(holder, dict):
                holder[rng.choice([*keys, "x", "a.weight", "count", "__metadata__"])] = holder.pop(key)
            case 4:
                holder.append(copy.deepcopy(holder[key]))
    return value


def nodes(value: object) -> list[object]:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(node for child in below for node in nodes(child))]


def bits(tensor: Tensor) -> tuple[object, ...]:
    return tensor.dtype, tensor.shape, bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(bits(first[name]) == bits(second[name]) for name in first)


def hold(original: Original, path: Path, kind: Callable[[bytes, random.Random], bytes]) -> str:
    """Read and audit one damaged file in every way; returns "refused" or "loaded".

    Raises:
        AssertionError: the promise is broken.
    """
    try:
        checkpoint = open_checkpoint(path)
        contents(checkpoint, threads=1)
        sum(checkpoint.read(name).numel() for name in checkpoint.tensors if checkpoint.tensors[name].dtype is not None)
        str(audit(path))
        read = "loaded"
    except Exception as error:
        read = refused(error)
    if original.make is None:
        return read
    hashed = original.hashed
    try:
        state = load(path)
    except Exception as error:
        word = refused(error)
    else:
        word = "loaded"
        assert read == word, "load takes a file that open_checkpoint refuses"
        hashed = hashed and not (kind is header_changed and KEY not in checkpoint.metadata)  # taken out as a whole
        if hashed and kind is not manifest_changed:
            assert equal(state, original.state), "a wrong weight"
        for name in state.keys() & original.state.keys() & checkpoint.tensors.keys() if hashed else ():
            assert bits(state[name]) == bits(original.state[name]), "a wrong weight under a forged manifest"
    model = original.make(2)
    before = state_of(model)
    try:
        load(path, model)
    except Exception as error:
        refused(error, also=TieError)
        assert equal(dict(model.state_dict()), before), "the file was refused, but the model is changed"
    else:
        assert word == "loaded", "what is refused as a state dict is loaded into a model"
        assert not hashed or equal(dict(model.state_dict()), original.state), "a wrong weight in the model"
    return word


def refused(error: Exception, also: type[Exception] = FileError) -> str:
    """Every refusal is one short line, of the right class."""
    assert isinstance(error, FileError | also), f"{type(error).__name__} instead of FileError: {error}"
    text = str(error)
    assert text.isprintable(), f"no printable line: {text!r}"
    assert len(text) < 1000, f"{len(text):,} characters: {text[:300]}"
    return "refused"


@dataclass
class Log:
    """What happened to how many files, by original and kind of change."""

    counts: Counter[tuple[str, str, str]]
    slowest: float = 0.0
    memory: int = 0


def run(count: int, seed: int, folder: Path) -> Log:
    """Damage and read `count` files; a file that breaks the promise stays in the folder.

    Raises:
        AssertionError: the promise is broken; it names the file.
    """
    sources = originals(folder)
    log = Log(Counter())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        original = sources[number % len(sources)]
        kinds = [bytes_changed, bytes_changed, *([header_changed] if original.make else [])]
        kind = rng.choice([*kinds, *([manifest_changed] if original.hashed else [])])
        path = folder / f"{seed}-{number}-{original.name}"
        path.write_bytes(kind(original.data, rng))
        began = time.process_time()
        try:
            word = hold(original, path, kind)
        except Exception as error:
            raise AssertionError(f"{path} ({kind.__name__}): {error}") from error
        log.slowest = max(log.slowest, time.process_time() - began)
        log.memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) << 10
        assert log.slowest < MOST_SECONDS, f"{path} took {log.slowest:.1f} s of the processor"
        assert log.memory < MOST_BYTES, f"{path} took {log.memory:,} bytes of memory"
        path.unlink()
        log.counts[original.name, kind.__name__, word] += 1
    return log


def page(log: Log, command: str) -> str:
    rows = sorted({(name, kind) for name, kind, _ in log.counts})
    lines = [
        f"| {name} | {kind.replace('_', ' ')} | {sum(log.counts[name, kind, word] for word in WORDS):,} | "
        + " | ".join(f"{log.counts[name, kind, word]:,}" for word in WORDS)
        + " |"
        for name, kind in rows
    ]
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, safetensors {safetensors.__version__}"
    return "\n".join(
        [
            "# Damaged files",
            "",
            f"`{command}`, {time.strftime('%Y-%m-%d', time.gmtime())}; {versions}.",
            "",
            f"{log.counts.total():,} damaged files: every one was refused by one `FileError`, or read and audited",
            "without a crash or a wrong weight. "
            f"The slowest took {log.slowest:.2f} s of the processor, memory grew by {log.memory >> 20} MiB.",
            "",
            "| original | changed | files | refused | read |",
            "| --- | --- | --- | --- | --- |",
            *lines,
            "",
            "`ours.safetensors` has a manifest with hashes: what was read of it has the values that were saved, bit",
            "for bit; only changes that say nothing passed, such as one in `format: pt`, or a manifest taken out as a",
            "whole. The other files have no hashes: a changed value is read as it stands.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="files (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="other numbers, other files (default: 0)")
    parser.add_argument("--output", type=Path, help="a Markdown file for the log")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="fuzz_files_"))
    text = page(run(options.count, options.seed, folder), " ".join(["python", *sys.argv]))
    shutil.rmtree(folder)  # only after success: a file that breaks the promise is kept
    print(text)
    if options.output:
        options.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
