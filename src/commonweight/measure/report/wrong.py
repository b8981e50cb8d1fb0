"""What is wrong with the run, in the words of the diagnosis, with what was measured."""

from collections.abc import Mapping, Sequence
from typing import Any

from commonweight.measure.diagnosis import Evidence, diagnose
from commonweight.measure.diagnosis.words import advised, found
from commonweight.measure.records import Record
from commonweight.measure.report.markup import Markup, figure, paragraph, section, tag
from commonweight.measure.report.numerals import counted, number


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
        return section("wrong", "What is wrong", words, [paragraph("Nothing was found.")])
    words.append(paragraph("The likeliest cause comes first.", class_="aside"))
    items = []
    for finding in findings:
        measured = (
            f"measured {number(finding.value, 3)}, limit {number(finding.threshold, 3)}, since step {finding.since}"
        )
        items.append(tag("li", tag("strong", found(finding)), " ", advised(finding), tag("br"), tag("small", measured)))
    heading = counted(len(findings), "finding")
    return section("wrong", "What is wrong", words, [figure(heading, tag("ol", *items), None, class_="wide")])
