"""A trained net whose rows keep 16 values each: 4 bits a weight, multiplied where they lie.

Prints:

    17,226 weights, accuracy 0.99
    one of 16 values each: 68,904 -> 22,248 bytes, accuracy 0.99
"""

import torch

import commonweight as cw
from commonweight.compress import share

digits = cw.data.load("digits")
net = cw.nets.build("mlp", digits.in_shape, digits.n_outputs)
run = cw.fit(net, digits, epochs=20, out=None, progress=False)
print(f"{run.results['weights']:,} weights, accuracy {run.results['test']['accuracy']:.2f}")

report = share(net, 16)
with torch.no_grad():
    right = run.outputs(digits.x[digits.test]).argmax(1) == digits.y[digits.test]
sizes = f"{report.bytes_before:,} -> {report.bytes_after:,} bytes"
print(f"one of 16 values each: {sizes}, accuracy {right.float().mean():.2f}")
