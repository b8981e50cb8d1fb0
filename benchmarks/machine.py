"""What every result file says of the machine, and how it is written."""

import platform
from datetime import date
from pathlib import Path

import torch


def processor() -> str:
    """The name of the processor, as Linux or Python knows it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def setting() -> str:
    """Date, versions and hardware in one line."""
    software = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{date.today()}: {software}, {processor()}, {torch.get_num_threads()} threads"


def write_result(name: str, text: str) -> None:
    """Write benchmarks/results/NAME.md, whole or not at all, and show it."""
    path = Path(__file__).parent / "results" / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)
    print(text)
