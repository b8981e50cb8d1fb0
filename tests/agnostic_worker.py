"""What each of the two processes of test_agnostic.py runs under torchrun: agnostic_worker.py FOLDER."""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from commonweight.nets.agnostic import AgnosticClassifier


def blobs() -> tuple[np.ndarray, np.ndarray]:
    """Three clouds of points in four dimensions, float32 of shape (90, 4), and their numbers."""
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    return (rng.normal(size=(3, 4)) * 2)[labels].astype(np.float32) + rng.normal(size=(90, 4)).astype(
        np.float32
    ), labels


def searched() -> AgnosticClassifier:
    """A short search; 21 nets are no even share for two."""
    return AgnosticClassifier(population=21, max_iter=25, random_state=3).fit(*blobs())


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    fitted = searched()
    told = [fitted.structure_, float(fitted.module_.weight)]
    (Path(sys.argv[1]) / f"told-{dist.get_rank()}.json").write_text(json.dumps(told))
    dist.destroy_process_group()
