"""What `open_checkpoint` says of a file, against the libraries that wrote it: names, types, shapes, places, values."""

import copy
import importlib.util
import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from checkpoint_files import entry, proto, tensor_proto, view, write_folder, write_onnx, write_pt, write_safetensors
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from commonweight import checkpoints
from commonweight.checkpoints import Stored, open_checkpoint
from commonweight.checkpoints.dtypes import WORDS
from commonweight.checkpoints.pickled import Named, follow

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.int64, torch.int32, torch.int16,
    torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8, torch.bool, torch.float8_e5m2,
    torch.float8_e4m3fn, torch.float8_e5m2fnuz, torch.float8_e4m3fnuz,
]  # fmt: skip
shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


def random_bits(shape, dtype, seed=0):
    """A tensor of any bits that a type has."""
    count = torch.Size(shape).numel() * dtype.itemsize
    raw = torch.randint(256, (count,), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    raw = raw % 2 if dtype == torch.bool else raw
    return raw.view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)


def same_bits(one, two):
    assert (one.shape, one.dtype) == (two.shape, two.dtype)
    bits = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (one, two) if tensor.numel()]
    return not bits or torch.equal(*bits)


def agrees(path, tensors):
    """Everything that a checkpoint says is so, and the bytes are where it says."""
    checkpoint = open_checkpoint(path)
    assert list(checkpoint.tensors) == sorted(tensors)
    for name, tensor in tensors.items():
        stored = checkpoint.tensors[name]
        assert (stored.name, stored.dtype, stored.shape) == (name, tensor.dtype, tuple(tensor.shape))
        assert stored.nbytes == tensor.nbytes
        assert same_bits(checkpoint.read(name), tensor)
        if tensor.numel() and stored.strides is None and not stored.varints:
            raw = stored.file.read_bytes()[stored.offset : stored.offset + stored.nbytes]
            assert raw == bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())
    return checkpoint


# safetensors


@given(st.lists(st.tuples(shapes, st.sampled_from(DTYPES)), max_size=5), st.integers(0, 99))
def test_safetensors_files_are_read_as_written(tmp_path_factory, kinds, seed):
    path = tmp_path_factory.mktemp("files") / "a.safetensors"
    tensors = {f"t{n}": random_bits(shape, dtype, seed + n) for n, (shape, dtype) in enumerate(kinds)}
    save_file(tensors, path, {"format": "pt", "é": "ü"})
    checkpoint = agrees(path, tensors)
    assert checkpoint.format == "safetensors"
    assert checkpoint.metadata == {"format": "pt", "é": "ü"}
    assert checkpoint.config is None
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            assert same_bits(file.get_tensor(name), checkpoint.read(name))
    assert len({stored.storage for stored in checkpoint.tensors.values()}) == len(tensors)


def test_types_that_torch_has_not_are_told(tmp_path):
    header = {"a": entry(0, 3, (4,), "F6_E2M3"), "b": entry(3, 5, (4,), "F4")}
    checkpoint = open_checkpoint(write_safetensors(tmp_path / "a.safetensors", header, bytes(5)))
    assert [(stored.type, stored.dtype) for stored in checkpoint.tensors.values()] == [("F6_E2M3", None), ("F4", None)]


def test_words_for_types_mean_torchs_types():
    for word, value_type in WORDS.items():
        if (dtype := value_type.dtype) is not None:
            assert dtype.itemsize * 8 == value_type.bits
            assert dtype.is_complex == (value_type.parts == 2)
        else:
            assert value_type.bits < 8 or word.startswith("packed"), word


def test_values_at_odd_places_are_read(tmp_path):
    header = {"a": entry(0, 1, (1,), "U8"), "b": entry(1, 17, (2,), "F64")}
    path = write_safetensors(tmp_path / "a", header, b"\1" + torch.tensor([1.5, -2]).double().numpy().tobytes())
    assert open_checkpoint(path).read("b").tolist() == [1.5, -2]


def test_reading_never_changes_the_file(tmp_path):
    save_file({"a": torch.ones(4)}, tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    open_checkpoint(tmp_path / "a.safetensors").read("a").zero_()
    assert (tmp_path / "a.safetensors").read_bytes() == before


def test_a_file_larger_than_memory_is_opened_and_read_in_part(tmp_path):
    path = tmp_path / "a.safetensors"
    size = 2**40  # sparse
    write_safetensors(path, {"a": entry(0, size, (size // 4,)), "b": entry(size, size + 4)}, length=None)
    start = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(start + size + 4)
        file.seek(start + size)
        file.write(torch.tensor(2.5).numpy().tobytes())
    checkpoint = open_checkpoint(path)
    assert checkpoint.read("b").item() == 2.5
    assert checkpoint.read("a")[-1].item() == 0


# PyTorch


def kinds_of_state():
    torch.manual_seed(0)
    lstm, flat = nn.LSTM(3, 4), torch.randn(200)
    views, start = {}, 0
    for name, weight in lstm.state_dict().items():  # as cuDNN lays them out: views of one buffer
        views[name] = flat[start : start + weight.numel()].view(weight.shape)
        start += weight.numel()
    weight = torch.randn(4, 6)
    return {
        "plain": nn.Linear(3, 2).state_dict(),
        "types": {str(n): random_bits((2, 3), dtype) for n, dtype in enumerate([*DTYPES, torch.complex128])},
        "flat": views,
        "tied": {"embed": weight, "head": weight, "turned": weight.T, "part": weight[1:3, 2:], "row": weight[2]},
        "layouts": {
            "last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
            "one": torch.randn(1, 3).T,
            "stepped": torch.randn(20)[::3],
            "zero": torch.tensor(1.5),
            "empty": torch.empty(0, 3),
            "expanded": torch.arange(5).expand(1, -1),
        },
        "parameters": {"a": nn.Parameter(torch.randn(2)), "b": nn.Buffer(torch.randn(2))},
        "none": {},
    }


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", kinds_of_state())
def test_files_of_torch_save_are_read_as_written(tmp_path, kind, protocol):
    state, path = kinds_of_state()[kind], tmp_path / "a.pt"
    torch.save(state, path, pickle_protocol=protocol)
    checkpoint = agrees(path, {name: tensor.detach() for name, tensor in state.items()})
    assert (checkpoint.format, checkpoint.metadata, checkpoint.config) == ("pytorch", {}, None)
    loaded = torch.load(path, weights_only=protocol == 2)  # torch's own reader knows no other protocol
    for name, stored in checkpoint.tensors.items():
        if stored.nbytes:
            assert (stored.strides or checkpoint.read(name).stride()) == loaded[name].stride() or 1 in stored.shape


def test_views_keep_their_storage_and_place(tmp_path):
    torch.save(kinds_of_state()["tied"], tmp_path / "a.pt")
    tied = open_checkpoint(tmp_path / "a.pt").tensors
    assert len({stored.storage for stored in tied.values()}) == 1
    assert (tied["embed"].offset, tied["embed"].strides) == (tied["head"].offset, None)
    assert (tied["turned"].offset, tied["turned"].strides) == (tied["embed"].offset, (1, 6))
    assert tied["row"].offset == tied["embed"].offset + 2 * 6 * 4
    assert (tied["part"].offset, tied["part"].strides) == (tied["embed"].offset + (6 + 2) * 4, (6, 1))
    torch.save(kinds_of_state()["flat"], tmp_path / "a.pt")
    flat = open_checkpoint(tmp_path / "a.pt").tensors
    assert len({stored.storage for stored in flat.values()}) == 1
    assert len({stored.offset for stored in flat.values()}) == 4


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"(I1\nI2\nl.", [1, 2]),
        (b"(S'a'\nI1\nd.", {"a": 1}),
        (b"}S'a'\nF1.5\ns.", {"a": 1.5}),
        (b"I1\n(I2\nI3\n1.", 1),
        (b"I1\n2\x86.", (1, 1)),
        (b"I1\n(0.", 1),
        (b"I7\np3\n0g3\n.", 7),
        (b"\x80\x04\x8c\x01a\x94\x8c\x01b\x940h\x00.", "a"),
        (b"\x80\x04(K\x01K\x02\x91.", [1, 2]),
        (b"\x80\x04\x8f(K\x01K\x02\x90.", [1, 2]),
    ],
)
def test_a_pickle_is_followed_as_python_would(raw, value):
    assert follow(raw, Path("a.pt")) == value
    assert pickle.loads(raw) == (set(value) if b"\x80\x04" in raw and isinstance(value, list) else value)


def test_a_pickle_of_objects_is_a_tree_of_calls():
    made = follow(b"\x80\x04\x8c\x01m\x8c\x01C\x93)}\x92(K\x05e}\x8c\x01a\x88sb.", Path("a.pt"))
    assert (made.by, made.arguments, made.items, made.state) == (Named("m.C"), (), {0: 5}, {"a": True})


def test_archives_beyond_4_gigabytes_have_64_bit_entries(tmp_path, monkeypatch):
    """Python writes 64-bit sizes and places from a limit on, here a very low one."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 5)
    agrees(write_pt(tmp_path / "a.pt", {"w": view()}), {"w": torch.zeros(2, 2)})
    monkeypatch.undo()
    path = write_pt(tmp_path / "a.pt", {"w": view()}, {})
    with zipfile.ZipFile(path, "a") as archive:
        storage = zipfile.ZipInfo("archive/data/0")
        storage.extra = b"\x99\x99\x02\x00ab"  # of another kind
        archive.writestr(storage, bytes(16))
    agrees(path, {"w": torch.zeros(2, 2)})


class Odd(nn.Module):
    """A module with all that a state dict may or may not hold."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.BatchNorm1d(2)])
        self.register_parameter("none", None)
        self.register_buffer("kept", torch.ones(2))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.weight = nn.Parameter(torch.randn(3))
        self.attribute = torch.ones(1)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_whole_model_has_the_names_of_its_state_dict(tmp_path, protocol):
    model = Odd()
    torch.save(model, tmp_path / "a.pt", pickle_protocol=protocol)
    agrees(tmp_path / "a.pt", {name: value.detach() for name, value in model.state_dict().items()})


def test_a_torchscript_archive_has_the_names_of_its_attributes(tmp_path):
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(model, torch.ones(1, 2)).save(str(tmp_path / "a.pt"))
    agrees(tmp_path / "a.pt", {name: value.detach() for name, value in model.state_dict().items()})


Pair = namedtuple("Pair", "left right")


def test_what_goes_with_training_is_left_out(tmp_path):
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = {name: value.detach() for name, value in model.state_dict().items()}
    rest = {
        "epoch": 3,
        "optimizer": optimizer.state_dict(),
        "callbacks": {"best": torch.tensor(1.0)},
        "odd": {(1, 2): 3},
    }
    for word in ("state_dict", "model_state_dict", "model"):
        torch.save({word: model.state_dict(), **rest}, tmp_path / "a.pt")
        agrees(tmp_path / "a.pt", state)
    torch.save({"model": model, **rest}, tmp_path / "a.pt")
    agrees(tmp_path / "a.pt", state)
    torch.save({"model": state, "ema": [state["weight"]], **rest}, tmp_path / "a.pt")
    agrees(tmp_path / "a.pt", {f"model.{name}": value for name, value in state.items()} | {"ema.0": state["weight"]})
    torch.save({"generator": state}, tmp_path / "a.pt")
    agrees(tmp_path / "a.pt", {f"generator.{name}": value for name, value in state.items()})
    torch.save({"optimal": torch.ones(1)}, tmp_path / "a.pt")
    agrees(tmp_path / "a.pt", {"optimal": torch.ones(1)})
    torch.save(torch.ones(3), tmp_path / "a.pt")
    agrees(tmp_path / "a.pt", {"tensor": torch.ones(3)})
    torch.save([Pair(torch.ones(3), 1), {7: torch.zeros(2)}], tmp_path / "a.pt")
    agrees(tmp_path / "a.pt", {"0.0": torch.ones(3), "1.7": torch.zeros(2)})


# ONNX

onnx_kinds = [
    "FLOAT", "DOUBLE", "FLOAT16", "BFLOAT16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64",
    "BOOL", "COMPLEX64", "COMPLEX128", "FLOAT8E4M3FN", "FLOAT8E5M2",
]  # fmt: skip


@pytest.mark.parametrize("raw", [True, False])
@pytest.mark.parametrize("kind", onnx_kinds)
def test_initializers_are_read_as_the_onnx_package_reads_them(tmp_path, kind, raw):
    onnx = pytest.importorskip("onnx", reason="the onnx package, an extra, is the oracle")
    dtype = WORDS[kind].dtype
    tensor = random_bits((2, 3), dtype).nan_to_num(1, 1, 1) if dtype.is_floating_point and dtype.itemsize > 1 else None
    tensor = random_bits((2, 3), dtype) if tensor is None else tensor
    tensor = torch.complex(torch.rand(2, 3), torch.rand(2, 3)).to(dtype) if dtype.is_complex else tensor
    bytes_ = bytes(tensor.reshape(-1).view(torch.uint8).tolist())
    proto_ = onnx.helper.make_tensor("w", getattr(onnx.TensorProto, kind), (2, 3), bytes_, raw=True)
    if not raw:
        values = onnx.numpy_helper.to_array(proto_)
        proto_ = onnx.helper.make_tensor("w", getattr(onnx.TensorProto, kind), (2, 3), values)
    graph = onnx.helper.make_graph([], "g", [], [], [proto_])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "a.onnx")
    checkpoint = agrees(tmp_path / "a.onnx", {"w": tensor})
    assert checkpoint.format == "onnx"
    assert checkpoint.tensors["w"].type == kind


def test_packed_integers_of_onnx_are_listed(tmp_path):
    stored = open_checkpoint(write_onnx(tmp_path / "a.onnx", tensor_proto("w", (3,), 22, b"\1\2"))).tensors["w"]
    assert (stored.type, stored.nbytes, stored.dtype) == ("INT4", 2, None)
    stored = open_checkpoint(write_onnx(tmp_path / "a.onnx", tensor_proto("w", (3,), 21, None, (5, b"\1\2")))).tensors[
        "w"
    ]
    assert (stored.type, stored.nbytes, stored.varints) == ("UINT4", 2, 2)


def test_constants_and_subgraphs_of_onnx_are_read(tmp_path):
    def node(operation, name, *attributes):
        return (1, proto((2, f"{name}_out"), (3, name), (4, operation), *((5, attribute) for attribute in attributes)))

    branch = proto((5, tensor_proto("w")), node("Constant", "c", proto((1, "value"), (5, tensor_proto("")))))
    test = node("If", "if", proto((1, "then_branch"), (6, branch)), proto((1, "else_branch"), (6, branch)))
    fill = node("ConstantOfShape", "f", proto((1, "value"), (5, tensor_proto("fill"))))
    texts = proto((1, 1), (2, 8), (6, "text"), (8, "words"))
    path = write_onnx(tmp_path / "a.onnx", tensor_proto("w"), texts, graph=[test, fill])
    names = [f"if/{branch}/{name}" for branch in ("else_branch", "then_branch") for name in ("c_out", "w")]
    agrees(path, dict.fromkeys([*names, "w"], torch.zeros(2)))
    with path.open("ab") as file:
        file.write(proto((14, proto((1, "key"), (2, "text")))))
    assert open_checkpoint(path).metadata == {"key": "text"}


def test_empty_and_single_tensors_of_onnx_are_read(tmp_path):
    tensors = tensor_proto("none", (0, 3), 1, None), tensor_proto("one", (), 1, bytes(4))
    packed = proto((1, b"\2\1"), (2, 1), (8, "packed"), (9, bytes(8)))
    agrees(write_onnx(tmp_path / "a.onnx", packed), {"packed": torch.zeros(2, 1)})
    agrees(write_onnx(tmp_path / "a.onnx", *tensors), {"none": torch.empty(0, 3), "one": torch.tensor(0.0)})


def test_external_data_of_onnx_is_read(tmp_path):
    onnx = pytest.importorskip("onnx", reason="the onnx package, an extra, writes the file")
    tensors = {"a": torch.randn(4, 5), "b": torch.randn(7)}
    protos = [onnx.numpy_helper.from_array(value.numpy(), name) for name, value in tensors.items()]
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], protos))
    where = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(model, tmp_path / "a.onnx", **where)
    checkpoint = agrees(tmp_path / "a.onnx", tensors)
    assert {stored.file.name for stored in checkpoint.tensors.values()} == {"weights.bin"}


# Folders


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_shards_are_read_as_one(tmp_path, suffix):
    shards = {
        f"model-1-of-2.{suffix}": {"a": torch.randn(3), "b": torch.randn(2, 2)},
        f"model-2-of-2.{suffix}": {"c": torch.randn(1)},
    }
    config = {"tie_word_embeddings": True}
    write_folder(tmp_path, shards, config=config)
    tensors = {name: tensor for shard in shards.values() for name, tensor in shard.items()}
    checkpoint = agrees(tmp_path, tensors)
    assert (checkpoint.format, checkpoint.config, checkpoint.path) == ("folder", config, tmp_path)
    assert checkpoint.tensors["c"].file == tmp_path / f"model-2-of-2.{suffix}"
    (index,) = tmp_path.glob("*.index.json")
    assert agrees(index, tensors).format == "folder"


def test_one_file_comes_before_shards(tmp_path):
    write_folder(tmp_path, {"1.safetensors": {"a": torch.ones(1)}})
    save_file({"b": torch.ones(1)}, tmp_path / "model.safetensors", {"format": "pt"})
    checkpoint = agrees(tmp_path, {"b": torch.ones(1)})
    assert (checkpoint.metadata, checkpoint.config) == ({"format": "pt"}, None)


def test_metadata_of_shards_is_put_together(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "1.safetensors", {"format": "pt", "a": "1"})
    save_file({"b": torch.ones(1)}, tmp_path / "2.safetensors", {"format": "pt", "b": "2"})
    index = {"weight_map": {"a": "1.safetensors", "b": "./2.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert open_checkpoint(tmp_path).metadata == {"format": "pt", "a": "1", "b": "2"}


def test_the_cache_of_hugging_face_is_read(tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "0123abcd"
    write_folder(blobs, {"model-1.safetensors": {"a": torch.ones(1)}}, config={"x": 1})
    snapshot.mkdir(parents=True)
    for name in ("model-1.safetensors", "model.safetensors.index.json", "config.json"):
        (snapshot / name).symlink_to(f"../../blobs/{name}")
    assert agrees(snapshot, {"a": torch.ones(1)}).config == {"x": 1}


# Checkpoints in packages, written by others


def packaged(package, name):
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"the package {package}, which has the file in it, is not installed")
    (path,) = Path(found.origin).parent.rglob(name)
    return path


def test_a_published_pth_is_read_as_torch_reads_it():
    path = packaged("digit_recognizer", "handwriting_model.pth")
    agrees(path, torch.load(path, weights_only=True))


def test_a_published_torchscript_archive_is_read_as_torch_reads_it():
    path = packaged("silero_vad", "silero_vad.jit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = torch.jit.load(path).state_dict()
    checkpoint = open_checkpoint(path)
    assert checkpoint.tensors.keys() - state.keys() == {"_context", "_state"}  # attributes, no parameters or buffers
    assert all(same_bits(checkpoint.read(name), value.detach()) for name, value in state.items())


def test_a_published_onnx_file_is_read_as_the_onnx_package_reads_it():
    onnx = pytest.importorskip("onnx", reason="the onnx package, an extra, is the oracle")
    path = packaged("silero_vad", "silero_vad.onnx")
    expected = {}

    def walk(graph, prefix=""):
        expected.update({prefix + tensor.name: tensor for tensor in graph.initializer})
        for node in graph.node:
            for attribute in node.attribute:
                if node.op_type == "Constant" and attribute.name == "value":
                    expected[prefix + node.output[0]] = attribute.t
                walk(attribute.g, f"{prefix}{node.name or node.output[0]}/{attribute.name}/")

    walk(onnx.load(path).graph)
    agrees(
        path, {name: torch.from_numpy(onnx.numpy_helper.to_array(tensor).copy()) for name, tensor in expected.items()}
    )


# All


def test_the_name_or_the_first_bytes_tell_the_format(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "a.bin")
    assert open_checkpoint(tmp_path / "a.bin").format == "safetensors"
    torch.save({"a": torch.ones(1)}, tmp_path / "a.ckpt")
    assert open_checkpoint(str(tmp_path / "a.ckpt")).format == "pytorch"


def test_headers_are_read_without_torch_and_numpy(tmp_path):
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    write_onnx(tmp_path / "a.onnx", tensor_proto("a"))
    code = (
        "import sys; from commonweight.checkpoints import open_checkpoint\n"
        "opened = [open_checkpoint(path) for path in sys.argv[1:]]\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys()\n"
        "from commonweight.checkpoints import contents\n"
        "assert all(contents(checkpoint)['a'].finite for checkpoint in opened)\n"
        "sys.exit('torch' in sys.modules)"
    )
    paths = [str(tmp_path / name) for name in ("a.safetensors", "a.pt", "a.onnx")]
    assert subprocess.run([sys.executable, "-c", code, *paths], check=False).returncode == 0


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'contains'"):
        _ = checkpoints.contains


def test_a_stored_tensor_can_be_copied_and_compared(tmp_path):
    stored = Stored("a", "F32", (2,), tmp_path, 0, 8, "s")
    assert copy.copy(stored) == stored
    assert hash(stored) == hash(copy.copy(stored))
