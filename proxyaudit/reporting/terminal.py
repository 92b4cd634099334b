"""The answer of a run as a table of text that fits 100 columns, and a line for each attribute."""

import math
from collections.abc import Iterable

from proxyaudit.estimates.questions import word_of
from proxyaudit.reporting.first import sentences
from proxyaudit.reporting.sentences import NOT_HELPED, cure_words
from proxyaudit.reporting.summary import AttributeView, Row, Summary
from proxyaudit.reporting.text import DASH, number, percent, shorten, squeeze
from proxyaudit.reporting.words import verdict_text

_DID = {"amplified": "up", "left_alone": "as before", "suppressed": "down", "not_present": "not prominent", "unknown": "unclear"}
_HEADER = ("Attribute", "Trained on", "Prominence", "Gap", "", "Verdict", "Best cure")


def found_table(summary: Summary) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows: what training did, what shows, what the models are worth, the verdict and the best cure; cells are bounded."""
    bare, prominent = summary.bare, any(view.inside for view in summary.attributes)
    tried = any(view.weighs_cures for view in summary.attributes)
    kept = [True, True, True, not bare, not bare, True, tried and not bare]
    header = [*_HEADER]
    header[4] = summary.scale.task.word
    header[1] = "Activations" if bare else header[1]
    header[2] = header[2] if prominent else "Inside"
    rows = []
    for view in summary.attributes:
        for row in view.rows:
            if row.finding is not None:
                verdict = verdict_text("inconclusive", None).replace("Inconclusive", "At least hidden")
                if not row.finding.at_least:
                    verdict = verdict_text(row.finding.verdict, None)
                gap = DASH if row.gap is None or row.gap.value is None else number(100 * row.gap.value, 0)
                cells = (_did(view, row), gap, number(row.task.value if row.task else None), verdict, shorten(_cure(row), 13))
                rows.append((squeeze(view.name, 12), squeeze(row.regime, 16), *cells))
    shown = [tuple(cell for cell, wanted in zip(line, kept, strict=True) if wanted) for line in (header, *rows)]
    return shown[0], shown[1:]


def _did(view: AttributeView, row: Row) -> str:
    """What training did to prominence and how many times; else what can be read, by a stronger reader where a plain one finds nothing."""
    training = row.finding.training if row.finding is not None else None
    if view.inside is None or training is None:
        strong = row.stronger
        return f"{word_of(strong.channel)} {percent(strong.value)}" if strong is not None else percent(row.leak.value if row.leak else None)
    own, gain = view.inside.own.get(row.regime), view.inside.gains.get(row.regime)
    if training.word == "unknown":  # a factor would read as an answer
        share = "" if own is None else f"{percent(own.value, 1)}, "
        return share.rstrip(", ") if view.inside.lacking else f"{share}{_DID['unknown']}"
    times = "" if gain is None or gain.value is None or training.word == "not_present" else f" {number(math.exp(gain.value), 1)}x"
    return f"{_DID[training.word]}{times}"


def _cure(row: Row) -> str:
    words = cure_words(row).partition(":")[0]
    return "none helps" if words == NOT_HELPED else words  # the column has room for no more


def found_lines(summary: Summary) -> Iterable[str]:
    """The answer for each attribute in words."""
    for view in summary.attributes:
        told = " ".join(filter(None, sentences(view, summary))) or view.answer
        yield f"{view.name}: {view.lead} {told}"
