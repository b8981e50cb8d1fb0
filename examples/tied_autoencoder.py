"""An autoencoder whose decoder is its encoder, transposed: a tie that is written, trained, saved and loaded.

Prints:

    2128 weights become 1104: decoder.weight = encoder.weight.T
    mean squared error 0.941 -> 0.083
    read again, still tied: True
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import commonweight as cw

TIE = "decoder.weight = encoder.weight.T"
digits = cw.data.load("digits")
x = digits.normalisation.apply(digits.x[digits.train]).flatten(1)


def autoencoder() -> nn.Module:
    """64 pixels to 16 numbers and back."""
    net = nn.Sequential()
    net.add_module("encoder", nn.Linear(64, 16))
    net.add_module("decoder", nn.Linear(16, 64))
    return net


torch.manual_seed(0)
net = autoencoder()
before = sum(weight.numel() for weight in net.parameters())
cw.tie(net, TIE, keep="source")
after = sum(weight.numel() for weight in net.parameters())
print(f"{before} weights become {after}: {cw.ties(net)[0].equation}")

rule, losses = torch.optim.Adam(net.parameters(), lr=0.01), []
for _ in range(200):
    loss = (net(x) - x).square().mean()
    rule.zero_grad()
    loss.backward()
    rule.step()
    losses.append(float(loss.detach()))
print(f"mean squared error {losses[0]:.3f} -> {losses[-1]:.3f}")

with tempfile.TemporaryDirectory() as folder:
    cw.save(net, Path(folder) / "net.safetensors")
    again = autoencoder()
    cw.tie(again, TIE, keep="source")
    cw.load(Path(folder) / "net.safetensors", again)
print("read again, still tied:", torch.equal(again.decoder.weight, again.encoder.weight.T))
