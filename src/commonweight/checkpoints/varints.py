"""Values that ONNX writes as protobuf's varints: small integers in few bytes, decoded all at once."""

from typing import TYPE_CHECKING

import numpy as np

from commonweight.checkpoints.bounded import bytes_at, damaged, opened, shown

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from commonweight.checkpoints.stored import Stored


def decoded(stored: "Stored") -> "NDArray[np.uint8]":
    """The plain bytes of a tensor whose values are varints: 7 bits a byte, the lowest first, the last without the 8th.

    Raises:
        FileError: there are more or fewer values than the tensor has, or one has more than 64 bits.
    """
    with opened(stored.file) as (file, _):
        raw = np.frombuffer(bytes_at(file, stored.offset, stored.varints, stored.file), dtype=np.uint8)
    ends = np.flatnonzero(raw < 0x80)
    starts = np.concatenate([np.zeros(1, dtype=ends.dtype), ends[:-1] + 1])
    width = stored.value_type.bits // 8 or 1
    if len(ends) * width != stored.nbytes or raw[-1] >= 0x80:
        raise damaged(
            stored.file, f"{shown(stored.name)} has {len(ends):,} values, its shape needs {stored.nbytes // width:,}"
        )
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise damaged(stored.file, f"{shown(stored.name)} has a value of more than 64 bits")
    values = np.zeros(len(ends), dtype=np.uint64)
    for place in range(int(lengths.max())):
        longer = lengths > place
        bits = raw[starts[longer] + place].astype(np.uint64) & np.uint64(0x7F)
        values[longer] |= bits << np.uint64(7 * place)
    return values.astype(f"<u{width}").view(np.uint8)
