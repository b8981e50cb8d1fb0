"""What tuning gains over the defaults, and over a random search with the same budget.

What      The search of `commonweight tune`: 16 trials, of which the hopeless are given up.
Against   The defaults of `commonweight train`; and 16 trials drawn at random from the same ranges (optuna's
          RandomSampler), none given up. Both searches try the defaults first.
How       Three data sets, three seeds (of the split, of the first weights and of the search). A search chooses by the
          validation part; its choice is trained once more and scored on the test part. Seconds of the processor.
Result    benchmarks/results/tune.md, written by this script:

    OMP_NUM_THREADS=1 python benchmarks/tune.py [--trials 16] [--seeds 3]
"""

import argparse
import time
from statistics import mean, stdev

import optuna
import torch
from machine import setting, write_result
from optuna.trial import FixedTrial

from commonweight import data, fit
from commonweight.train.tune import _model, search
from commonweight.train.tune_space import Space
from commonweight.train.tune_storage import FIRST_TENTHS, FIRST_TRIALS, RANDOM_TRIALS

SETS = {"wine": "mlp", "breast-cancer": "mlp", "diabetes": "mlp"}
optuna.logging.set_verbosity(optuna.logging.ERROR)


def tested(space: Space, chosen: dict) -> float:
    """The score on the test part: accuracy, or the root mean squared error."""
    best = space.choose(FixedTrial(chosen))
    run = fit(_model(best, space), space.data, seed=space.seed, out=None, progress=False, **best.settings)
    return run.results["test"]["accuracy" if space.data.task == "classification" else "rmse"]


def searched(space: Space, trials: int, sampler, pruner) -> tuple[float, float, int]:
    """Test score of the best trial, seconds of the search, and how many trials were given up."""
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    study.enqueue_trial(space.default)
    started = time.process_time()
    search(study, space, trials, None)
    seconds = time.process_time() - started
    given_up = sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials)
    return tested(space, study.best_trial.params), seconds, given_up


def compared(name: str, net: str, seed: int, trials: int) -> dict[str, tuple[float, float, int]]:
    """All three on one split."""
    space = Space(net, data.load(name, seed=seed), seed)
    started = time.process_time()
    default = tested(space, space.default)
    ways = {"defaults": (default, time.process_time() - started, 0)}
    random = optuna.samplers.RandomSampler(seed=seed), optuna.pruners.NopPruner()
    tuned = (
        optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_TRIALS),
        optuna.pruners.MedianPruner(FIRST_TRIALS, FIRST_TENTHS),
    )
    for way, kind in (("random search", random), ("tune", tuned)):
        ways[way] = searched(space, trials, *kind)
    return ways


def main() -> None:
    parser = argparse.ArgumentParser(description="Tuning beside the defaults and a random search.")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["| data | way | test score | seconds | given up |", "| --- | --- | --- | --- | --- |"]
    for name, net in SETS.items():
        outcomes = [compared(name, net, seed, given.trials) for seed in range(given.seeds)]
        score = "rmse" if data.load(name).task == "regression" else "accuracy"
        for way in outcomes[0]:
            values = [outcome[way][0] for outcome in outcomes]
            error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
            seconds, given_up = (mean(outcome[way][k] for outcome in outcomes) for k in (1, 2))
            cells = [
                f"{name}, {net}",
                way,
                f"{score} {mean(values):.4g} ± {error:.2g}",
                f"{seconds:.0f}",
                f"{given_up:.1f}",
            ]
            lines.append("| " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    command = f"OMP_NUM_THREADS=1 python benchmarks/tune.py --trials {given.trials} --seeds {given.seeds}"
    text = [
        "# Tuning",
        "",
        f"Written by `{command}` on {setting()}.",
        f"Mean and standard error over {given.seeds} seeds, each with another split; {given.trials} trials a search,",
        "the first of which takes the defaults. Processor seconds of a search, or of the one training by defaults.",
        "",
        *lines,
        "",
    ]
    write_result("tune", "\n".join(text))


if __name__ == "__main__":
    main()
