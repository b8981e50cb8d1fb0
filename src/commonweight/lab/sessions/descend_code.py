"""The view Descend as Python: the program that it shows, which takes the same steps to the same places."""

from typing import TYPE_CHECKING

from commonweight.lab.sessions.descend_problems import FAR, PROBLEMS

if TYPE_CHECKING:
    from commonweight.lab.sessions.descend import DescendSettings

_PROGRAM = """import numpy as np
import torch
from torch.nn import functional as F

from commonweight import data

{samples}


def loss(theta, x, y):
    a, b = theta
    return F.mse_loss({answer}, y)


rules = {{
    "sgd": lambda theta: torch.optim.SGD([theta], lr={rate}),
    "momentum": lambda theta: torch.optim.SGD([theta], lr={rate}, momentum={momentum}),
    "nesterov": lambda theta: torch.optim.SGD([theta], lr={rate}, momentum={momentum}, nesterov={has_momentum}),
    "rmsprop": lambda theta: torch.optim.RMSprop([theta], lr={rate}),
    "adam": lambda theta: torch.optim.Adam([theta], lr={rate}, betas=({momentum}, 0.999)),
}}
middle, far = torch.tensor({middle}), {far:g} * torch.tensor({reach})
batch = min({batch}, len(x))
batches = len(x) // batch
for name, rule in rules.items():
    theta = torch.tensor({start}, requires_grad=True)
    optimizer = rule(theta)
    for step in range({steps}):
        order = np.random.default_rng([{seed}, step // batches]).permutation(len(x))
        chosen = order[step % batches * batch :][:batch]
        optimizer.zero_grad()
        loss(theta, x[chosen], y[chosen]).backward()
        optimizer.step()
        if not ((theta.detach() - middle).abs() < far).all():
            print(f"{{name}} diverged at step {{step + 1}}")
            break
    a, b = theta.tolist()
    print(f"{{name}}: a = {{a:.5f}}, b = {{b:.5f}}, loss {{loss(theta, x, y).item():.6f}}")
"""


def program(settings: "DescendSettings", start: tuple[float, float], steps: int) -> str:
    """Python for these settings, from the start, with so many steps."""
    problem = PROBLEMS[settings.problem]
    return _PROGRAM.format(
        samples=problem.written_samples.format(seed=settings.seed),
        answer=problem.written,
        rate=settings.rate,
        momentum=settings.momentum,
        has_momentum=settings.momentum > 0,
        batch=settings.batch,
        start=list(start),
        middle=list(problem.middle),
        reach=list(problem.reach),
        far=FAR,
        seed=settings.seed,
        steps=steps,
    )
