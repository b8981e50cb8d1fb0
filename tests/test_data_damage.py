"""Files with bytes changed at random: they load, or a DataError says why not; nothing else comes out."""

import contextlib
import gzip
import io
import warnings

import numpy as np
import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from test_data_idx import write_pair

from commonweight import data
from commonweight.errors import DataError

RNG = np.random.default_rng(0)
X, Y = RNG.random((20, 3)), np.arange(20) % 2
FORMATS = ("png", "jpeg", "bmp", "gif", "ppm", "webp")


def whole(kind, folder):
    """The bytes of a good file, and the name that it is to have; IDX finds its labels in the folder."""
    content = io.BytesIO()
    if kind == "npz":
        np.savez(content, x=X, y=Y)
    elif kind == "compressed.npz":
        np.savez_compressed(content, x=X, y=np.array(["a", "b"] * 10))
    elif kind == "parquet":
        pandas.DataFrame({"a": X[:, 0], "b": Y, "kind": ["x", "y"] * 10}).to_parquet(content)
    elif kind == "csv":
        pandas.DataFrame({"a": X[:, 0], "kind": ["x", "y"] * 10}).to_csv(content, index=False)
    elif kind.startswith("idx"):
        path = write_pair(folder)
        return gzip.compress(path.read_bytes()) if kind == "idx.gz" else path.read_bytes(), path.name
    else:
        Image.fromarray(RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)).save(content, kind)
    return content.getvalue(), f"file.{kind}"


@pytest.mark.parametrize("kind", ["npz", "compressed.npz", "parquet", "csv", "idx", "idx.gz", *FORMATS])
def test_changed_bytes_never_surprise(tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("damage")
    content, name = whole(kind, folder)
    path = folder / name

    def read():
        if kind in FORMATS:
            data.read_inputs([path], like=(3, 9, 8))
        else:
            data.load(path)

    path.write_bytes(content)
    read()

    # Headers are where damage does most, so half of the changes go there.
    places = st.integers(0, min(120, len(content)) - 1) | st.integers(0, len(content) - 1)
    changes = st.lists(st.tuples(places, st.sampled_from([0, 255]) | st.integers(0, 255)), min_size=1, max_size=8)

    @given(changes=changes, cut=st.none() | st.integers(0, len(content)))
    @settings(max_examples=60)
    def damaged(changes, cut):
        changed = bytearray(content)
        for place, value in changes:
            changed[place] = value
        path.write_bytes(changed[:cut])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with contextlib.suppress(DataError):
                read()

    damaged()
