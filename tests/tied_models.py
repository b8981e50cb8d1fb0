"""Small models to tie, and their ties as lines of text."""

import torch
from torch import nn

from commonweight.equations import ties


def net(**modules):
    return nn.ModuleDict(modules)


def linear(rows, columns, seed=0, bias=False):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(columns, rows, bias=bias)


def pair():
    return net(a=linear(3, 2, 0), b=linear(3, 2, 1))


def listed(model):
    return [str(tie) for tie in ties(model)]
