"""Several processes that train one net together: each takes its share of every batch, and all take the same steps.

Started by torchrun. With the share s_r of a batch and the mean loss L_r of it in process r, the loss of the batch is
Σ s_r L_r, and its gradient Σ s_r ∂L_r/∂θ: a sum over the processes, after which each makes the same step by itself.
Batch normalisation takes the mean and the variance of the whole batch. A process alone does none of this.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from commonweight.errors import CommonweightError, TrainError

T = TypeVar("T")
TELLING_SECONDS = 2.0
"""So long the others wait for the process that tells of an error, since torchrun ends all when one ends."""


@dataclass(frozen=True)
class Team:
    """The processes, seen from one of them.

    Attributes:
        rank: which one this is, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @staticmethod
    def current() -> "Team":
        """Those of torch's default process group; this process alone where there is none."""
        if dist.is_available() and dist.is_initialized():
            return Team(dist.get_rank(), dist.get_world_size())
        return ALONE

    @property
    def leads(self) -> bool:
        """Whether this process shows and writes what all of them do."""
        return self.rank == 0

    def begin(self, model: nn.Module, batch_size: int) -> None:
        """Give every process the leader's weights.

        Raises:
            TrainError: a batch has fewer samples than there are processes.
        """
        if batch_size < self.size:
            raise TrainError(
                f"A batch of {batch_size} samples cannot be shared by {self.size} processes: start fewer of them, or "
                f"take a --batch-size of at least {self.size}."
            )
        if self.size > 1:
            for tensor in (*model.parameters(), *model.buffers()):
                whole = tensor.detach().contiguous()
                self._wait(dist.broadcast, whole, 0)
                tensor.detach().copy_(whole)

    def agree(self, decide: Callable[[], T]) -> T:
        """What the leader decides, or the error that it meets, for all."""
        if self.size == 1:
            return decide()
        told: list[Any] = [None, None]
        if self.leads:
            try:
                told[0] = decide()
            except CommonweightError as error:
                told[1] = error
        self._wait(dist.broadcast_object_list, told, 0)
        if told[1] is not None:
            raise told[1]
        decided: T = told[0]
        return decided

    def share(self, samples: Tensor) -> Tensor:
        """The part of a batch that this process takes: equal ones, but for one sample more or less."""
        return samples if self.size == 1 else samples.tensor_split(self.size)[self.rank]

    def reseed(self, seed: int, step: int) -> None:
        """Let each process draw numbers of its own in a step, whichever step it began with."""
        if self.size > 1:
            mixed = np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)
            torch.manual_seed(int(mixed[0]))

    def whole_batch(self) -> AbstractContextManager[object]:
        """Inside of it, batch normalisation is over the whole batch."""
        return nullcontext() if self.size == 1 else _WholeBatch(self)

    def backward(self, model: nn.Module, loss: Tensor, errors: Tensor, share: float) -> tuple[float, float]:
        """Leave the gradients of the whole batch in the model; return its loss and its errors.

        Args:
            model: a weight that no process has a gradient for is left without one.
            loss: the mean over this process's samples.
            errors: a sum over them.
            share: how much of the batch they are.
        """
        if self.size == 1:
            loss.backward()  # type: ignore[no-untyped-call]
            return float(loss.detach()), float(errors)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        present = [float(weight.grad is not None) for weight in weights]
        numbers = loss.new_tensor([float(loss.detach()) * share, float(errors), *present])
        gradients = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
        sums = torch.cat([numbers, *(gradient.detach().flatten() for gradient in gradients)])
        self.add_up(sums)
        told, *pieces = torch.split(sums, [len(numbers), *(weight.numel() for weight in weights)])
        total_loss, total_errors, *anywhere = told.tolist()
        for weight, gradient, piece, somewhere in zip(weights, gradients, pieces, anywhere, strict=True):
            weight.grad = gradient.copy_(piece.view(weight.shape)) if somewhere else None
        return total_loss, total_errors

    def total(self, *numbers: float) -> Sequence[float]:
        """The sums over all processes."""
        if self.size == 1:
            return numbers
        sums = torch.tensor(numbers, dtype=torch.float64)
        self.add_up(sums)
        return sums.tolist()

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor by its sum over all processes, the same bits in each."""
        self._wait(dist.all_reduce, tensor)

    def _wait(self, collective: Callable[..., object], *given: object) -> None:
        """Do something together with the other processes.

        Raises:
            TrainError: one of them is gone.
        """
        try:
            collective(*given)
        except RuntimeError as error:
            raise TrainError(
                f"Process {self.rank} of {self.size} lost the connection to another one, which ended or was ended; a "
                f"run folder goes on with `commonweight train --resume RUN`."
            ) from error


ALONE = Team()


@contextmanager
def joined() -> Iterator[Team]:
    """Join the other processes if torchrun started this one with others.

    An error of this library ends the process with exit code 2, and only the first of them tells what it was: the others
    have met the same one, or have lost the first. The group is not destroyed then: all of its processes do that
    together (pytorch#48203), and one could wait for another that is gone.
    """
    if not dist.is_available() or not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    store, rank, size = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield Team(rank, size)
    except CommonweightError:
        if store.add("commonweight/told", 1) > 1:
            time.sleep(TELLING_SECONDS)
            raise SystemExit(2) from None
        raise
    dist.destroy_process_group()


class _WholeBatch(TorchFunctionMode):
    """Replaces torch's batch normalisation while training; every other function is torch's own."""

    def __init__(self, team: Team) -> None:
        super().__init__()
        self.team = team

    def __torch_function__(
        self, func: Callable[..., Any], types: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.batch_norm and kwargs["training"]:
            return _batch_norm(self.team, *args, **kwargs)
        return func(*args, **kwargs)


def _batch_norm(
    team: Team,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    *,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """Batch normalisation (Ioffe & Szegedy 2015) with mean and variance over the samples of all processes.

    y = (x - mean) / √(var + eps) · weight + bias, channel by channel; x has shape (B, C, ...).
    """
    wide = x if x.dtype == torch.float64 else x.float()
    axes, shape = [0, *range(2, x.ndim)], (-1, *(1,) * (x.ndim - 2))
    total: Callable[[Tensor, Team], Tensor] = _Sum.apply
    sums = total(torch.cat([wide.sum(axes), wide.new_tensor([x.numel() // x.shape[1]])]), team)
    n, mean = sums[-1].detach(), sums[:-1] / sums[-1].detach()
    centred = wide - mean.view(shape)
    var = total((centred**2).sum(axes), team) / n
    with torch.no_grad():
        if running_mean is not None:
            running_mean.lerp_(mean.to(running_mean), momentum)
        if running_var is not None:
            running_var.lerp_((var * n / (n - 1).clamp_min(1)).to(running_var), momentum)
    y = centred * (var + eps).rsqrt().view(shape)
    y = y if weight is None else y * weight.view(shape)
    y = y if bias is None else y + bias.view(shape)
    return y.to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes. What one of them adds changes every loss: its gradient is a sum over them, too."""

    @staticmethod
    def forward(context: Any, x: Tensor, team: Team) -> Tensor:
        context.team = team
        total = x.clone()
        team.add_up(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = gradient.clone()
        context.team.add_up(total)
        return total, None
