"""What the bytes of tensors tell: the hash by its definition, flags against torch, the same from files and memory."""

import hashlib
import subprocess
import sys
import warnings
from itertools import product

import pytest
import torch
from checkpoint_files import entry, tensor_proto, varint, write_onnx, write_safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from test_checkpoints import DTYPES, random_bits, shapes

from commonweight.checkpoints import Content, content, content_of, contents, open_checkpoint
from commonweight.errors import TieError

FLOATS = [dtype for dtype in DTYPES if dtype.is_floating_point or dtype.is_complex]


def defined(tensor, leaf=2**20):
    """The hash as the documentation of content.py defines it."""
    flat = tensor.detach().contiguous().reshape(-1)
    raw = bytes(flat.view(torch.uint8).tolist()) if flat.numel() else b""
    leaves = [hashlib.sha256(raw[start : start + leaf]).digest() for start in range(0, len(raw), leaf)]
    head = f"commonweight content 1\n{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}\n"
    return hashlib.sha256(head.encode() + b"".join(leaves)).hexdigest()


def seen(tensor):
    """What torch sees in a tensor."""
    flat = tensor.detach().reshape(-1)
    wide = flat.to(torch.complex128 if flat.is_complex() else torch.float64)
    bits = flat.contiguous().view(torch.uint8).reshape(flat.numel(), -1) if flat.numel() else flat
    zero = flat.numel() > 0 and bool((wide == 0).all())
    same = flat.numel() > 1 and bool((bits == bits[0]).all())
    nan = bool(wide.isnan().any())
    return Content(defined(tensor), bool(wide.isfinite().all()), nan, same or (zero and flat.numel() > 1), zero)


@given(shapes, st.sampled_from(DTYPES), st.integers(0, 99))
def test_any_bits_tell_what_torch_sees(shape, dtype, seed):
    tensor = random_bits(shape, dtype, seed)
    assert content_of(tensor) == seen(tensor)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.complex128, torch.float8_e8m0fnu])
def test_odd_values_are_found(dtype):
    words = ("nan", "inf", "-inf", "0", "-0.0", "1", "-1", "-2")
    for value, rest, count in product(words, words, (0, 1, 5)):
        tensor = torch.tensor([float(value), *[float(rest)] * count]).to(dtype)
        told = content_of(tensor)
        if dtype != torch.float8_e8m0fnu:  # it has no 0: what torch makes of 0 is its smallest number
            assert told == seen(tensor)
        else:
            assert (told.nan, told.finite) == (bool(tensor.float().isnan().any()), not tensor.float().isnan().any())


def test_complex_parts_are_looked_at_one_by_one():
    for dtype in (torch.complex64, torch.complex128):
        for value in (complex(0, float("nan")), complex(float("inf"), 0), complex(1, 2), 0j, complex(-0.0, 0.0)):
            for tensor in (torch.tensor([value] * 3, dtype=dtype), torch.tensor([value, 1 + 2j], dtype=dtype)):
                assert content_of(tensor) == seen(tensor)


def test_zeros_of_both_signs_are_zero_and_other_bits():
    assert content_of(torch.tensor([0.0, -0.0])) == seen(torch.tensor([0.0, -0.0]))
    assert content_of(torch.tensor([0.0, -0.0])).zero
    assert content_of(torch.tensor([0.0])).sha256 != content_of(torch.tensor([-0.0])).sha256


def test_type_and_shape_are_part_of_the_hash():
    tensors = [torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, 1), torch.zeros(4, dtype=torch.int32), torch.zeros(0)]
    tensors += [torch.zeros(0, 2), torch.zeros(2, dtype=torch.float64), torch.zeros(8, dtype=torch.float16)]
    assert len({content_of(tensor).sha256 for tensor in tensors}) == len(tensors)


def test_strides_are_no_part_of_the_hash():
    tensor = torch.randn(4, 6, dtype=torch.complex64)
    assert content_of(tensor.T) == content_of(tensor.T.contiguous()) == seen(tensor.T)
    assert content_of(tensor.conj()) == seen(tensor.conj().resolve_conj())
    assert content_of(tensor.imag) == seen(tensor.imag.clone())
    assert content_of(torch.nn.Parameter(tensor)) == content_of(tensor)
    assert content_of(torch.ones(3).expand(2, 3)) == seen(torch.ones(2, 3))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("count", [3, 4, 5, 8, 41])
def test_leaves_make_one_tensor(monkeypatch, threads, count):
    """With leaves of 16 bytes; each place of one odd value is looked at."""
    monkeypatch.setattr(content, "LEAF", 16)
    for place in range(count):
        for value in (1.0, float("nan"), float("inf"), 0.0):
            tensor = torch.zeros(count)
            tensor[place] = value
            told, plain = content_of(tensor, threads), seen(tensor)
            assert told == Content(defined(tensor, 16), plain.finite, plain.nan, plain.constant, plain.zero)


@given(st.lists(st.tuples(shapes, st.sampled_from(DTYPES)), max_size=5), st.integers(0, 99), st.sampled_from([1, 2, 3]))
def test_files_and_memory_tell_the_same(tmp_path_factory, kinds, seed, threads):
    tensors = {f"t{n}": random_bits(shape, dtype, seed + n) for n, (shape, dtype) in enumerate(kinds)}
    told = {name: seen(tensor) for name, tensor in tensors.items()}
    folder = tmp_path_factory.mktemp("files")
    save_file(tensors, folder / "a.safetensors")
    torch.save(tensors, folder / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        assert contents(open_checkpoint(folder / name), threads=threads) == told


def test_views_of_a_file_tell_the_same_as_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(content, "LEAF", 64)
    weight = torch.randn(7, 9)
    tensors = {"w": weight, "again": weight, "turned": weight.T, "part": weight[1:5, 2:4], "flat": weight.view(-1)}
    tensors |= {
        "last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "odd": weight.T.bfloat16().T,
    }
    tensors |= {"complex": torch.randn(3, 5, dtype=torch.complex128).T}
    torch.save(tensors, tmp_path / "a.pt")
    told = contents(open_checkpoint(tmp_path / "a.pt"))
    assert told == {name: content_of(tensor) for name, tensor in tensors.items()}
    assert told["w"] == told["again"] != told["flat"]


def test_onnx_tells_the_same_as_memory(tmp_path):
    numbers = torch.tensor([1, -2, 300, 2**62, -(2**63), 0])
    raw = bytes(numbers.view(torch.uint8).tolist())
    packed = b"".join(varint(int(number)) for number in numbers)
    path = write_onnx(
        tmp_path / "a.onnx", tensor_proto("raw", (6,), 7, raw), tensor_proto("typed", (6,), 7, None, (7, packed))
    )
    checkpoint = open_checkpoint(path)
    assert contents(checkpoint) == dict.fromkeys(("raw", "typed"), seen(numbers))
    assert torch.equal(checkpoint.read("typed"), numbers)


def test_types_that_torch_has_not_are_hashed(tmp_path):
    header = {"a": entry(0, 1, (2,), "F4"), "b": entry(1, 2, (2,), "F4"), "c": entry(2, 3, (2,), "F4")}
    told = contents(open_checkpoint(write_safetensors(tmp_path / "a", header, b"\0\x12\x12")))
    assert told["b"] == told["c"] != told["a"]
    assert (told["a"].zero, told["b"].zero, told["b"].finite) == (True, False, True)


def test_some_names_are_enough(tmp_path):
    save_file({"a": torch.ones(2), "b": torch.zeros(2)}, tmp_path / "a.safetensors")
    assert contents(open_checkpoint(tmp_path / "a.safetensors"), ["b"]) == {"b": seen(torch.zeros(2))}
    assert contents(open_checkpoint(tmp_path / "a.safetensors"), []) == {}


def test_each_byte_is_read_once(tmp_path, monkeypatch):
    weight = torch.randn(100)
    torch.save({"a": weight, "b": weight, "c": torch.randn(50)}, tmp_path / "a.pt")
    read, plain = [], content.read_at

    def counting(file, offset, buffer):
        read.extend(range(offset, offset + len(buffer)))
        return plain(file, offset, buffer)

    monkeypatch.setattr(content, "read_at", counting)
    contents(open_checkpoint(tmp_path / "a.pt"))
    assert len(read) == len(set(read)) == 600


def test_memory_stays_small_for_a_large_file(tmp_path):
    """A sparse file of 256 MiB, one tensor of it; a process of its own, whose memory peaks far below."""
    path, size = tmp_path / "a.safetensors", 2**28
    write_safetensors(path, {"a": entry(0, size, (size // 4,))})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    code = (
        "import sys; from pathlib import Path; from commonweight.checkpoints import contents, open_checkpoint\n"
        "assert contents(open_checkpoint(sys.argv[1]))['a'].zero\n"
        "lines = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())\n"
        "sys.exit(int(lines['VmHWM'].split()[0]) > 100_000)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0


def test_tensors_without_values_are_refused():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor")
        quantized = torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8)
    for tensor in (torch.empty(2, device="meta"), torch.eye(2).to_sparse(), quantized):
        with pytest.raises(
            TieError, match=r"without plain values has no content to compare: got one .*; load or convert"
        ):
            content_of(tensor)


def test_pairs_of_4_bits_tell_the_same_everywhere(tmp_path):
    tensors = {"a": torch.arange(6, dtype=torch.uint8).view(torch.float4_e2m1fn_x2).reshape(2, 3)}
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.pt")
    in_safetensors, in_pt = (open_checkpoint(tmp_path / name) for name in ("a.safetensors", "a.pt"))
    assert contents(in_safetensors) == contents(in_pt) == {"a": content_of(tensors["a"])}
    assert (in_safetensors.tensors["a"].shape, in_pt.tensors["a"].shape) == ((2, 6), (2, 3))


def test_one_element_may_have_any_stride():
    assert content_of(torch.arange(4.0)[2::2]) == content_of(torch.tensor([2.0]))
