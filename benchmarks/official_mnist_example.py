"""The peer of the training benchmark: the network and settings of the official PyTorch MNIST example, in our own words.

Source: github.com/pytorch/examples, mnist/main.py, with its default arguments: two 3×3 convolutions of 32 and 64 maps,
2×2 max pooling, dropout 1/4 and 1/2, 9216 -> 128 -> 10, Adadelta at rate 1 times 0.7 after each epoch, batches of 64 in
a new order each epoch (the last one shorter), tested after each epoch with batches of 1,000; float32, and torch's
defaults otherwise.

One thing is done faster here than there: the images are normalised once and lie in memory, instead of being opened one
by one by a data loader. The seconds therefore measure the network and its update rule.
"""

import time
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Net(nn.Module):
    """x (B, 1, 28, 28) -> logarithms of the class probabilities (B, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.drop_maps = nn.Dropout(0.25)
        self.hidden = nn.Linear(64 * 12 * 12, 128)
        self.drop_hidden = nn.Dropout(0.5)
        self.output = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.relu(self.conv2(F.relu(self.conv1(x))))
        features = self.drop_maps(F.max_pool2d(maps, 2)).flatten(1)
        hidden = self.drop_hidden(F.relu(self.hidden(features)))
        return F.log_softmax(self.output(hidden), dim=1)


def train_epochs(
    x_train: Tensor, y_train: Tensor, x_test: Tensor, y_test: Tensor, *, epochs: int, seed: int
) -> Iterator[tuple[int, float, float]]:
    """Train, and yield (epoch, training seconds so far, test accuracy) after each epoch.

    Seconds count the drawing of the order, the gathering of batches and the steps; testing is left out.

    Args:
        x_train, x_test: normalised images (N, 1, 28, 28), float32.
        y_train, y_test: classes (N,), int64.
        epochs: passes over the training images.
        seed: of the first weights, dropout and the order; torch's own random state is put back between epochs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = Net()
        state = torch.get_rng_state()
    optimizer = torch.optim.Adadelta(net.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    seconds = 0.0
    for epoch in range(1, epochs + 1):
        with torch.random.fork_rng(devices=[]):
            torch.set_rng_state(state)
            started = time.perf_counter()
            net.train()
            for chosen in torch.randperm(len(x_train)).split(64):
                optimizer.zero_grad()
                F.nll_loss(net(x_train[chosen]), y_train[chosen]).backward()
                optimizer.step()
            schedule.step()
            seconds += time.perf_counter() - started
            state = torch.get_rng_state()
        yield epoch, seconds, _accuracy(net, x_test, y_test)


@torch.no_grad()
def _accuracy(net: nn.Module, x: Tensor, y: Tensor) -> float:
    net.eval()
    right = sum(int((net(x_B).argmax(1) == y_B).sum()) for x_B, y_B in zip(x.split(1000), y.split(1000), strict=True))
    return right / len(y)
