"""What tuning found, as a picture: the score of each trial, and what it depends on."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import TrialState

from commonweight.measure.figures.sheet import BLUE, ORANGE, RULE, SOFT, quiet, sheet

if TYPE_CHECKING:
    from optuna import Study


def draw_study(study: "Study", importance: Mapping[str, float], path: Path) -> None:
    """Write a PNG: scores in the order of the trials with the best so far, and the importance of each setting."""
    whole = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    numbers = np.array([trial.number for trial in whole])
    scores = np.array([trial.value for trial in whole], dtype=float)
    with sheet(path, 9, 3.4, study.study_name) as figure:
        left, right = figure.subplots(1, 2)
        left.plot(numbers, scores, "o", color=RULE, markersize=4, markeredgecolor=SOFT, markeredgewidth=0.4)
        left.step(numbers, np.maximum.accumulate(scores), where="post", color=BLUE, linewidth=1.4)
        given_up = [t.number for t in study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))]
        left.plot(given_up, np.full(len(given_up), scores.min()), "|", color=ORANGE, markersize=6)
        low = float(np.quantile(scores, 0.1))
        left.set_ylim(low - 0.1 * (scores.max() - low + 1e-9), None)
        quiet(left, "Validation score; orange: given up early", "trial")
        names = list(importance)[::-1]
        right.barh(names, [importance[name] for name in names], color=BLUE, height=0.6)
        quiet(right, "Share of the score that a setting decides", "importance", grid=False)
        if not names:
            right.set_yticks([])
            right.text(0.5, 0.5, "too few trials to tell", ha="center", color=SOFT, transform=right.transAxes)
