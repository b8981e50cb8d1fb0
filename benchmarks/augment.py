"""Images moved a batch at a time, against one at a time.

What      `train.augment.augment` on a batch: shift, rotate and flip, each alone and all together.
Against   torchvision's transforms with the same amounts (RandomAffine, linear interpolation; RandomHorizontalFlip),
          called for each image of the batch, as a data set does it; in the same process. Outside it sees zeros, ours
          the border.
Quality   Asserted: a flip is exact; smooth images turned by up to 15° are, in the mean over the batch, as far from what
          they were as torchvision's, to 15 %.
How       One thread, alternating, a warm-up, then n repeats; medians, and the spread from the fastest to the slowest.
Result    benchmarks/results/augment.md, written by this script:

    python -m pip install --target peers --no-deps torchvision==0.29.2
    PYTHONPATH=peers python benchmarks/augment.py [--repeats 9]
"""

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from machine import setting, write_result
from torch import Tensor
from torch.nn import functional as F

from commonweight.train.augment import DEGREES, KINDS, SHIFT, augment

# The package on PyPI is built for torch with CUDA: beside torch for CPUs its own kernels do not load, which transforms
# do not use, but two of their names are asked for.
OPERATORS = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision  # noqa: E402
from torchvision.transforms import Compose, InterpolationMode, RandomAffine, RandomHorizontalFlip  # noqa: E402

BATCH = 256
SHAPES = {"28×28, 1 channel": (1, 28, 28), "32×32, 3 channels": (3, 32, 32)}
MOVES = {"shift": ["shift"], "rotate": ["rotate"], "flip": ["flip"], "all three": list(KINDS)}


def torchvisions(kinds: list[str]) -> Callable[[Tensor], Tensor]:
    """The same moves by torchvision, image by image."""
    steps = []
    if {"shift", "rotate"} & set(kinds):
        degrees = DEGREES if "rotate" in kinds else 0
        translate = (SHIFT, SHIFT) if "shift" in kinds else None
        steps.append(RandomAffine(degrees, translate, interpolation=InterpolationMode.BILINEAR))
    if "flip" in kinds:
        steps.append(RandomHorizontalFlip())
    move = Compose(steps)
    return lambda images: torch.stack([move(image) for image in images])


def smooth(shape: tuple[int, ...]) -> Tensor:
    """Images without sharp edges, dark at the border."""
    noise = torch.randn(BATCH, shape[0], 5, 5, generator=torch.Generator().manual_seed(0))
    return F.interpolate(F.pad(noise, (2, 2, 2, 2)), shape[1:], mode="bicubic")


def check(images: Tensor) -> None:
    """Assert that both do the same to images."""
    flipped = augment(images, ["flip"])
    exact = [min(float((a - b).abs().max()) for b in (i, i.flip(-1))) for a, i in zip(flipped, images, strict=True)]
    assert max(exact) < 1e-5
    moves = (lambda x: augment(x, ["rotate"])), torchvisions(["rotate"])
    ours, theirs = (sum(float((move(images) - images).square().mean()) for _ in range(8)) for move in moves)
    assert abs(ours / theirs - 1) < 0.15, (ours, theirs)


def seconds(move: Callable[[Tensor], Tensor], images: Tensor) -> float:
    started = time.perf_counter()
    move(images)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description="Moving a batch of images at once, and one by one.")
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = ["| images | move | batch at once, ms | torchvision, ms | ratio |", "|" + " --- |" * 5]
    for shape_name, shape in SHAPES.items():
        images = smooth(shape)
        check(images)
        for name, kinds in MOVES.items():
            moves = (lambda x, kinds=kinds: augment(x, kinds)), torchvisions(kinds)
            pairs = [[1e3 * seconds(move, images) for move in moves] for _ in range(repeats + 1)][1:]
            ours, theirs = zip(*pairs, strict=True)
            ratio = median(b / a for a, b in pairs)
            times = [f"{median(t):.2f} ({min(t):.2f} to {max(t):.2f})" for t in (ours, theirs)]
            lines.append(f"| {shape_name} | {name} | {times[0]} | {times[1]} | {ratio:.1f} |")
    head = f"# Moving {BATCH} images\n\n{setting()}, torchvision {torchvision.__version__}; {repeats} repeats.\n\n"
    note = "\n\nA ratio above 1 says how many times as fast a batch at once is.\n"
    write_result("augment", head + "\n".join(lines) + note)


if __name__ == "__main__":
    main()
