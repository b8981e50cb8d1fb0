"""A row of the table of networks: what is trained on what data, and against whom."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from commonweight.train.start import start_run


@dataclass(frozen=True)
class Score:
    """One training.

    Attributes:
        test: score on the test part.
        seconds: time to fit.
        weights, connections: of the net; 0 where there is none.
    """

    test: float
    seconds: float
    weights: int = 0
    connections: int = 0


@dataclass(frozen=True)
class Case:
    """A family on one data set, beside a peer on the same split.

    Attributes:
        family: a name of `commonweight nets`.
        data: a name of `commonweight data`.
        metric: what `Score.test` is, such as accuracy; of "rmse" less is better.
        ours: trains and scores the family with a seed.
        peer: who else, with the version where it is no dependency of ours.
        theirs: trains and scores the peer with the same seed.
        shares: how the family shares weights, in a few words.
        same_rule: whether the peer is fitted in a way like ours, so that the ratio of times says something.
    """

    family: str
    data: str
    metric: str
    ours: Callable[[int], Score]
    peer: str
    theirs: Callable[[int], Score]
    shares: str
    same_rule: bool = True


def trained(data: str, net: str, metric: str = "accuracy", **settings: Any) -> Callable[[int], Score]:
    """What `commonweight train DATA --net NET` comes to, with a seed."""

    def run(seed: int) -> Score:
        given = {"epochs": None, "goal": None, "optimizer": "auto", "lr": None, "batch_size": None}
        given |= {"precision": "auto", "device": "auto", "out": None, "target": None, "task": None}
        results = start_run(data, net=net, seed=seed, **(given | settings)).results
        return Score(results["test"][metric], results["train_seconds"], results["weights"], results["connections"])

    return run


def timed(fit: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    fit()
    return time.perf_counter() - started
