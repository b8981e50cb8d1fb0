"""A folder of pictures on its way from a page, as one run of bytes.

4 bytes, the length of a list, little endian; the list in JSON, [path, bytes] for each picture, its path CLASS/FILE;
then the bytes of all pictures, one after the other.
"""

import json
import re
from pathlib import Path

from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions.folder_files import is_picture

MOST_PICTURES = 5000
MOST_LIST = 1 << 21
"""Bytes of the list."""

_REFUSED = r"\x00-\x1f\x7f\ud800-\udfff/\\:"
PLAIN = re.compile(rf"[^{_REFUSED}.][^{_REFUSED}]{{0,99}}")
"""The name of a folder, or of a picture in it."""


def unpack(packed: Path, folder: Path) -> None:
    """Give each picture a file of its own, below the folder.

    Raises:
        LabError: the list is none, or the bytes are not as many as it says.
        OSError: there is no room for them.
    """
    with packed.open("rb") as file:
        length = int.from_bytes(file.read(4), "little")
        pictures = _pictures(file.read(min(length, MOST_LIST + 1)))
        said = 4 + length + sum(size for _, size in pictures)
        if said != packed.stat().st_size:
            raise RefusalError("pictures_cut_off", name=folder.name, bytes=f"{said:,}")
        for path, size in pictures:
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read(size))
    packed.unlink()


def _pictures(text: bytes) -> list[tuple[str, int]]:
    """Path and size of each picture, as their list says.

    Raises:
        LabError: it is not such a list, or its folders are no classes of pictures.
    """
    try:
        pictures = {str(path): int(size) for path, size in json.loads(text)}
    except (ValueError, OverflowError, TypeError, RecursionError) as error:
        raise RefusalError("pictures_no_list") from error
    if len(pictures) > MOST_PICTURES or len(text) > MOST_LIST:
        raise RefusalError("too_many_pictures", most=f"{MOST_PICTURES:,}")
    for path, size in pictures.items():
        parts = path.split("/")
        if len(parts) != 2 or not all(map(PLAIN.fullmatch, parts)) or not is_picture(path) or size < 0:
            raise RefusalError("picture_name", name=quoted(path, 80))
    classes = {path.split("/")[0] for path in pictures}
    if len(classes) < 2:
        raise RefusalError("too_few_classes", classes=len(classes))
    return list(pictures.items())
