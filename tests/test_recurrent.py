"""Recurrent nets: torch's outputs and gradients, one set of weights at every step, and sequences of any length."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import commonweight as cw
from commonweight import reference
from commonweight.errors import NetError
from commonweight.nets.recurrent import FUSED, GATES, Recurrent, Unrolled, windows
from commonweight.patterns import copies, dense

CELLS = sorted(GATES)


def pair(cell, n_in, units):
    """Our layer and torch's with the same weights, in float64."""
    ours, theirs = Unrolled(cell, n_in, units).double(), FUSED[cell](n_in, units, batch_first=True).double()
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(CELLS), st.integers(1, 4), st.integers(1, 6), st.integers(1, 5), st.integers(1, 5))
def test_the_cell_written_out_is_torchs_in_outputs_and_gradients(cell, n_samples, n_steps, n_in, units):
    ours, theirs = pair(cell, n_in, units)
    x = torch.randn(n_samples, n_steps, n_in, dtype=torch.float64)
    answers = []
    for layer in (ours, theirs):
        given_x = x.clone().requires_grad_()
        states, last = layer(given_x)
        last = torch.cat(last) if isinstance(last, tuple) else last
        (states.square().sum() + (last.exp() * torch.arange(1, units + 1)).sum()).backward()
        answers.append([states, last, given_x.grad, *(dict(layer.named_parameters())[name].grad for name in NAMES)])
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("fused", [True, False])
def test_count_shows_each_weight_of_the_cell_used_once_a_step(cell, fused):
    net = Recurrent((3, 20), 4, cell=cell, units=5, fused=fused)
    counts = [cw.count(net, torch.zeros(1, 3, n_steps)) for n_steps in (20, 40)]
    weights = GATES[cell] * 5 * (3 + 5 + 2)
    for census, n_steps in zip(counts, (20, 40), strict=True):
        layer = next(layer for layer in census.layers if layer.name == "cell")
        assert (layer.weights, layer.connections) == (weights, n_steps * weights)
        (of_states,) = [parameter for parameter in census.parameters if parameter.name == "cell.weight_hh_l0"]
        assert [use.calls for use in of_states.uses] == [n_steps]


@pytest.mark.parametrize("cell", CELLS)
def test_the_inputs_of_all_steps_are_one_product_by_copies(cell):
    """Without what the states add, the first activations are those of the reference of copies(T, dense)."""
    layer = Unrolled(cell, 3, 4)
    pattern = copies(6, dense(3, GATES[cell] * 4))
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    steps = []
    layer.step = lambda a, h, c: (steps.append(a), (h, c))[1]
    layer(x)
    expected = reference.forward(pattern.tiemap(), layer.weight_ih_l0.flatten(), x.flatten(1)).unflatten(1, (6, -1))
    torch.testing.assert_close(torch.stack(steps, 1), expected + layer.bias_ih_l0)


@pytest.mark.parametrize("fused", [True, False])
def test_the_gradient_of_a_shared_weight_is_the_sum_over_the_steps(fused):
    """Against one separate copy of the cell for each step."""
    net = Recurrent((2, 4), 1, cell="elman", units=3, read="last", fused=fused).double()
    x = torch.randn(1, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    net(x).sum().backward()
    own = [[w.detach().clone().requires_grad_() for w in net.cell.parameters()] for _ in range(4)]
    h = torch.zeros(1, 3, dtype=torch.float64)
    for step, (w, u, b, c) in enumerate(own):
        h = torch.tanh(x[:, :, step] @ w.T + b + h @ u.T + c)
    net.output(h).sum().backward()
    for shared, *apart in zip(net.cell.parameters(), *own, strict=True):
        torch.testing.assert_close(shared.grad, torch.stack([weights.grad for weights in apart]).sum(0))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("read", ["mean", "last"])
@pytest.mark.parametrize("fused", [True, False])
def test_what_comes_after_the_end_of_a_sequence_changes_nothing(cell, read, fused):
    net = Recurrent((2, 9), 3, cell=cell, units=4, read=read, fused=fused)
    x = torch.randn(4, 2, 9, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([9, 1, 4, 6])
    together = net(x, lengths)
    for place, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(together[place], net(x[place : place + 1, :, :length])[0])


def test_rows_of_an_image_are_its_time_steps():
    image = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0))
    of_images, of_series = (Recurrent(shape, 2, units=4) for shape in ((3, 5, 4), (12, 5)))
    of_series.load_state_dict(of_images.state_dict())
    rows = torch.stack([image[:, :, row].flatten(1) for row in range(5)], 2)
    torch.testing.assert_close(of_images(image), of_series(rows))


def test_it_learns_to_forecast_a_series():
    """The next value of a sine, whose last value alone does not tell whether it rises or falls."""
    net = Recurrent((1, 12), 1, cell="gru", units=8, read="last")
    with torch.no_grad():
        for weights in net.parameters():
            weights.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(0))
    x, y = windows(torch.sin(torch.arange(200) * 0.5)[None], 12)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        error = (net(x) - y).square().mean()
        error.backward()
        optimizer.step()
    persistence = (x[:, 0, -1:] - y).square().mean()
    assert error.item() < 0.05 * persistence.item()


def test_windows_are_every_stretch_and_what_comes_next():
    series = torch.arange(20.0).reshape(2, 10)
    x, y = windows(series, 4, 3)
    assert (x.shape, y.shape) == ((4, 2, 4), (4, 6))
    for start in range(4):
        assert torch.equal(x[start], series[:, start : start + 4])
        assert torch.equal(y[start], series[:, start + 4 : start + 7].flatten())


def test_its_views_show_the_states_over_time():
    net = Recurrent((2, 9), 3, units=4)
    x = torch.randn(20, 2, 9)
    (view,) = net.views(x, 1 + torch.arange(20) // 2 % 3)
    assert view.labels == ["sample 1, of class 1", "sample 3, of class 2", "sample 5, of class 3"]
    torch.testing.assert_close(view.images[2, :, 3], net.states(x)[4, 3])
    (view,) = net.views(x, torch.randn(20, 1))
    assert view.images.shape == (8, 4, 9)
    assert view.caption.endswith("; sample 20.")


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: Recurrent((5,), 2), r"series of shape .* or images of shape .*, but the samples have shape \(5,\)"),
        (lambda: Recurrent((1, 5), 2, cell="rnn"), r"The cell of a recurrent net is elman, gru, lstm; got 'rnn'"),
        (lambda: Recurrent((1, 5), 2, read="all"), r"the mean of its states or the last one; got 'all'"),
        (lambda: Recurrent((1, 5), 2, units=0), r"units is a whole number from 1; got int: 0"),
        (
            lambda: Recurrent((1, 5), 2)(torch.zeros(3, 1, 5), torch.tensor([5, 0, 2])),
            r"has 1 to 5 steps; got lengths of 0 to 5: leave out the empty ones",
        ),
        (lambda: Recurrent((1, 5), 2)(torch.zeros(2, 1, 5), torch.tensor([5, 6])), r"got lengths of 5 to 6: .* pad"),
        (lambda: windows(torch.zeros(1, 9), 8, 2), r"8 steps with 2 to forecast.* need a series of 10 .*; got 9: take"),
        (lambda: windows(torch.zeros(1, 9), 0), r"Windows of 0 steps with 1 to forecast, each at least 1"),
        (
            lambda: Recurrent((1, 5), 2)(torch.zeros(2, 1, 0)),
            r"sequences of at least 1 step; got some of 0: leave out the empty",
        ),
    ],
)
def test_what_it_cannot_take_is_said_in_a_sentence(call, sentence):
    with pytest.raises(NetError, match=sentence):
        call()
