"""Networks by name: what there is, what it is for, and `build`, which makes one with a seed.

Every net takes samples (B, *in_shape), normalised to mean 0 and deviation 1, and gives (B, n_outputs): logits for
classification, values for regression. One whose paper prescribes a loss has a method `loss(outputs, targets)`.
"""

from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import nn

from commonweight.errors import NetError
from commonweight.nets.cnn import CNN
from commonweight.nets.deep_sets import DeepSets
from commonweight.nets.group_cnn import P4CNN, P4MCNN, GroupCNN
from commonweight.nets.lenet import LeNet5, LeNet1989
from commonweight.nets.locally_connected import LocallyConnected
from commonweight.nets.mlp import MLP
from commonweight.nets.own import Factory, Shape, load_factory

__all__ = ["CNN", "MLP", "DeepSets", "Entry", "GroupCNN", "LeNet5", "LeNet1989", "LocallyConnected", "build"]
__all__ += ["entries", "load_factory", "names", "natural_shape"]


@dataclass(frozen=True)
class Entry:
    """A network that can be built by name.

    Attributes:
        name: what `build` and the command line call it.
        summary: what it is, in a few words.
        source: the paper it comes from.
        tasks: what it learns, of "classification" and "regression".
        inputs: what it takes, of "image" and "table".
        natural_shape: the shape of a sample it was made for, which `commonweight count` takes by default.
        factory: makes one from in_shape and n_outputs.
    """

    name: str
    summary: str
    source: str
    tasks: tuple[str, ...]
    inputs: tuple[str, ...]
    natural_shape: Shape
    factory: Factory


_BOTH = ("classification", "regression")
_ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "cnn",
            "small convolutional net, default for images",
            "Ioffe & Szegedy 2015",
            _BOTH,
            ("image",),
            (1, 28, 28),
            CNN,
        ),
        Entry(
            "lenet1989",
            "zip code reader: kernels shared, biases not",
            "LeCun et al. 1989",
            ("classification",),
            ("image",),
            (1, 16, 16),
            LeNet1989,
        ),
        Entry(
            "lenet5",
            "digit reader, exact: answers are drawings",
            "LeCun et al. 1998",
            ("classification",),
            ("image",),
            (1, 32, 32),
            LeNet5,
        ),
        Entry(
            "locally_connected",
            "twin of cnn with a kernel for each position",
            "Le Cun 1989",
            _BOTH,
            ("image",),
            (1, 28, 28),
            LocallyConnected,
        ),
        Entry(
            "mlp",
            "fully connected layers, default for tables",
            "Rumelhart et al. 1986",
            _BOTH,
            ("image", "table"),
            (1, 28, 28),
            MLP,
        ),
        Entry(
            "p4_cnn",
            "twin of cnn that quarter turns leave alone",
            "Cohen & Welling 2016",
            _BOTH,
            ("image",),
            (1, 28, 28),
            P4CNN,
        ),
        Entry(
            "p4m_cnn",
            "twin of cnn that turns and mirrors leave alone",
            "Cohen & Welling 2016",
            _BOTH,
            ("image",),
            (1, 28, 28),
            P4MCNN,
        ),
    )
}
_SHAPES = {"image": "images of shape (channels, height, width)", "table": "rows of shape (features,)"}
_AXES = {"image": 3, "table": 1}


def names() -> tuple[str, ...]:
    """The names that `build` knows, in alphabetical order.

    >>> names()
    ('cnn', 'lenet1989', 'lenet5', 'locally_connected', 'mlp', 'p4_cnn', 'p4m_cnn')
    """
    return tuple(_ENTRIES)


def entries() -> list[Entry]:
    """What can be built by name, in alphabetical order."""
    return list(_ENTRIES.values())


def build(name: str, in_shape: Shape, n_outputs: int, *, task: str = "classification", seed: int = 0) -> nn.Module:
    """Make a network; the same arguments make the same weights. Torch's own random state stays as it was.

    Args:
        name: one of `names()`, or file.py:factory for a net of your own (see `load_factory`).
        in_shape: of one sample: (channels, height, width) of an image, (features,) of a row of a table.
        n_outputs: number of classes or of values, at least 1.
        task: "classification" or "regression", to refuse nets that cannot learn it.
        seed: of the first weights, a whole number from 0.

    Returns:
        The net, with `name` as its attribute `built_as`.

    Raises:
        NetError: an unknown name, a net that does not learn the task or does not take such samples, or whatever goes
            wrong in a net of your own.

    Example:
        >>> net = build("lenet5", (1, 8, 8), 10, seed=1)
        >>> net(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """
    in_shape = tuple(in_shape)
    if min((*in_shape, n_outputs)) < 1:
        raise NetError(f"A net has at least 1 input and 1 output; got samples of {in_shape} and {n_outputs} outputs.")
    is_own = ":" in name or name.endswith(".py")
    factory = load_factory(name) if is_own else _entry_for(name, in_shape, task).factory
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        net = factory(in_shape, n_outputs)
    net.built_as = name  # type: ignore[assignment]  # a plain word, neither module nor tensor
    return net


def natural_shape(name: str) -> Shape:
    """The shape of a sample that a net was made for.

    Raises:
        NetError: an unknown name, or a net of your own.

    >>> natural_shape("lenet5")
    (1, 32, 32)
    """
    if ":" in name:
        raise NetError(f"Only you know what {name} was made for: say the shape of one input, such as 3x32x32.")
    return _entry(name).natural_shape


def _entry(name: str) -> Entry:
    if name not in _ENTRIES:
        near = " or ".join(get_close_matches(name, _ENTRIES))
        hint = (
            f"did you mean {near}?" if near else f"there are {', '.join(_ENTRIES)}, and file.py:factory for your own."
        )
        raise NetError(f"There is no net {name!r}: {hint}")
    return _ENTRIES[name]


def _entry_for(name: str, in_shape: Shape, task: str) -> Entry:
    entry = _entry(name)
    fitting = [e for e in _ENTRIES.values() if task in e.tasks and len(in_shape) in [_AXES[kind] for kind in e.inputs]]
    others = f"use {' or '.join(e.name for e in fitting)}." if fitting else "no net here fits these."
    if task not in entry.tasks:
        raise NetError(f"{name} learns {' or '.join(entry.tasks)}, not {task}: {others}")
    if entry not in fitting:
        takes = " or ".join(_SHAPES[kind] for kind in entry.inputs)
        raise NetError(f"{name} takes {takes}; got samples of shape {in_shape}: {others}")
    return entry
