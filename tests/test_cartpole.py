"""The cart-pole by its equations: power, energy, scipy's integrator, the reward, and nets that push."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from commonweight.nets import cartpole
from commonweight.nets.agnostic import Agnostic
from commonweight.nets.genome import Genome

moderate = st.floats(-3, 3)


def derivative(_, state, push, friction):
    """The two equations of Lagrange as a linear system for ẍ and θ̈."""
    _, speed, angle, turning = state
    m_cart, m_pole, length, g = 0.5, 0.5, 0.6, 9.82
    half = 0.5 * m_pole * length
    matrix = [[m_cart + m_pole, half * math.cos(angle)], [half * math.cos(angle), m_pole * length**2 / 3]]
    forces = [push - friction * speed + half * turning**2 * math.sin(angle), half * g * math.sin(angle)]
    return [speed, np.linalg.solve(matrix, forces)[0], turning, np.linalg.solve(matrix, forces)[1]]


@given(st.tuples(*[moderate] * 4), st.floats(-10, 10), st.floats(0, 1))
def test_energy_changes_by_the_power_of_push_and_friction(state, push, friction):
    state = torch.tensor(state, dtype=torch.float64, requires_grad=True)
    cart, pole = cartpole.accelerations(state.detach(), torch.tensor(push, dtype=torch.float64), friction)
    (gradient,) = torch.autograd.grad(cartpole.energy(state), state)
    flow = torch.stack([state[1], cart, state[3], pole]).detach()
    power = (push - friction * state[1].item()) * state[1].item()
    assert float(gradient @ flow) == pytest.approx(power, abs=1e-9)


@given(st.tuples(*[moderate] * 4), st.floats(-10, 10))
def test_accelerations_solve_the_equations(state, push):
    cart, pole = cartpole.accelerations(
        torch.tensor(state, dtype=torch.float64), torch.tensor(push, dtype=torch.float64)
    )
    _, expected_cart, _, expected_pole = derivative(0, state, push, 0.1)
    assert [float(cart), float(pole)] == pytest.approx([expected_cart, expected_pole], rel=1e-9, abs=1e-9)


def test_steps_approach_the_solution_of_scipy():
    start, push, seconds = [0.1, -0.2, 2.9, 0.4], 2.0, 1.0
    exact = solve_ivp(derivative, (0, seconds), start, args=(push, 0.1), rtol=1e-10, atol=1e-10).y[:, -1]
    errors = []
    for n in (100, 200, 400):
        state = torch.tensor(start, dtype=torch.float64)
        for _ in range(n):
            state = cartpole.step(state, torch.tensor(push, dtype=torch.float64), seconds / n)
        errors.append(np.abs(state.numpy() - exact).max())
    assert errors[-1] < 1e-3
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)  # of second order
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


def test_energy_of_a_swing_stays():
    state = torch.tensor([0.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    begin, bottom = cartpole.energy(state), -0.5 * cartpole.POLE * cartpole.GRAVITY * cartpole.LENGTH
    for _ in range(cartpole.STEPS):
        state = cartpole.step(state, torch.tensor(0.0, dtype=torch.float64), friction=0.0)
        assert abs(float(cartpole.energy(state) - begin)) < 0.02 * float(begin - bottom)


def test_reward_by_hand():
    upright, hanging, aside, leaning = torch.tensor(
        [[0.0, 1.0, 0.0, 1.0], [0.0, 0.0, math.pi, 0.0], [1.2, 0.0, 0.0, 0.0], [0.0, 0.0, math.pi / 2, 0.0]]
    )
    rewards = [float(cartpole.reward(state)) * 0.01 / cartpole.STEP for state in (upright, hanging, aside, leaning)]
    assert rewards == pytest.approx([1, 0, math.cos(math.pi / 4), 0.5], abs=1e-6)
    assert cartpole.STEPS * float(cartpole.reward(upright)) == pytest.approx(1000)


def test_episodes_begin_around_a_hanging_pole():
    begin = cartpole.starts(4000, seed=1)
    torch.testing.assert_close(begin.mean(1), torch.tensor([0.0, 0.0, math.pi, 0.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(begin.std(1), torch.full((4,), 0.2), atol=0.02, rtol=0)
    assert torch.equal(begin, cartpole.starts(4000, seed=1))


def test_an_episode_ends_beyond_the_track():
    """Full push to the right: there the cart stays, and earns nothing more."""
    told = list(cartpole.episodes(lambda x: torch.full((2,), 7.0), cartpole.starts(2, seed=0)))
    assert len(told) < cartpole.STEPS / 4
    last, _ = told[-1]
    assert (last[0] > 2.4).all()
    first_off = next(number for number, (state, _) in enumerate(told) if (state[0] > 2.4).any())
    assert (told[first_off][0][0] > 2.4).sum() == 1
    off = told[first_off][0][0] > 2.4
    state, reward = told[first_off + 1]
    assert torch.equal(state[:, off], told[first_off][0][:, off])
    assert reward[off] == 0


def test_populations_swing_as_each_net_does_alone():
    some = [
        Genome(5, 1, ("tanh",), ((3, 7), (4, 7), (7, 6), (0, 6))),
        Genome(5, 1, (), ((2, 6), (3, 6))),
    ]
    weights, begin = (-0.5, 1.0), cartpole.starts(3, seed=2)
    together = cartpole.swing_up(some, weights, begin)
    for genome, rewards in zip(some, together, strict=True):
        net = Agnostic((5,), 1, genome.hidden, genome.connections)
        for weight, expected in zip(weights, rewards, strict=True):
            torch.nn.init.constant_(net.weight, weight)
            with torch.no_grad():
                total = sum(reward for _, reward in cartpole.episodes(lambda x, net=net: net(x.t())[:, 0], begin))
            assert float(total.mean()) == pytest.approx(float(expected), rel=2e-2)


def test_a_frame_shows_the_pole():
    hanging, upright = cartpole.frames(torch.tensor([[0.0, 0.0, math.pi, 0.0], [0.0, 0.0, 0.0, 0.0]]))
    assert hanging.shape == (60, 180)
    middle = 90
    assert upright[10:28, middle].all()
    assert not upright[35:, middle].any()
    assert hanging[35:50, middle].all()
    assert not hanging[:28, middle].any()
