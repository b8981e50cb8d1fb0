"""What tuning may choose: update rule, rate, batch, width, depth and what holds the net back, around the defaults."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from commonweight import nets
from commonweight.data.dataset import Data
from commonweight.train.choice import WHOLE_BATCH
from commonweight.train.settings import DEFAULT_RATE, choose_settings

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

RULES = ("muon", "adamw", "momentum")
LEAST_L2 = 1e-6
"""Below it a penalty is none: a scale of powers of ten has no zero."""


@dataclass(frozen=True)
class Candidate:
    """One choice: arguments of the net, and settings of `fit`."""

    structure: dict[str, Any]
    settings: dict[str, Any]

    def __str__(self) -> str:
        shown = {**self.settings, **self.structure}
        return "  ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
        )


class Space:
    """The choices for a net and its data.

    | name | range | default |
    | --- | --- | --- |
    | optimizer | the default rule, muon, adamw, momentum | what `--optimizer auto` takes |
    | width | of mlp 8 to 512 units in the first layer, then half as many each; of cnn 4 to 64 channels | 128; 16 |
    | depth | of mlp 1 to 4 hidden layers | 2 |
    | rate | 1/30 to 30 times the rule's own rate | 1 |
    | batch | 1/4 to 4 times the usual batch | 1 |
    | l2 | 10⁻⁶, which is none, to 0.1 | none |
    | dropout | of mlp and cnn 0 to 0.5 | 0 |

    The last four are of rules that take batches. Nets other than mlp and cnn keep their structure.

    Args:
        net: its name, or file.py:factory.
        data: what it learns.
        seed: of its first weights.
    """

    def __init__(self, net: str, data: Data, seed: int) -> None:
        self.net, self.data, self.seed = net, data, seed
        model = nets.build(net, data.in_shape, data.n_outputs, task=data.task, seed=seed)
        none: dict[str, Any] = dict.fromkeys(("epochs", "goal", "lr", "batch_size"))
        usual = choose_settings(model, data, **none, optimizer="auto", precision="auto", device="auto", seed=seed)
        by_batch = choose_settings(model, data, **none, optimizer="muon", precision="auto", device="auto", seed=seed)
        self.rule, self.batch = usual.optimizer, by_batch.batch_size
        self.rules = tuple(dict.fromkeys((self.rule, *RULES)))

    @property
    def default(self) -> dict[str, Any]:
        """The names and values of the defaults, which are tried first."""
        chosen: dict[str, Any] = {"optimizer": self.rule}
        chosen |= {"mlp": {"width": 128, "depth": 2}, "cnn": {"width": 16}}.get(self.net, {})
        if self.rule not in WHOLE_BATCH:
            chosen |= {"rate": 1.0, "batch": 1.0, "l2": LEAST_L2}
            chosen |= {"dropout": 0.0} if self.net in ("mlp", "cnn") else {}
        return chosen

    def choose(self, trial: "BaseTrial") -> Candidate:
        """What a trial of optuna tries."""
        rule = trial.suggest_categorical("optimizer", self.rules)
        structure: dict[str, Any] = {}
        settings: dict[str, Any] = {"optimizer": rule}
        if self.net == "mlp":
            width, depth = trial.suggest_int("width", 8, 512, log=True), trial.suggest_int("depth", 1, 4)
            structure["hidden"] = [max(width >> layer, 2) for layer in range(depth)]
        elif self.net == "cnn":
            structure["width"] = trial.suggest_int("width", 4, 64, log=True)
        if rule in WHOLE_BATCH:
            return Candidate(structure, settings)
        settings["lr"] = DEFAULT_RATE[str(rule)] * trial.suggest_float("rate", 1 / 30, 30, log=True)
        times = trial.suggest_categorical("batch", (0.25, 0.5, 1.0, 2.0, 4.0))
        settings["batch_size"] = min(max(int(self.batch * float(times or 1)), 2), len(self.data.train))
        l2 = trial.suggest_float("l2", LEAST_L2, 0.1, log=True)
        settings["l2"] = l2 if l2 > LEAST_L2 else 0.0
        if self.net in ("mlp", "cnn"):
            structure["dropout"] = trial.suggest_float("dropout", 0.0, 0.5)
        return Candidate(structure, settings)
