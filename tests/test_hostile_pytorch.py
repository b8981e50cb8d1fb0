"""Files of torch.save that are damaged or made to harm: archives, pickles and views, each refused by one FileError."""

import os
import struct
import zipfile
from collections import OrderedDict

import pytest
import torch
from checkpoint_files import Call, Reference, refused, view, write_pt
from torch import nn

from commonweight.checkpoints import open_checkpoint, pickled, pytorch, storages, zip_directory

REBUILD = torch._utils._rebuild_tensor_v2
REBUILD_3 = torch._utils._rebuild_tensor_v3


def saved(path, **storages):
    return write_pt(path, {"w": view()}, **storages)


def changed(path, place, raw):
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place : place + len(raw)] = raw
    path.write_bytes(content)
    return path


def test_entries_that_are_needed_are_plain(tmp_path):
    bomb = write_pt(
        tmp_path / "bomb.pt", {"w": view(number=2**24)}, {"0": bytes(2**26)}, compression=zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 2**17
    refused(bomb, "data.pkl' is compressed or encrypted")
    path = write_pt(tmp_path / "a.pt", {"w": view()}, {})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(16))
    refused(path, "'archive/data/0' is compressed or encrypted")
    locked = write_pt(tmp_path / "locked.pt", {"w": view()}, {"0": bytes(16)})
    raw = bytearray(locked.read_bytes())
    raw[raw.rindex(b"PK\1\2") + 8] |= 1  # the flag of an encrypted entry, in the directory's last one
    locked.write_bytes(raw)
    refused(locked, "'archive/data/0' is compressed or encrypted")
    refused(write_pt(tmp_path / "a.pt", {"w": view()}, {}), "'archive/data/0' is missing")


def test_a_zip_directory_is_read_strictly(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.pt")
    whole = path.read_bytes()
    start = whole.index(b"PK\1\2")
    refused(changed(saved(path), -22, b"PK\0\0"), "does not end like a zip archive")
    refused(
        changed(saved(path), -10, struct.pack("<L", 2**31)), "claims 2 entries in 2,147,483,648 bytes; do not trust"
    )
    refused(changed(saved(path), -6, struct.pack("<L", 2**31)), "directory claims to end at byte 2,147")
    refused(
        changed(saved(path), -10, struct.pack("<L", 50)), "zip directory (ends inside of an entry|has a broken entry)"
    )
    refused(changed(saved(path), -12, struct.pack("<H", 3)), "zip directory ends inside of an entry")
    refused(changed(saved(path), start, b"PK\0\0"), "has a broken entry")
    refused(changed(saved(path), start + 28, b"\xff\xff"), "has a broken entry")
    refused(changed(saved(path), start + 20, struct.pack("<L", 2**30)), "'archive/data.pkl' claims to reach over byte")
    refused(
        changed(saved(path), start + 42, struct.pack("<L", 1)), "'archive/data.pkl' is not where the directory says"
    )
    refused(changed(saved(path), 30, b"Archive"), "'archive/data.pkl' is not where the directory says")
    refused(changed(saved(path), 28, b"\xff\xff"), "overlaps the one before|inside of the directory")
    monkeypatch.setattr(zip_directory, "MAX_TENSORS", 1)
    refused(saved(path), "claims 2 entries")


def test_zip_entries_neither_overlap_nor_repeat(tmp_path):
    path = write_pt(tmp_path / "a.pt", {"w": view()}, {"0": bytes(16), "1": bytes(16)})
    whole = path.read_bytes()
    entries = [place for place in range(len(whole)) if whole[place : place + 4] == b"PK\1\2"]
    second = struct.unpack_from("<L", whole, entries[1] + 42)[0]
    path.write_bytes(whole.replace(b"archive/data/1", b"archive/data/0"))
    refused(path, "names b?'archive/data/0' twice")
    path.write_bytes(whole)
    for size in (17, 40):  # by a byte, and by many
        longer = struct.pack("<2L", size, size)
        refused(changed(path, entries[1] + 20, longer), "'archive/data/1' overlaps the one before it")
        path.write_bytes(whole)
    refused(changed(path, second + 28, struct.pack("<H", 60)), "'archive/data/1' overlaps the one before it")
    path.write_bytes(whole)
    refused(
        changed(path, entries[2] + 20, struct.pack("<2L", 17, 17)), "claims to reach over byte|inside of the directory"
    )


def test_the_last_entry_ends_before_the_directory(tmp_path):
    path = write_pt(tmp_path / "a.pt", {"w": view()})
    place = path.read_bytes().index(b"archive/data/0") - 30
    changed(path, place + 28, struct.pack("<H", 8))
    refused(path, "entries end at byte .*, inside of the directory at")


def test_the_smallest_archive_is_refused(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"PK\3\4PK\5\6" + bytes(18))
    refused(tmp_path / "a.pt", "has 0 pickles")


def test_the_64_bit_directory_is_read_strictly(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(2, 2)}, path)
    whole = path.read_bytes()
    place = whole.index(b"PK\6\7")
    refused(changed(path, place + 8, struct.pack("<Q", 2**60)), "claims to be described at byte 1,152,921")
    path.write_bytes(whole)
    refused(changed(path, place + 8, struct.pack("<Q", 0)), "zip directory is not where its end says")
    path.write_bytes(whole)
    refused(changed(path, whole.index(b"PK\6\6") + 32, struct.pack("<Q", 2**60)), "claims .* entries in")


def test_an_archive_has_one_pickle_and_this_byte_order(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/version", b"3")
    refused(tmp_path / "a.pt", "has 0 pickles .*data.pkl, torch.save writes one")
    refused(saved(tmp_path / "a.pt", entries={"byteorder": b"big"}), "byte order is 'big', this machine's is 'little'")
    refused(saved(tmp_path / "a.pt", entries={"byteorder": b"little" * 9}), "its byteorder has 54 bytes, at most 16")
    monkeypatch.setattr(storages, "_MAX_PICKLE", 10)
    refused(saved(tmp_path / "a.pt"), "its data.pkl has .* bytes, at most 10 are read")


@pytest.mark.parametrize(
    "pickled_bytes",
    [
        b"",
        b".",
        b"N",
        b"\x80\x02}q\x00h\x05.",
        b"R.",
        b"NNR.",
        b"N}s.",
        b"Na.",
        b"]N(Ne.",
        b"]NNs.",
        b"}(Nu.",
        b"t.",
        b"00.",
        b"cos\nsystem\n(S'true'\nR.",
        b"\x8a\xff" + b"\x7f" * 255 + b".",
        b"I" + b"9" * 5000 + b"\n.",
        b"\x95" + b"\xff" * 8 + b".",
        b"X\xff\xff\xff\x7fabc.",
        b"\x82\x01.",
        b"NN\x93.",
        b"\x97.",
    ],
)
def test_a_pickle_that_cannot_be_followed_is_refused(tmp_path, pickled_bytes):
    refused(write_pt(tmp_path / "a.pt", pickled_bytes), "its pickle cannot be followed")


def test_a_pickle_of_a_subclass_has_arguments(tmp_path):
    odd = Call(torch._tensor._rebuild_from_type_v2, REBUILD, torch.Tensor, [], ())
    assert open_checkpoint(write_pt(tmp_path / "a.pt", {"w": odd})).tensors == {}


def test_a_pickle_runs_nothing(tmp_path):
    path = tmp_path / "touched"
    write_pt(tmp_path / "a.pt", {"x": Call(os.system, f"touch {path}"), "w": view(), "y": Call(bytearray, 2**50)})
    assert list(open_checkpoint(tmp_path / "a.pt").tensors) == ["w"]
    assert not path.exists()


def test_a_long_pickle_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled, "MAX_OPERATIONS", 10)
    refused(saved(tmp_path / "a.pt"), "more than 10 operations")


def test_nested_pickles_take_no_time(tmp_path, monkeypatch):
    key = b"N" + b"".join(b"q%c0h%ch%c\x86" % (n, n, n) for n in range(100))  # t = (t, t), a hundred times
    assert open_checkpoint(write_pt(tmp_path / "a.pt", b"\x80\x02}" + key + b"Ns.")).tensors == {}
    refused(write_pt(tmp_path / "a.pt", b"\x80\x02" + key + b"."), "leads to more than .* things, or deeper than 100")
    refused(write_pt(tmp_path / "a.pt", b"\x80\x02]q\x00h\x00a."), "leads to more than .* things, or deeper than 100")
    monkeypatch.setattr(pytorch, "MAX_TENSORS", 2)
    refused(write_pt(tmp_path / "a.pt", [[], [], []]), "leads to more than 2 things")


def reference(kind=torch.FloatStorage, key="0", number=4, word="storage"):
    return Reference(word, kind, key, "cpu", number)


@pytest.mark.parametrize(
    ("thing", "sentence"),
    [
        (view((2, 3), (3, 1)), "'w' needs 24 bytes of its storage, which has 16"),
        (view(offset=1), "'w' needs 20 bytes of its storage, which has 16"),
        (view((2, 2), (4, 1)), "'w' needs 24 bytes"),
        (view((2, 2), (0, 1)), "it repeats values or is no torch tensor; save a clone"),
        (view((5, 5), (1, 1)), "'w' needs 100 bytes of its storage"),
        (view((2**62,), (0,)), "repeats values"),
        (view((2**40, 2**40), (1, 1)), r"more than 2\^63 elements"),
        (view((2, 2), (-2, 1)), "repeats values or is no torch tensor"),
        (view((2, 2), (2**62, 2**62)), "'w' needs"),
        (view(offset=2**62), "'w' needs"),
        (view(offset=-1), "has the offset -1"),
        (view(offset="0"), "has the offset '0'"),
        (view((2, 2), (1,)), r"has the offset 0 and the strides \(1,\)"),
        (view((2, 2), [2, 1]), "has the offset 0 and the strides"),
        (view(4), "expected at most 64 whole numbers"),
        (view("ab"), "expected at most 64 whole numbers"),
        (view(number=5), "claims 20 bytes, its zip entry has 16"),
        (view(number=2**62), "claims .* bytes, its zip entry has 16"),
        (view(storage=reference(word="other")), "is a view of .*, expected a storage"),
        (view(storage=reference(number=-1)), "expected a storage"),
        (view(storage=reference(number=True)), "expected a storage"),
        (view(storage=reference(kind="float")), "expected a storage"),
        (view(storage=reference(key=0)), "expected a storage"),
        (view(storage=Reference("0")), "is a view of '0', expected a storage"),
        (view(storage=3), "is a view of None, expected a storage"),
        (view(storage=reference(kind=nn.Linear)), "lies in a 'Linear', a type not known here"),
        (view(storage=reference(key="7")), "'archive/data/7' is missing"),
        (view(storage=reference(key="../data.pkl")), "'archive/data/../data.pkl' is missing"),
        (Call(REBUILD, reference()), "'w' has only 1 arguments"),
        (Call(REBUILD_3, reference(), 0, (2, 2), (2, 1)), "'w' has only 4 arguments"),
        (Call(REBUILD_3, reference(), 0, (2,), (1,), False, OrderedDict(), "x"), "has the type 'x', not known here"),
        (
            Call(REBUILD_3, reference(), 0, (2,), (1,), False, OrderedDict(), nn.Linear),
            "has the type .*Linear, not known",
        ),
        (
            Call(REBUILD, reference(), 0, (2,), (1,), False, OrderedDict(), {"conj": True}),
            "is a conjugate or a negative",
        ),
        (
            Call(torch._utils._rebuild_qtensor, reference()),
            "made by torch._utils._rebuild_qtensor, it has no plain bytes",
        ),
        (Call(torch._utils._rebuild_meta_tensor_no_storage, 1), "it has no plain bytes; save it as a dense tensor"),
    ],
)
def test_a_tensor_lies_within_its_storage(tmp_path, thing, sentence):
    refused(write_pt(tmp_path / "a.pt", {"w": thing}), sentence)


def test_sparse_tensors_are_refused(tmp_path):
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "a.pt")
    refused(tmp_path / "a.pt", "'w' is made by torch._utils._rebuild_sparse_tensor, it has no plain bytes")


def test_names_are_texts_and_differ(tmp_path):
    refused(write_pt(tmp_path / "a.pt", {"a": {"b": view()}, "a.b": view()}), "two of its tensors are called 'a.b'")
    refused(write_pt(tmp_path / "a.pt", {(1, 2): view()}), "a key that is neither text nor a number")
    refused(write_pt(tmp_path / "a.pt", {None: view()}), "a key that is neither text nor a number")


def test_views_do_not_ask_for_endless_reading(tmp_path):
    many = {str(n): view((2**16 - n,), (1,), storage=reference(number=2**16)) for n in range(80)}
    refused(write_pt(tmp_path / "a.pt", many, {"0": bytes(2**18)}), "cover it more than 64 times; save clones")
