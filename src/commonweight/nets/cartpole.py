"""Cart-pole swing-up: a pole hangs from a cart; pushing the cart left and right, swing it up and hold it there.

A cart of mass M at x and a pole, a rod of mass m and length l at the angle θ from upright, whose centre is at
(x + l/2 sin θ, l/2 cos θ). With the energies

    T = ½ (M + m) ẋ² + ½ m l ẋ θ̇ cos θ + ⅙ m l² θ̇²,    V = ½ m g l cos θ,

the push F and the friction b ẋ of the cart, Lagrange's equations are

    (M + m) ẍ + ½ m l (θ̈ cos θ - θ̇² sin θ) = F - b ẋ,    ½ ẍ cos θ + ⅓ l θ̈ = ½ g sin θ.

The numbers, the start and the reward are those of the environment of Gaier & Ha 2019 (first in Gal, McAllister &
Rasmussen 2016), whose θ turns the other way. Two things differ: a step is by the midpoint rule, which keeps the energy
of a swing to 2 % over an episode, where their explicit Euler step adds enough to turn a free pole over; and a step is
20 ms, not 10, with its reward twice as large, so that 1000 is the most of an episode here as there.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from commonweight.nets.genome import Genome
from commonweight.nets.population import Population

CART, POLE = 0.5, 0.5
"""Masses in kg."""
LENGTH = 0.6
"""Of the pole, in m."""
GRAVITY = 9.82
"""In m/s²."""
FRICTION = 0.1
"""Of the cart, in N s/m."""
PUSH = 10.0
"""The largest, in N."""
TRACK = 2.4
"""An episode ends when the cart is this far from the middle, in m."""
STEP, STEPS = 0.02, 500
"""Seconds of a step, and steps of an episode of 10 s."""
SPREAD = 0.2
"""Standard deviation of the four numbers of the start around a cart at rest in the middle, the pole hanging."""
N_SEEN = 5
"""A net sees x, ẋ, cos θ, sin θ, θ̇."""

Policy = Callable[[Tensor], Tensor]


def accelerations(state: Tensor, push: Tensor, friction: float = FRICTION) -> tuple[Tensor, Tensor]:
    """ẍ and θ̈ of Lagrange's equations.

    Args:
        state: x, ẋ, θ, θ̇, shape (4, ...).
        push: F in N, shape (...).
        friction: b in N s/m.
    """
    _, speed, angle, turning = state
    sine, cosine = torch.sin(angle), torch.cos(angle)
    force = push - friction * speed + 0.5 * POLE * LENGTH * turning**2 * sine
    cart = (4 * force - 3 * POLE * GRAVITY * sine * cosine) / (4 * (CART + POLE) - 3 * POLE * cosine**2)
    return cart, 1.5 * (GRAVITY * sine - cart * cosine) / LENGTH


def energy(state: Tensor) -> Tensor:
    """T + V in J."""
    _, speed, angle, turning = state
    moving = 0.5 * (CART + POLE) * speed**2 + POLE * LENGTH**2 * turning**2 / 6
    coupled = 0.5 * POLE * LENGTH * speed * turning * torch.cos(angle)
    total: Tensor = moving + coupled + 0.5 * POLE * GRAVITY * LENGTH * torch.cos(angle)
    return total


def step(state: Tensor, push: Tensor, seconds: float = STEP, friction: float = FRICTION) -> Tensor:
    """The state a little later, by the midpoint rule: the speed of change halfway is that of the whole step."""
    halfway = state + 0.5 * seconds * _change(state, push, friction)
    return state + seconds * _change(halfway, push, friction)


def _change(state: Tensor, push: Tensor, friction: float) -> Tensor:
    """ẋ, ẍ, θ̇, θ̈."""
    cart, pole = accelerations(state, push, friction)
    return torch.stack([state[1], cart, state[3], pole])


def reward(state: Tensor) -> Tensor:
    """½ (1 + cos θ) · cos(π/2 · x / 2.4) for each 10 ms: 1 for a pole upright over the middle, 0 for one that hangs."""
    return (STEP / 0.01) * 0.5 * (1 + torch.cos(state[2])) * torch.cos(0.5 * math.pi * state[0] / TRACK)


def seen(state: Tensor) -> Tensor:
    """What a net sees of states (4, ...): shape (5, ...)."""
    position, speed, angle, turning = state
    return torch.stack([position, speed, torch.cos(angle), torch.sin(angle), turning])


def starts(n: int, seed: int | Sequence[int]) -> Tensor:
    """Where n episodes begin, shape (4, n)."""
    middle = np.array([[0.0], [0.0], [math.pi], [0.0]])
    return torch.from_numpy(middle + SPREAD * np.random.default_rng(seed).normal(size=(4, n))).float()


def episodes(policy: Policy, start: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Episodes side by side, step by step.

    Args:
        policy: from what is seen, shape (5, ...), to the push from -1 to 1 (what is beyond is cut), shape (...).
        start: states, shape (4, ...).

    Yields:
        The states after a step, shape (4, ...), and the rewards for them, shape (...): 0 once the cart is off the
        track, where it stays. It ends after 500 steps, or when all carts are off.

    >>> sum(reward for _, reward in episodes(lambda x: torch.zeros(3), starts(3, seed=0))).shape
    torch.Size([3])
    """
    state, on_track = start, torch.ones(start.shape[1:], dtype=torch.bool)
    for _ in range(STEPS):
        push = PUSH * policy(seen(state)).clamp(-1, 1)
        state = torch.where(on_track, step(state, push), state)
        yield state, reward(state) * on_track
        on_track = on_track & (state[0].abs() <= TRACK)
        if not on_track.any():
            break


def policy(genomes: Sequence[Genome], weights: Tensor) -> Policy:
    """Weight-agnostic networks of 5 inputs and 1 output as a policy for states (4, P, n).

    Args:
        genomes: P of them.
        weights: shared weight of each state, shape (1, n).
    """
    population = Population(genomes)
    return lambda x: population(x.transpose(0, 1).contiguous(), weights)[:, 0, 0]


@torch.no_grad()
def swing_up(genomes: Sequence[Genome], weights: Sequence[float], start: Tensor) -> Tensor:
    """Mean reward of weight-agnostic networks, from 0 to 1000, float64 of shape (P, K).

    Args:
        genomes: P of them.
        weights: K shared weights.
        start: states (4, n), where each of them begins with each of the weights.
    """
    n = start.shape[1]
    begin = start.repeat(1, len(weights))[:, None].expand(-1, len(genomes), -1)
    push = policy(genomes, torch.tensor(weights).repeat_interleave(n)[None])
    total = sum((reward for _, reward in episodes(push, begin)), torch.zeros(begin.shape[1:]))
    return total.view(len(genomes), len(weights), n).double().mean(2)


def frames(states: Tensor, height: int = 60) -> Tensor:
    """A picture of each state, 0 or 1, shape (n, height, 3 · height): the track, the cart as a bar, the pole as a line.

    Args:
        states: shape (n, 4).
        height: in pixels; two pole lengths and a half.
    """
    scale, middle, width = height / (2.5 * LENGTH), height // 2, 3 * height
    pictures = torch.zeros(len(states), height, width)
    pictures[:, middle + 2] = 1.0
    along = torch.linspace(0, 1, height)
    position, angle = states[:, 0, None], states[:, 2, None]
    number = torch.arange(len(states))[:, None]
    for x, y in (
        (position + LENGTH * along * torch.sin(angle), LENGTH * along * torch.cos(angle)),
        (position + LENGTH * (along - 0.5) / 2, torch.zeros(1, height)),
    ):
        column = (width / 2 + scale * x).round().long().clamp(0, width - 1)
        pictures[number, (middle - scale * y).round().long(), column] = 1.0
    return pictures
