"""Images in files: one picture as an array, and a folder whose subfolders are the classes."""

import statistics
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from commonweight.data.dataset import Samples
from commonweight.data.reading import require_file, require_memory
from commonweight.errors import DataError

MAX_PIXELS = 2**24
"""The largest picture that is decoded, in pixels: 4096 x 4096."""

MAX_SIDE = 96
"""Pictures of a folder are scaled down to so many pixels a side: more costs much time on a CPU and seldom helps."""

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
_BYTE_MODES = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error)
_BILINEAR = 2
"""Pillow's number for it; Pillow is imported when a picture is opened."""
_IGNORED = ("thumbs.db", "desktop.ini")


def is_image(path: Path) -> bool:
    """Whether the suffix is one of a picture."""
    return path.suffix.lower() in SUFFIXES


def header(path: Path) -> tuple[int, int, int]:
    """(channels, height, width) of a picture, by its header alone: 1 channel for grey, 3 for colour.

    Raises:
        DataError: no readable picture, or one of more than 4096 x 4096 pixels.
    """
    with _opened(path) as image:
        return (1 if image.mode in _GREY_MODES else 3), image.height, image.width


def read_image(path: Path, channels: int, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """A picture as float32 in [0, 1], shape (channels, H, W), transparency ignored.

    Colour becomes grey by ITU-R 601-2 luma (0.299 R + 0.587 G + 0.114 B, as Pillow does); grey becomes colour by three
    equal channels. Of an animation the first frame is taken.

    Args:
        path: of the picture.
        channels: 1 or 3.
        size: height and width to which it is stretched (bilinear, with means over what becomes one pixel); by default
            its own.

    Raises:
        DataError: no readable picture, one of more than 4096 x 4096 pixels, or pixels of floating point.
    """
    with _opened(path) as image:
        height, width = size or (image.height, image.width)
        if image.mode in _BYTE_MODES:
            scaled = image.convert("L" if channels == 1 else "RGB").resize((width, height), _BILINEAR)
            pixels = np.asarray(scaled, dtype=np.float32) / np.float32(255)
            return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
        mode = image.mode
        pixels = np.asarray(image.convert("F").resize((width, height), _BILINEAR)) / np.float32(65_535)
    if mode not in _GREY_MODES or pixels.min() < 0 or pixels.max() > 1:
        raise DataError(f"'{path}' has pixels of mode {mode}, expected 8 or 16 bits; save it as an 8-bit PNG")
    return np.repeat(pixels[None], channels, axis=0)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """The picture, its header read and its size checked; what Pillow raises while it is open becomes a DataError."""
    from PIL import Image

    require_file(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns of damaged metadata, which no pixel depends on, and of sizes that are refused below.
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise DataError(
                        f"'{path}' claims {image.width} x {image.height} pixels, more than the {MAX_PIXELS:,} that are"
                        " decoded; make it smaller"
                    )
                yield image
    except (Image.DecompressionBombError, *_UNREADABLE) as error:
        raise DataError(f"'{path}' is no readable picture ({error}); save it again, for instance as PNG") from error


def read_folder(folder: Path) -> Samples:
    """Every picture in every subfolder; the subfolder's name is the class.

    Pictures of different sizes are stretched to the median height and width, and those of more than `MAX_SIDE` pixels a
    side are scaled down; what was done is said in the notes. If one picture has colour, all get three channels. Hidden
    files are left out.

    Raises:
        DataError: no subfolders, an empty one, a file that is no picture, too many pixels.
    """
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataError(
            f"'{folder}' has no subfolders; put the pictures of each class into a folder named after the class,"
            " or give a folder with the four files of a set like MNIST"
        )
    paths = [_pictures(class_folder) for class_folder in classes]
    flat = [path for group in paths for path in group]
    headers = [header(path) for path in flat]
    sizes = {(height, width) for _, height, width in headers}
    height, width = _common_size([height for _, height, _ in headers], [width for _, _, width in headers])
    notes: tuple[str, ...] = ()
    if sizes != {(height, width)}:
        found = " and ".join(f"{w} x {h}" for h, w in sorted(sizes)) if len(sizes) < 3 else f"{len(sizes):,} sizes"
        notes = (f"pictures of {found} are scaled to {width} x {height} pixels (width x height)",)
    channels = max(channels for channels, _, _ in headers)
    shape = (len(flat), channels, height, width)
    require_memory(4 * len(flat) * channels * height * width, folder, f"{len(flat):,} pictures of {shape[1:]}")
    x = torch.empty(shape)
    for index, path in enumerate(flat):
        x[index] = torch.from_numpy(read_image(path, channels, (height, width)))
    y = torch.repeat_interleave(torch.tensor([len(group) for group in paths]))
    names = tuple(class_folder.name for class_folder in classes)
    return Samples(name=folder.name, task="classification", x=x, y=y, classes=names, notes=notes)


def _common_size(heights: list[int], widths: list[int]) -> tuple[int, int]:
    """The median height and width, scaled down to `MAX_SIDE` where either is more."""
    height, width = statistics.median_low(heights), statistics.median_low(widths)
    scale = min(1, MAX_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _pictures(folder: Path) -> list[Path]:
    """The pictures of one class, sorted by name."""
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    found = [path for path in found if path.name.lower() not in _IGNORED]
    if not found:
        raise DataError(f"the class folder '{folder}' is empty; put pictures into it or remove it")
    for path in found:
        if path.is_dir():
            raise DataError(
                f"the class folder '{folder}' holds the folder '{path.name}'; give the folder above the classes"
            )
        if not is_image(path):
            raise DataError(f"'{path}' in a class folder is no picture ({', '.join(SUFFIXES)}); convert or remove it")
    return found
