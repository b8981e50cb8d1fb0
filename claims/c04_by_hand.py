"""Laid over an image place by place, multiplied and summed by hand, a kernel gives what the convolution operator
gives.

The articles show it on a 5×5 image of zeros and ones under the kernel 1 0 1 / 0 1 0 / 1 0 1, with the result 4 3 4
/ 2 4 3 / 2 3 4. Half true: this kernel looks the same when turned by half a turn, so the example cannot tell the
operator of the networks (cross-correlation) from the convolution of mathematics, which turns the kernel first. The
second example can: two channels, two kernels without symmetry, and a bias.

Criterion: each line of arithmetic below is right, and its value is exactly that of torch's operator, of the pattern
run by this library, of the sum over its listed connections, and of scipy's correlation. Scipy's convolution gives
the same in the first example and something else in the second.
"""

from math import prod

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.signal import convolve2d, correlate2d
from torch.nn import functional as F

from commonweight import Tied, patterns, reference
from commonweight.claims import Result

Array = NDArray[np.float64]

IMAGE = np.array([[[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 1, 1, 1], [0, 0, 1, 1, 0], [0, 1, 1, 0, 0]]], float)
KERNEL = np.array([[[1, 0, 1], [0, 1, 0], [1, 0, 1]]], float)
BY_HAND = """
1·1 + 1·0 + 1·1 + 0·0 + 1·1 + 1·0 + 0·1 + 0·0 + 1·1 + 0 = 4
1·1 + 1·0 + 0·1 + 1·0 + 1·1 + 1·0 + 0·1 + 1·0 + 1·1 + 0 = 3
1·1 + 0·0 + 0·1 + 1·0 + 1·1 + 0·0 + 1·1 + 1·0 + 1·1 + 0 = 4
0·1 + 1·0 + 1·1 + 0·0 + 0·1 + 1·0 + 0·1 + 0·0 + 1·1 + 0 = 2
1·1 + 1·0 + 1·1 + 0·0 + 1·1 + 1·0 + 0·1 + 1·0 + 1·1 + 0 = 4
1·1 + 1·0 + 0·1 + 1·0 + 1·1 + 1·0 + 1·1 + 1·0 + 0·1 + 0 = 3
0·1 + 0·0 + 1·1 + 0·0 + 0·1 + 1·0 + 0·1 + 1·0 + 1·1 + 0 = 2
0·1 + 1·0 + 1·1 + 0·0 + 1·1 + 1·0 + 1·1 + 1·0 + 0·1 + 0 = 3
1·1 + 1·0 + 1·1 + 1·0 + 1·1 + 0·0 + 1·1 + 0·0 + 0·1 + 0 = 4
"""

TWO_CHANNELS = np.array([[[1, 2, 0], [0, 1, 3], [2, 1, 1]], [[0, 1, 1], [2, 0, 1], [1, 1, 0]]], float)
TWO_KERNELS = np.array([[[1, -1], [0, 2]], [[0, 1], [-1, 1]]], float)
BIAS = 1.0
TWO_BY_HAND = """
1·1 + 2·-1 + 0·0 + 1·2 + 0·0 + 1·1 + 2·-1 + 0·1 + 1 = 1
2·1 + 0·-1 + 1·0 + 3·2 + 1·0 + 1·1 + 0·-1 + 1·1 + 1 = 11
0·1 + 1·-1 + 2·0 + 1·2 + 2·0 + 0·1 + 1·-1 + 1·1 + 1 = 2
1·1 + 3·-1 + 1·0 + 1·2 + 0·0 + 1·1 + 1·-1 + 0·1 + 1 = 1
"""


def work_out(line: str) -> int:
    """The sum of products on the left of a line of arithmetic."""
    return sum(prod(map(int, term.split("·"))) for term in line.split(" = ")[0].split(" + "))


def by_machine(image: Array, kernel: Array, bias: float) -> dict[str, list[float]]:
    """All output values, row by row, from four programs that share no code, and from a true convolution."""
    x, w = torch.tensor(image), torch.tensor(kernel)
    pattern = patterns.conv2d(image.shape, 1, kernel=kernel.shape[1:])
    layer = Tied(pattern, bias="channel", generator=torch.Generator(), dtype=torch.float64)
    layer.load_state_dict({"weight": w[None], "bias": torch.tensor([bias])})
    with torch.no_grad():
        tied = layer(x[None]).flatten()
    listed = reference.forward(pattern.tiemap(), w.flatten(), x.flatten()[None])[0] + bias
    correlation = sum(correlate2d(a, b, mode="valid") for a, b in zip(image, kernel, strict=True))
    convolution = sum(convolve2d(a, b, mode="valid") for a, b in zip(image, kernel, strict=True))
    return {
        "torch": F.conv2d(x[None], w[None], torch.tensor([bias], dtype=x.dtype)).flatten().tolist(),
        "this library": tied.tolist(),
        "listed connections": listed.tolist(),
        "scipy correlation": (correlation + bias).ravel().tolist(),
        "scipy convolution": (convolution + bias).ravel().tolist(),
    }


def run() -> Result:
    rows = [
        ["output", "by hand", "torch", "this library", "listed connections", "scipy correlation", "scipy convolution"]
    ]
    slips = differing = 0
    turned = []  # how many outputs a true convolution changes, in each example
    examples = ((IMAGE, KERNEL, 0.0, BY_HAND), (TWO_CHANNELS, TWO_KERNELS, BIAS, TWO_BY_HAND))
    for number, (image, kernel, bias, text) in enumerate(examples, 1):
        lines = text.strip().splitlines()
        answers = by_machine(image, kernel, bias)
        turned.append(0)
        for place, line in enumerate(lines):
            claimed = int(line.split(" = ")[1])
            values = [answer[place] for answer in answers.values()]
            slips += work_out(line) != claimed
            differing += sum(value != claimed for value in values[:4])
            turned[-1] += values[4] != claimed
            rows.append([f"{number}.{place + 1}", line, *(f"{value:g}" for value in values)])
    numbers = {
        "outputs worked out by hand": len(rows) - 1,
        "slips in the arithmetic": slips,
        "values of the four programs that differ from it": differing,
        "outputs that a true convolution changes, first example": turned[0],
        "outputs that a true convolution changes, second example": turned[1],
    }
    verdict = (
        f"{4 * (len(rows) - 1) - differing} of {4 * (len(rows) - 1)} values of four programs are exactly those worked "
        f"out by hand. The articles' example would come out the same for a true convolution; in the second, "
        f"{turned[1]} of 4 outputs would not."
    )
    holds = slips == differing == turned[0] == 0 and turned[1] > 0
    return Result(holds, verdict, numbers, rows, draw())


def draw() -> Figure:
    """The first example: image, kernel and result, with the first window marked."""
    result = np.array([work_out(line) for line in BY_HAND.strip().splitlines()]).reshape(3, 3)
    figure = Figure(figsize=(7, 2.9), layout="constrained")
    three = figure.subplots(1, 3, width_ratios=[5, 3, 3])
    for axes, title, values in zip(three, ("image", "kernel", "sums"), (IMAGE[0], KERNEL[0], result), strict=True):
        axes.imshow(values, cmap="Blues", vmin=0, vmax=2 * values.max())
        for (row, column), value in np.ndenumerate(values):
            axes.text(column, row, f"{value:g}", ha="center", va="center", fontsize=13)
        axes.set(title=title, xticks=[], yticks=[])
    three[0].plot([-0.45, 2.5, 2.5, -0.45, -0.45], [-0.45, -0.45, 2.5, 2.5, -0.45], color="tab:red", lw=2)
    three[2].plot([-0.45, 0.5, 0.5, -0.45, -0.45], [-0.45, -0.45, 0.5, 0.5, -0.45], color="tab:red", lw=2)
    return figure
