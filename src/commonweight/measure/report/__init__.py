"""`report.html`, the run for people: one file that shows what was learned, how well, and which weights are shared.

    data, model, records, census -> observe -> results, ladder, anatomy -> page

`observe` asks the model, `charts` and `pictures` draw, `markup` escapes, `page` puts it together. Nothing here trains.
"""

from commonweight.measure.report.page import write_report

__all__ = ["write_report"]
