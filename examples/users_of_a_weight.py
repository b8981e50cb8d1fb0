"""Who uses a weight? The gradient of a shared weight is the sum over the places that use it.

A 3×3 kernel slides over a 5×5 image: 81 connections, 9 weights. Each connection adds its share to the gradient of its
weight: what comes back at its output times what went in at its input. Prints:

    225 fully connected, 81 local, 9 shared
    the middle weight has 9 users, whose shares add up to -0.1393
    autograd says -0.1393
"""

import torch

import commonweight as cw
from commonweight import patterns

pattern = patterns.conv2d((1, 5, 5), 1, kernel=3)
print(f"{pattern.n_full} fully connected, {pattern.n_connections} local, {pattern.n_weights} shared")

layer = cw.Tied(pattern, bias="none", generator=torch.Generator().manual_seed(0))
image = torch.arange(25.0).view(1, 1, 5, 5) / 25
output = layer(image)
output.square().sum().backward()

back, there = 2 * output.detach().flatten(), image.flatten()
users = pattern.tiemap().users(4)  # the middle of the kernel: rows (output, input)
shares = [float(back[out] * there[inp]) for out, inp in users]
print(f"the middle weight has {len(users)} users, whose shares add up to {sum(shares):.4f}")
print(f"autograd says {layer.weight.grad.flatten()[4]:.4f}")
