"""Which parts of a transformer carry the effect, and the smallest circuit."""

from collections.abc import Iterable, Sequence

from proxyaudit.estimates.scope import has_kind
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.blocks import Block, Drawn, Heading, Picture, Section, para
from proxyaudit.reporting.circuit_chart import PartCell, circuit_chart
from proxyaudit.reporting.report import Report, ReportSection, side_by_side, technical, told_tables
from proxyaudit.reporting.text import (
    DASH,
    ToldTable,
    ToldView,
    at_most,
    capital,
    figure,
    join_names,
    join_words,
    number,
    percent,
    shorten,
    span,
)
from proxyaudit.types import Estimate

CIRCUITS_NOTE = (
    "A part's own value, told at the first token, at the last one and as the mean of those in between, is exchanged between texts of "
    "people with the same label: a donor of the other group against one of the own group. Half of the people are used to screen parts by "
    "gradient times difference, to rank them and to find the circuit; every figure here was measured on the other half. Confirmed: in "
    "each model the outputs move surely, by a twentieth of the whole effect or more, further than parts at random do and further than any "
    "such part of the untrained model does. The whole effect is the gap between the groups within the label. The circuit is the smallest "
    "set of heads and groups of MLP units that a greedy search found to carry the asked share when all others are held at the "
    "recipient's values. What it carries is its faithfulness, what is left without it its completeness. Heads, units and layers are "
    "counted from 0; the groups of units are ranked by what the gradient predicts. No verdict rests on these figures."
)
PROMPTS_NOTE = (
    "A part's own value at the name and at the last token of a prompt is exchanged: for the mean of the other group's names in the same "
    "sentence, against that of the own group's other names. What is followed is the share of the first tokens of the continuations. Parts "
    "are screened by gradient times difference. Confirmed: after a correction for all parts of the model the outputs move surely, by a "
    "twentieth of what exchanging everything does or more, and further than parts at random do. No verdict rests on these figures."
)
_EFFECT, _SHARE, _OFF = "circuit", "circuit_share", "circuit_switched_off"
_PARTS = ("residual", "attention", "head", "mlp", "units", "unit")
_CIRCUIT = ("circuit", "without", "circuit_random", "direct")
_WORDS = {
    "circuit": "the circuit alone",
    "without": "all but the circuit",
    "circuit_random": "as many parts at random",
    "direct": "no part (the embeddings alone)",
    "random": "at random: ",
    "edge": "straight to the classifier's head: ",
}
_HEADER = ("Where", "Part", "Predicted", "Effect", "Share of the whole effect", "Result")
_CAPTION = Drawn(
    "Layers from below upwards, a column for each kind of part. The darker, the larger the effect when exchanged (the second colour: "
    "against the direction of the whole). Diamond: confirmed. Thick frame: in the smallest circuit. Empty: not tried. For MLP units the "
    "group that moves the outputs most.",
    "Every part with its effect stands in the table.",
)


def circuits(report: Report) -> Section | None:
    """Which parts carry the effect: the answer, and folded a picture for each kind of training and the numbers."""
    title, blocks = "Which parts of the transformer carry the effect", list[Block]()
    for index, view in enumerate(circuit_views(report.pack)):
        name, mine = shorten(view.attribute, 80), _of(report.pack, view.attribute)
        regimes = dict.fromkeys(e.regime for e in mine)
        pictures = side_by_side(_picture(regime, mine, f"u{index}-{at}", report) for at, regime in enumerate(regimes))
        inside = technical(f"the parts of the transformer, {name}", *pictures, *told_tables(view, title))
        blocks += [Heading(name), para(view.answer), inside]
    if not blocks:
        return None
    how = PROMPTS_NOTE if has_kind(report.pack.plan, "prompts") else CIRCUITS_NOTE
    return Section("circuits", title, (*blocks, technical("how circuits were looked for", para(how))))


def _of(pack: EvidencePack, name: str) -> list[Estimate]:
    return [e for e in pack.evidence.estimates if e.channel in (_EFFECT, _SHARE, _OFF) and e.attribute == name]


def circuit_views(pack: EvidencePack) -> tuple[ToldView, ...]:
    """Arrange what was exchanged. Pure; empty for packs without it."""
    names = dict.fromkeys(str(e.attribute) for e in pack.evidence.estimates if e.channel == _EFFECT and e.attribute is not None)
    return tuple(_view(name, _of(pack, name), prompts=has_kind(pack.plan, "prompts")) for name in names)


def _view(name: str, mine: Sequence[Estimate], *, prompts: bool) -> ToldView:
    alike: dict[str, list[str]] = {}
    tables = []
    for regime in dict.fromkeys(e.regime for e in mine):
        own = [e for e in mine if e.regime == regime]
        alike.setdefault(_answer(own, prompts=prompts), []).append(regime)
        tables.append(_table(_said([regime], prompts=prompts), own))
    told = [f"{_said(names, prompts=prompts)}: {answer}" for answer, names in alike.items()]
    return ToldView(name, " ".join(told), tuple(tables))


def _said(names: Sequence[str], *, prompts: bool) -> str:
    """Of which models something is told."""
    return f"In {'models' if len(names) > 1 else 'model'} {join_names(names)}" if prompts else f"After training on {join_names(names)} data"


def _answer(mine: Sequence[Estimate], *, prompts: bool) -> str:
    """What was found after one kind of training, or in one language model, in a few sentences."""
    whole = next((e for e in mine if e.channel == _EFFECT and e.measure == "whole"), None)
    if whole is None or whole.value is None:
        return f"nothing was exchanged ({whole.reason if whole is not None else 'not measured'})."
    heads, units = ([_named(e) for e in mine if _is_confirmed(e, kind)] for kind in ("head", "mlp" if prompts else "units"))
    found = [*at_most(heads, 4), *at_most(units, 3)]
    none = f"no head and no {'MLP output' if prompts else 'group of MLP units'} is confirmed."
    first = f"confirmed {'is' if len(found) == 1 else 'are'} {join_words(found)}." if found else none
    return " ".join([first, *_circuit_sentences(mine)])


def _circuit_sentences(mine: Sequence[Estimate]) -> Iterable[str]:
    told = {e.measure: e for e in mine if e.channel == _EFFECT and e.measure in _CIRCUIT}
    shares = {e.measure: e for e in mine if e.channel == _SHARE and e.measure in _CIRCUIT}
    circuit = told.get("circuit")
    if circuit is None:
        return
    if circuit.value is None:
        yield f"{capital(circuit.reason or 'no circuit')}."
        return
    members = [_named(e) for e in mine if e.measure == "member"]
    made = f" ({join_words(at_most(members, 4))})" if members else ""
    yield f"The smallest circuit has {circuit.subject}{made}."
    if "circuit" in shares and "without" in shares:
        carried, left = _percent(shares["circuit"]), _percent(shares["without"])
        yield f"On people it was not found on it carries {carried} of the effect; without it {left} is left."
    if "circuit_random" in shares:
        yield f"As many parts at random carry {_percent(shares['circuit_random'])}."


def _named(e: Estimate) -> str:
    return f"{e.subject} in {e.site}"


def _is_confirmed(e: Estimate, *kinds: str) -> bool:
    return e.channel == _EFFECT and e.measure in kinds and e.value is not None and e.reason is None


def _percent(e: Estimate) -> str:
    ends = span(None if e.low is None else 100 * e.low, None if e.high is None else 100 * e.high, 0)
    return f"{percent(e.value)} ({ends})" if ends else percent(e.value)


def _table(title: str, mine: Sequence[Estimate]) -> ToldTable:
    shares = {(e.site, e.measure, e.subject): e for e in mine if e.channel == _SHARE}
    order = {measure: place for place, measure in enumerate(("whole", *_CIRCUIT))}
    effects = [e for e in mine if e.channel == _EFFECT and e.measure not in ("member", "skipped") and e.value is not None]
    effects.sort(key=lambda e: (order.get(e.measure, 9), e.measure == "random", e.reason is not None, -abs(e.value or 0.0)))
    rows = [_row(e, shares.get((e.site, e.measure, e.subject))) for e in effects]
    rows += [
        (str(e.site), f"switched off: {shorten(str(e.subject), 60)}", DASH, figure(e), DASH, "by so much the gap falls")
        for e in mine
        if e.channel == _OFF
    ]
    remarks = [f"{capital(str(e.context))}: {e.reason}." for e in mine if e.channel == _EFFECT and e.value is None and e.reason]
    groups, rests = next((e.group for e in mine if e.group), None), max((e.n for e in mine if e.n), default=None)
    if groups and rows:
        remarks.append(f"Groups compared: {groups}" + (f"; {rests} texts that were given other values." if rests else "."))
    return ToldTable(title, _HEADER, tuple(rows), tuple(remarks))


def _row(e: Estimate, share: Estimate | None) -> tuple[str, ...]:
    plain = e.measure in _PARTS or e.measure == "position"
    name = str(e.subject) if plain else _WORDS.get(e.measure, str(e.subject))
    name += str(e.subject) if e.measure in ("random", "edge") else ""
    result = (
        "control" if e.measure in ("random", "circuit_random") else e.reason or ("confirmed" if plain and e.measure != "position" else "")
    )
    return e.site or "the whole model", shorten(name, 80), number(e.raw, 4), figure(e), DASH if share is None else _percent(share), result


def _picture(regime: str, mine: Sequence[Estimate], ident: str, report: Report) -> Picture | None:
    """Layers against parts after one kind of training; nothing where nothing was exchanged."""
    own = [e for e in mine if e.regime == regime]
    whole = next((e.value for e in own if e.measure == "whole" and e.channel == _EFFECT), None)
    tried = [e for e in own if e.channel == _EFFECT and e.measure in (*_PARTS[:-1], "random") and e.value is not None and e.site]
    members = {(e.site, _column(e)) for e in own if e.measure == "member"}
    cells: dict[tuple[str, str], PartCell] = {}
    for e in tried:
        column = _column(e)
        if column is None:
            continue
        cell = PartCell(str(e.site), column, (e.value or 0.0) / (whole or 1.0), _is_confirmed(e, *_PARTS), (e.site, column) in members)
        before = cells.get((cell.layer, column))
        if before is None or (cell.confirmed, abs(cell.share)) > (before.confirmed, abs(before.share)):
            cells[cell.layer, column] = cell
    for site, column in sorted((str(site), str(column)) for site, column in members):
        cells.setdefault((site, column), PartCell(site, column, 0.0, member=True))
    layers = sorted({layer for layer, _ in cells}, key=_depth)
    columns = sorted({column for _, column in cells}, key=_order)
    said = _said([regime], prompts=has_kind(report.pack.plan, "prompts"))
    title = f"Parts of the transformer that carry the effect of {own[0].attribute}, {said[0].lower()}{said[1:]}"
    svg = circuit_chart(layers, columns, list(cells.values()), ident=ident, title=title)
    return Picture(svg, said, _CAPTION, report.legend([])) if svg else None


_COLUMNS = {"residual": "layer output", "attention": "attention", "mlp": "MLP output", "units": "MLP units"}


def _column(e: Estimate) -> str | None:
    """The column of a part; single units have none."""
    subject = str(e.subject)
    if subject.startswith("head "):
        return subject
    if e.measure in ("random", "member"):
        return "MLP units" if "MLP units" in subject else {"attention output": "attention", "MLP output": "MLP output"}.get(subject)
    return _COLUMNS.get(e.measure)


def _depth(layer: str) -> int:
    return int(layer.removeprefix("layer")) if layer.startswith("layer") and layer[5:].isdigit() else -1


def _order(column: str) -> tuple[int, int]:
    if column.startswith("head "):
        return 2, int(column.removeprefix("head "))
    return {"layer output": 0, "attention": 1, "MLP units": 3, "MLP output": 4}.get(column, 5), 0


SECTION = ReportSection(72, circuits, (_EFFECT, _SHARE, _OFF))
