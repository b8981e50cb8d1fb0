"""Both LeNets as published and relatives that share less or more, beside nets of fully connected layers.

LeNet-5 is also put beside the LeNet that tutorials write today.
"""

import torch
from sklearn.neural_network import MLPClassifier
from torch import nn
from torch.nn import functional as F

from commonweight import data
from families.case import Case, Score, timed, trained

EPOCHS, BATCH = 14, 64
SHARES = "each kernel at every position"


def fully_connected(seed: int) -> Score:
    """scikit-learn's net with its defaults, on digits."""
    digits = data.load("digits", seed=seed)
    x, y = digits.normalisation.apply(digits.x).flatten(1).numpy(), digits.y.numpy()
    net = MLPClassifier(random_state=seed, max_iter=400)
    seconds = timed(lambda: net.fit(x[digits.train], y[digits.train]))
    return Score(net.score(x[digits.test], y[digits.test]), seconds)


def of_tutorials(seed: int) -> Score:
    """Every map sees all maps, ReLU, maxima, scores for answers; Adam at its defaults; on mnist-5k."""
    images = data.load("mnist-5k", seed=seed)
    x, y = images.normalisation.apply(images.x), images.y
    torch.manual_seed(seed)
    net = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(net.parameters())

    def fit() -> None:
        for _ in range(EPOCHS):
            for chosen in images.train[torch.randperm(len(images.train))].split(BATCH):
                optimizer.zero_grad()
                F.cross_entropy(net(x[chosen]), y[chosen]).backward()
                optimizer.step()

    seconds = timed(fit)
    right = net(x[images.test]).argmax(1) == y[images.test]
    return Score(float(right.double().mean()), seconds)


CASES = (
    *(
        Case(net, "digits", "accuracy", trained("digits", net), "MLPClassifier", fully_connected, shares)
        for net, shares in (
            ("lenet5", SHARES),
            ("lenet1989", "each kernel at every position, biases nowhere"),
            ("locally_connected", "nothing: a kernel for each position"),
            ("p4_cnn", "each kernel at every position, in four turns"),
            ("p4m_cnn", "each kernel at every position, in four turns and mirrored"),
        )
    ),
    Case("lenet5", "mnist-5k", "accuracy", trained("mnist-5k", "lenet5"), "LeNet of tutorials", of_tutorials, SHARES),
)
