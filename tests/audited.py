"""Checkpoints to audit: a GPT-2 laid out as Hugging Face does, and the lines of a report."""

import json

import torch
from safetensors.torch import save_file
from torch import nn

VOCABULARY, WIDTH = 24, 8


def values(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Gpt2(nn.Module):
    """The names and shapes of GPT-2, with one block; tied as people write it."""

    def __init__(self, tied=True):
        super().__init__()
        block = nn.ModuleDict(
            {"ln_1": nn.LayerNorm(WIDTH), "attn": nn.Linear(WIDTH, 3 * WIDTH), "mlp": nn.Linear(WIDTH, WIDTH)}
        )
        parts = {"wte": nn.Embedding(VOCABULARY, WIDTH), "wpe": nn.Embedding(6, WIDTH), "h": nn.ModuleList([block])}
        self.transformer = nn.ModuleDict({**parts, "ln_f": nn.LayerNorm(WIDTH)})
        self.lm_head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        if tied:
            self.lm_head.weight = self.transformer.wte.weight


def gpt2(tied=True, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Gpt2(tied)


GPT2 = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}
HEAD, EMBEDDING = "lm_head.weight", "transformer.wte.weight"
TIE = f"{HEAD} = {EMBEDDING}"


def folder(path, tensors, config=GPT2, shards=2):
    """A folder with config.json and weights in shards with an index, or in one file."""
    path.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    names = sorted(tensors)
    if shards == 1:
        save_file(tensors, path / "model.safetensors", {"format": "pt"})
        return path
    places = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05}-of-{shards:05}.safetensors"
        held = names[shard::shards]
        save_file({name: tensors[name].contiguous() for name in held}, path / file, {"format": "pt"})
        places |= dict.fromkeys(held, file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    return path


def gpt2_tensors(**others):
    """What a tied GPT-2 stores, each weight once, with other tensors in place of some."""
    state = {name: tensor.detach().clone() for name, tensor in gpt2().state_dict().items() if name != HEAD}
    return state | {name.replace("__", "."): tensor for name, tensor in others.items()}


def codes(audit):
    return [str(problem.code) for problem in audit.problems]


def verdicts(audit):
    """Each group as verdict and tie, or names where there is none."""
    return [(str(group.verdict), group.tie or group.names) for group in audit.groups]
