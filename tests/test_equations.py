"""Ties of live models: what can be tied, whose values win, and a sentence for all that cannot be."""

import copy
import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tied_models import linear, listed, net, pair
from torch import nn

from commonweight.equations import check, tie, ties, untie
from commonweight.errors import TieError

TRANSFORMS = {
    "": lambda w: w,
    ".T": lambda w: w.T,
    ".flip(0)": lambda w: w.flip(0),
    ".T.flip(0, 1)": lambda w: w.T.flip(0, 1),
    "[1:3]": lambda w: w[1:3],
    "[:, 0:1].T": lambda w: w[:, 0:1].T,
    "[2]": lambda w: w[2],
}


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_value_and_gradient_of_every_transform(transform, sign):
    """∂L/∂source is the sum over both uses: here for a loss that is linear in both, with known coefficients."""
    model = net(a=nn.ParameterDict({"w": torch.randn(4, 3, generator=torch.Generator().manual_seed(0))}))
    take = TRANSFORMS[transform]
    scale = -1 if sign else 1
    model["b"] = nn.ParameterDict({"w": torch.zeros_like(take(model.a.w))})
    tie(model, f"b.w = {sign}a.w{transform}", keep="source")
    assert torch.equal(model.b.w, scale * take(model.a.w))
    assert [name for name, _ in model.named_parameters()] == ["a.w"]
    coefficients = torch.randn(take(model.a.w).shape, generator=torch.Generator().manual_seed(1))
    (2 * model.a.w.sum() + (coefficients * model["b"]["w"]).sum()).backward()
    w = model.a.w.detach().clone().requires_grad_()
    expected = torch.autograd.grad(2 * w.sum() + (coefficients * scale * take(w)).sum(), w)[0]
    assert torch.equal(model.a.w.grad, expected)
    assert listed(model) == [f"b.w = {sign}a.w{transform}  (declared: same parameter)"]
    check(model)


@given(
    keep=st.sampled_from(["source", "alias", "mean"]),
    transform=st.sampled_from(list(TRANSFORMS)),
    sign=st.sampled_from(["", "-"]),
    seed=st.integers(0, 5),
)
def test_whose_values_win(keep, transform, sign, seed):
    draw = torch.Generator().manual_seed(seed)
    source = torch.randn(4, 3, generator=draw, dtype=torch.float64)
    take = TRANSFORMS[transform]
    scale = -1 if sign else 1
    alias = torch.randn(take(source).shape, generator=draw, dtype=torch.float64)
    model = net(a=nn.ParameterDict({"w": source.clone()}), b=nn.ParameterDict({"w": alias.clone()}))
    tie(model, f"b.w = {sign}a.w{transform}", keep=keep)
    expected = {"source": scale * take(source), "alias": alias, "mean": (scale * take(source) + alias) / 2}[keep]
    torch.testing.assert_close(model.b.w, expected)
    unused = torch.ones(4, 3)
    take(unused).zero_()  # a view, or a flip of all of it
    if "flip" not in transform:
        assert torch.equal(model.a.w[unused.bool()], source[unused.bool()])


def test_the_mean_is_over_the_source_and_all_of_its_aliases():
    model = net(a=linear(2, 2), b=linear(2, 2), c=linear(2, 2))
    with torch.no_grad():
        for layer, value in zip(model.values(), (1.0, 2.0, -9.0), strict=True):
            layer.weight.fill_(value)
    tie(model, "b.weight = a.weight", "c.weight = -a.weight.T", keep="mean")
    assert (model.a.weight == 4).all()
    assert (model.c.weight == -4).all()


def test_different_values_are_refused_with_the_remedies_and_nothing_is_changed():
    model = pair()
    with torch.no_grad():
        model.b.weight.copy_(model.a.weight)
        model.b.weight[1, 1] += 0.25
    before = copy.deepcopy(model.state_dict())
    sentence = (
        "The two sides have different values: `b.weight = a.weight`, max |Δ| = 0.25. Say which ones both get: "
        "1. keep='source', those of `a.weight`; 2. keep='alias', those of `b.weight`; 3. keep='mean', the mean of both."
    )
    with pytest.raises(TieError, match=re.escape(sentence)):
        tie(model, "b.weight = a.weight")
    assert model.b.weight is not model.a.weight
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert type(model) is nn.ModuleDict
    assert not ties(model)
    with torch.no_grad():
        model.b.weight.copy_(model.a.weight)
    assert list(map(str, tie(model, "b.weight = a.weight"))) == ["b.weight = a.weight"]
    assert model.b.weight is model.a.weight


def test_nan_in_one_place_is_no_difference_but_elsewhere_it_is():
    model = pair()
    with torch.no_grad():
        model.a.weight[0, 0] = float("nan")
        model.b.weight.copy_(model.a.weight)
    tie(model, "b.weight = a.weight")
    other = pair()
    with torch.no_grad():
        other.b.weight.copy_(other.a.weight)
        other.b.weight[0, 0] = float("nan")
    with pytest.raises(TieError, match=r"max \|Δ\| = inf"):
        tie(other, "b.weight = a.weight")


def test_many_differences_are_counted():
    blocks = nn.Sequential(*(linear(2, 2, seed) for seed in range(12)))
    with pytest.raises(TieError, match=r"`8.weight = 0.weight`, max .*; and 3 more\. Say"):
        tie(blocks, "*.weight = 0.weight")


def test_all_equations_are_checked_before_one_is_applied():
    model = net(a=linear(3, 2), b=linear(3, 2), c=linear(4, 4))
    with pytest.raises(TieError, match=r"`c.weight` has shape \(4, 4\), and the right side has \(3, 2\)"):
        tie(model, "b.weight = a.weight", "c.weight = a.weight", keep="source")
    assert model.b.weight is not model.a.weight


def broken_models():
    def lazy():
        return net(a=nn.LazyLinear(3), b=linear(3, 2))

    def norms():
        return net(a=nn.BatchNorm1d(3), b=nn.BatchNorm1d(3), l=linear(3, 2))

    def integers():
        return net(
            **{k: nn.ParameterList([nn.Parameter(torch.arange(3), requires_grad=False)]) for k in "ab"}, l=linear(3, 2)
        )

    def normed():
        model = pair()
        nn.utils.parametrizations.weight_norm(model.b)
        return model

    def mixed(change):
        def make():
            model = pair()
            change(model)
            return model

        return make

    three = lambda: net(a=linear(3, 3), b=linear(3, 3, 1), c=linear(3, 3, 2))  # noqa: E731
    yield pair, ["b.weight = a.wait"], "`b.weight = a.wait` names `a.wait`, which does not exist; nearest: `a.weight`"
    yield (
        pair,
        ["b.weight = a.weight.T"],
        ("`b.weight = a.weight.T` does not fit: `b.weight` has shape (3, 2), and the right side has (2, 3)."),
    )
    yield pair, ["b.weight = a.weight.flip(2)"], "`.flip(2)` needs different axes"
    yield (
        three,
        ["b.weight = a.weight", "b.weight = c.weight"],
        ("`b.weight` is tied twice, by `b.weight = a.weight` and by `b.weight = c.weight`; drop one."),
    )
    yield (
        three,
        ["b.weight = a.weight", "c.weight = b.weight.T", "a.weight = c.weight"],
        (
            "These ties go round in a circle, so that nobody owns the weights: `b.weight` = `a.weight` = `c.weight` = "
            "`b.weight`; drop one."
        ),
    )
    yield three, ["b = a", "a.weight = b.weight"], "These ties go round in a circle"
    yield (
        three,
        ["b = a", "b.weight = c.weight"],
        ("`b.weight = c.weight` ties a part of `b`, which `b = a` replaces as a whole; drop one of them."),
    )
    yield (
        norms,
        ["b.running_mean = a.running_mean"],
        ("`b.running_mean = a.running_mean` ties `b.running_mean`, which is a buffer: it is not trained;"),
    )
    yield norms, ["b.weight = a.running_var"], "ties `a.running_var`, which is a buffer"
    yield integers, ["b.0 = a.0"], "ties `b.0`, which holds torch.int64 and cannot be trained; tie the modules."
    yield lazy, ["b.weight = a.weight"], "ties `a.weight`, which has no shape yet; run the model once, then tie."
    yield (
        normed,
        ["b.weight = a.weight"],
        ("`b.weight = a.weight` gives `b.weight` to another owner, but a parametrization computes it"),
    )
    yield (
        mixed(lambda m: m.b.double()),
        ["b.weight = a.weight"],
        (
            "`b.weight = a.weight` ties tensors of different data type: `b.weight` has torch.float64, `a.weight` has "
            "torch.float32; make them the same first."
        ),
    )
    yield mixed(lambda m: m.b.to("meta")), ["b.weight = a.weight"], "ties tensors of different device: `b.weight` has"
    yield mixed(lambda m: m.b.requires_grad_(False)), ["b.weight = a.weight"], "of different requires_grad: "
    yield norms, ["a = l"], "`a = l` would replace BatchNorm1d(3, eps=1e-05,"
    yield (
        lambda: net(a=nn.Linear(2, 2), b=nn.Linear(2, 3)),
        ["b = a"],
        (
            "`b = a` would replace Linear(in_features=2, out_features=3, bias=True) by Linear(in_features=2, "
            "out_features=2, bias=True), which is not set up alike; tie their tensors only: `b.* = a.*`."
        ),
    )
    yield (
        lambda: net(a=nn.Sequential(nn.ReLU(), nn.Linear(1, 1)), b=nn.Sequential(nn.Linear(1, 1))),
        ["b = a"],
        ("`b = a` would replace Sequential(...) by Sequential(...)"),
    )


@pytest.mark.parametrize(("make", "equations", "sentence"), list(broken_models()))
def test_what_cannot_be_tied_is_refused_in_one_sentence(make, equations, sentence):
    model = make()
    with pytest.raises(TieError, match=re.escape(sentence)):
        tie(model, *equations, keep="source")
    assert all(t.origin == "found" for t in ties(model))


def test_modules_that_print_alike_but_hold_other_tensors_are_refused():
    class Odd(nn.Module):
        def __init__(self, *shape):
            super().__init__()
            self.w = nn.Parameter(torch.ones(shape))

    with pytest.raises(TieError, match=r"`w` has shape \(3,\) in `b` and \(2,\) in `a`; tie the tensors that fit"):
        tie(net(a=Odd(2), b=Odd(3)), "b = a")


def test_an_unknown_keep_is_refused():
    with pytest.raises(TieError, match="keep is 'source', 'alias' or 'mean'; got 'both'"):
        tie(pair(), "b.weight = a.weight", keep="both")


def test_aliases_that_differ_among_themselves_leave_their_values_open():
    model = net(a=linear(2, 2), b=linear(2, 2, 1), c=linear(2, 2, 2))
    with pytest.raises(TieError, match=r"leaves it open which alias of `a.weight` is meant.*`b.weight`, `c.weight`;"):
        tie(model, "b.weight = a.weight", "c.weight = a.weight", keep="alias")


def test_chains_have_one_owner_in_any_order_of_writing():
    model = net(a=linear(2, 2), b=linear(2, 2, 1), c=linear(2, 2, 2), d=linear(2, 2, 3))
    tie(model, "d.weight = c.weight.T", "c.weight = b.weight.T", "b.weight = a.weight", keep="source")
    assert model.d.weight is model.b.weight is model.a.weight
    assert torch.equal(model.c.weight, model.a.weight.T)
    assert [name for name, _ in model.named_parameters()] == ["a.weight"]
    check(model)


def test_an_owner_that_becomes_an_alias_takes_its_aliases_along():
    model = net(a=linear(2, 2), b=linear(2, 2, 1), c=linear(2, 2, 2), d=linear(2, 2, 3))
    tie(model, "c.weight = b.weight", "d.weight = -b.weight", keep="source")
    tie(model, "b.weight = a.weight", keep="source")
    assert model.c.weight is model.a.weight
    assert torch.equal(model.d.weight, -model.a.weight)
    check(model)
    with pytest.raises(TieError, match=r"`b.weight = d.weight` ties `b.weight` again: it is tied by `b.weight = a.we"):
        tie(model, "b.weight = d.weight", keep="source")


def test_a_module_tie_shares_buffers_too():
    model = net(a=nn.BatchNorm1d(3), b=nn.BatchNorm1d(3))
    with torch.no_grad():
        model.b.running_mean.fill_(4)
        model.b.num_batches_tracked.fill_(7)
    with pytest.raises(TieError, match=r"`b.running_mean = a.running_mean`, max \|Δ\| = 4; `b.num_batches_tracked"):
        tie(model, "b = a")
    tie(model, "b = a", keep="mean")
    assert model.b is model.a
    assert model.a.running_mean.tolist() == [2, 2, 2]
    assert model.a.num_batches_tracked == 0  # whole numbers have no mean
    check(model)
    assert listed(model) == ["b = a  (declared: same module)"]
    twin = copy.deepcopy(model)
    check(twin)
    state = {name: value + 1 for name, value in model.state_dict().items()}
    for assign in (False, True):
        twin.load_state_dict(state, assign=assign)
        check(twin)
        assert torch.equal(twin.b.running_mean, state["a.running_mean"])
    with pytest.raises(TieError, match=r"contradicts 1 .* `b.running_mean = a.running_mean`"):
        twin.load_state_dict(state | {"b.running_mean": torch.zeros(3)})


def test_a_tie_can_be_declared_twice_and_again_after_it_broke():
    model = pair()
    tie(model, "b.weight = a.weight", keep="source")
    tie(model, "b.weight = a.weight")
    assert len(ties(model)) == 1
    model.b.weight = nn.Parameter(model.b.weight + 1)
    assert listed(model) == ["b.weight = a.weight  (declared: diverged, max |Δ| 1)"]
    with pytest.raises(TieError, match="different values"):
        tie(model, "b.weight = a.weight")
    tie(model, "b.weight = a.weight", keep="alias")
    check(model)
    assert len(ties(model)) == 1


def test_ties_of_a_part_count_for_the_whole():
    part = pair()
    tie(part, "b.weight = a.weight", keep="source")
    model = nn.Sequential(part)
    assert listed(model) == ["0.b.weight = 0.a.weight  (declared: same parameter)"]
    part.b = linear(3, 2, 5)
    with pytest.raises(TieError, match=r"`0.b.weight = 0.a.weight`"):
        check(model)
    tie(model, "0.b.weight = 0.a.weight", keep="source")
    check(model)
    assert len(ties(model)) == 1
    untie(model, "0.b.weight")
    assert part.b.weight is not part.a.weight
    assert [t.origin for t in ties(model)] == ["untied"]


def test_parts_with_ties_of_their_own_can_be_tied_as_modules():
    model = net(x=pair(), y=pair())
    for part in model.values():
        tie(part, "b.weight = a.weight.flip(0)", keep="source")
    tie(model, "y = x")
    assert model.y is model.x
    check(model)
    check(copy.deepcopy(model))


def test_untie_copies_and_records():
    model = net(a=linear(2, 2), b=linear(2, 2, 1), c=linear(2, 2, 2))
    tie(model, "b.weight = a.weight.T", "c.weight = b.weight", keep="source")
    untie(model, "b.weight")
    assert torch.equal(model.b.weight, model.a.weight.T)
    assert model.c.weight is model.b.weight
    assert sorted(name for name, _ in model.named_parameters()) == ["a.weight", "b.weight"]
    assert listed(model) == [
        "c.weight = b.weight  (declared: same parameter)",
        "b.weight = a.weight.T  (untied: equal up to a transform)",
    ]
    with torch.no_grad():
        model.b.weight[0, 0] += 2
    assert listed(model)[1] == "b.weight = a.weight.T  (untied: diverged, max |Δ| 2)"
    assert [t.origin for t in ties(copy.deepcopy(model))] == ["declared", "untied"]
    assert model.state_dict().keys() == {"a.weight", "b.weight", "c.weight"}
    tie(model, "b.weight = a.weight.T", keep="source")
    assert [t.origin for t in ties(model)] == ["declared", "declared"]
    check(model)


def test_what_is_untied_or_copied_without_gradients_is_trained_all_the_same():
    model = pair()
    tie(model, "b.weight = -a.weight", keep="source")
    with torch.no_grad():
        assert copy.deepcopy(model.b).weight.requires_grad
        model.c = linear(3, 2)
        tie(model, "a.weight = c.weight", keep="source")
        untie(model, "b.weight")
    assert model.b.weight.requires_grad
    assert torch.equal(model.b.weight, -model.c.weight)


def test_untie_of_what_was_only_found_and_of_modules():
    shared = linear(2, 2)
    model = net(a=shared, b=shared, c=linear(2, 2, 1))
    model.c.weight = shared.weight
    untie(model, "b")
    assert model.b is not model.a
    untie(model, "c.weight")
    assert model.c.weight is not model.a.weight
    assert listed(model) == ["b = a  (untied: equal bits)", "c.weight = a.weight  (untied: equal bits)"]
    tie(model, "b = a")
    untie(model, "b")
    assert model.b is not model.a


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a.weight", "`a.weight` owns the weights; untie one of its aliases: `b.weight`."),
        ("b.wait", "There is no `b.wait` in the model; nearest: `b.weight`."),
        ("c.weight", "`c.weight` is not tied; `commonweight.ties(model)` lists what is."),
        ("d.weight", "`d.weight` is a part of `d`, which `d = c` replaces whole; untie `d`."),
    ],
)
def test_what_cannot_be_untied(name, sentence):
    model = net(a=linear(2, 2), b=linear(2, 2, 1), c=linear(2, 2, 2), d=linear(2, 2, 3))
    tie(model, "b.weight = a.weight", "d = c", keep="source")
    with pytest.raises(TieError, match=re.escape(sentence)):
        untie(model, name)


def test_a_broken_tie_is_untied_as_it_is():
    model = pair()
    tie(model, "b.weight = a.weight", keep="source")
    own = model.b.weight = nn.Parameter(torch.ones(3, 2))
    untie(model, "b.weight")
    assert model.b.weight is own
    check(model)
    model.c = linear(4, 4)
    tie(model, "b.weight = a.weight", keep="source")
    model.b = model.c
    assert listed(model)[0] == "b.weight = a.weight  (declared: diverged)"
    with pytest.raises(TieError, match="replaced by a tensor of another shape or device, or without values"):
        check(model)


@pytest.mark.parametrize("use", [ties, check, lambda model: tie(model, "a = b"), lambda model: untie(model, "a")])
@pytest.mark.parametrize("given", [None, 3, {"a.weight": torch.zeros(2)}])
def test_only_a_model_has_ties(use, given):
    with pytest.raises(
        TieError, match=f"^Ties are those of a model, a torch.nn.Module; got a {type(given).__name__}.$"
    ):
        use(given)


@pytest.mark.parametrize("name", [None, 3, ("a",)])
def test_the_name_of_an_alias_is_a_text(name):
    with pytest.raises(
        TieError, match=re.escape(f"untie takes the name of an alias, such as 'head.weight'; got {name!r}.")
    ):
        untie(pair(), name)
