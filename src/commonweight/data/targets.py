"""From a column of targets to class indices or numbers: which of the two tasks it poses, and the encoding."""

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from commonweight.data.finite import require_finite
from commonweight.errors import DataError

Task = Literal["classification", "regression"]

MAX_INTEGER_CLASSES = 20


def require_task(task: str | None) -> None:
    """Refuse a task that is neither of the two (None leaves the choice to `encode`)."""
    if task is not None and task not in get_args(Task):
        raise DataError(f"task '{task}' is unknown; give 'classification' or 'regression'")


def encode(
    values: NDArray[Any], task: str | None, source: str, columns: Sequence[str] = (), lines: Sequence[int] = ()
) -> tuple[Task, Tensor, tuple[str, ...]]:
    """Encode targets, and decide the task where `task` leaves it open.

    The rule: text is classification; several columns, or a number that is not whole, are regression; whole numbers are
    classification if they take at most 20 different values and each value has three samples on average, and otherwise
    regression.

    Args:
        values: shape (N,) of text or numbers, or (N, T) of numbers.
        task: "classification" or "regression" to overrule the rule, None to follow it.
        source: what the sentences of errors call the targets.
        columns, lines: the names of columns and the line of each row in the file, where there are such.

    Returns:
        the task; int64 class indices of shape (N,), or float32 targets of shape (N, T); and the names of the classes
        (sorted: by value if numbers, by code point if text), none for regression.

    Raises:
        DataError: text for regression, several columns for classification, or a number that is not finite.

    >>> encode(np.array(["no", "yes", "no"]), None, "target 'spam'")
    ('classification', tensor([0, 1, 0]), ('no', 'yes'))
    >>> encode(np.array([1.5, 2.0]), None, "target 'price'")[0]
    'regression'
    """
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):
            require_finite(torch.from_numpy(values.astype(np.float32)), source, columns, lines)
    if task == "regression" or (task is None and _is_regression(values)):
        return "regression", _regression_targets(values, source), ()
    if values.ndim > 1:
        raise DataError(
            f"{source} has {values.shape[1]} columns, but a class is one value a sample; give a single column"
        )
    kinds, y = np.unique(values, return_inverse=True)
    return "classification", torch.from_numpy(y.astype(np.int64)), tuple(class_name(kind) for kind in kinds.tolist())


def _is_regression(values: NDArray[Any]) -> bool:
    if values.dtype.kind not in "biuf":
        return False
    if values.ndim > 1 or not bool(np.all(np.mod(values, 1) == 0)):
        return True
    return len(np.unique(values)) > min(MAX_INTEGER_CLASSES, len(values) // 3)


def _regression_targets(values: NDArray[Any], source: str) -> Tensor:
    """float32 targets of shape (N, T)."""
    if values.dtype.kind not in "biuf":
        text = next((str(value) for value in values.flat if not _is_number(str(value))), str(values.flat[0]))
        raise DataError(
            f"{source} holds text such as '{text[:40]}', but regression needs numbers;"
            " leave the task open or say task='classification' (--task classification)"
        )
    return torch.from_numpy(values.astype(np.float32)).reshape(len(values), -1)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def class_name(kind: str | float) -> str:
    """What a class is called: text is its own name, and a whole number is written without a point.

    >>> class_name(7.0), class_name("yes")
    ('7', 'yes')
    """
    return str(int(kind)) if isinstance(kind, float) and kind.is_integer() else str(kind)
