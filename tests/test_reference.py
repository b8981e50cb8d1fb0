"""The oracle against what it must not use itself: the dense matrix product, and autograd."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import patterns, tiemaps

from commonweight import reference
from commonweight.errors import PatternError
from commonweight.tiemap import TieMap

any_map = tiemaps() | patterns().map(lambda pattern: pattern.tiemap())


def numbers(tiemap: TieMap, seed: int, batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random weights (P,), inputs (B, I) and output gradients (B, O) in float64."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((tiemap.n_weights,), (batch, tiemap.n_in), (batch, tiemap.n_out))
    theta, x, grad = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)
    return theta, x, grad


@given(any_map, st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_the_three_sums_are_the_dense_matrix_product_and_its_gradients(tiemap, seed, batch):
    theta, x, grad = numbers(tiemap, seed, batch)
    matrix = tiemap.expand(theta)
    torch.testing.assert_close(reference.forward(tiemap, theta, x), x @ matrix.T)
    torch.testing.assert_close(reference.input_gradient(tiemap, theta, grad), grad @ matrix)
    torch.testing.assert_close(reference.weight_gradient(tiemap, x, grad), tiemap.adjoint(grad.T @ x))


@given(any_map, st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_both_gradients_are_those_of_autograd(tiemap, seed, batch):
    theta, x, grad = numbers(tiemap, seed, batch)
    theta.requires_grad_()
    x.requires_grad_()
    theta_grad, x_grad = torch.autograd.grad(reference.forward(tiemap, theta, x), (theta, x), grad)
    torch.testing.assert_close(reference.input_gradient(tiemap, theta.detach(), grad), x_grad)
    torch.testing.assert_close(reference.weight_gradient(tiemap, x.detach(), grad), theta_grad)


def test_by_hand():
    """y0 = 5 x0 + 7 x1, y1 = -7 x2: the second weight, used twice, once with a minus."""
    tiemap = TieMap(2, 3, 2, out=[0, 0, 1], inp=[0, 1, 2], weight=[0, 1, 1], sign=[1, 1, -1])
    theta, x, grad = torch.tensor([5.0, 7.0]), torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[10.0, 100.0]])
    assert reference.forward(tiemap, theta, x).tolist() == [[19.0, -21.0]]
    assert reference.input_gradient(tiemap, theta, grad).tolist() == [[50.0, 70.0, -700.0]]
    assert reference.weight_gradient(tiemap, x, grad).tolist() == [10.0, 2.0 * 10.0 - 3.0 * 100.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_type_of_the_numbers_is_kept(dtype):
    tiemap = TieMap.from_matrix([[0, 1], [1, 0]])
    theta, x = torch.ones(2, dtype=dtype), torch.ones(3, 2, dtype=dtype)
    assert reference.forward(tiemap, theta, x).dtype == dtype
    assert reference.input_gradient(tiemap, theta, x).dtype == dtype
    assert reference.weight_gradient(tiemap, x, x).dtype == dtype


def test_numbers_of_another_shape_are_refused():
    """One input or weight too many would otherwise be left out without a word, and the oracle be wrong."""
    tiemap, ones = TieMap.from_matrix([[0, 1, -1], [-1, 0, 1]]), torch.ones
    theta, x, grad = ones(2), ones(4, 3), ones(4, 2)
    for make, sentence in (
        (lambda: reference.forward(tiemap, ones(3), x), r"theta is a tensor of shape \(2\); got one of shape \(3,\)"),
        (lambda: reference.forward(tiemap, ones(1, 2), x), r"theta is a tensor of shape \(2\); .* \(1, 2\)"),
        (lambda: reference.forward(tiemap, theta, ones(4, 9)), r"x_BI is a tensor of shape \(B, 3\); .* \(4, 9\)"),
        (lambda: reference.forward(tiemap, theta, ones(3)), r"x_BI is a tensor of shape \(B, 3\); .* \(3,\)"),
        (lambda: reference.input_gradient(tiemap, ones(9), grad), r"theta is a tensor of shape \(2\)"),
        (lambda: reference.input_gradient(tiemap, theta, ones(4, 9)), r"grad_BO is a tensor of shape \(B, 2\)"),
        (lambda: reference.weight_gradient(tiemap, ones(4, 9), grad), r"x_BI is a tensor of shape \(B, 3\)"),
        (lambda: reference.weight_gradient(tiemap, x, [1.0]), r"grad_BO is a tensor of shape \(B, 2\); got a list"),
    ):
        with pytest.raises(PatternError, match=sentence):
            make()
