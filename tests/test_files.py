"""A model comes back from its file as it was, ties included; where file and model disagree, it is said."""

import copy
import json
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from tied_models import linear, net
from torch import nn

import commonweight as cw
from commonweight import files
from commonweight.checkpoints import contents, open_checkpoint
from commonweight.equations import check, share_layers, tie, ties
from commonweight.errors import FileError, TieError
from commonweight.files import load, save
from commonweight.manifest import find

TYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint64, torch.uint32, torch.uint16, torch.uint8),
    *(torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.float8_e8m0fnu),
    torch.float4_e2m1fn_x2,
]


def bits(tensor):
    whole = tensor.detach().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
    return whole.reshape(-1).view(torch.uint8).tolist()


def same(first, second):
    """Equal names, types, shapes and bits."""
    assert first.keys() == second.keys()
    for name, value in first.items():
        other = second[name]
        assert (value.dtype, value.shape, bits(value)) == (other.dtype, other.shape, bits(other)), name
    return True


def values(seed, *shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    width = torch.empty(0, dtype=dtype).element_size()
    raw = torch.randint(0, 256, (*shape[:-1], shape[-1] * width), generator=generator, dtype=torch.uint8)
    return (raw % 2 if dtype is torch.bool else raw).view(dtype)


class Holder(nn.Module):
    """A module that holds these tensors as buffers."""

    def __init__(self, **tensors):
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)


def every_tie(seed=0):
    """A model with a tie of every kind, a module under two names, and buffers."""
    model = net(
        embed=linear(6, 4, seed),
        head=linear(6, 4, seed),
        decoder=linear(4, 6, seed),
        mirror=linear(6, 4, seed),
        minus=linear(4, 6, seed),
        part=linear(2, 4, seed),
        norm=nn.BatchNorm1d(3),
        twin=nn.BatchNorm1d(3),
        free=linear(2, 2, seed, bias=True),
    )
    lines = ["head.weight = embed.weight", "decoder.weight = embed.weight.T", "mirror.weight = embed.weight.flip(0, 1)"]
    lines += ["minus.weight = -embed.weight.T.flip(0)", "part.weight = embed.weight[1:5:2]", "twin = norm"]
    tie(model, *lines, keep="source")
    return model


STORED = {"embed.weight", "free.weight", "free.bias"} | {
    f"norm.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
}


def test_every_weight_once_and_every_tie(tmp_path):
    model, other = every_tie(1), every_tie(2)
    assert not torch.equal(model["embed"].weight, other["embed"].weight)
    save(model, tmp_path / "m.safetensors")
    assert set(load_file(tmp_path / "m.safetensors")) == STORED
    assert load(tmp_path / "m.safetensors", other) is other
    assert same(dict(other.state_dict()), dict(model.state_dict()))
    check(other)
    assert [str(line) for line in ties(other)] == [str(line) for line in ties(model)]
    again = tmp_path / "again.safetensors"
    save(other, again)
    assert load_file(again).keys() == STORED
    assert same(load(again), load(tmp_path / "m.safetensors"))


def test_as_a_state_dict(tmp_path):
    model = every_tie(1)
    save(model, tmp_path / "m.safetensors")
    for expand in (False, True):
        state = load(tmp_path / "m.safetensors", expand=expand)
        assert list(state) == sorted(model.state_dict())
        assert same(state, dict(model.state_dict()))
        same_memory = [
            name
            for name in ("head", "decoder", "mirror", "minus", "part")
            if state[f"{name}.weight"].untyped_storage().data_ptr()
            == state["embed.weight"].untyped_storage().data_ptr()
        ]
        assert same_memory == ([] if expand else ["head", "decoder", "part"])
        assert (state["head.weight"] is state["embed.weight"]) is not expand
        assert (state["twin.weight"] is state["norm.weight"]) is not expand
    save_file(state, tmp_path / "full.safetensors")  # refuses shared memory and other layouts
    untied = copy.deepcopy(model)
    for name in ("head.weight", "decoder.weight", "mirror.weight", "minus.weight", "part.weight", "twin"):
        cw.untie(untied, name)
    untied.load_state_dict(state)


def test_the_manifest_has_the_hashes_that_the_audit_computes(tmp_path):
    save(every_tie(1), tmp_path / "m.safetensors")
    checkpoint = open_checkpoint(tmp_path / "m.safetensors")
    manifest = find(checkpoint.metadata)
    assert manifest.tensors == {name: content.sha256 for name, content in contents(checkpoint).items()}
    assert checkpoint.metadata["format"] == "pt"


def test_nothing_stays_connected_to_the_file(tmp_path):
    path = tmp_path / "m.safetensors"
    save(every_tie(1), path)
    state = load(path)
    before = state["embed.weight"].clone()
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert torch.equal(state["embed.weight"], before)


def test_plain_safetensors_reads_it(tmp_path):
    model = net(
        a=linear(3, 3, 0, bias=True), b=linear(3, 3, 1), c=Holder(mean=values(0, 3)), d=Holder(mean=values(1, 3))
    )
    tie(model, "b.weight = a.weight", "d = c", keep="source")
    model["b"].register_buffer("shared", model["c"].mean)
    save(model, tmp_path / "m.safetensors")
    other = copy.deepcopy(model)
    with torch.no_grad():
        for value in other.state_dict().values():
            value.zero_()
    assert load_model(other, tmp_path / "m.safetensors") == (set(), [])
    assert same(dict(other.state_dict()), dict(model.state_dict()))
    plain = net(a=linear(3, 3, 2, bias=True), b=linear(3, 3, 3), c=Holder(mean=values(2, 3)))
    plain["b"].weight, plain["d"] = plain["a"].weight, plain["c"]
    plain["b"].register_buffer("shared", plain["c"].mean)
    assert load_model(plain, tmp_path / "m.safetensors") == (set(), [])


def test_files_of_plain_safetensors_keep_their_ties(tmp_path):
    """keras-hub#3075, transformers#41038: aliases that stand only in the metadata."""
    model = net(z=linear(3, 3, 0), b=linear(3, 3, 1), free=linear(2, 2, 2))
    model["b"].weight = model["z"].weight
    save_model(model, str(tmp_path / "m.safetensors"), metadata={"format": "pt"})
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "z.weight": "b.weight"}
    state = load(tmp_path / "m.safetensors")
    assert state["z.weight"] is state["b.weight"]
    assert same(state, dict(model.state_dict()))
    for lines in (["b.weight = z.weight"], ["z.weight = b.weight"]):
        other = net(z=linear(3, 3, 3), b=linear(3, 3, 4), free=linear(2, 2, 5))
        tie(other, *lines, keep="source")
        load(tmp_path / "m.safetensors", other)
        assert same(dict(other.state_dict()), dict(model.state_dict()))
        check(other)
    with pytest.raises(TieError, match=r"has the tie `z.weight = b.weight`, which the model has not"):
        load(tmp_path / "m.safetensors", net(z=linear(3, 3), b=linear(3, 3), free=linear(2, 2)))


def test_metadata_that_the_file_contradicts(tmp_path):
    path = tmp_path / "m.safetensors"
    both = {"a": torch.ones(2), "b": torch.ones(2)}
    save_file(both, path, {"a": "b"})
    state = load(path)
    assert same(state, both)
    assert state["a"] is state["b"]
    save_file(both | {"b": torch.zeros(2)}, path, {"a": "b"})
    with pytest.raises(FileError, match="contradicts itself: its metadata says that 'a' is 'b', and it stores another"):
        load(path)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_every_type_comes_back_bit_for_bit(tmp_path, dtype):
    tensors = {
        "matrix": values(0, 3, 4, dtype=dtype),
        "empty": torch.empty(0, 2, dtype=dtype),
        "odd": values(1, 5, dtype=dtype),
    }
    if dtype is not torch.float4_e2m1fn_x2:  # which needs an axis for its pairs
        tensors |= {"scalar": values(2, 1, dtype=dtype).reshape(())}
    model = Holder(**tensors, again=tensors["matrix"])
    save(model, tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert same({name: file.get_tensor(name) for name in file.keys()}, tensors)  # noqa: SIM118
    checkpoint = open_checkpoint(tmp_path / "m.safetensors")
    assert find(checkpoint.metadata).tensors == {name: told.sha256 for name, told in contents(checkpoint).items()}
    expected = tensors | {"again": tensors["matrix"]}
    for expand in (False, True):
        assert same(load(tmp_path / "m.safetensors", expand=expand), expected)
    other = Holder(**{name: torch.empty_like(value) for name, value in tensors.items()})
    other.register_buffer("again", other.matrix)
    assert same(dict(load(tmp_path / "m.safetensors", other).state_dict()), expected)


def test_no_type_of_safetensors_is_left_out():
    from safetensors import torch as plain

    assert {str(dtype) for dtype in plain._SIZE} - {"None"} == {str(dtype) for dtype in TYPES}


def flat_views():
    flat = torch.arange(24.0)
    matrix = flat[2:14].view(3, 4)
    return {
        "flat": flat,
        "matrix": matrix,
        "columns": matrix[:, 1:3],
        "row": matrix[1],
        "turned": matrix.T,
        "every": flat[::5],
        "wide": torch.tensor([7.0]).expand(2, 3),
        "bytes": flat.view(torch.int32),
        "overlap": flat[10:20],
        "imaginary": torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
        "conjugate": torch.tensor([1 + 2j, 3 - 4j]).conj(),
    }


def test_views_and_views_of_views(tmp_path):
    """pytorch#185803 and LSTM-like buffers: what is no tie is stored by itself, and comes back into the same views."""
    tensors = flat_views()
    save(Holder(**tensors), tmp_path / "m.safetensors")
    assert same(load(tmp_path / "m.safetensors"), tensors)
    zeroed = flat_views()
    for name in ("flat", "imaginary", "conjugate"):
        zeroed[name].zero_()
    other = Holder(**{name: torch.zeros(2, 3) if name == "wide" else value for name, value in zeroed.items()})
    assert same(dict(load(tmp_path / "m.safetensors", other).state_dict()), tensors)
    assert other.row.data_ptr() == other.matrix[1].data_ptr()


def test_lazy_conjugates_are_no_tie(tmp_path):
    """They have the same memory, shape and strides, and other values."""

    def model(number):
        c = torch.tensor([number, 3 - 4j])
        return Holder(a=c, b=c.conj(), c=c.imag, d=c.conj().imag)

    save(model(1 + 2j), tmp_path / "m.safetensors")
    expected = {"a": [1 + 2j, 3 - 4j], "b": [1 - 2j, 3 + 4j], "c": [2.0, -4.0], "d": [-2.0, 4.0]}
    assert {name: value.tolist() for name, value in load(tmp_path / "m.safetensors").items()} == expected
    other = load(tmp_path / "m.safetensors", model(7 + 7j))
    assert {name: value.tolist() for name, value in other.state_dict().items()} == expected


def test_disjoint_parts_of_one_buffer_are_no_tie(tmp_path):
    flat = torch.arange(12.0)
    model = Holder(a=flat[:6].view(2, 3), b=flat[6:].view(2, 3))
    save(model, tmp_path / "m.safetensors")
    assert set(load_file(tmp_path / "m.safetensors")) == {"a", "b"}
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        assert json.loads(file.metadata()["commonweight"])["ties"] == []
    save_file({"a": torch.ones(2, 3), "b": torch.zeros(2, 3)}, tmp_path / "other.safetensors")
    load(tmp_path / "other.safetensors", model)
    assert flat.tolist() == [1.0] * 6 + [0.0] * 6


def test_values_that_overlapping_tensors_cannot_hold(tmp_path):
    path = tmp_path / "m.safetensors"
    matrix = torch.zeros(3, 4)
    model = Holder(row=matrix[1], matrix=matrix)
    save_file({"row": torch.ones(4), "matrix": torch.zeros(3, 4)}, path)
    with pytest.raises(TieError, match=r"`row` shares memory with `matrix` in the model, and .* contradict this"):
        load(path, model)
    assert not matrix.any()
    expected = torch.tensor([[0.0] * 4, [1.0] * 4, [0.0] * 4])
    save_file({"row": torch.ones(4), "matrix": expected}, path)
    load(path, model)
    assert torch.equal(matrix, expected)


@st.composite
def models(draw):
    """Buffers of any type and shape, some of them under several names, in nested modules."""
    model = nn.ModuleDict({f"m{n}": nn.ModuleDict({"inner": Holder()}) for n in range(2)})
    held = []
    for n in range(draw(st.integers(0, 6))):
        module = draw(st.sampled_from([m for m in model.modules() if not isinstance(m, nn.ModuleDict)]))
        if held and draw(st.booleans()):
            tensor = draw(st.sampled_from(held))
        else:
            shape = draw(st.lists(st.integers(0, 3), max_size=3))
            tensor = values(n, *shape, 2, dtype=draw(st.sampled_from(TYPES)))
            tensor = tensor[..., 0] if tensor.dtype is not torch.float4_e2m1fn_x2 and draw(st.booleans()) else tensor
        held.append(tensor)
        module.register_buffer(f"b{n}", tensor)
    return model


@given(models())
def test_any_model_comes_back(tmp_path_factory, model):
    path = tmp_path_factory.mktemp("any") / "m.safetensors"
    save(model, path)
    assert same(load(path), dict(model.state_dict()))
    assert same(load(path, expand=True), dict(model.state_dict()))
    with safe_open(path, "pt") as file:
        stored = len(list(file.keys()))
    different = {id(value) for value in model.state_dict(keep_vars=True).values() if value.numel()}
    assert stored == len(different) + sum(not value.numel() for value in model.state_dict().values())
    assert same(dict(load(path, copy.deepcopy(model)).state_dict()), dict(model.state_dict()))


def test_a_tied_file_and_an_untied_model(tmp_path):
    path = tmp_path / "m.safetensors"
    model = net(a=linear(3, 3, 0), b=linear(3, 3, 1), c=linear(3, 3, 2))
    tie(model, "b.weight = a.weight", "c.weight = a.weight.T", keep="source")
    save(model, path)
    other = net(a=linear(3, 3, 3), b=linear(3, 3, 4), c=linear(3, 3, 5))
    before = copy.deepcopy(dict(other.state_dict()))
    says = (
        f"{path} has the tie `b.weight = a.weight` and 1 more, which the model has not. Either 1. tie the model first: "
        'commonweight.tie(model, "b.weight = a.weight", keep="source"), or 2. commonweight.load(path, model, '
        "expand=True) gives each name weights of its own."
    )
    with pytest.raises(TieError, match=re.escape(says)):
        load(path, other)
    assert same(dict(other.state_dict()), before)
    load(path, other, expand=True)
    assert same(dict(other.state_dict()), dict(model.state_dict()))
    assert len(list(other.parameters())) == 3
    tie(other, "b.weight = a.weight", "c.weight = a.weight.T")
    load(path, other)


def test_an_untied_file_and_a_tied_model(tmp_path):
    """vllm#51665, #53020, transformers#42612: a declared tie that the checkpoint contradicts."""
    path = tmp_path / "m.safetensors"
    untied = net(a=linear(3, 3, 0), b=linear(3, 3, 1))
    save(untied, path)
    declared, found = net(a=linear(3, 3, 2), b=linear(3, 3, 3)), net(a=linear(3, 3, 2), b=linear(3, 3, 3))
    tie(declared, "b.weight = a.weight", keep="source")
    found["b"].weight = found["a"].weight
    delta = float((untied["a"].weight - untied["b"].weight).detach().abs().max())
    says = (
        f"The model has the tie `b.weight = a.weight`, and {path} holds values for the two that differ by up to "
        f'{delta:.3g}. Either 1. commonweight.untie(model, "b.weight") first, or 2. make the two agree in state = '
        f"commonweight.load(path), and model.load_state_dict(state)."
    )
    for model in (declared, found):
        before = copy.deepcopy(dict(model.state_dict()))
        for expand in (False, True):
            with pytest.raises(TieError, match=re.escape(says)):
                load(path, model, expand=expand)
        assert same(dict(model.state_dict()), before)
        state = load(path)
        state["b.weight"] = state["a.weight"]
        model.load_state_dict(state)
        cw.untie(model, "b.weight")
        load(path, model)
        assert same(dict(model.state_dict()), dict(untied.state_dict()))


def test_an_untied_file_that_agrees(tmp_path):
    path = tmp_path / "m.safetensors"
    state = {"a.weight": torch.full((3, 3), torch.nan), "b.weight": torch.full((3, 3), torch.nan)}
    save_file(state, path)
    model = net(a=linear(3, 3, 0), b=linear(3, 3, 1))
    tie(model, "b.weight = a.weight.T", keep="source")
    load(path, model)
    assert same(dict(model.state_dict()), state)
    save_file({"a.weight": torch.zeros(3, 3), "b.weight": -torch.zeros(3, 3)}, path)  # equal numbers, other bits
    load(path, model)
    assert not model["b"].weight.any()


@pytest.mark.parametrize(
    ("first", "second", "by"),
    [
        (torch.tensor([2**53]), torch.tensor([2**53 + 1]), r"differ\. Either"),  # equal as floats
        (torch.tensor([1], dtype=torch.uint8), torch.tensor([3], dtype=torch.uint8), "differ by up to 2"),
        (values(0, 2, dtype=torch.float4_e2m1fn_x2), values(1, 2, dtype=torch.float4_e2m1fn_x2), r"differ\. Either"),
        (torch.tensor([True]), torch.tensor([False]), "differ by up to 1"),
        (torch.tensor([1.0]), torch.tensor([torch.nan]), "differ by up to inf"),
    ],
)
def test_values_that_agree_only_nearly(tmp_path, first, second, by):
    save_file({"a": first, "b": second}, tmp_path / "m.safetensors")
    model = Holder(a=first.clone())
    model.register_buffer("b", model.a)
    with pytest.raises(TieError, match=f"The model has the tie `b = a`, and .* holds values for the two that {by}"):
        load(tmp_path / "m.safetensors", model)
    assert bits(model.a) == bits(first)


def test_names_that_the_tie_of_the_model_gives(tmp_path):
    """A Hugging Face file stores one name of a tie and says nothing of the other."""
    path = tmp_path / "m.safetensors"
    for stored, given_ in (("a", lambda w: w), ("b", lambda w: -w.T)):
        weight = values(0, 3, 3).nan_to_num()
        save_file({f"{stored}.weight": weight}, path, {"format": "pt"})
        model = net(a=linear(3, 3, 0), b=linear(3, 3, 1), c=linear(3, 3, 1))
        tie(model, "b.weight = -a.weight.T", "c.weight = b.weight", keep="source")
        load(path, model)
        assert torch.equal(model["a"].weight, given_(weight))
        assert torch.equal(model["c"].weight, -model["a"].weight.T)
    model = net(a=linear(3, 3, 0), part=linear(1, 3, 1))
    tie(model, "part.weight = a.weight[0:1]", keep="source")
    save_file({"part.weight": torch.zeros(1, 3)}, path)
    with pytest.raises(FileError, match=r"belongs to another model: the model has `a.weight`, the file has not"):
        load(path, model)


def test_another_model_is_refused_and_unchanged(tmp_path):
    path = tmp_path / "m.safetensors"
    model = linear(2, 3, bias=True)
    before = copy.deepcopy(dict(model.state_dict()))
    good = {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}
    for state, says in (
        ({"weight": good["weight"]}, "the model has `bias`, the file has not"),
        (good | {"extra": torch.zeros(1)}, "the file has 'extra', the model has not"),
        (good | {"bias": torch.zeros(3)}, r"`bias` has shape \(3,\) in the file, \(2,\) in the model"),
        (good | {"bias": good["bias"].half()}, r"`bias` is torch.float16 in .* and torch.float32 in the model: bring"),
    ):
        save_file(state, path)
        with pytest.raises(FileError, match=says):
            load(path, model)
        assert same(dict(model.state_dict()), before)


def test_shared_layers(tmp_path):
    model, other = (nn.Sequential(*(linear(4, 4, seed + n) for n in range(4))) for seed in (0, 9))
    share_layers(model, every=2)
    share_layers(other, every=2)
    save(model, tmp_path / "m.safetensors")
    assert set(load_file(tmp_path / "m.safetensors")) == {"0.weight", "2.weight"}
    load(tmp_path / "m.safetensors", other)
    assert same(dict(other.state_dict()), dict(model.state_dict()))
    assert other[1] is other[0]


def test_a_tie_to_a_parametrized_owner(tmp_path):
    """Its owner is computed and not in the file, so the alias is stored."""
    model = net(a=linear(3, 3, 0), b=linear(3, 3, 1))
    nn.utils.parametrizations.weight_norm(model["a"])
    tie(model, "b.weight = a.weight.T", keep="source")
    save(model, tmp_path / "m.safetensors")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other["a"].parametrizations.weight.original0.fill_(1)
    load(tmp_path / "m.safetensors", other)
    assert same(dict(other.state_dict()), dict(model.state_dict()))


def test_other_devices_and_states_than_plain_tensors(tmp_path):
    path = tmp_path / "m.safetensors"
    with torch.device("meta"):
        meta = nn.Linear(2, 2)
    lazy = nn.LazyLinear(2)
    sparse = Holder(x=torch.eye(3).to_sparse())
    pair = Holder(x=torch.zeros(1, dtype=torch.float4_e2m1fn_x2).reshape(()))
    wide = Holder(x=torch.ones(2, dtype=torch.complex128))
    named = Holder(__metadata__=torch.ones(1))
    for model, says in (
        (meta, r"`weight` of the model is on the meta device, without values; model.to_empty"),
        (lazy, r"`weight` of the model has no shape yet; run the model once"),
        (sparse, r"`x` of the model is a torch.sparse_coo; make it an ordinary dense tensor"),
        (wide, r"`x` of the model has data type torch.complex128, which safetensors has not"),
        (pair, r"`x` of the model is a pair of 4-bit floats without an axis; give it an axis"),
        (named, r"`__metadata__` is the one name that a safetensors file keeps for itself"),
        (
            type("Extra", (nn.Linear,), {"get_extra_state": lambda self: {}})(2, 2),
            r"`_extra_state` of the model is a dict",
        ),
    ):
        with pytest.raises(FileError, match=says):
            save(model, path)
        assert not path.exists()
    with pytest.raises(FileError, match=r"save writes a model \(torch.nn.Module\) with its ties; got a dict"):
        save({}, path)
    save(nn.Linear(2, 2), path)
    with pytest.raises(FileError, match="on the meta device"):
        load(path, meta)


def test_a_tensor_of_another_kind(tmp_path):
    from torch.testing._internal.two_tensor import TwoTensor

    model = Holder(x=TwoTensor(torch.ones(2), torch.ones(2)))
    with pytest.raises(FileError, match="`x` of the model is a TwoTensor; make it an ordinary dense tensor"):
        save(model, tmp_path / "m.safetensors")


def test_a_broken_tie_is_not_saved(tmp_path):
    model = every_tie()
    model["head"] = linear(6, 4, 3)
    for write in (lambda: save(model, tmp_path / "m.safetensors"), lambda: load(tmp_path / "m.safetensors", model)):
        save(every_tie(), tmp_path / "m.safetensors")
        with pytest.raises(TieError, match=r"`head.weight = embed.weight` between"):
            write()


def test_a_file_that_cannot_be_written_or_read(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="Cannot write"):
        save(nn.Linear(1, 1), tmp_path / "file" / "m.safetensors")
    save(nn.Linear(1, 1), tmp_path / "new" / "folder" / "m.safetensors")
    with pytest.raises(FileError, match="Cannot read"):
        load(tmp_path / "none.safetensors")
    torch.save(nn.Linear(1, 1).state_dict(), tmp_path / "m.pt")
    with pytest.raises(FileError, match=r"m\.pt is no safetensors file, which load reads, but pytorch"):
        load(tmp_path / "m.pt")


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    save(nn.Linear(1, 1), path)
    before = path.read_bytes()
    monkeypatch.setattr(files, "LONGEST", 10)
    with pytest.raises(FileError, match="The names of 2 tensors need a manifest of more than 10 characters"):
        save(nn.Linear(2, 1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_model_may_train_on(tmp_path):
    """Loading keeps the parameters that an optimiser holds."""
    model = every_tie(1)
    save(model, tmp_path / "m.safetensors")
    other = every_tie(2)
    before = [id(parameter) for parameter in other.parameters()]
    assert [id(parameter) for parameter in load(tmp_path / "m.safetensors", other).parameters()] == before
    assert all(parameter.requires_grad for parameter in other.parameters())
    assert not any(value.requires_grad for value in load(tmp_path / "m.safetensors").values())


def gpt2(seed):
    transformers = pytest.importorskip("transformers", reason="needs the extra `dev`")
    config = transformers.GPT2Config(vocab_size=11, n_positions=8, n_embd=4, n_layer=1, n_head=1)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return transformers.GPT2LMHeadModel(config)


def test_transformers_and_back(tmp_path):
    """A model of Hugging Face is saved and read by either side, its head tied on both."""
    model, other = gpt2(0), gpt2(1)
    model.save_pretrained(tmp_path / "theirs")
    load(tmp_path / "theirs" / "model.safetensors", other)
    assert same(dict(other.state_dict()), dict(model.state_dict()))
    assert other.lm_head.weight is other.transformer.wte.weight
    model.config.save_pretrained(tmp_path / "ours")
    save(model, tmp_path / "ours" / "model.safetensors")
    again = type(model).from_pretrained(tmp_path / "ours")
    assert same(dict(again.state_dict()), dict(model.state_dict()))
    assert again.lm_head.weight is again.transformer.wte.weight
