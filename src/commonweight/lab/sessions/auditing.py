"""Audit: a checkpoint's ties, problems and savings, read where it lies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commonweight.lab.frames import Frame
from commonweight.lab.refusals import RefusalError, quoted
from commonweight.lab.sessions.folder_files import found_in, path_in
from commonweight.lab.settings import changed, choice, text
from commonweight.lab.uploads import PREFIX
from commonweight.verdicts import Audit, Group, audit
from commonweight.verdicts.words import LANGUAGES, translated

MOST_SHOWN = 300
"""Groups, problems and suggestions that are told, each."""

MOST_NAMES = 40
"""Names of a group that are told."""

ENDS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".onnx", ".index.json")


@dataclass(frozen=True)
class AuditSettings:
    """What can be set.

    Attributes:
        file: the checkpoint, by its path in the folder that the lab may read.
        against: another one, that it should equal.
        suggest: whether to look for what else could be tied, which reads values several times.
    """

    file: str = text(400)
    against: str = text(400)
    suggest: str = choice("no", ("no", "yes"))


class AuditSession:
    """An audit of the chosen file, made anew with each setting; it takes no steps.

    An uploaded file is alone in its folder, and chosen by itself.
    """

    step = 0

    def __init__(self, folder: Path, subject: str) -> None:
        self.folder = folder
        self.settings = AuditSettings()
        self.found: Audit | None = None
        self.uploaded = bool(subject)
        if self.uploaded and not subject.startswith(PREFIX):
            raise RefusalError("subject_no_upload", view="audit", subject=quoted(subject))
        if self.uploaded:
            self.change({"file": (checkpoints_in(folder)[0] or [""])[0]})

    def change(self, given: Mapping[str, Any]) -> None:
        """Take new settings and audit, if a file is chosen."""
        new = changed(self.settings, given)
        if new != self.settings:
            self.found = self._audit(new)
            self.settings = new

    def act(self, action: str, given: Mapping[str, Any]) -> None:
        """`again` reads the file anew."""
        if action != "again":
            raise RefusalError("no_action", actions="again", got=quoted(action))
        self.found = self._audit(self.settings)

    def facts(self) -> dict[str, Any]:
        """The files to choose from, and what was found."""
        files, all_of_them = checkpoints_in(self.folder)
        told = {"files": files, "all_files": all_of_them, "uploaded": self.uploaded}
        return told | {"audit": None if self.found is None else _told(self.found)}

    def code(self) -> str:
        """The program that prints the same audit."""
        settings = self.settings
        if not settings.file:
            return "from commonweight import audit\n\n# choose a checkpoint first\n"
        words = [repr(str(self.folder / settings.file))]
        words += [f"against={str(self.folder / settings.against)!r}"] if settings.against else []
        words += ["suggest=True"] if settings.suggest == "yes" else []
        return f"from commonweight import audit\n\nfound = audit({', '.join(words)})\nprint(found)\n"

    def advance(self) -> bool:
        """There is nothing to train."""
        return False

    def structure(self) -> Frame | None:
        """Everything is in the facts."""
        return None

    def live(self) -> Frame:
        """Everything is in the facts."""
        return Frame("live", self.step)

    def _audit(self, settings: AuditSettings) -> Audit | None:
        if not settings.file:
            return None
        against = path_in(self.folder, settings.against) if settings.against else None
        return audit(path_in(self.folder, settings.file), against, suggest=settings.suggest == "yes")


def checkpoints_in(folder: Path) -> tuple[list[str], bool]:
    """Checkpoints below a folder: files, and folders with weights and a `config.json`, each one checkpoint."""
    return found_in(folder, _is_checkpoint)


def _is_checkpoint(path: Path) -> bool:
    return (path / "config.json").is_file() if path.is_dir() else path.name.endswith(ENDS)


def _told(found: Audit) -> dict[str, Any]:
    """The audit for a page: what `to_json` says, a bounded number of each, and columns; sentences in each language."""
    told = found.to_json()
    for kind in ("groups", "problems", "suggestions"):
        entries = told.get(kind, [])
        told[f"n_{kind}"] = len(entries)
        told[kind] = [entry | {"names": entry["names"][:MOST_NAMES]} for entry in entries[:MOST_SHOWN]]
    told["groups"] = [
        entry | _columns(group) for entry, group in zip(told["groups"], found.groups[:MOST_SHOWN], strict=True)
    ]
    for entry, problem in zip(told["problems"], found.problems, strict=False):
        entry |= {"message": _in_each(problem.message), "remedy": _in_each(problem.remedy)}
    for entry, suggestion in zip(told["suggestions"], found.suggestions or (), strict=False):
        entry["text"] = _in_each(suggestion.text)
        entry.pop("orders", None)
    notes, searched = [_in_each(note) for note in found.notes], found.suggestions is not None
    return told | {"subject": found.subject, "tensors": found.tensors, "notes": notes, "searched": searched}


def _in_each(said: str) -> dict[str, str]:
    """A text in each language of the page."""
    return {language: translated(said, language) for language in LANGUAGES}


def _columns(group: Group) -> dict[str, Any]:
    columns = {name: _in_each(getattr(group, name)) for name in ("intent", "reality", "file", "against")}
    return {**columns, "n_names": len(group.names), "tie": group.tie and group.tie[:400]}


SESSION = AuditSession
