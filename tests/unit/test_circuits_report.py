"""The sections on circuits and latents: what they say, what they draw, and nothing where there is nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.circuit_chart import PartCell, circuit_chart
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.reporting.sections.circuits import circuit_views
from proxyaudit.reporting.sections.features import feature_views
from proxyaudit.types import Estimate

HOSTILE = "<script>alert(1)</script>"


def estimate(channel: str, measure: str, subject: str | None, value: float | None, **more: Any) -> Estimate:
    fields = {"attribute": "sex", "regime": "real", "site": "layer1", "group": "f to m", "context": subject, **more}
    ends = {} if value is None else {"low": value - 0.01, "high": value + 0.01}
    name = f"Q{channel}{measure}{subject}{fields['regime']}{fields['site']}"
    return Estimate(id=name, channel=channel, measure=measure, subject=subject, value=value, **ends, **fields)


def lines() -> list[Estimate]:
    return [
        estimate("circuit", "whole", "whole model", 0.4, site=None, n=120),
        estimate("circuit", "residual", "layer output", 0.4),
        estimate("circuit_share", "residual", "layer output", 1.0),
        estimate("circuit", "head", "head 2", 0.3),
        estimate("circuit_share", "head", "head 2", 0.75),
        estimate("circuit", "head", "head 3", 0.001, reason="tried: not surely different from zero in every model"),
        estimate("circuit", "units", "MLP units 3, 4, 5 and 9", -0.1, site="layer2"),
        estimate("circuit", "random", "head 0", 0.0, site="layer0", reason="control"),
        estimate("circuit", "edge", "head 2", 0.01),
        estimate("circuit", "skipped", "12 heads", None, site=None, reason="not tried: the gradient predicts at most 0.001"),
        estimate("circuit_switched_off", "head", "head 2", 0.28),
        estimate("circuit", "member", "head 2", None),
        estimate("circuit", "member", "MLP units 3, 4, 5 and 9", None, site="layer2"),
        estimate("circuit", "circuit", "2 of 36 parts", 0.36, site=None),
        estimate("circuit_share", "circuit", "2 of 36 parts", 0.9, site=None),
        estimate("circuit", "without", "2 of 36 parts", 0.02, site=None),
        estimate("circuit_share", "without", "2 of 36 parts", 0.05, site=None),
        estimate("circuit", "circuit_random", "2 of 36 parts", 0.0, site=None),
        estimate("circuit_share", "circuit_random", "2 of 36 parts", 0.0, site=None),
    ]


def latents() -> list[Estimate]:
    return [
        estimate("feature_fit", "explained", "sae-6", 0.82),
        estimate("feature", "auroc", "latent 1203", 0.91, raw=0.2),
        estimate("feature_switched_off", "gap_taken", "latent 1203", 0.03),
        estimate("feature", "auroc", "latent 7", 0.52, raw=0.5, reason="not surely different from chance in every model"),
        estimate("feature_switched_off", "gap_taken", "latent 7", 0.0, reason="not surely different from zero in every model"),
    ]


def with_estimates(pack: EvidencePack, estimates: list[Estimate]) -> EvidencePack:
    evidence = pack.evidence.model_copy(update={"estimates": (*pack.evidence.estimates, *estimates)})
    return replace(pack, evidence=evidence)


def test_the_answer_says_what_is_confirmed_and_what_the_circuit_carries(pack: EvidencePack) -> None:
    (view,) = circuit_views(with_estimates(pack, lines()))
    assert view.answer == (
        "After training on real data: confirmed are head 2 in layer1 and MLP units 3, 4, 5 and 9 in layer2. The smallest circuit has 2 of "
        "36 parts (head 2 in layer1 and MLP units 3, 4, 5 and 9 in layer2). On people it was not found on it carries 90 % (89 to 91) of "
        "the effect; without it 5 % (4 to 6) is left. As many parts at random carry 0 % (\N{MINUS SIGN}1 to 1)."
    )
    (table,) = view.tables
    rows = {(row[0], row[1]): row for row in table.rows}
    assert rows["layer1", "head 2"][3:] == ("0.300 (0.290 to 0.310)", "75 % (74 to 76)", "confirmed")
    assert rows["layer1", "head 3"][-1] == "tried: not surely different from zero in every model"
    assert rows["layer0", "at random: head 0"][-1] == "control"
    assert rows["the whole model", "all but the circuit"][4] == "5 % (4 to 6)"
    assert rows["layer1", "switched off: head 2"][3] == "0.280 (0.270 to 0.290)"
    assert "12 heads: not tried: the gradient predicts at most 0.001." in table.remarks
    assert [row[0] for row in table.rows][:3] == ["the whole model"] * 3


def test_where_there_is_no_circuit_the_reason_is_said(pack: EvidencePack) -> None:
    why = "no circuit: no set of at most half of the parts carries most of the effect"
    found = [lines()[0], estimate("circuit", "circuit", "smallest circuit", None, site=None, reason=why)]
    (view,) = circuit_views(with_estimates(pack, found))
    assert view.answer == (
        "After training on real data: no head and no group of MLP units is confirmed. No circuit: no set of at most half of the parts "
        "carries most of the effect."
    )
    (none,) = circuit_views(with_estimates(pack, [estimate("circuit", "whole", "whole model", None, reason="too few rows")]))
    assert none.answer == "After training on real data: nothing was exchanged (too few rows)."


def test_page_and_text_say_the_same_and_the_picture_is_described(pack: EvidencePack) -> None:
    changed = with_estimates(pack, [*lines(), *latents()])
    page, told = render_html(changed), render_markdown(changed)
    for view in (*circuit_views(changed), *feature_views(changed)):
        assert view.answer in told
        assert view.answer in page
    assert "Parts of the transformer that carry the effect of sex, after training on real data" in page
    assert "Confirmed: layer1, layer output: 100 % of the effect; layer1, head 2: 75 % of the effect" in page
    assert "circuits" not in [line for line in render_markdown(pack).splitlines() if line.startswith("## Which parts of the transformer")]


def test_latents_are_told_with_what_switching_them_off_takes(pack: EvidencePack) -> None:
    (view,) = feature_views(with_estimates(pack, latents()))
    assert view.answer == (
        "After training on real data: at layer1 latent 1203 (0.91) tells the groups apart (AUROC); switching off latent 1203 takes 3.0 "
        "points of the gap. The autoencoder gives 82 % of the variance again."
    )
    (table,) = view.tables
    assert table.rows[0] == (
        "latent 1203", "20.0 %", "0.910 (0.900 to 0.920)", "tells", "0.030 (0.020 to 0.040)", "moves it",
    )  # fmt: skip


@pytest.mark.parametrize("views", [circuit_views, feature_views])
def test_packs_without_them_have_no_such_section(pack: EvidencePack, views: Any) -> None:
    assert views(pack) == ()


def test_names_from_a_pack_are_harmless(pack: EvidencePack) -> None:
    changed = with_estimates(pack, [estimate(c, m, HOSTILE, 0.3, site=HOSTILE) for c, m in (("circuit", "head"), ("feature", "auroc"))])
    assert HOSTILE not in render_html(changed)
    render_markdown(changed)


def test_the_picture_holds_every_part_once_and_nothing_is_drawn_of_nothing() -> None:
    cells = [PartCell("layer0", "head 0", 0.5, confirmed=True, member=True), PartCell("layer1", "MLP output", -0.2)]
    svg = circuit_chart(["layer0", "layer1"], ["head 0", "MLP output"], cells, ident="u", title="t")
    assert svg.count("<polygon") == 3  # two cells and a diamond
    assert "layer0, head 0: 50 % of the effect" in svg
    assert "No part is confirmed." in circuit_chart(["layer1"], ["MLP output"], cells[1:], ident="u", title="t")
    assert circuit_chart([], [], [], ident="u", title="t") == ""
