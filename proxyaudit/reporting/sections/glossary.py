"""What the words of a report mean."""

from proxyaudit.estimates.questions import all_questions
from proxyaudit.reporting.blocks import Section, Terms
from proxyaudit.reporting.report import Report, ReportSection
from proxyaudit.reporting.text import capital
from proxyaudit.reporting.words import REFERENCE_WORDS, checks

_LEAST = ("At least hidden, “No, inside”", "Something of the attribute is inside; whether it also shows or acts is not settled.")
_TERMS = (
    ("Verdict site", "The place that the verdict rests on; by default the last one before the output layer, or every site given."),
    (
        "Margin",
        "The smallest amount that counts. An attribute is called absent only if an amount as large as the margin would have been found.",
    ),
    ("Detection limit", "The smallest planted leak that the reader found in 95 % of trials."),
    (
        "At most",
        "The smallest leak that is certified absent, at 99 %: if that much could be read, even in the direction that is hardest to see, "
        "more would have been found. It says how far an answer goes where the verdict is inconclusive.",
    ),
    ("Interval", "95 % confidence interval unless said otherwise, over audit rows and, where there are several, trained models."),
    ("Protected / proxy", "The attribute that must not matter, and a column that may stand in for it."),
    ("Learned / relayed", "Training put it there, or the model merely passes on what its inputs carry."),
    ("Basis", "Whether what is found remains among people with the same label (beyond label) or is explained by the label."),
    ("Reported only", "A number that is shown for context and that no verdict rests on."),
)


def glossary(report: Report) -> Section:
    """Terms and what they mean; of bare activations none that speak of models."""
    bare, asked = report.summary.bare, list[tuple[str, str]]()
    said = [(f"{word.symbol} {word.word}", f"{capital(word.meaning)}.") for word in report.summary.verdicts.values()]
    for question in map(all_questions().__getitem__, checks(bare=bare)):
        asked += question.terms or [(question.word, question.asks)] if question.word else []
    asked = [(term, report.summary.scale.plain(text)) for term, text in asked]
    shown = list(REFERENCE_WORDS.items())[-1 if bare else 0 :]
    references = [(name.capitalize(), f"Reference row: {words}. It never gets a verdict of its own.") for name, words in shown]
    terms = [term for term in _TERMS if not bare or term[0] != "Learned / relayed"]
    return Section("words", "What the words mean", (Terms((*said, _LEAST, *asked, *terms, *references)),))


SECTION = ReportSection(130, glossary)
