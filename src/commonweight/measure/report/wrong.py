"""What is wrong with the run, in the words of the diagnosis, with what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from commonweight.measure.diagnosis import Evidence, Finding, diagnose
from commonweight.measure.diagnosis.words import advised, found
from commonweight.measure.records import Record
from commonweight.measure.report.markup import Markup, figure, paragraph, section, tag
from commonweight.numerals import counted, number


def wrong(description: Mapping[str, Any], records: Sequence[Record]) -> Markup | None:
    """The section on findings; None for a run that stores nothing to judge by."""
    stored = description.get("evidence")
    if not stored:
        return None
    findings = diagnose(records, Evidence.from_json(stored))
    words = [
        paragraph(
            "Rules look at each check of the training, and at facts about data, net and loss. Most of them speak only "
            "where learning suffers: where the net does worse than nearest neighbours or a linear fit would, or has "
            "not learned its own training part."
        )
    ]
    if not findings:
        return section("wrong", "Diagnosis", words, [paragraph("Nothing is wrong, as far as the rules can tell.")])
    words.append(paragraph("The likeliest cause comes first.", class_="aside"))
    content = figure(counted(len(findings), "finding"), tag("ol", *map(_item, findings)), None, class_="wide")
    return section("wrong", "Diagnosis", words, [content])


def _item(finding: Finding) -> Markup:
    """What was found in bold, what to do, and below it the numbers, where there is a limit."""
    parts = [paragraph(tag("strong", found(finding)), " ", advised(finding))]
    if finding.threshold:
        measured, limit = number(finding.value, 3), number(finding.threshold, 3)
        parts.append(paragraph(f"Measured {measured}, limit {limit}.", class_="aside"))
    return tag("li", *parts)
