"""Convolutional nets, beside the network of the official PyTorch MNIST example, for as many epochs as ours.

All of Fashion-MNIST takes one epoch here, so that five seeds fit into minutes; benchmarks/fashion_mnist.py goes on.
"""

from official_mnist_example import train_epochs

from commonweight import data
from families.case import Case, Score, trained

PEER = "network of the PyTorch MNIST example, same epochs"
SHARES = "each kernel at every position"


def example(name: str, seed: int, epochs: int) -> Score:
    """The example's network and update rule, on the same split and the same normalised images."""
    loaded = data.load(name, seed=seed)
    x, y = loaded.normalisation.apply(loaded.x), loaded.y
    parts = (x[loaded.train], y[loaded.train], x[loaded.test], y[loaded.test])
    *_, (_, seconds, accuracy) = train_epochs(*parts, epochs=epochs, seed=seed)
    return Score(accuracy, seconds)


def case(net: str, name: str, epochs: int) -> Case:
    ours = trained(name, net, epochs=epochs)
    return Case(net, name, "accuracy", ours, PEER, lambda seed: example(name, seed, epochs), SHARES)


CASES = (case("cnn", "fashion-mnist", 1), case("fully_convolutional", "mnist-5k", 8))
