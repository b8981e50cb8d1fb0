"""What the lab opens with: the folder that it may read, and the view that the page begins with."""

from pathlib import Path
from urllib.parse import quote

from commonweight.errors import LabError
from commonweight.lab.sessions.folder_files import TABLES, holds_data

RUNS = Path("runs")


def opening(target: Path | None) -> tuple[Path, str]:
    """The folder that may be read, and the fragment of the first address.

    Args:
        target: a run folder, a folder of runs, a table, a folder of pictures, a checkpoint, or None for the runs here.

    Raises:
        LabError: it is none of these.
    """
    if target is None:
        return RUNS.resolve(), ""
    place = target.resolve()
    if (place / "run.json").is_file():
        return place.parent, f"#run?subject={quote(place.name)}"
    if holds_data(place):
        return place.parent, f"#play?data=own&file={quote(place.name)}"
    if place.is_file() or (place / "config.json").is_file():
        return place.parent, f"#audit?file={quote(place.name)}"
    if place.is_dir():
        return place, "#run"
    raise LabError(
        f"{target} is neither a run folder, a folder of runs, a table ({', '.join(TABLES)}), a folder of pictures, "
        f"nor a checkpoint."
    )
