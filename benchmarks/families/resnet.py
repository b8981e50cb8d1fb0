"""A residual net of 20 layers: beside its plain twin with the same training, and beside the PyTorch MNIST example."""

from families.case import Case, trained
from families.cnn import case

SHARES = "each kernel at every position"
CASES = (
    Case(
        "resnet20", "digits", "accuracy", trained("digits", "resnet20"), "plain20", trained("digits", "plain20"), SHARES
    ),
    case("resnet20", "fashion-mnist", 1),
)
