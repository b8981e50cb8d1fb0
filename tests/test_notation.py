"""Ties as equations: what can be written, what it stands for, and a sentence for every mistake."""

import re
import string

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from commonweight.errors import TieError
from commonweight.notation import Equation, Star, expand, parse, parse_one, parse_transforms
from commonweight.transforms import Flip, Minus, Slice, Transpose, canonical, print_transforms

LAYERS = [f"layers.{n}.{rest}" for n in range(6) for rest in ("attn.q.weight", "attn.q.bias", "norm.weight")]
MODEL = [*LAYERS, "embed.weight", "head.weight", "T"]


def ties(text, names=MODEL):
    return [str(equation) for equation in expand(parse(text), names)]


sizes = st.none() | st.integers(-3, 3)
slices = st.lists(
    st.integers(-3, 3) | st.tuples(sizes, sizes, st.none() | st.integers(1, 3)), min_size=1, max_size=3
).map(lambda items: Slice(tuple(items)))
flips = st.lists(st.integers(-3, 3), min_size=1, unique=True).map(lambda dims: Flip(tuple(dims)))
transforms = st.lists(st.one_of(st.just(Transpose()), st.just(Minus()), flips, slices), max_size=5).map(tuple)
names = st.text(min_size=1, max_size=12) | st.text(alphabet="aT.*-{}[](), ='\"0", min_size=1, max_size=8)


@given(alias=names, source=names, transforms=transforms)
def test_what_is_printed_is_read_back_whatever_the_names(alias, source, transforms):
    equation = Equation(alias, source, transforms)
    assert parse_one(str(equation)) == equation


@given(transforms)
def test_transforms_are_read_back_without_the_name(transforms):
    assert parse_transforms(print_transforms(canonical(transforms))) == canonical(transforms)


@given(st.text(alphabet=string.printable, max_size=30) | st.text(alphabet='aT.*-{}[](), ="0flip:', max_size=30))
def test_any_text_is_read_or_refused_in_one_sentence(text):
    try:
        parse(text)
    except TieError as error:
        sentence = str(error)
    else:
        return
    assert re.search(r"expected .+ at character \d+, found ", sentence)


@given(transforms)
def test_pairs_that_cancel_change_nothing(transforms):
    x = torch.arange(12.0).view(3, 4) + 1
    plain = x
    try:
        for transform in transforms:
            plain = transform.apply(plain)
    except TieError:
        return
    assert torch.equal(Equation("a", "b", transforms).apply(x), plain)


@given(st.lists(st.sampled_from([Transpose(), Minus(), Flip((0,)), Flip((1, 0)), Flip((-1,))]), max_size=6))
def test_pulling_back_inverts_all_but_slices(transforms):
    equation = Equation("a", "b", tuple(transforms))
    x = torch.arange(12.0).view(3, 4)
    assert torch.equal(equation.pull_back(equation.apply(x)), x)


@given(transforms)
def test_pulling_back_a_slice_fills_up_from_the_base(transforms):
    equation = Equation("a", "b", transforms)
    x, base = torch.arange(24.0).view(2, 3, 4), -torch.ones(2, 3, 4)
    try:
        alias = equation.apply(x)
    except TieError:
        return
    whole = equation.pull_back(alias, base)
    assert torch.equal(equation.apply(whole), alias)
    kept = whole != x
    assert torch.equal(whole[kept], base[kept])
    assert torch.equal(base, -torch.ones(2, 3, 4))
    assert (equation.pull_back(alias) is None) == any(isinstance(t, Slice) for t in equation.transforms)


@given(transforms, transforms)
def test_a_chain_is_one_equation(first, second):
    inner, outer = Equation("b", "a", first), Equation("c", "b", second)
    x = torch.arange(12.0).view(3, 4)
    try:
        expected = outer.apply(inner.apply(x))
    except TieError:
        return
    chain = outer.after(inner)
    assert (chain.alias, chain.source) == ("c", "a")
    assert torch.equal(chain.apply(x), expected)


def test_the_gradient_of_the_source_is_the_sum_over_both_uses():
    w = torch.tensor([[1.0, 2.0, 3.0]], requires_grad=True)
    alias = parse_one("a = -w.T[1:].flip(0)").apply(w)
    assert alias.tolist() == [[-3.0], [-2.0]]
    (w.sum() + (alias * torch.tensor([[10.0], [100.0]])).sum()).backward()
    assert w.grad.tolist() == [[1.0, -99.0, -9.0]]


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("head.weight=embed.weight", "head.weight = embed.weight"),
        ("  a =  - b . ", None),
        ("a = - b.T", "a = -b.T"),
        ("a = b.T.T", "a = b"),
        ("a = b.T.flip( 0,-1 ).T", "a = b.T.flip(0, -1).T"),
        ("a = b[ 1:, :4 , ::2,-1]", "a = b[1:, :4, ::2, -1]"),
        ("a = b[0].T", "a = b[0].T"),
        ("a = T", "a = T"),
        ("T = T.T.x", "T = T.T.x"),
        ("a = flip", "a = flip"),
        ("a = x.flip", "a = x.flip"),
        ('a = "x.T"', 'a = "x.T"'),
        ('a = "x.T".T', 'a = "x.T".T'),
        ('"a b" = "c""d"', '"a b" = "c""d"'),
        ('"a" = conv-1.weight', "a = conv-1.weight"),
    ],
)
def test_canonical_text(text, printed):
    if printed is None:
        with pytest.raises(TieError):
            parse(text)
    else:
        assert str(parse_one(text)) == printed


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "Cannot read the tie ``: expected a name, `*` or a brace list at character 1, found the end."),
        ("head", "Cannot read the tie `head`: expected `=` at character 5, found the end."),
        (
            "head == embed",
            "Cannot read the tie `head == embed`: expected a name, `*` or a brace list at character 7, found `=`.",
        ),
        ("a..b = c", "Cannot read the tie `a..b = c`: expected a name, `*` or a brace list at character 3, found `.`."),
        (
            "a.T = b",
            "Cannot read the tie `a.T = b`: expected `=` (a transform belongs to the right side; a tensor whose name "
            "is T is written in quotes) at character 5, found `=`.",
        ),
        ("a = b.{x,}", "expected an item of the brace list at character 10, found `}`."),
        ("a = b.{x;y", "expected `,` or `}` at character 11, found the end."),
        ("a = b.flip()", "expected the number of an axis, each once at character 12, found `)`."),
        ("a = b.flip(0, 0)", "expected the number of an axis, each once at character 16, found `)`."),
        ("a = b.flip(0", "expected `,` or `)` at character 13, found the end."),
        ("a = b[]", "expected an index or a slice at character 7, found `]`."),
        ("a = b[0:1", "expected `,` or `]` at character 10, found the end."),
        ("a = b[::0]", "expected a step of at least 1 before this at character 10, found `]`."),
        ("a = b.exp()", "expected `.T`, `.flip(d, ...)`, a slice or the end at character 10, found `(`."),
        ("a = b[0].weight", "expected `.T`, `.flip(d, ...)`, a slice or the end at character 9, found `.`."),
        ("a = b c", "expected `.T`, `.flip(d, ...)`, a slice or the end at character 7, found `c`."),
        ('a = "b', 'expected a closing `"` at character 7, found the end.'),
    ],
)
def test_a_mistake_is_shown_at_its_place(text, sentence):
    with pytest.raises(TieError, match=re.escape(sentence) + "$"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("head.weight = embed.weight.T", ["head.weight = embed.weight.T"]),
        (
            "layers.{1,3,5}.norm.weight = layers.{0,2,4}.norm.weight",
            [f"layers.{n + 1}.norm.weight = layers.{n}.norm.weight" for n in (0, 2, 4)],
        ),
        (
            "layers.{1,3}.* = layers.{0,2}.*",
            [a.replace("layers.", f"layers.{n + 1}.") + " = " + a.replace("layers.", f"layers.{n}.")
             for n in (0, 2) for a in ("layers.attn.q.weight", "layers.attn.q.bias", "layers.norm.weight")],
        ),
        ("layers.* = layers.0.*", [f"{a} = layers.0.{a[9:]}" for a in LAYERS if a[7] != "0"]),
        ("layers.*.* = layers.0.*", [f"{a} = layers.0.{a[9:]}" for a in LAYERS if a[7] != "0"]),
        ("layers.*.norm.weight = layers.2.norm.weight",
         [f"layers.{n}.norm.weight = layers.2.norm.weight" for n in (0, 1, 3, 4, 5)]),
        ("{head,layers.0}.weight = embed.weight", None),
        ("{head,embed}.weight = T", ["head.weight = T", "embed.weight = T"]),
        ("layers.{1,2} = layers.0", ["layers.1 = layers.0", "layers.2 = layers.0"]),
        ("layers.{0,1} = layers.0", ["layers.1 = layers.0"]),
        ("head.* = embed.*", ["head.weight = embed.weight"]),
        ("{layers,layers}.1.{attn,norm} = layers.2.{attn,norm}",
         ["layers.1.attn = layers.2.attn", "layers.1.norm = layers.2.norm"] * 2),
    ],
)  # fmt: skip
def test_what_an_equation_stands_for(text, expected):
    if expected is None:
        with pytest.raises(TieError, match="expected `,` or `}`"):
            ties(text)
    else:
        assert ties(text) == expected


def test_stars_pair_in_order_from_the_end():
    names = [f"{side}.{n}.{part}.w" for side in "ab" for n in "01" for part in "xy"]
    assert ties("a.*.*.w = b.*.*.w", names) == [f"a.{n}.{p}.w = b.{n}.{p}.w" for n in "01" for p in "xy"]
    assert ties("a.*.*.w = b.0.*.w", names) == [f"a.{n}.{p}.w = b.0.{p}.w" for n in "01" for p in "xy"]
    assert ties("a.{0,1}.{x,y}.* = b.0.{y,x}.*", names) == [
        f"a.{n}.{p}.w = b.0.{q}.w" for n in "01" for p, q in ("xy", "yx")
    ]


def test_names_are_taken_literally():
    names = ["a+.w", "aa.w", "b.w", "b(1).w"]
    assert ties("a+.* = b.*", names) == ["a+.w = b.w"]
    assert ties('"b(1).w" = b.w', names) == ['"b(1).w" = b.w']


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "heat.weight = embed.weight",
            "`heat.weight = embed.weight` names `heat.weight`, which does not exist; nearest: `head.weight`, ",
        ),
        ("head.weight = x.y", "`head.weight = x.y` names `x.y`, which does not exist."),
        (
            "layers.{0,1}.norm.* = layers.{2,9}.norm.*",
            "`layers.{0,1}.norm.* = layers.{2,9}.norm.*` names `layers.9.norm.weight`, which does not exist; nearest: ",
        ),
        ("head.weight = head.weight", "ties `head.weight` to itself; name two different tensors."),
        (
            "head = embed.weight",
            "`head = embed.weight` ties the tensor `embed.weight` and the module `head`; tie two tensors or two "
            "modules (`head.*` stands for the tensors of a module).",
        ),
        ("head = -embed", "transforms the module `embed`; a transform takes a tensor, such as `embed.*`."),
        ("layers.0.attn = layers.0", "ties a module to a part of itself; name two modules side by side."),
        ("layers.0 = layers.0.attn", "ties a module to a part of itself; name two modules side by side."),
        ("layers.*.k.weight = embed.weight", "ties nothing: its left side fits none of the 21 names of tensors."),
        (
            "head.* = *.*",
            "`head.* = *.*` has more stars on its right side (2) than on its left (1); each on the right takes its "
            "meaning from one on the left.",
        ),
        ("head.* = {embed,T}.*", "has more brace lists on its right side (1) than on its left (0); each on the right"),
        ("layers.{0,1,2} = layers.{3,4}", "pairs a brace list of 3 with one of 2; expected equal lengths."),
    ],
)
def test_an_equation_that_fits_no_model_is_refused(text, sentence):
    with pytest.raises(TieError, match=re.escape(sentence)):
        ties(text)


def test_one_equation_is_not_many():
    for text in ("a.* = b", "a = b.{c,d}"):
        with pytest.raises(TieError, match=re.escape(f"`{text}` stands for several ties; expected one")):
            parse_one(text)


@pytest.mark.parametrize(
    ("text", "shape", "sentence"),
    [
        (".T", (2, 3, 4), "`.T` transposes a matrix, that is 2 axes; got a tensor of shape (2, 3, 4)."),
        (".flip(2)", (2, 3), "`.flip(2)` needs different axes of the tensor; got one of shape (2, 3)."),
        (".flip(1, -1)", (2, 3), "`.flip(1, -1)` needs different axes of the tensor; got one of shape (2, 3)."),
        ("[0, 0, 0]", (2, 3), "`[0, 0, 0]` reaches outside of a tensor of shape (2, 3)."),
        ("[:, 3]", (2, 3), "`[:, 3]` reaches outside of a tensor of shape (2, 3)."),
    ],
)
def test_a_transform_that_does_not_fit_is_refused(text, shape, sentence):
    (transform,) = parse_transforms(text)
    with pytest.raises(TieError, match=re.escape(sentence)):
        transform.apply(torch.zeros(shape))


def test_a_star_shows_as_one():
    assert repr(Star()) == "*"
    assert len({Star(), Star()}) == 1


@pytest.mark.parametrize(
    ("given", "what"),
    [(None, "a NoneType"), (3, "a int"), (b"a = b", "a bytes"), ("a = b" + ".T" * 40_000, "80,005 characters")],
)
def test_what_is_no_text_or_has_no_end_is_no_equation(given, what):
    with pytest.raises(TieError, match=f"such as 'b.weight = a.weight', of at most 65,536 characters; got {what}"):
        parse(given)


def test_a_long_equation_is_read_in_a_time_that_grows_with_its_length():
    """Twice 32,000 times `.T` is nothing; not in a time that grows with the square of it."""
    assert parse_one("a = b" + ".T" * 32_000).transforms == ()


def test_few_brace_lists_stand_for_more_ties_than_are_tried():
    with pytest.raises(
        TieError, match=r"stands for 67,108,864 choices of its brace lists; at most 1,048,576 are tried"
    ):
        expand(parse("{a,b}" * 26 + " = head.weight"), MODEL)
