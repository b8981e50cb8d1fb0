"""Play: a small network that one builds, steers and watches while it learns."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from commonweight import nets
from commonweight.lab.curves import Curves
from commonweight.lab.frames import Frame
from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions import play_look as look
from commonweight.lab.sessions.folder_files import found_in, holds_data
from commonweight.lab.sessions.play_code import dropout_seed, program
from commonweight.lab.sessions.play_data import MOST_SAMPLES, SETS, first_points, read
from commonweight.lab.sessions.rules import RULES, make_optimizer
from commonweight.lab.settings import changed, choice, index_of, points, real, sizes, text, whole
from commonweight.lab.uploads import PREFIX
from commonweight.train.regularise import weights_of

CHECK_STEPS, CHECK_IMAGE_STEPS = 40, 160
"""Between two points of the curves, at first, where data are points, and where they are images."""

MOST_REWOUND = 20_000
SHOWN, CHECKED = 400, 400
"""Points of a part that are drawn, and that loss and accuracy are told of."""

SHOWN_IMAGES, CHECKED_IMAGES = 64, 200
"""Images: each costs as much as many points, and training is not to wait for them."""

TWO_MODES = (nn.Dropout, nn.BatchNorm1d, nn.BatchNorm2d)
"""Layers that compute something else in training than in use."""

LOADING = {"data", "file", "seed", "points"}
BUILDING = {"data", "file", "net", "hidden", "activation", "dropout", "batch_norm", "seed"}


@dataclass(frozen=True)
class PlaySettings:
    """What can be set.

    Attributes:
        data: a set by name, painted points, or one's own.
        file: of one's own data: a table or a folder of pictures, by its path in the folder that the lab may read.
        net: a perceptron of some layers, or a small convolutional net for images.
        hidden, activation: of the perceptron.
        rule, rate, batch: of the updates.
        l1, l2: λ₁ and λ₂ of the penalty λ₁ Σ |θ| + λ₂/2 Σ θ² on all weights but biases, see `train.regularise`.
        dropout: with this probability a hidden unit is 0 in a step.
        batch_norm: whether sums are normalised over the batch; usual is yes of the convolutional net, no of the other.
        seed: of the first weights, the split, the drawn points, the order of samples and dropout.
        points: (x, y, class) of painted points.
        sample: the test sample that is looked at.
    """

    data: str = choice("spirals", SETS)
    file: str = text(400)
    net: str = choice("mlp", ("mlp", "cnn"))
    hidden: tuple[int, ...] = sizes((8, 8), 1, 32, 4)
    activation: str = choice("tanh", ("tanh", "relu", "leaky_relu", "sigmoid", "step"))
    rule: str = choice("adam", RULES)
    rate: float = real(0.01, 1e-5, 10.0)
    batch: int = whole(32, 1, 256)
    l1: float = real(0.0, 0.0, 1.0)
    l2: float = real(0.0, 0.0, 1.0)
    dropout: float = real(0.0, 0.0, 0.9, step=0.1)
    batch_norm: str = choice("usual", ("usual", "yes", "no"))
    seed: int = whole(0, 0, 9999)
    points: tuple[tuple[float, float, int], ...] = points(500)
    sample: int = whole(0, 0, 999_999)

    def structure(self) -> dict[str, Any]:
        """What the net is built with, besides the shapes of the data."""
        made: dict[str, Any] = {"width": 8}
        if self.net == "mlp":
            made = {"hidden": list(self.hidden), "activation": self.activation}
        if self.dropout:
            made["dropout"] = self.dropout
        if self.batch_norm != "usual":
            made["batch_norm"] = self.batch_norm == "yes"
        return made


class PlaySession:
    """The network and its data; what is shown of them is in `play_look`."""

    def __init__(self, folder: Path, subject: str) -> None:
        self.folder, self.files = folder, list[str]()
        self.settings = PlaySettings()
        if subject and not subject.startswith(PREFIX):
            raise RefusalError("subject_no_upload", view="play", subject=quoted(subject))
        if subject:
            self.settings = self._possible(PlaySettings(data="own"))
        self.axes: Tensor | None = None
        self.confusion: Tensor | None = None
        self._load()
        self._divide()
        self._restart()

    def change(self, given: Mapping[str, Any]) -> None:
        """Take new settings: a net of another build begins anew, the rest goes on."""
        old, new = self.settings, self._possible(changed(self.settings, given))
        differing = {name for name in asdict(new) if getattr(new, name) != getattr(old, name)}
        self.settings = new
        try:
            if differing & LOADING:
                self._load()
            if differing & BUILDING:
                self._restart()
        except Exception:
            self.settings = old
            self._load()
            raise
        self._divide()
        self._look_at(self.settings.sample)
        if differing & {"rule", "rate"}:
            self._optimise()

    def act(self, action: str, given: Mapping[str, Any]) -> None:
        """`restart`, `rewind` to a step, or look at another test `sample`."""
        if action == "restart":
            self._restart()
        elif action == "rewind":
            steps = index_of(given, "step", min(self.step, MOST_REWOUND) + 1)
            self._restart()
            for _ in range(steps):
                self.advance()
        elif action == "sample":
            self._look_at(index_of(given, "sample", len(self.test)))
        else:
            raise RefusalError("no_action", actions="restart, rewind, sample", got=quoted(action))

    def facts(self) -> dict[str, Any]:
        """The data, and the sizes of the layers; loss and accuracy are brought up to date, for who steps by hand."""
        if self.scored != self.step:
            self._score()
        data = self.data
        return {
            "name": data.name,
            "kind": "plane" if data.in_shape == (2,) else "image" if data.is_image else "table",
            "in_shape": list(data.in_shape),
            "classes": list(data.classes),
            "features": list(data.features[:2]),
            "sizes": [len(data.train), len(data.validation), len(data.test)],
            "weights": sum(weight.numel() for weight in self.net.parameters()),
            "points": [list(point) for point in self.settings.points or first_points()],
            "batches_per_epoch": self.batches,
            "test_samples": len(self.test),
            "files": self.files,
        }

    def code(self) -> str:
        """The program of these settings, from the start."""
        return program(self.settings, self.folder, len(self.train), self.step or 200)

    def advance(self) -> bool:
        """One batch."""
        epoch, batch = divmod(self.step, self.batches)
        if epoch != self.epoch:
            self._shuffle(epoch)
        self._set_mode(training=True)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self._answers(self.inputs[batch]), self.targets[batch])
        torch.autograd.backward(loss + self._penalty() if self.settings.l1 or self.settings.l2 else loss)
        self.optimizer.step()
        self.loss = float(loss.detach())
        self.step += 1
        if self.curves.due(self.step):
            self._check()
        if not math.isfinite(self.loss):
            raise RefusalError("not_finite", loss=self.loss, step=self.step)
        return True

    def structure(self) -> Frame:
        """The points of the plane, normalised, with their classes: (n, 3)."""
        arrays = {}
        if self.data.in_shape == (2,):
            arrays["train"] = look.with_classes(self.train[:SHOWN], self.labels[:SHOWN])
            arrays["test"] = look.with_classes(self.test[:SHOWN], self.test_labels[:SHOWN])
            arrays["mean"], arrays["scale"] = self.data.normalisation.mean, self.data.normalisation.scale
        return Frame("structure", self.step, {"reach": self.reach}, arrays)

    @torch.inference_mode()
    def live(self) -> Frame:
        """Weights, what each unit makes of the inputs, the bent space, and the curves."""
        self._set_mode(training=False)
        arrays: dict[str, Any] = {"curves": self.curves.table()}
        values: dict[str, Any] = {"loss": self.loss, "scores": self.scores}
        if isinstance(self.net, nn.Sequential) and self.settings.net == "mlp":
            layers, weights = look.weights(self.net)
            arrays |= weights
            values["layers"] = layers
        grid = look.grids(self.reach) if self.reach else self.test[:0]
        shown, sample = slice(self.shown), self.settings.sample
        outputs = look.layer_outputs(self.net, torch.cat([grid, self.test[shown], self.test[sample, None]]))
        seen, answers = list(outputs.values())[-2:]
        if self.data.in_shape == (2,):
            arrays |= look.plane_pictures(outputs)
        elif self.data.is_image:
            arrays |= look.kernels(self.net, self.data.in_shape)
            arrays["image"] = self.data.x[self.data.test[sample]].mean(0)
            arrays["answer"] = answers[-1].softmax(0)
            values |= {"sample": sample, "label": int(self.test_labels[sample])}
        seen, first = seen.flatten(1), len(grid)
        lattice = seen[first - look.BENT : first] if first else None
        space, values["share"], self.axes = look.bent(seen[first:-1], lattice, self.axes)
        arrays |= space
        arrays["space_classes"] = self.test_labels[shown]
        if self.confusion is not None:
            arrays["confusion"] = self.confusion
        return Frame("live", self.step, values, {name: np.asarray(array) for name, array in arrays.items()})

    def _load(self) -> None:
        """The data of the settings, normalised."""
        settings = self.settings
        self.data = data = read(settings.data, settings.points, settings.seed, self.folder, settings.file)
        parts = data.train[:MOST_SAMPLES], data.validation[:MOST_SAMPLES], data.test[:MOST_SAMPLES]
        self.train, self.validation, self.test = (data.normalisation.apply(data.x[part]) for part in parts)
        self.labels, self.validation_labels, self.test_labels = (data.y[part] for part in parts)
        self.reach = float(1.12 * self.train.abs().max()) if data.in_shape == (2,) else 0.0
        self.shown, self.checked = (SHOWN_IMAGES, CHECKED_IMAGES) if data.is_image else (SHOWN, CHECKED)
        if settings.net == "cnn" and not data.is_image:
            self.settings = replace(settings, net="mlp")

    def _divide(self) -> None:
        """Batches of as many samples as the settings say, or of all where there are fewer."""
        self.batch = min(self.settings.batch, len(self.train))
        self.batches = len(self.train) // self.batch
        self.epoch = -1

    def _shuffle(self, epoch: int) -> None:
        """The batches of an epoch, all at once: to pick the samples of each at its step takes longer."""
        order = torch.from_numpy(np.random.default_rng([self.settings.seed, epoch]).permutation(len(self.train)))
        self.epoch = epoch
        self.inputs, self.targets = (torch.split(part[order], self.batch) for part in (self.train, self.labels))

    def _restart(self) -> None:
        """The first weights of the seed."""
        settings, data = self.settings, self.data
        structure = settings.structure()
        self.net = nets.build(settings.net, data.in_shape, data.n_outputs, seed=settings.seed, structure=structure)
        self.step, self.curves = 0, Curves(4, CHECK_IMAGE_STEPS if data.is_image else CHECK_STEPS)
        self.two_modes = any(isinstance(layer, TWO_MODES) for layer in self.net.modules())
        self.axes = None
        self._optimise()
        self._set_mode(training=False)
        with torch.no_grad():
            self.loss = float(F.cross_entropy(self.net(self.train[: self.checked]), self.labels[: self.checked]))
        self._check()

    def _optimise(self) -> None:
        """An update rule of the present settings, from its start."""
        self.__dict__.pop("optimizer", None)

    @cached_property
    def optimizer(self) -> Optimizer:
        """Made for the first step and not before: torch takes a second to load what it needs for it."""
        settings = self.settings
        return make_optimizer(self.net, settings.rule, settings.rate)

    def _set_mode(self, training: bool) -> None:
        """Training or use; most nets compute the same in both, and then nothing is set."""
        if self.two_modes and self.net.training != training:
            self.net.train(training)

    def _answers(self, x: Tensor) -> Tensor:
        """What the net answers in a step; what dropout takes out depends on seed and step alone."""
        if not self.settings.dropout:
            return self.net(x)  # type: ignore[no-any-return]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(dropout_seed(self.settings.seed, self.step))
            return self.net(x)  # type: ignore[no-any-return]

    def _penalty(self) -> Tensor:
        """λ₁ Σ |θ| + λ₂/2 Σ θ²."""
        l1, l2 = self.settings.l1, self.settings.l2
        return torch.stack([l1 * w.abs().sum() + l2 / 2 * w.square().sum() for w in weights_of(self.net)]).sum()

    def _possible(self, settings: PlaySettings) -> PlaySettings:
        """The settings with the first of one's own files, where none was chosen.

        Raises:
            LabError: there is none, or a batch of one sample, which has no deviation to normalise by.
        """
        if settings.batch_norm == "yes" and settings.batch < 2:
            raise RefusalError("small_batch")
        if settings.data != "own":
            return settings
        self.files, _ = found_in(self.folder, holds_data)
        if settings.file:
            return settings
        if not self.files:
            raise RefusalError("no_own_data", folder=self.folder.name)
        return replace(settings, file=self.files[0])

    def _look_at(self, sample: int) -> None:
        """Show this test sample, or the last one where there are fewer."""
        self.settings = replace(self.settings, sample=min(sample, len(self.test) - 1))

    def _check(self) -> None:
        """Loss and accuracy as a point of the curves."""
        self._score()
        self.curves.add(self.step, self.scores)

    @torch.inference_mode()
    def _score(self) -> None:
        """Loss and accuracy on the training and the validation part."""
        self._set_mode(training=False)
        self.scored = self.step
        part = slice(self.checked)
        pairs = ((self.train, self.labels), (self.validation, self.validation_labels))
        answers = [(self.net(x[part]), y[part]) for x, y in pairs]
        losses = [float(F.cross_entropy(outputs, y)) for outputs, y in answers]
        scores = [float((outputs.argmax(1) == y).float().mean()) for outputs, y in answers]
        self.scores = [*losses, *scores]
        self.confusion = None
        if self.data.in_shape != (2,):
            n, (outputs, y) = len(self.data.classes), answers[1]
            pairs_of = torch.bincount(y * n + outputs.argmax(1), minlength=n * n).reshape(n, n).float()
            self.confusion = pairs_of / pairs_of.sum(1, keepdim=True).clamp_min(1)


SESSION = PlaySession
