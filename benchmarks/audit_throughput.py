"""How fast the content of a checkpoint is hashed and looked at, and how soon its header is read.

What      `contents(open_checkpoint(file))`: SHA-256 of every tensor, NaN, infinity, zero and constant tensors, on 2
          threads; `open_checkpoint(file)` alone, in a new process and in a running one; peak memory on a sparse file of
          10 GB.
Against   `sha256sum` on the same file (one core); safetensors' own `load_file`, every byte of it touched; and plain
          `readinto` of the file on 2 threads, which is the bandwidth of reading.
Target    at least 1 GB/s, and at least 0.7 of the bandwidth of reading; a header in less than 0.3 s; less than 1 GB of
          memory. Cold is with the file dropped from the page cache before each run, and so the disk is part of it; warm
          is with the file in it, where reading is a copy within memory. There SHA-256 alone, of data in the cache and
          on both cores, is slower than 0.7 of reading: the target can be met only cold.
How       One file of random bfloat16 values in tensors of 64 MiB, all ways alternating, n repeats after a warm-up;
          medians, and the range. That every byte is seen is asserted: one flipped bit changes exactly one hash.
Result    benchmarks/results/audit_throughput.md, written by this script:

    python benchmarks/audit_throughput.py [--gigabytes 2] [--repeats 5] [--folder DIR]
"""

import argparse
import hashlib
import json
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import BinaryIO

import torch
from machine import setting, write_result
from safetensors.torch import load_file

from commonweight.checkpoints import contents, open_checkpoint

RATE, SHARE, SECONDS, MEMORY = 1.0, 0.7, 0.3, 1e9
BLOCK = 2**20


def sparse(path: Path, sizes: list[int]) -> int:
    """A safetensors file of bfloat16 tensors with these sizes in bytes, all zero and without space on the disk."""
    header, end = {}, 0
    for number, size in enumerate(sizes):
        header[f"layers.{number}.weight"] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + end)
    return 8 + len(text)


def filled(path: Path, gigabytes: float) -> None:
    """The same with random values."""
    size, count = 2**26, max(1, round(gigabytes * 1e9 / 2**26))
    start = sparse(path, [size] * count)
    values = torch.Generator().manual_seed(0)
    with path.open("r+b") as file:
        file.seek(start)
        for _ in range(count):
            file.write(torch.randn(size // 2, generator=values).bfloat16().view(torch.uint8).numpy().tobytes())
        file.flush()
        os.fsync(file.fileno())


def forget(path: Path) -> None:
    """Drop a file from the page cache."""
    handle = os.open(path, os.O_RDONLY)
    os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def on_two_threads(path: Path, look: Callable[[BinaryIO, bytearray], object]) -> None:
    """Go through a file on two threads, block by block in turn as `contents` does."""
    places, lock = iter(range(0, path.stat().st_size, BLOCK)), threading.Lock()

    def work() -> None:
        buffer = bytearray(BLOCK)
        with path.open("rb", buffering=0) as file:
            while True:
                with lock:
                    place = next(places, None)
                if place is None:
                    return
                file.seek(place)
                look(file, buffer)

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def load(path: Path) -> None:
    """Load with safetensors, and touch what was loaded: mapped tensors are read only then."""
    for tensor in load_file(path).values():
        tensor.view(torch.int64).sum()


OURS, READING, HASHING = "`contents`, 2 threads", "`readinto`, 2 threads", "SHA-256 alone, nothing read, 2 threads"
WAYS: dict[str, Callable[[Path], object]] = {
    OURS: lambda path: contents(open_checkpoint(path)),
    "`contents`, 1 thread": lambda path: contents(open_checkpoint(path), threads=1),
    "`sha256sum`": lambda path: subprocess.run(["sha256sum", path], check=True, stdout=subprocess.DEVNULL),
    "safetensors `load_file`, and a sum": load,
    HASHING: lambda path: on_two_threads(path, lambda _, buffer: hashlib.sha256(buffer).digest()),
    READING: lambda path: on_two_threads(path, lambda file, buffer: file.readinto(buffer)),
}


def rates(path: Path, repeats: int, cold: bool) -> dict[str, list[float]]:
    """GB/s of each way, alternating."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for repeat in range(repeats + 1):
        for way, run in WAYS.items():
            if cold:
                forget(path)
            started = time.perf_counter()
            run(path)
            if repeat:  # the first one warms up
                found[way].append(path.stat().st_size / 1e9 / (time.perf_counter() - started))
        print(
            f"{'cold' if cold else 'warm'} repeat {repeat}",
            {way: f"{r[-1]:.2f}" for way, r in found.items() if r},
            flush=True,
        )
    return found


def notices_a_bit(path: Path) -> None:
    """One flipped bit changes the hash of its tensor, and no other."""
    before = contents(open_checkpoint(path))
    chosen = list(open_checkpoint(path).tensors.values())[-1]
    with path.open("r+b") as file:
        for turn in range(2):  # the second one flips it back
            file.seek(chosen.offset + chosen.nbytes - 1)
            (byte,) = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte ^ 1]))
            file.flush()
            after = contents(open_checkpoint(path))
            changed = [name for name in before if before[name].sha256 != after[name].sha256]
            assert changed == ([chosen.name] if turn == 0 else []), changed


HEADER = """
import sys, time
started = time.perf_counter()
from commonweight.checkpoints import open_checkpoint
open_checkpoint(sys.argv[1])
print(time.perf_counter() - started)
assert "torch" not in sys.modules
"""

PEAK = """
import sys
from commonweight.checkpoints import contents, open_checkpoint
assert all(told.zero for told in contents(open_checkpoint(sys.argv[1])).values())
with open("/proc/self/status") as file:
    print(next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")))
"""


def fresh(code: str, path: Path) -> tuple[float, float]:
    """What a new process prints, and the seconds from its start to its end."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, path], check=True, capture_output=True, text=True)
    return float(done.stdout), time.perf_counter() - started


def headers(folder: Path, repeats: int) -> list[str]:
    """Seconds to read the headers of files of many sizes and formats, whatever their size."""
    cases = {}
    for name, sizes in (("290 tensors, 14 GB", [48_275_862] * 290), ("1,000 tensors, 2 TB", [2_000_000_000] * 1000)):
        cases[f"safetensors, {name}"] = folder / f"{len(sizes)}.safetensors"
        sparse(cases[f"safetensors, {name}"], sizes)
    tensors = {f"layers.{number}.weight": torch.zeros(64, 64) for number in range(1000)}
    cases["`torch.save`, 1,000 tensors, 16 MB"] = folder / "a.pt"
    torch.save(tensors, folder / "a.pt")
    lines = []
    for name, path in cases.items():
        warm, process = [], []
        for _ in range(repeats):
            forget(path)
            started = time.perf_counter()
            open_checkpoint(path)
            warm.append(time.perf_counter() - started)
            forget(path)
            process.append(fresh(HEADER, path)[1])
        verdict = "PASS" if median(process) < SECONDS else "FAIL"
        lines.append(f"| {name} | {median(warm):.4f} | {median(process):.3f} | {verdict} |")
    return lines


def table(measured: dict[str, dict[str, list[float]]]) -> list[str]:
    """Every way, cold and warm, with its share of the bandwidth of reading; and the verdicts."""
    lines = ["| way | " + " | ".join(f"{state} GB/s | of reading" for state in measured) + " |", "|" + " --- |" * 5]
    verdicts = []
    for way in WAYS:
        cells = f"| {way} |"
        for state, found in measured.items():
            rate = median(found[way])
            share = median(one / other for one, other in zip(found[way], found[READING], strict=True))
            cells += f" {rate:.2f} ({min(found[way]):.2f} to {max(found[way]):.2f}) | {share:.2f} |"
            if way == OURS:
                verdicts += [
                    f"- {state}, at least {RATE} GB/s: {rate:.2f}, {'PASS' if rate >= RATE else 'FAIL'}",
                    f"- {state}, at least {SHARE} of reading: {share:.2f}, {'PASS' if share >= SHARE else 'FAIL'}",
                ]
        lines.append(cells)
    return [*lines, "", *verdicts]


def main() -> None:
    parser = argparse.ArgumentParser(description="Throughput of reading what a checkpoint contains.")
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None, help="where files are made; default: a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        path = folder / "model.safetensors"
        filled(path, asked.gigabytes)
        notices_a_bit(path)
        measured = {state: rates(path, asked.repeats, state == "cold") for state in ("cold", "warm")}
        opened = headers(folder, asked.repeats)
        sparse(folder / "large.safetensors", [10**10])
        peak, seconds = fresh(PEAK, folder / "large.safetensors")
    command = f"python benchmarks/audit_throughput.py --gigabytes {asked.gigabytes:g} --repeats {asked.repeats}"
    verdict = "PASS" if peak < MEMORY else "FAIL"
    lines = [
        "# Throughput of reading what a checkpoint contains",
        "",
        f"Written by `{command}` on {setting()}.",
        "",
        f"A file of {asked.gigabytes:g} GB, bfloat16; median and range of {asked.repeats} repeats, alternating.",
        "Cold: dropped from the page cache before each run, so the disk is part of it. Warm: already in memory, where",
        "reading is a copy. SHA-256 alone shows what any reader that hashes can reach. The share is the median of the",
        "ratios to plain reading in the same repeat.",
        "",
        *table(measured),
        "",
        "One flipped bit in the file changed the hash of its tensor and no other (asserted).",
        "",
        "## Headers only",
        "",
        "Files not in the page cache; a whole process includes starting Python and importing, without torch.",
        "",
        "| file | `open_checkpoint` s | whole process s | below 0.3 s |",
        "| --- | --- | --- | --- |",
        *opened,
        "",
        "## Memory",
        "",
        f"A sparse file of 10 GB, one tensor: at most {peak / 1e6:.0f} MB resident, below 1 GB: {verdict};",
        f"{10 / seconds:.2f} GB/s with the start of Python.",
        "",
    ]
    write_result("audit_throughput", "\n".join(lines))


if __name__ == "__main__":
    main()
