"""Runs of `fit` that one process and several make alike, and how one is cut off."""

import pytest
import torch
from torch import nn

from commonweight import data, nets
from commonweight.train import loop

# Of each kind one thing that several processes have to share: batches that are uneven, a net that normalises batches.
RUNS = {
    "table": {"name": "iris", "net": "mlp", "epochs": 4, "batch_size": 15},
    "values": {"name": "diabetes", "net": "mlp", "epochs": 2, "batch_size": 32, "optimizer": "adamw"},
    "held back": {"name": "iris", "net": "mlp", "epochs": 4, "batch_size": 15, "l1": 1e-4, "l2": 1e-3, "max_norm": 1.0},
    "images": {"name": "digits", "net": "cnn", "epochs": 1, "batch_size": 64, "optimizer": "momentum"},
}


def run(name, folder):
    options = dict(RUNS[name])
    loaded = data.load(options.pop("name"))
    model = nets.build(options.pop("net"), loaded.in_shape, loaded.n_outputs, task=loaded.task)
    return loop.fit(model, loaded, out=folder, progress=False, **options)


def dropout_net():
    """A net whose training draws random numbers, so that a resumed run has to restore the random state."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


def cut_run(folder, loaded, model=None, **options):
    """A run that ends at its second check, as if it were interrupted, with a checkpoint at the first."""
    write = loop.Trainer._write_check

    def dying(self, record, is_best):
        write(self, record, is_best)
        if len(self.run.records) == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
        patch.setattr(loop.Trainer, "_write_check", dying)
        with pytest.raises(KeyboardInterrupt):
            loop.fit(model or dropout_net(), loaded, out=folder, **options)
