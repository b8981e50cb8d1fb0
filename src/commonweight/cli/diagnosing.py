"""Say what is wrong with a run."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from commonweight.cli.application import AsJson, app, path_argument


class Language(StrEnum):
    """Languages of the diagnosis."""

    english = "en"
    simplified = "zh-Hans"
    traditional = "zh-Hant"


@app.command()
def diagnose(
    run: Annotated[Path, path_argument("A run folder, of a run that has ended or not.")],
    language: Annotated[Language, typer.Option(help="English, simplified or traditional Chinese.")] = Language.english,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with a run and what to do about it, the likeliest cause first: exit code 1 if anything is."""
    from commonweight.measure.diagnosis import diagnose as judge
    from commonweight.measure.diagnosis.case import Case
    from commonweight.measure.diagnosis.words import say, well
    from commonweight.train.run import evidence_of

    records, evidence = evidence_of(run)
    findings = judge(records, evidence)
    said = [say(finding, language.value) for finding in findings]
    if as_json:
        plain = [{**finding.to_json(), "text": text} for finding, text in zip(findings, said, strict=True)]
        seen = {"step": records[-1].step, "steps": evidence.steps, "ended": evidence.ended}
        print(json.dumps({"run": str(run), **seen, "findings": plain}, ensure_ascii=False))
    else:
        print("\n".join(said) or well(Case(tuple(records), evidence), language.value))
    if findings:
        raise typer.Exit(1)
