"""Nothing that torch does to a model loses a tie; beside each test stands what plain PyTorch does.

Numbers of bugs in the wild are those of FACTS.md: repository#issue.
"""

import copy
import io
import pickle
import re

import pytest
import torch
from safetensors.torch import load_model, save_model
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrizations, parametrize
from torch.utils.checkpoint import checkpoint

from commonweight.equations import check, tie, ties, untie
from commonweight.errors import TieError


class Plain(nn.Module):
    """A net with two tied pairs as people write them: a language model's head, an autoencoder's decoder."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.encoder = nn.Linear(4, 3)
        self.decoder = nn.Linear(3, 4)
        self.head = nn.Linear(4, 5, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens):
        return self.head(self.decoder(torch.tanh(self.encoder(self.embed(tokens)))))


class Net(Plain):
    """The same, tied by equations: one Parameter twice, and an alias that is computed."""

    def __init__(self):
        super().__init__()
        tie(self, "head.weight = embed.weight", "decoder.weight = -encoder.weight.T.flip(0)", keep="source")


TOKENS = torch.tensor([[0, 1, 2], [3, 4, 4]])
NAMES = ["embed.weight", "encoder.weight", "encoder.bias", "decoder.bias"]


def make(kind=Net, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return kind().double()


def intact(model):
    """The ties hold: as objects, as values, and in training."""
    check(model)
    assert model.head.weight is model.embed.weight
    assert [name for name, _ in model.named_parameters()] == NAMES
    expected = -model.encoder.weight.T.flip(0)
    if expected.is_meta:
        assert model.decoder.weight.shape == expected.shape
    else:
        assert torch.equal(model.decoder.weight, expected)
    assert model.head.weight.device == model.decoder.weight.device


def trains(model):
    """A step of descent moves what is tied together, by the gradient that finite differences give."""
    loss = model(TOKENS).square().sum()
    gradients = dict(zip(NAMES, torch.autograd.grad(loss, list(model.parameters())), strict=True))
    for name, place in (("embed.weight", (3, 1)), ("encoder.weight", (1, 2))):
        parameter, step = model.get_parameter(name), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter[place] += sign * step
                values.append(model(TOKENS).square().sum().item())
                parameter[place] -= sign * step
        assert (values[0] - values[1]) / (2 * step) == pytest.approx(gradients[name][place].item(), rel=1e-5)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    before = model(TOKENS).square().sum()
    for _ in range(3):
        optimiser.zero_grad()
        loss = model(TOKENS).square().sum()
        loss.backward()
        optimiser.step()
    assert loss < before
    intact(model)


def test_a_tied_model_trains_and_the_optimiser_sees_each_weight_once():
    """nn.Parameter(w.t()) is another Parameter, which plain PyTorch counts, and updates, by itself."""
    model = make()
    intact(model)
    trains(model)
    plain = make(Plain)
    plain.decoder.weight = nn.Parameter(plain.encoder.weight.T)
    assert sum(p.numel() for p in plain.parameters()) - sum(p.numel() for p in model.parameters()) == 12
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for _ in range(2):
        optimiser.zero_grad()
        plain(TOKENS).square().sum().backward()
        optimiser.step()
    assert not torch.equal(plain.decoder.weight.grad, plain.encoder.weight.grad.T)


def test_the_same_weight_twice_in_one_group_is_updated_once():
    """pytorch#40967: torch itself warns about duplicates; parameters() yields none, under any name."""
    model = make()
    named = [p for _, p in model.named_parameters(remove_duplicate=True)]
    assert len({id(p) for p in named}) == len(named) == 4
    with pytest.warns(UserWarning, match="duplicate"):
        torch.optim.SGD([model.embed.weight, model.head.weight], lr=0.1)


@pytest.mark.parametrize("move", [lambda m: m.to(torch.float32), lambda m: m.half(), lambda m: m.to("meta")])
def test_moved(move):
    intact(move(make()))


def test_emptied_and_initialised():
    """accelerate#3668: to_empty after construction on meta leaves plain ties as two Parameters."""
    with torch.device("meta"):
        plain, model = make(Plain), make()
    assert plain.head.weight is plain.embed.weight
    plain.to_empty(device="cpu")
    assert plain.head.weight is not plain.embed.weight
    intact(model)
    model.to_empty(device="cpu")
    with torch.random.fork_rng(), torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    intact(model)
    trains(model)


def test_emptied_inside_of_another_model():
    with torch.device("meta"):
        outer = nn.Sequential(nn.Linear(2, 2), make())
    outer.to_empty(device="cpu")
    with torch.no_grad():
        for module in outer.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
    intact(outer[1])
    check(outer)


def test_a_move_mends_nothing_that_was_broken_before():
    model = make()
    model.head.weight = nn.Parameter(model.head.weight + 1)
    model.to(torch.float32)
    with pytest.raises(TieError, match=r"`head.weight = embed.weight` .* max \|Δ\| = 1:"):
        check(model)


def test_deep_copies():
    model = make()
    twin = copy.deepcopy(model)
    intact(twin)
    assert str(twin) == str(model)
    trains(twin)
    with torch.no_grad():
        twin.encoder.weight.fill_(2)
        twin.embed.weight.fill_(3)
    assert (twin.decoder.weight == -2).all()
    assert (twin.head.weight == 3).all()
    assert (model.decoder.weight.abs() < 1).all()
    assert (model.head.weight != 3).all()
    intact(model)


def test_a_part_that_is_copied_alone_gets_weights_of_its_own():
    """As in plain PyTorch: a deepcopy of the head has its own weight."""
    model = make()
    decoder = copy.deepcopy(model.decoder)
    assert sorted(name for name, _ in decoder.named_parameters()) == ["bias", "weight"]
    assert torch.equal(decoder.weight, model.decoder.weight)
    x = torch.ones(2, 3, dtype=torch.float64)
    assert torch.equal(decoder(x), model.decoder(x))
    with torch.no_grad():
        decoder.weight.zero_()
    decoder.weight = nn.Parameter(decoder.weight + 2)
    assert model.decoder.weight.all()
    intact(model)


def test_pickled_between_processes():
    twin = pickle.loads(pickle.dumps(make()))
    intact(twin)
    trains(twin)


def test_the_state_dict_is_that_of_the_model_without_ties():
    model, plain = make(), make(Plain, seed=1)
    state = model.state_dict()
    assert set(state) == set(plain.state_dict())
    assert not any(value.requires_grad for value in state.values())
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(TOKENS), model(TOKENS))
    assert model.state_dict(keep_vars=True)["decoder.weight"].requires_grad
    assert model.decoder.state_dict(prefix="x.").keys() == {"x.bias", "x.weight"}


def test_state_dict_hooks_run():
    model, seen = make(), []
    model.decoder.register_state_dict_post_hook(lambda module, state, prefix, meta: seen.append(sorted(state)))
    model.decoder.register_load_state_dict_pre_hook(lambda module, state, prefix, *rest: seen.append(prefix))
    model.register_load_state_dict_post_hook(lambda module, keys: seen.append(keys.missing_keys))
    model.load_state_dict(make(seed=1).state_dict())
    model.state_dict()
    assert seen == ["decoder.", [], sorted(set(make().state_dict()) - {"head.weight"})]
    intact(model)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("assign", [True, False])
def test_loaded_whole(assign, strict):
    """pytorch#188346: with assign=True plain PyTorch leaves two Parameters that diverge."""
    plain, other = make(Plain), make(seed=1)
    plain.load_state_dict(other.state_dict(), assign=True)
    assert plain.head.weight is not plain.embed.weight
    model = make()
    assert model.load_state_dict(other.state_dict(), assign=assign, strict=strict) == ([], [])
    intact(model)
    for name, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], value)
    trains(model)


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("absent", [["head.weight"], ["embed.weight"], ["decoder.weight"], ["encoder.weight"],
                                    ["head.weight", "encoder.weight", "decoder.bias"]])  # fmt: skip
def test_loaded_in_part(assign, absent):
    """One name of a tie speaks for both; what is absent is reported, as torch does it."""
    model, other = make(), make(seed=1)
    state = {name: value for name, value in other.state_dict().items() if name not in absent}
    missing, unexpected = model.load_state_dict(state, assign=assign, strict=False)
    assert sorted(missing) == sorted(absent)
    assert not unexpected
    intact(model)
    for name in {"head.weight", "embed.weight", "decoder.weight", "encoder.weight"}:
        assert torch.equal(model.state_dict()[name], other.state_dict()[name])


@pytest.mark.parametrize("assign", [True, False])
def test_loaded_onto_meta(assign):
    with torch.device("meta"):
        model = make()
    if not assign:
        model.to_empty(device="cpu")
    model.load_state_dict(make(seed=1).state_dict(), assign=assign)
    intact(model)
    assert torch.equal(model(TOKENS), make(seed=1)(TOKENS))


def test_loaded_strictly_all_names_must_be_there():
    model, state = make(), make(seed=1).state_dict()
    del state["decoder.weight"]
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "decoder.weight"'):
        model.load_state_dict(state)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "x"'):
        model.load_state_dict(make().state_dict() | {"x": torch.zeros(1)})


@pytest.mark.parametrize("assign", [True, False])
@pytest.mark.parametrize("strict", [True, False])
def test_a_state_dict_that_contradicts_a_tie_is_refused_whole(assign, strict):
    """vllm#51665, #53020, transformers#42612: plain PyTorch loads the last one over the first, without a word."""
    plain, model = make(Plain), make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = make(seed=1).state_dict()
    state["head.weight"] = state["head.weight"] + 0.5
    plain.load_state_dict(state)
    assert torch.equal(plain.embed.weight, state["head.weight"])
    sentence = (
        "The state dict contradicts 1 of the model's ties and was not loaded: `head.weight = embed.weight` does not "
        "hold between `head.weight` and `embed.weight`, which differ by up to 0.5. Either 1. make it agree: "
        "commonweight.equations.shared_state(model, state_dict), or 2. load only one name of each tie, with "
        "strict=False, or 3. cw.untie(model, alias) first, if they are meant to differ."
    )
    with pytest.raises(TieError, match=re.escape(sentence)):
        model.load_state_dict(state, assign=assign, strict=strict)
    state["decoder.weight"] = state["decoder.weight"] * float("nan")
    with pytest.raises(TieError, match=r"contradicts 2 of .* `decoder.weight = -encoder.weight.T.flip.* up to inf"):
        nn.Sequential(model).load_state_dict({f"0.{name}": value for name, value in state.items()}, strict=strict)
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
    intact(model)


def test_wrong_shapes_in_a_state_dict_are_reported_by_torch():
    for name in ("decoder.weight", "encoder.weight", "head.weight"):
        with pytest.raises(RuntimeError, match=f"size mismatch for {name}"):
            make().load_state_dict(make().state_dict() | {name: torch.zeros(2, 2)})


def test_a_part_that_is_loaded_alone_writes_through_to_the_owner():
    model, other = make(), make(seed=1)
    model.decoder.load_state_dict(other.decoder.state_dict())
    assert torch.equal(model.encoder.weight, other.encoder.weight)
    intact(model)


def test_saved_by_torch_and_by_plain_safetensors(tmp_path):
    """safetensors#98, #202, #304, #493: save_file refuses shared memory; save_model and load_model take both forms."""
    model = make(seed=1)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    again = make()
    again.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(again(TOKENS), model(TOKENS))
    save_model(model, str(tmp_path / "model.safetensors"))
    again = make()
    assert load_model(again, tmp_path / "model.safetensors") == (set(), [])
    intact(again)
    assert torch.equal(again(TOKENS), model(TOKENS))


def test_a_plain_transpose_is_saved_by_plain_safetensors(tmp_path):
    """save_model cannot read a transposed view of another entry: the state dict holds a copy."""
    model = nn.ModuleDict({"a": nn.Linear(3, 4, bias=False), "b": nn.Linear(4, 3, bias=False)})
    tie(model, "a.weight = b.weight.T", keep="source")
    save_model(model, str(tmp_path / "model.safetensors"))
    again = copy.deepcopy(model)
    with torch.no_grad():
        again.b.weight.zero_()
    load_model(again, tmp_path / "model.safetensors")
    assert torch.equal(again.b.weight, model.b.weight)
    check(again)


def test_a_replaced_submodule_is_caught():
    """Plain PyTorch says nothing; the logits are garbage."""
    model = make()
    model.head = nn.Linear(4, 5, bias=False).double()
    with pytest.raises(TieError, match=r"`head.weight = embed.weight` .* was replaced by another module or Parameter"):
        check(model)
    model = make()
    model.decoder = nn.Linear(3, 4).double()
    with pytest.raises(TieError, match=r"1 of 2 declared ties .* `decoder.weight` and `encoder.weight`, max"):
        check(model)
    model = make()
    model.encoder = nn.Linear(4, 3).double()
    check(model)  # the alias is found by its path: it follows
    assert torch.equal(model.decoder.weight, -model.encoder.weight.T.flip(0))


def test_an_owner_that_is_gone_is_named():
    model = make()
    del model.encoder
    with pytest.raises(TieError, match=r"`encoder.weight` is gone; a module was removed or replaced by one without it"):
        check(model)
    with pytest.raises(TieError, match=r"`decoder.weight` is computed from `encoder.weight`, which is not there any"):
        model.decoder(torch.zeros(1, 3).double())
    with pytest.raises(TieError, match=r"put it back, or replace the module of `decoder.weight` too"):
        untie(model, "decoder.weight")
    model.decoder = nn.Linear(3, 4)
    untie(model, "decoder.weight")
    check(model)


def test_a_computed_alias_cannot_be_assigned():
    model = make()
    for value in (nn.Parameter(torch.zeros(4, 3)), torch.zeros(4, 3)):
        sentence = "`decoder.weight` cannot be assigned: it is computed by `decoder.weight = -encoder.weight.T.flip(0)`"
        with pytest.raises(TieError, match=re.escape(sentence)):
            model.decoder.weight = value


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_as_one_graph(backend):
    torch.compiler.reset()
    model = make()
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    loss = compiled(TOKENS).square().sum()
    expected = model(TOKENS).square().sum()
    torch.testing.assert_close(loss, expected)
    parameters = list(model.parameters())
    for got, want in zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(got, want)
    with torch.no_grad():
        model.encoder.weight.mul_(2)
    torch.testing.assert_close(compiled(TOKENS), model(TOKENS))
    intact(compiled._orig_mod)
    compiled.load_state_dict(nn.ModuleDict({"_orig_mod": make(seed=1)}).state_dict(), assign=True)
    intact(model)


@pytest.mark.parametrize("strict", [True, False])
def test_exported(strict):
    model = make()
    program = torch.export.export(model, (TOKENS,), strict=strict)
    torch.testing.assert_close(program.module()(TOKENS), model(TOKENS))
    held = {value.data_ptr() for _, value in program.named_parameters()}
    assert held == {value.data_ptr() for value in model.parameters()}


def test_functional_call():
    model, other = make(), make(seed=1)
    parameters = {name: value.detach().requires_grad_() for name, value in other.named_parameters()}
    out = functional_call(model, parameters, (TOKENS,))
    torch.testing.assert_close(out, other(TOKENS))
    gradient = torch.func.grad(lambda p: functional_call(model, p, (TOKENS,)).square().sum())(parameters)
    expected = torch.autograd.grad(other(TOKENS).square().sum(), list(other.parameters()))
    for name, want in zip(NAMES, expected, strict=True):
        torch.testing.assert_close(gradient[name], want)
    intact(model)
    with pytest.raises(TieError, match=r"`decoder.weight` cannot be assigned"):
        functional_call(model, {"decoder.weight": torch.zeros(4, 3)}, (TOKENS,))
    intact(model)


def test_parametrized_owner():
    """A parametrization moves the Parameter: plain ties part without a word, and `check` says so."""
    model = make()
    parametrizations.weight_norm(model.encoder, "weight")
    parametrizations.spectral_norm(model.encoder, "bias")
    model.eval()
    assert torch.equal(model.decoder.weight, -model.encoder.weight.T.flip(0))
    check(model)
    model.decoder.weight.sum().backward()
    assert model.encoder.parametrizations.weight.original1.grad.any()
    twin = copy.deepcopy(model)
    check(twin)
    with torch.no_grad():
        twin.encoder.parametrizations.weight.original1.zero_()
    assert model.decoder.weight.any()
    parametrizations.weight_norm(model.embed, "weight")
    with pytest.raises(TieError, match=r"`embed.weight` was parametrized afterwards, which moved its Parameter"):
        check(model)
    tie(model, "head.weight = embed.weight", keep="source")
    check(model)
    assert torch.equal(model.head.weight, model.embed.weight)
    assert "head.weight" not in dict(model.named_parameters())


def test_the_state_dict_of_a_parametrized_owner():
    """It holds what the owner is computed from, and the alias, but not the owner."""
    model = make()
    parametrizations.weight_norm(model.encoder, "weight")
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.encoder.parametrizations.weight.original1.mul_(torch.tensor([1.0, -2.0, 3.0, 4.0]).double())
    state = other.state_dict()
    assert "encoder.weight" not in state
    model.load_state_dict(state)
    check(model)
    assert torch.equal(model.decoder.weight, other.decoder.weight)


def test_parametrized_neighbour_of_an_alias():
    model = make()
    parametrize.register_parametrization(model.decoder, "bias", nn.Softplus())
    check(model)
    twin = copy.deepcopy(model)
    check(twin)
    with torch.no_grad():
        twin.encoder.weight.zero_()
    assert not twin.decoder.weight.any()
    assert model.decoder.weight.all()
    torch.testing.assert_close(twin.decoder(torch.ones(1, 3).double())[0], twin.decoder.bias)


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant):
    model = make()
    x = torch.ones(2, 4, dtype=torch.float64, requires_grad=True)

    def run(x):
        return model.head(model.decoder(torch.tanh(model.encoder(x)))).square().sum()

    got = torch.autograd.grad
    checkpoint(run, x, use_reentrant=reentrant).backward()
    gradients = [model.embed.weight.grad, model.encoder.weight.grad]
    for gradient, want in zip(gradients, got(run(x), [model.embed.weight, model.encoder.weight]), strict=True):
        torch.testing.assert_close(gradient, want)


def test_autocast():
    model = make().float()
    expected = model(TOKENS).detach()
    with torch.autocast("cpu", torch.bfloat16):
        out = model(TOKENS)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.1, atol=0.1)
    out.float().square().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    assert len(list(model.parameters())) == 4
    intact(model)


def test_the_class_of_the_model_is_what_it_was():
    model = make()
    assert isinstance(model, Net)
    assert isinstance(model.decoder, nn.Linear)
    assert type(model).__name__ == "Net"
    assert repr(model) == repr(make(Plain)).replace("Plain(", "Net(")
    assert type(model).__doc__ == Net.__doc__


def test_an_lstm_sees_its_tied_weights():
    """Its own list of weights must follow, also after a move."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.ModuleDict({"a": nn.LSTM(3, 3), "b": nn.LSTM(3, 3)})
    tie(model, "b.* = a.*", keep="source")
    model.double()
    x = torch.ones(2, 1, 3, dtype=torch.float64)
    assert torch.equal(model["a"](x)[0], model["b"](x)[0])
    with torch.no_grad():
        model["a"].weight_hh_l0.mul_(2)
    assert torch.equal(model["a"](x)[0], model["b"](x)[0])
    check(model)
    assert {str(t.level) for t in ties(model)} == {"same parameter"}
    with pytest.raises(TieError, match="a recurrent layer keeps its own list of Parameters"):
        tie(nn.LSTM(3, 3), "weight_hh_l0 = weight_ih_l0.T.flip(0)", keep="source")
