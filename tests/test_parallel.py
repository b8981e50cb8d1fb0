"""Ties under DistributedDataParallel and FSDP2, in two real processes, and what is found out without any."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from parallel_models import KINDS, make, train
from safetensors.torch import load_file
from torch import nn

from commonweight.equations import share_layers, tie
from commonweight.errors import TieError
from commonweight.parallel import check, fsdp_groups

HERE = Path(__file__).parent


def torchrun(*words, cwd=HERE, timeout=120):
    """Two processes; returns what torchrun itself returns, without the folder that it leaves."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launch, *map(str, words)]
    with TemporaryDirectory() as temporary:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": temporary}
        return subprocess.run(
            command, cwd=cwd, env=environment, timeout=timeout, capture_output=True, text=True, check=False
        )


def told_by(part, folder):
    """What both processes of a part of parallel_worker.py told."""
    done = torchrun(HERE / "parallel_worker.py", part, folder)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"told-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ties")
    return folder, told_by("ties", folder)


# --- two processes ---


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", ["ddp", "fsdp"])
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_steps_end_in_the_weights_of_one_process(both, wrapped, kind):
    """accelerate#4171, torch 2.13: groups that split a tie raise at the first forward; these do not."""
    folder, told = both
    alone = make(kind)
    train(alone, kind)
    weights = load_file(folder / f"{wrapped}-{kind}.safetensors")
    expected = dict(alone.named_parameters())
    assert weights.keys() == expected.keys()
    moved = make(kind)
    for name, weight in weights.items():
        torch.testing.assert_close(weight, expected[name].detach(), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(weight, moved.get_parameter(name), atol=1e-3)
    for one in told:  # one check before the first step and one after each
        assert one[f"{wrapped}-{kind}"] == [""] * 21


def test_a_copy_that_was_changed_in_one_process_is_named_in_all(both):
    _, told = both
    remedy = "begin with the same weights everywhere, as DistributedDataParallel does, and change no copy alone"
    sentence = (
        f"`module.embed.weight` has other values in process 1 than in process 0, in row 3 of 7: {remedy}; "
        f"`module.blocks.1.up.weight` has other values in process 1 than in process 0, in rows 2 to 3 of 9: {remedy}."
    )
    assert [one["diverged"] for one in told] == [sentence, sentence]


def test_rows_that_one_process_never_updates_are_named(both):
    """pytorch#176076: with tied weights and uneven shards the last rank's rows were never updated."""
    _, told = both
    sentence = (
        "`embed.weight` of the tie `head.weight = embed.weight` has not moved in process 1 since the last check, "
        "in rows 4 to 6 of 7: no gradient comes there, or no optimiser holds it."
    )
    assert [one["before the step"] for one in told] == ["", ""]
    assert [one["never updated"] for one in told] == [sentence, sentence]


def test_a_tie_that_one_process_lost_is_named_in_all(both):
    _, told = both
    for one in told:
        assert one["lost"].startswith("`module.head.weight = module.embed.weight` does not hold in process 1: ")


def test_groups_that_split_a_tie_are_found_before_the_first_step(both):
    _, told = both
    assert (
        "`head.weight = embed.weight` does not hold in process 0: commonweight.check(model) says why, and "
        in (told[0]["sharded apart"])
    )
    assert "is shared with a parameter already managed by another FSDP group" in told[0]["torch says"]


def test_copies_of_a_shard_are_compared(both):
    """Hybrid sharding: two processes hold copies of the same rows."""
    _, told = both
    assert [one["copies"] for one in told] == ["", ""]
    for one in told:
        assert one["copies diverged"].startswith(
            "`norm.bias` has other values in process 1 than in process 0, in row 2 of 6"
        )


def test_the_whole_state_of_a_sharded_model_loads_anywhere(both):
    folder, _ = both
    state, model = load_file(folder / "whole.safetensors"), make("transformer")
    assert state.keys() == model.state_dict().keys()
    with torch.no_grad():
        model.embed.weight.zero_()
    model.load_state_dict(state)
    for name, value in make("transformer").state_dict().items():
        assert torch.equal(model.state_dict()[name], value)


# --- one process ---


def test_groups_are_code():
    model = make("transformer")
    assert str(fsdp_groups(model)).splitlines() == [
        "from torch.distributed.fsdp import fully_shard",
        'fully_shard(model.get_submodule("blocks.0.norm"))  # 12 weights',
        'fully_shard(model.get_submodule("blocks.1"))  # 123 weights: blocks.1.down.weight = blocks.1.up.weight.T',
        'fully_shard(model.get_submodule("blocks.2.norm"))  # 12 weights',
        "fully_shard(model)  # 240 weights: head.weight = embed.weight, blocks.0.down.weight = blocks.0.up.weight.T, "
        "blocks.2.down.weight = blocks.2.up.weight.T, blocks.2.mix.weight = blocks.0.mix.weight",
    ]


def test_a_stack_without_ties_to_the_outside_is_one_group_for_each_block():
    model = nn.Sequential(*(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2)))
    tie(model, "*.1.weight = *.0.weight", keep="source")
    assert list(fsdp_groups(model)) == [model[0], model[1], model]


def test_shared_modules_are_sharded_once():
    """accelerate#2984: one module under several names."""
    blocks = nn.ModuleList(make("transformer").blocks[:2])
    share_layers(blocks, every=2)
    model = nn.ModuleDict({"blocks": blocks})
    assert list(fsdp_groups(model)) == [blocks[0], model]
    inner = nn.ModuleList(nn.ModuleDict({"own": nn.Linear(2, 2), "shared": nn.Linear(2, 2)}) for _ in range(2))
    inner[1]["shared"] = inner[0]["shared"]
    model = nn.ModuleDict({"stack": inner})
    found = list(fsdp_groups(model))
    assert found == [inner[0]["own"], inner[0]["shared"], inner[1]["own"], model]


def test_groups_on_meta():
    with torch.device("meta"):
        model = make("transformer")
    assert len(list(fsdp_groups(model))) == 4


def test_parameters_on_one_storage_cannot_be_sharded():
    model = nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 2, bias=False))
    model[1].weight = nn.Parameter(model[0].weight.detach().T)
    with pytest.raises(TieError, match=r"`1.weight = 0.weight.T` holds because two Parameters share memory, of which"):
        fsdp_groups(model)
    tie(model, "1.weight = 0.weight.T")
    assert list(fsdp_groups(model)) == [model]


def test_a_tie_that_does_not_hold_has_no_groups():
    model = make("transformer")
    model.head.weight = nn.Parameter(torch.zeros(7, 6))
    with pytest.raises(TieError, match="1 of 5 declared ties do not hold any more"):
        fsdp_groups(model)
    with pytest.raises(TieError, match=r"`head.weight = embed.weight` does not hold in process 0"):
        check(model)


def test_rows_at_rest_are_named_in_one_process_too():
    model = make("transformer")
    check(model)
    with torch.no_grad():
        model.embed.weight[[0, 1, 4, 6]] *= 1.01
        model.blocks[1].up.weight.add_(1)
    with pytest.raises(TieError) as raised:
        check(model)
    said = str(raised.value)
    assert "`embed.weight` of the tie `head.weight = embed.weight` has not moved" in said
    assert "rows 2 to 3, 5 of 7" in said
    assert "`blocks.0.up.weight` of the tie `blocks.0.down.weight = blocks.0.up.weight.T`" in said
    assert "blocks.1.up" not in said


def test_frozen_weights_may_rest():
    model = make("transformer").requires_grad_(False)
    check(model)
    check(model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.complex64])
def test_the_smallest_change_of_any_row_is_seen(dtype):
    model = nn.ModuleDict({name: nn.Linear(300, 40, bias=False, dtype=dtype) for name in "ab"})
    tie(model, "b.weight = a.weight", keep="source")
    check(model)
    with torch.no_grad():
        weight = model["a"].weight
        real = torch.view_as_real(weight) if weight.is_complex() else weight
        real[:39, 7] += real[:39, 7] * 2 * torch.finfo(dtype).eps + torch.finfo(dtype).tiny
    with pytest.raises(TieError, match=r"in row 39 of 40: no gradient"):
        check(model)
