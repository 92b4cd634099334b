"""A section for a model card: what the audit found about a model that is being published, and the numbers as its metadata.

The text needs no library; ``update_card`` reads and writes the card with ``huggingface_hub`` (an optional extra) and touches no network.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from proxyaudit.errors import InputError
from proxyaudit.estimates.scope import has_kind, mapping
from proxyaudit.estimates.sentences import share_at_most
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.blocks import Block, Bullets, Heading, Strong, Table, bullets, para, table
from proxyaudit.reporting.first import kept
from proxyaudit.reporting.markdown import escape, joined, markdown_blocks
from proxyaudit.reporting.summary import AttributeView, Row, Summary, summarize
from proxyaudit.reporting.text import DASH, beside, join_words, percent, span, visible
from proxyaudit.reporting.words import answer, lead, verdict_text
from proxyaudit.types import Estimate

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_START, _END = "<!-- proxyaudit: start -->", "<!-- proxyaudit: end -->"
_TITLE = "## Sensitive attributes"
_METRICS = ("proxyaudit_leak", "proxyaudit_output_gap", "proxyaudit_interchange_effect")  # of leak, gap and effect


def render_model_card(pack: EvidencePack, regimes: Sequence[str] = ()) -> str:
    """The section as Markdown: a verdict for each attribute, the figures, what was not tested, how to check.

    ``regimes`` are the kinds of training that the published model had, all if empty; ``InputError`` for one that is not in the audit.
    """
    summary = summarize(pack)
    return joined([_TITLE, *markdown_blocks(_blocks(pack, summary, _shown(summary, regimes)))])


def _blocks(pack: EvidencePack, summary: Summary, shown: Sequence[str]) -> Iterable[Block]:
    run, bare, asked = pack.evidence.run, summary.bare, has_kind(pack.plan, "prompts")
    what = "activations" if bare else "training"
    yield para(f"Audited with proxyaudit ({run.name}, run {run.id}); kinds of {what}: {join_words(shown)}.")
    if run.status != "complete":
        yield para(Strong("The audit is partial."), " A task failed, so some figures are missing.")
    asks = (
        "Does the model treat its groups differently?" if asked else f"Is it {'in these activations' if bare else 'still in these models'}?"
    )
    lines = []
    for view in summary.attributes:
        findings = [finding for finding in view.findings if finding.regime in shown]
        said = f"{lead(findings, bare=bare, asked=asked)} {answer(findings, summary.verdicts, asked=asked)}"
        lines.append((Strong(view.name), f" ({view.role}). {asks} {said}"))
    yield Bullets(tuple(lines))
    yield _table(summary, shown)
    yield para(" ".join(f"{word.symbol} {word.word}: {word.meaning}." for word in summary.verdicts.values()), " Intervals: 95 %.")
    if pack.evidence.not_tested:
        yield Heading("Not tested")
        yield bullets(f"{item.what}: {item.why}" for item in pack.evidence.not_tested)
    yield para(
        f"Plan digest {run.plan_digest}, evidence schema {pack.evidence.schema_version}. A verdict speaks about the models "
        "and rows of this audit; leaks below its margins, and readers that it does not have, are never excluded."
    )


def update_card(content: str, pack: EvidencePack, regimes: Sequence[str] = ()) -> str:
    """The card ``content`` (empty: a new one) with the section in its place and the numbers in its metadata, everything else as it is.

    ``InputError`` if ``huggingface_hub`` is not installed, the card's metadata cannot be read, or a regime is not in the audit.
    """
    try:
        from huggingface_hub import ModelCard
    except ImportError:
        mend = "in your clone of proxyaudit: pip install '.[model-card]'"
        raise InputError("a model card needs the package huggingface_hub", where="--model-card", mend=mend) from None
    section = f"{_START}\n{render_model_card(pack, regimes)}{_END}\n"
    ends = "\r\n" if "\r\n" in content else "\n"
    start = content.replace("\r\n", "\n") or f"# {escape(pack.evidence.run.name)}\n"
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
        mend = f"it has {', '.join(summary.regimes)}"
        raise InputError(f"'{unknown[0]}' is no kind of training in this run", where="--regime", mend=mend)
    return [name for name in summary.regimes if not regimes or name in regimes]


def _table(summary: Summary, shown: Sequence[str]) -> Table:
    header = ["Attribute", "Activations" if summary.bare else "Training data", "Verdict", "Readable inside"]
    header += [] if summary.bare else ["Predictions differ by", "Kept of real training, inside", "in the outputs"]
    rows = []
    for view, row in _rows(summary, shown):
        verdict = verdict_text(row.finding.verdict, row.finding.at_least) if row.finding else DASH
        ratios = (DASH if e is None else kept(e) for e in (row.kept_inside, row.kept_outside))
        cells = (view.name, row.regime, verdict, _with_ends(row.leak, percent), _with_ends(row.gap, summary.scale.told), *ratios)
        rows.append(cells[: len(header)])
    return table("What was found", header, rows)


def _rows(summary: Summary, shown: Sequence[str]) -> Iterable[tuple[AttributeView, Row]]:
    return ((view, row) for view in summary.attributes for row in view.rows if row.regime in shown)


def _with_ends(e: Estimate | None, shown: Callable[[float | None], str]) -> str:
    if e is None:
        return DASH
    ends = "" if e.low is None or e.high is None else span(100 * e.low, 100 * e.high, 0)
    most = f"at most {share_at_most(e.bound)}" if e.bound is not None and e.state in ("absent", "unknown") else ""
    return beside(shown(e.value), "; ".join(filter(None, (ends, most))))


def _results(pack: EvidencePack, regimes: Sequence[str]) -> Iterable["EvalResult"]:
    from huggingface_hub import EvalResult

    summary, data = summarize(pack), mapping(pack.recipe, "data")
    name = visible(str(data.get("card") or data.get("path") or "audit rows"))
    for view, row in _rows(summary, _shown(summary, regimes)):
        for metric, e in zip(_METRICS, (row.leak, row.gap, row.effect), strict=True):
            if row.finding is None or e is None or e.value is None:
                continue
            figures = [(key, getattr(e, key)) for key in ("state", "low", "high", "margin")]
            told = [("verdict", row.finding.verdict), *figures, ("estimate", e.id)]
            yield EvalResult(
                task_type="other",
                task_name="Audit of sensitive attributes",
                dataset_type="audit",
                dataset_name=name,
                metric_type=metric,
                metric_name=f"{visible(view.name)} after {visible(row.regime)}",
                metric_value=e.value,
                metric_args={key: value for key, value in told if value is not None},
            )
