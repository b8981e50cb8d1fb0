"""The types of values in checkpoint files: the words for each, its width, and which bits mean NaN and infinity."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class FloatBits:
    """Which bits of a floating-point number, its sign left out, are no finite value.

    Attributes:
        infinity: the bits of infinity; None where the type has none.
        nan: the smallest bits that are NaN.
        exact: NaN is exactly the bits `nan`, sign included, and nothing else.
    """

    infinity: int | None
    nan: int
    exact: bool = False


@dataclass(frozen=True)
class ValueType:
    """A type of values.

    Attributes:
        name: torch's name of it; for a type that torch has not, a name that torch has not either.
        bits: of one value.
        parts: numbers in one value: 2 for complex ones.
        floats: None for integers, and for floats whose bits are always finite.
    """

    name: str
    bits: int
    parts: int = 1
    floats: FloatBits | None = None

    @property
    def width(self) -> int:
        """Bytes of one number; 1 for types that are packed into bytes."""
        return max(self.bits // 8 // self.parts, 1)

    @property
    def dtype(self) -> "torch.dtype | None":
        """torch's type; None where torch, or this version of it, has none."""
        import torch

        found = getattr(torch, self.name, None)
        return found if isinstance(found, torch.dtype) else None


def _ieee(infinity: int) -> FloatBits:
    return FloatBits(infinity, infinity + 1)


_HALF, _SINGLE, _DOUBLE = _ieee(0x7C00), _ieee(0x7F80_0000), _ieee(0x7FF0_0000_0000_0000)
_MINUS_ZERO = FloatBits(None, 0x80, exact=True)

# A type; its words in safetensors, in ONNX, and as a storage of PyTorch (a dash: the format has it not).
# The 8-bit floats after Micikevicius et al. 2022 and the OCP microscaling formats (2023); E8M0 has no zero, but bytes
# that are all 0 are counted as one, since they say the same: nobody wrote a value there.
_ROWS = (
    (ValueType("float64", 64, floats=_DOUBLE), "F64", "DOUBLE", "DoubleStorage"),
    (ValueType("float32", 32, floats=_SINGLE), "F32", "FLOAT", "FloatStorage"),
    (ValueType("float16", 16, floats=_HALF), "F16", "FLOAT16", "HalfStorage"),
    (ValueType("bfloat16", 16, floats=_ieee(0x7F80)), "BF16", "BFLOAT16", "BFloat16Storage"),
    (ValueType("complex128", 128, 2, _DOUBLE), "-", "COMPLEX128", "ComplexDoubleStorage"),
    (ValueType("complex64", 64, 2, _SINGLE), "C64", "COMPLEX64", "ComplexFloatStorage"),
    (ValueType("complex32", 32, 2, _HALF), "-", "-", "-"),
    (ValueType("int64", 64), "I64", "INT64", "LongStorage"),
    (ValueType("int32", 32), "I32", "INT32", "IntStorage"),
    (ValueType("int16", 16), "I16", "INT16", "ShortStorage"),
    (ValueType("int8", 8), "I8", "INT8", "CharStorage"),
    (ValueType("uint64", 64), "U64", "UINT64", "-"),
    (ValueType("uint32", 32), "U32", "UINT32", "-"),
    (ValueType("uint16", 16), "U16", "UINT16", "-"),
    (ValueType("uint8", 8), "U8", "UINT8", "ByteStorage"),
    (ValueType("bool", 8), "BOOL", "BOOL", "BoolStorage"),
    (ValueType("float8_e5m2", 8, floats=_ieee(0x7C)), "F8_E5M2", "FLOAT8E5M2", "-"),
    (ValueType("float8_e4m3fn", 8, floats=FloatBits(None, 0x7F)), "F8_E4M3", "FLOAT8E4M3FN", "-"),
    (ValueType("float8_e5m2fnuz", 8, floats=_MINUS_ZERO), "F8_E5M2FNUZ", "FLOAT8E5M2FNUZ", "-"),
    (ValueType("float8_e4m3fnuz", 8, floats=_MINUS_ZERO), "F8_E4M3FNUZ", "FLOAT8E4M3FNUZ", "-"),
    (ValueType("float8_e8m0fnu", 8, floats=FloatBits(None, 0xFF, exact=True)), "F8_E8M0", "FLOAT8E8M0", "-"),
    (ValueType("float4_e2m1fn_x2", 8), "-", "-", "-"),
    (ValueType("packed_float6_e2m3", 6), "F6_E2M3", "-", "-"),
    (ValueType("packed_float6_e3m2", 6), "F6_E3M2", "-", "-"),
    (ValueType("packed_float4_e2m1", 4), "F4", "FLOAT4E2M1", "-"),
    (ValueType("packed_uint4", 4), "-", "UINT4", "-"),
    (ValueType("packed_int4", 4), "-", "INT4", "-"),
    (ValueType("packed_uint2", 2), "-", "UINT2", "-"),
    (ValueType("packed_int2", 2), "-", "INT2", "-"),
)


SAFETENSORS: Mapping[str, ValueType] = {word: kind for kind, word, _, _ in _ROWS if word != "-"}
ONNX: Mapping[str, ValueType] = {word: kind for kind, _, word, _ in _ROWS if word != "-"}
STORAGES: Mapping[str, ValueType] = {word: kind for kind, _, _, word in _ROWS if word != "-"}
"""The types that a format has, here PyTorch's storages, by the format's own word."""

TORCH: Mapping[str, ValueType] = {kind.name: kind for kind, *_ in _ROWS}
"""All types by torch's name, such as `float32`."""

WORDS: Mapping[str, ValueType] = {**SAFETENSORS, **ONNX, **TORCH}
"""What any `Stored.type` means: no word means two things in two formats."""
