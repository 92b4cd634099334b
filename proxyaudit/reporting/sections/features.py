"""Which latents of a sparse autoencoder carry an attribute."""

from collections.abc import Sequence

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.blocks import Block, Heading, Section, para
from proxyaudit.reporting.report import Report, ReportSection, technical, told_tables
from proxyaudit.reporting.scale import gap_words
from proxyaudit.reporting.text import (
    DASH,
    ToldTable,
    ToldView,
    at_most,
    beside,
    figure,
    join_names,
    join_words,
    number,
    percent,
    shorten,
)
from proxyaudit.types import Estimate

FEATURES_NOTE = (
    "A sparse autoencoder that was trained on this model writes what a place holds as a sum of many latents, few of them on at a time. The "
    "latents whose mean over the tokens of a text differs most between the groups were picked on half of the people; what is told was "
    "measured on the other half. A latent is switched off by taking away what it writes at every token; all else stays. Latents at random "
    "are controls. What a place holds and the autoencoder does not give again is not seen here. No verdict rests on these figures."
)
_LATENT, _FIT, _OFF = "feature", "feature_fit", "feature_switched_off"
_HEADER = ("Latent", "On in", "Tells the groups apart (AUROC)", "Result", "Gap that goes with it", "Result")


def features(report: Report) -> Section | None:
    """The latents that carry an attribute most; nothing where no autoencoder was named."""
    title, blocks = "Which latents carry it", list[Block]()
    for view in feature_views(report.pack):
        name = shorten(view.attribute, 80)
        blocks += [Heading(name), para(view.answer), technical(f"latents, {name}", *told_tables(view, title))]
    return Section("features", title, (*blocks, technical("how latents were looked at", para(FEATURES_NOTE)))) if blocks else None


def feature_views(pack: EvidencePack) -> tuple[ToldView, ...]:
    """Arrange what latents tell. Pure; empty for packs without them."""
    found = [e for e in pack.evidence.estimates if e.channel in (_LATENT, _FIT, _OFF) and e.attribute is not None]
    return tuple(_view(name, [e for e in found if e.attribute == name]) for name in dict.fromkeys(str(e.attribute) for e in found))


def _view(name: str, mine: Sequence[Estimate]) -> ToldView:
    alike: dict[str, list[str]] = {}
    tables = []
    for regime, site in dict.fromkeys((e.regime, e.site) for e in mine):
        own = [e for e in mine if (e.regime, e.site) == (regime, site)]
        alike.setdefault(_answer(str(site), own), []).append(regime)
        tables.append(_table(regime, str(site), own))
    told = [f"After training on {join_names(names)} data: {answer}" for answer, names in alike.items()]
    return ToldView(name, " ".join(told), tuple(tables))


def _answer(site: str, mine: Sequence[Estimate]) -> str:
    fit = next((e for e in mine if e.channel == _FIT), None)
    if fit is None or fit.value is None:
        return f"no latent at {site} was looked at ({fit.reason if fit is not None else 'not measured'})."
    carry = [f"{e.subject} ({number(e.value, 2)})" for e in mine if e.channel == _LATENT and e.reason is None]
    off = sorted((e for e in mine if e.channel == _OFF and e.reason is None), key=lambda e: -abs(e.value or 0.0))
    first = f"at {site} {join_words(at_most(carry, 4))} tell{'s' if len(carry) == 1 else ''} the groups apart (AUROC)" if carry else ""
    first = first or f"at {site} no latent surely tells the groups apart"
    moved = (
        f"; switching off {off[0].subject} takes {gap_words(off[0], 1)} of the gap" if off else "; switching one off moves no gap surely"
    )
    return f"{first}{moved}. The autoencoder gives {percent(fit.value)} of the variance again."


def _table(regime: str, site: str, mine: Sequence[Estimate]) -> ToldTable:
    off = {e.subject: e for e in mine if e.channel == _OFF}
    rows = []
    for e in mine:
        if e.channel == _LATENT:
            taken = off.get(e.subject)
            result = DASH if taken is None else taken.reason or "moves it"
            rows.append((str(e.subject), percent(e.raw, 1), figure(e), e.reason or "tells", figure(taken), result))
    fit = next((e for e in mine if e.channel == _FIT), None)
    remarks = [] if fit is None else [beside(f"{fit.subject}: {percent(fit.value)} of the variance is given again", fit.reason or "") + "."]
    return ToldTable(f"After training on {regime} data, at {site}", _HEADER, tuple(rows), tuple(remarks))


SECTION = ReportSection(74, features, (_LATENT, _FIT, _OFF))
