"""Say how the inputs may be moved, and the ties follow: the maps that commute with a shift are circular convolutions.

Prints:

    shifts of 6 places leave 6 weights of 36: circulant(6)
    all orders of 6 places leave 2 weights of 36
    moved inputs give moved outputs: True
"""

import torch

import commonweight as cw
from commonweight import patterns
from commonweight.recognise import recognise

shift = [5, 0, 1, 2, 3, 4]
pattern = patterns.orbits([shift], [shift])
print(f"shifts of 6 places leave {pattern.n_weights} weights of {pattern.n_full}: {recognise(pattern.tiemap())}")

swap = [1, 0, 2, 3, 4, 5]
anything = patterns.orbits([shift, swap], [shift, swap])
print(f"all orders of 6 places leave {anything.n_weights} weights of {anything.n_full}")

layer, x = cw.Tied(pattern, bias="none"), torch.randn(1, 6)
print("moved inputs give moved outputs:", torch.allclose(layer(x[:, shift]), layer(x)[:, shift], atol=1e-6))
