"""What each process of test_parallel.py and test_together.py runs under torchrun: parallel_worker.py PART FOLDER.

Each process leaves told-RANK.json, the leader also the weights, for the tests to read.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from parallel_models import batches, make, train
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel
from training_runs import RUNS, cut_run, dropout_net, run

from commonweight import data
from commonweight.errors import CommonweightError
from commonweight.parallel import check, fsdp_groups
from commonweight.train import loop


def sharded(kind, mesh=None):
    model, mesh = make(kind), mesh or init_device_mesh("cpu", (dist.get_world_size(),))
    for module in fsdp_groups(model):
        fully_shard(module, mesh=mesh)
    return model


def sentence(function, *given, **named):
    """What an error says; empty when there is none."""
    try:
        function(*given, **named)
    except CommonweightError as error:
        return str(error)
    return ""


def weights(model):
    whole = {
        name.removeprefix("module."): weight.full_tensor() if isinstance(weight, DTensor) else weight
        for name, weight in model.named_parameters()
    }
    return {name: weight.detach().clone() for name, weight in whole.items()}


def ties(folder):
    """Training with ties, and what `check` says of faults that are planted."""
    told, rank, size = {}, dist.get_rank(), dist.get_world_size()
    for kind in ("transformer", "siamese"):
        for name, model in (("ddp", DistributedDataParallel(make(kind))), ("fsdp", sharded(kind))):
            complaints = [sentence(check, model)]
            train(model, kind, rank, size, lambda model, heard=complaints: heard.append(sentence(check, model)))
            told[f"{name}-{kind}"] = complaints
            whole = weights(model)
            if rank == 0:
                save_file(whole, folder / f"{name}-{kind}.safetensors")

    model = DistributedDataParallel(make("transformer"))
    with torch.no_grad():
        if rank == 1:
            model.module.embed.weight[3] += 0.001
            model.module.blocks[1].up.weight[2:4] += 0.001
    told["diverged"] = sentence(check, model)

    model = sharded("transformer")
    told["before the step"] = sentence(check, model)
    (batch, *_), optimiser = batches("transformer"), torch.optim.SGD(model.parameters(), lr=0.1)
    model(batch.chunk(size)[rank]).backward()
    before = model.embed.weight.to_local().clone()
    optimiser.step()
    if rank == 1:
        with torch.no_grad():
            model.embed.weight.to_local().copy_(before)
    told["never updated"] = sentence(check, model)

    model = DistributedDataParallel(make("transformer"))
    if rank == 1:
        model.module.head.weight = nn.Parameter(model.module.head.weight.detach().clone())
    told["lost"] = sentence(check, model)

    model = make("transformer")
    mesh = init_device_mesh("cpu", (size,))
    for module in (model.embed, model.head, model):
        fully_shard(module, mesh=mesh)
    told["sharded apart"] = sentence(check, model)
    try:
        model(batch)
    except ValueError as error:
        told["torch says"] = str(error)

    model = sharded("transformer", init_device_mesh("cpu", (size, 1), mesh_dim_names=("copies", "shards")))
    told["copies"] = sentence(check, model)
    if rank == 1:
        with torch.no_grad():
            model.norm.bias.to_local()[2] += 0.001
    told["copies diverged"] = sentence(check, model)

    model = sharded("transformer")
    state = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))
    if rank == 0:
        save_file(state, folder / "whole.safetensors")
    return told


def training(folder):
    """Runs of `fit` by all processes together."""
    told = {}
    for name in RUNS:
        done = run(name, folder / name)
        told[name] = {"results": done.results, "records": len(done.records)}
    iris = data.load("iris")
    options = {"epochs": 12, "batch_size": 15, "progress": False}
    loop.fit(dropout_net(), iris, out=folder / "whole", **options)
    cut_run(folder / "cut", iris, **options)
    loop.resume(folder / "cut", dropout_net(), iris, progress=False)
    cut_run(folder / "left", iris, **options)
    told["taken"] = sentence(loop.fit, dropout_net(), iris, out=folder / "whole", **options)
    told["too small"] = sentence(loop.fit, nn.Linear(4, 3), iris, out=None, **{**options, "batch_size": 1})
    with torch.random.fork_rng():
        torch.manual_seed(dist.get_rank())
        other = nn.Linear(4, 3)
    loop.fit(other, iris, out=None, optimizer="sgd", **options)
    told["unlike at the start"] = other.weight.tolist()
    return told


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    part, folder = sys.argv[1], Path(sys.argv[2])
    told = {"ties": ties, "training": training}[part](folder)
    (folder / f"told-{dist.get_rank()}.json").write_text(json.dumps(told))
    dist.destroy_process_group()
    os._exit(0)  # meshes keep gloo's threads; one that waits for Python to let go of a tensor when it ends would abort
