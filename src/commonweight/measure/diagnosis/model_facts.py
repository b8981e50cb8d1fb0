"""What a net and its loss are like before the first step: measured on a copy, with one batch, nothing learned."""

from collections.abc import Callable, Collection
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from commonweight.equations import record
from commonweight.equations.planning import alive
from commonweight.measure.diagnosis.evidence import NAN, Evidence, LossFacts, ModelFacts
from commonweight.measure.diagnosis.flow import Flow
from commonweight.measure.layers import observe
from commonweight.measure.records import Record

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
TOLERANCE = 1e-4
Loss = Callable[[Tensor, Tensor], Tensor]


def look(
    model: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss, learned: Collection[int] | None = None
) -> Evidence:
    """The facts of a net and a loss, and the record of a first step that is not taken.

    Args:
        model: is left as it is, and so is torch's random state.
        inputs, targets: the first batch, as the net and the loss take them.
        loss: outputs and targets to a scalar.
        learned: `id` of each parameter that an optimiser moves; by default all that want a gradient.
    """
    facts = model_facts(model, learned)
    copy = deepcopy(model).float().train()
    inputs = inputs.float() if inputs.is_floating_point() else inputs
    with torch.random.fork_rng(devices=[]), Flow(copy) as flow, observe(copy) as seen:
        outputs = copy(inputs)
        value = loss(outputs, targets)
        if value.requires_grad:
            value.backward()  # type: ignore[no-untyped-call]
    squashed, cut = flow.squashed(outputs), tuple(flow.cut)
    facts = replace(facts, signals=seen.signals(), straight=flow.straight(), cut=cut, squashed=squashed)
    start = Record(1, 0.0, 0.0, 0.0, float(value.detach()), NAN, NAN, NAN, layers=seen.layers())
    return Evidence(model=facts, loss=loss_facts(loss, outputs.detach().float(), targets), start=start)


@torch.no_grad()
def model_facts(model: nn.Module, learned: Collection[int] | None = None) -> ModelFacts:
    """What can be said of a net without an input.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4))
    >>> _ = net[0].requires_grad_(False), nn.init.zeros_(net[2].weight)
    >>> facts = model_facts(net)
    >>> facts.frozen, facts.zero, facts.narrowest
    (('0',), ('2',), 3)
    """
    frozen, zero, alike, widths = [], [], [], []
    weights = [p for p in model.parameters() if p.requires_grad and (learned is None or id(p) in learned)]
    moved = {id(p) for p in weights}
    for name, module in model.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.numel()]
        if parametrize.is_parametrized(module):
            own += [p for p in module.parametrizations.parameters() if p.numel()]
        if not own or isinstance(module, parametrize.ParametrizationList):
            continue
        if not any(id(p) in moved for p in own):
            frozen.append(name)
        matrices = [p for p in own if p.ndim > 1 and p.numel() > 1]
        if matrices and all(not p.any() for p in matrices):
            zero.append(name)
        elif matrices and all(len(p) > 1 and bool((p == p[:1]).all()) for p in matrices):
            alike.append(name)
        widths += [len(p) for p in matrices[:1]]
    return ModelFacts(
        n_weights=sum(p.numel() for p in weights),
        narrowest=min(widths[:-1], default=0),
        frozen=tuple(frozen),
        zero=tuple(zero),
        alike=tuple(alike),
        norms=tuple(name for name, module in model.named_modules() if isinstance(module, NORMS)),
        broken_ties=broken_ties(model),
    )


@torch.no_grad()
def first_nonfinite(model: nn.Module, inputs: Tensor) -> str:
    """The first tensor with a value that is not finite: of the inputs, the weights, or the outputs of the modules."""
    if not bool(inputs.isfinite().all()):
        return "inputs"
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            return name
    found: list[str] = []

    def hook(name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(module: nn.Module, given: object, output: object) -> None:
            if isinstance(output, Tensor) and not bool(output.isfinite().all()):
                found.append(f"output of {name}" if name else "outputs")

        return keep

    handles = [module.register_forward_hook(hook(name)) for name, module in model.named_modules()]
    try:
        model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found[0] if found else "loss"


def broken_ties(model: nn.Module) -> tuple[str, ...]:
    """The declared ties that do not hold, as equations."""
    declared = record.declared(model)
    sources = {equation.alias: equation for equation in declared}
    return tuple(str(equation) for equation in declared if not alive(model, equation, sources))


def loss_facts(loss: Loss, outputs: Tensor, targets: Tensor) -> LossFacts:
    """What the loss makes of outputs, by trying others: of deviation 1, shifted, doubled, moved against its gradient.

    >>> logits, targets = torch.randn(8, 3), torch.arange(8) % 3
    >>> facts = loss_facts(F.cross_entropy, logits, targets)
    >>> facts.shift_invariant, facts.linear, facts.pull > 0.9
    (True, False, True)
    >>> loss_facts(F.nll_loss, logits, targets).linear
    True
    """
    classes = not targets.is_floating_point()
    if outputs.ndim != 2 or not bool(outputs.isfinite().all()):
        return LossFacts()
    ones = torch.ones(len(outputs), device=outputs.device)
    usual = (outputs - outputs.mean()) / outputs.std(correction=0).clamp_min(1e-12)  # any loss is linear far out
    value, shifted, doubled = (float(loss(x, targets).detach()) for x in (usual, usual + 1, 2 * usual))
    return LossFacts(
        probabilities=bool((outputs >= 0).all()) and torch.allclose(outputs.sum(1), ones, atol=1e-3),
        log_probabilities=torch.allclose(outputs.exp().sum(1), ones, atol=1e-3),
        shift_invariant=_equal(shifted, value),
        linear=_equal(doubled, 2 * value),
        pull=_to_the_class(loss, usual, targets) if classes else _to_the_value(loss, targets),
    )


def _to_the_class(loss: Loss, outputs: Tensor, targets: Tensor) -> float:
    way = F.one_hot(targets, outputs.shape[1]).float() - outputs.softmax(1)
    return float(F.cosine_similarity(-_gradient(loss, outputs, targets).flatten(), way.flatten(), dim=0))


def _to_the_value(loss: Loss, targets: Tensor) -> float:
    at_rest, beside = (_gradient(loss, targets.float() + shift, targets).flatten() for shift in (0, 1))
    back = F.cosine_similarity(beside, torch.ones_like(beside), dim=0)
    return float(back * (1 - at_rest.norm() / beside.norm().clamp_min(1e-12)))


def _gradient(loss: Loss, outputs: Tensor, targets: Tensor) -> Tensor:
    """∂loss/∂outputs, zero where the loss does not look at them."""
    outputs = outputs.detach().requires_grad_()
    value = loss(outputs, targets)
    if not value.requires_grad:
        return torch.zeros_like(outputs)
    (gradient,) = torch.autograd.grad(value, outputs, allow_unused=True)
    return torch.zeros_like(outputs) if gradient is None else gradient


def _equal(a: float, b: float) -> bool:
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b))
