"""A section for a model card: what the audit found about a model that is being published, and the numbers as its metadata.

The text needs no library; ``update_card`` reads and writes the card with ``huggingface_hub`` (an optional extra) and touches no network.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.answers import kept, percent, points
from proxyaudit.reporting.lookup import Lookup, deciding
from proxyaudit.reporting.markdown import escape
from proxyaudit.reporting.sentences import answer, lead
from proxyaudit.reporting.summary import AttributeView, Row, Summary, summarize, was_asked
from proxyaudit.reporting.text import DASH, join_words, number, visible
from proxyaudit.types import Estimate

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

__all__ = ["render_model_card", "update_card"]

_START, _END = "<!-- proxyaudit: start -->", "<!-- proxyaudit: end -->"
_TITLE = "## Sensitive attributes"
_METRICS = {"linear": "proxyaudit_leak", "expressed": "proxyaudit_output_gap", "used": "proxyaudit_interchange_effect"}


def render_model_card(pack: EvidencePack, regimes: Sequence[str] = ()) -> str:
    """Return the section as Markdown: a verdict for each attribute, the figures, what was not tested, how to check.

    Args:
        pack: The audit.
        regimes: The kinds of training that the published model had; all if empty.

    Raises:
        InputError: a regime is not in the audit.
    """
    summary = summarize(pack)
    shown = _shown(summary, regimes)
    run = pack.evidence.run
    what = "activations" if summary.bare else "training"
    parts = [_TITLE, f"Audited with proxyaudit ({escape(run.name)}, run {escape(run.id)}); kinds of {what}: {escape(join_words(shown))}."]
    if run.status != "complete":
        parts.append("**The audit is partial.** A task failed, so some figures are missing.")
    lines, asked = [], was_asked(pack.plan)
    for view in summary.attributes:
        findings = [row.finding for row in view.rows if row.finding is not None and row.regime in shown]
        said = f"{lead(findings, bare=summary.bare, asked=asked)} {answer(findings, summary.verdicts, asked=asked)}"
        lines.append(f"- **{escape(view.name)}** ({view.role}): {escape(said)}")
    parts += ["\n".join(lines), _table(summary, shown)]
    meanings = " ".join(f"{word.symbol} {word.word}: {word.meaning}." for word in summary.verdicts.values())
    parts.append(f"{meanings} Intervals: 95 %.")
    untested = [f"- {escape(item.what)}: {escape(item.why)}" for item in pack.evidence.not_tested]
    parts += ["### Not tested", "\n".join(untested)] if untested else []
    parts.append(
        f"Plan digest {escape(run.plan_digest)}, evidence schema {escape(pack.evidence.schema_version)}. A verdict speaks about the models "
        "and rows of this audit; leaks below its margins, and readers that it does not have, are never excluded."
    )
    return "\n\n".join(parts) + "\n"


def update_card(content: str, pack: EvidencePack, regimes: Sequence[str] = ()) -> str:
    """Return a model card with the section in its place and the numbers in its metadata; everything else stays as it is.

    Args:
        content: The card as it is; empty for a new one.
        pack: The audit.
        regimes: The kinds of training that the published model had; all if empty.

    Raises:
        InputError: ``huggingface_hub`` is not installed, the card's metadata cannot be read, or a regime is not in the audit.
    """
    try:
        from huggingface_hub import ModelCard
    except ImportError:
        raise InputError(
            "a model card needs the package huggingface_hub",
            where="--model-card",
            mend="in your clone of proxyaudit: pip install '.[model-card]'",
        ) from None
    section = f"{_START}\n{render_model_card(pack, regimes)}{_END}\n"
    ends = "\r\n" if "\r\n" in content else "\n"
    content = content.replace("\r\n", "\n")
    start = content or f"# {escape(pack.evidence.run.name)}\n"
    try:
        card = ModelCard(start if start.startswith("---") else f"---\n{{}}\n---\n{start}")
    except Exception as error:
        # Whatever a card's YAML or its results hold that cannot be read.
        raise InputError(f"the card's metadata cannot be read ({str(error)[:120]})", where="--model-card", mend="mend its YAML") from None
    between = re.compile(re.escape(_START) + r".*?" + re.escape(_END) + r"\n?", re.DOTALL)
    if between.search(card.text):
        card.text = between.sub(lambda _: section, card.text, count=1)
    else:
        card.text = card.text.rstrip("\n") + "\n\n" + section
    data: Any = card.data
    theirs = [result for result in data.eval_results or [] if not str(result.metric_type).startswith("proxyaudit_")]
    data.eval_results = [*theirs, *_results(pack, regimes)]
    data.model_name = data.model_name or visible(pack.evidence.run.name)
    data.tags = list(dict.fromkeys([*(data.tags or []), "proxyaudit"]))
    return str(card).replace("\n", ends)


def _shown(summary: Summary, regimes: Sequence[str]) -> list[str]:
    unknown = [name for name in regimes if name not in summary.regimes]
    if unknown:
        raise InputError(
            f"'{unknown[0]}' is no kind of training in this run", where="--regime", mend=f"it has {', '.join(summary.regimes)}"
        )
    return [name for name in summary.regimes if not regimes or name in regimes]


def _table(summary: Summary, shown: Sequence[str]) -> str:
    header = ["Attribute", "Activations" if summary.bare else "Training data", "Verdict", "Readable inside"]
    header += [] if summary.bare else ["Predictions differ by", "Kept of real training, inside", "in the outputs"]
    rows = [_cells(summary, view, row) for view in summary.attributes for row in view.rows if row.regime in shown]
    lines = [header, *rows]
    text = ["| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])


def _cells(summary: Summary, view: AttributeView, row: Row) -> list[str]:
    word = summary.verdicts[row.finding.verdict] if row.finding else None
    least = f", at least {row.finding.at_least}" if row.finding and row.finding.at_least else ""
    cells = [view.name, row.regime, f"{word.symbol} {word.word}{least}" if word else DASH, _with_ends(row.leak, percent(_value(row.leak)))]
    if summary.bare:
        return cells
    ratios = [DASH if e is None else kept(e) for e in (row.kept_inside, row.kept_outside)]
    return [*cells, _with_ends(row.gap, points(_value(row.gap))), *ratios]


def _value(e: Estimate | None) -> float | None:
    return None if e is None else e.value


def _with_ends(e: Estimate | None, text: str) -> str:
    if e is None or e.low is None or e.high is None:
        return text
    return f"{text} ({number(100 * e.low, 0)} to {number(100 * e.high, 0)})"


def _results(pack: EvidencePack, regimes: Sequence[str]) -> Iterable[EvalResult]:
    """The deciding numbers as results in the form of model cards."""
    from huggingface_hub import EvalResult

    summary, lookup = summarize(pack), Lookup(pack.evidence)
    sites = [str(site) for site in _mapping(pack.plan.get("sites")).get("verdict", ())]
    data = _mapping(pack.recipe.get("data"))
    name = visible(str(data.get("card") or data.get("path") or "audit rows"))
    for view in summary.attributes:
        for row in view.rows:
            if row.finding is None or row.regime not in _shown(summary, regimes):
                continue
            for channel, metric in _METRICS.items():
                e = deciding(lookup, view.name, row.regime, channel, sites)
                if e is None or e.value is None:
                    continue
                told = {
                    "verdict": row.finding.verdict,
                    "state": e.state,
                    "low": e.low,
                    "high": e.high,
                    "margin": e.margin,
                    "estimate": e.id,
                }
                yield EvalResult(
                    task_type="other",
                    task_name="Audit of sensitive attributes",
                    dataset_type="audit",
                    dataset_name=name,
                    metric_type=metric,
                    metric_name=f"{visible(view.name)} after {visible(row.regime)}",
                    metric_value=e.value,
                    metric_args={key: value for key, value in told.items() if value is not None},
                )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
