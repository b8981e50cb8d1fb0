"""A tied transformer and a siamese CNN, with their data and twenty steps, for one process and for several."""

import torch
from torch import nn
from torch.nn import functional as F

from commonweight.equations import tie

WORDS = 7  # which 2 processes cannot share evenly
WIDTH = 6
STEPS, BATCH = 20, 8


class Block(nn.Module):
    """Attention to all words, then two layers, the second the transpose of the first."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.mix = nn.Linear(WIDTH, WIDTH)
        self.up = nn.Linear(WIDTH, 9)
        self.down = nn.Linear(9, WIDTH)

    def forward(self, x):
        x = x + F.scaled_dot_product_attention(x, x, self.mix(self.norm(x)))
        return x + self.down(torch.tanh(self.up(x)))


class Transformer(nn.Module):
    """The loss of next words; ties between both ends, within each block, and between two blocks."""

    TIES = (
        "head.weight = embed.weight",
        "blocks.*.down.weight = blocks.*.up.weight.T",
        "blocks.2.mix.weight = blocks.0.mix.weight",
    )

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        tie(self, *self.TIES, keep="source")

    def forward(self, words):
        x = self.embed(words[:, :-1])
        for block in self.blocks:
            x = block(x)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), words[:, 1:].flatten())


class Siamese(nn.Module):
    """One encoder for the two images of a pair; twins, in even places of the batch, shall be near, others far."""

    def __init__(self):
        super().__init__()
        convolutions = nn.Conv2d(1, 5, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(5, 3, 3), nn.Tanh()
        self.encoder = nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(3, 4, bias=False))

    def forward(self, pairs):
        distance = (self.encoder(pairs[:, 0]) - self.encoder(pairs[:, 1])).square().sum(1)
        twins = torch.arange(len(pairs)) % 2 == 0
        return torch.where(twins, distance, torch.relu(1 - distance)).mean()


KINDS = {"transformer": Transformer, "siamese": Siamese}


def make(kind):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return KINDS[kind]()


def batches(kind):
    generator = torch.Generator().manual_seed(1)
    for _ in range(STEPS):
        if kind == "transformer":
            yield torch.randint(0, WORDS, (BATCH, 6), generator=generator)
        else:
            images = torch.randn(BATCH, 2, 1, 8, 8, generator=generator)
            images[::2, 1] = images[::2, 0] + 0.1 * images[::2, 1]
            yield images


def train(model, kind, rank=0, size=1, after_step=lambda model: None):
    """Twenty steps, on this process's share of each batch."""
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for batch in batches(kind):
        optimiser.zero_grad()
        model(batch.chunk(size)[rank]).backward()
        optimiser.step()
        after_step(model)
