"""`commonweight train` without an option beside scikit-learn's nets, SVMs and boosting: docs/defaults.md.

What      `train.start.start_run(name)`, as the command line calls it: default net, default rule, default settings.
Against   scikit-learn's MLPClassifier and MLPRegressor, SVC and SVR, GradientBoosting; of mnist-5k, whose 784 features
          that would take hours for, HistGradientBoosting. All at defaults, on the same normalised values; several
          targets one by one where it takes no more than one. They learn from the training and the validation part,
          ours from the training part and is chosen by the other.
Scores    Accuracy or r² on the test part, over five seeds (of the split, and of everything that draws).
Target    On at least six of nine data sets ours is within noise of the best: the mean difference from the one with the
          best mean is no more than two of its standard errors below 0.
Result    docs/defaults.md, from benchmarks/results/defaults.json, where each data set is kept until it is run again:

    python benchmarks/defaults.py [iris wine ...]
"""

import json
import sys
import time
import warnings
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from machine import setting
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.svm import SVC, SVR

from commonweight import data
from commonweight.atomic import write_text
from commonweight.data.dataset import Data
from commonweight.train.start import start_run

NAMES = ("iris", "wine", "breast-cancer", "diabetes", "digits", "mnist-5k", "building", "abelone", "kin32fm")
SEEDS = range(5)
PEERS = ("MLP", "SVM", "gradient boosting")
STORE = Path(__file__).parent / "results" / "defaults.json"
PAGE = Path(__file__).parents[1] / "docs" / "defaults.md"


def peer(name: str, loaded: Data, seed: int) -> Any:
    """One of scikit-learn's, at defaults."""
    if loaded.task == "classification":
        boosting = HistGradientBoostingClassifier if loaded.name == "mnist-5k" else GradientBoostingClassifier
        kinds = {"MLP": MLPClassifier, "gradient boosting": boosting}
        return SVC() if name == "SVM" else kinds[name](random_state=seed)
    if name == "MLP":
        return MLPRegressor(random_state=seed)
    one = SVR() if name == "SVM" else GradientBoostingRegressor(random_state=seed)
    return MultiOutputRegressor(one) if loaded.n_outputs > 1 else one


def by_peer(name: str, loaded: Data, seed: int) -> tuple[float, float]:
    """Score and seconds."""
    x = loaded.normalisation.apply(loaded.x).flatten(1).numpy()
    y = loaded.normalisation.apply_target(loaded.y).numpy()
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    known, test = np.concatenate([loaded.train.numpy(), loaded.validation.numpy()]), loaded.test.numpy()
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = peer(name, loaded, seed).fit(x[known], y[known])
    seconds = time.process_time() - started
    if y.ndim == 2:  # r² pooled over the targets, as ours
        errors, spread = (y[test] - model.predict(x[test])) ** 2, (y[test] - y[test].mean(0)) ** 2
        scale = loaded.normalisation.target_scale.numpy() ** 2
        return float(1 - (errors * scale).sum() / (spread * scale).sum()), seconds
    return float(model.score(x[test], y[test])), seconds


def measure(name: str) -> dict[str, Any]:
    """Scores and seconds of all four on every seed."""
    found: dict[str, list[tuple[float, float]]] = {"commonweight": [], **{one: [] for one in PEERS}}
    for seed in SEEDS:
        started = time.process_time()
        run = start_run(name, net=None, target=None, task=None, seed=seed, out=None, progress=False)
        score = run.results["test"].get("accuracy", run.results["test"].get("r2"))
        found["commonweight"].append((score, time.process_time() - started))
        loaded = data.load(name, seed=seed)
        for one in PEERS:
            found[one].append(by_peer(one, loaded, seed))
        print(
            name,
            seed,
            {one: f"{values[-1][0]:.4f}, {values[-1][1]:.1f} s" for one, values in found.items()},
            flush=True,
        )
    settings = run.description["settings"]
    metric = "accuracy" if loaded.task == "classification" else "r²"
    told = {"metric": metric, "net": run.description["net"], "optimizer": settings["optimizer"], "setting": setting()}
    return {**told, "found": found}


def row(name: str, stored: dict[str, Any]) -> tuple[list[str], bool]:
    """The cells of a data set, and whether ours is within noise of the best."""
    scores = {one: [score for score, _ in values] for one, values in stored["found"].items()}
    best = max(PEERS, key=lambda one: mean(scores[one]))
    differences = [ours - theirs for ours, theirs in zip(scores["commonweight"], scores[best], strict=True)]
    error = stdev(differences) / len(differences) ** 0.5
    within = mean(differences) >= -2 * error
    judged = "above" if mean(differences) > 2 * error else "even" if within else "below"
    spread = [f"{mean(values):.4f} ± {stdev(values):.4f}" for values in scores.values()]
    seconds = [f"{sorted(second for _, second in values)[len(values) // 2]:.2g}" for values in stored["found"].values()]
    return [
        name,
        stored["metric"],
        f"{stored['net']}, {stored['optimizer']}",
        *spread,
        judged,
        " / ".join(seconds),
    ], within


def page(stored: dict[str, Any]) -> str:
    rows = [row(name, stored[name]) for name in NAMES if name in stored]
    head = ["data", "score", "net, rule", "commonweight", *PEERS, "against the best", "seconds"]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *(cells for cells, _ in rows))]
    settings = dict.fromkeys(stored[name]["setting"] for name in stored)
    return f"""# Without an option

Scores on the test part of `commonweight train DATA`, and of scikit-learn's multilayer perceptron, support vector
machine and gradient boosting at defaults on the same normalised values: mean ± deviation over {len(SEEDS)} seeds.
The rule is the one that `--optimizer auto` chose. *Even* means that the mean difference from the best of the three is
no more than two of its standard errors, *above* and *below* that it is more. The seconds are those of the processor for
a fit, ours with its records and checks, in the order of the columns.

{chr(10).join(lines)}

Within noise of the best, or above it: {sum(within for _, within in rows)} of {len(rows)}.

Written by `python benchmarks/defaults.py`, which says how. {"; ".join(settings)}.
"""


def main() -> None:
    torch.set_num_threads(1)
    stored = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    for name in sys.argv[1:] or NAMES:
        stored[name] = measure(name)
        write_text(STORE, json.dumps(stored, indent=1) + "\n")
        write_text(PAGE, page(stored))


if __name__ == "__main__":
    main()
