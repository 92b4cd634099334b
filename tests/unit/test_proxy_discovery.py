"""Which columns become probe targets, settled before anything is measured; and what stands in reports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from proxyaudit.channels.proxies.discover import discover, known_target, measure_association
from proxyaudit.channels.proxies.record import TABLES, TableRecord
from proxyaudit.data.dataset import load_dataset
from proxyaudit.estimates.record import Measurement
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.recipe.recipe import parse_recipe
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import markdown_blocks, render_markdown
from proxyaudit.reporting.report import told_tables
from proxyaudit.reporting.sections.proxies import proxy_views
from proxyaudit.types import Estimate


def table(n: int = 1600) -> pd.DataFrame:
    """Columns: a strong proxy, a weak one, a pair that tells only together, noise."""
    rng = np.random.default_rng(5)
    sex = rng.integers(0, 2, n)
    flip = rng.integers(0, 2, n)
    frame = {
        "title": np.where(rng.random(n) < 0.9, np.where(sex == 1, "mr", "ms"), "dr"),
        "height": (rng.normal(size=n) + 1.2 * sex).round(3),
        "north": np.where(flip == 1, "yes", "no"),
        "left": np.where((flip ^ sex ^ (rng.random(n) < 0.1)) == 1, "yes", "no"),
        "luck": rng.normal(size=n).round(3),
        "sex": np.where(sex == 1, "m", "f"),
        "pay": np.where(rng.normal(size=n) + sex > 0.5, "high", "low"),
    }
    return pd.DataFrame(frame)


def found(folder: Path, **data: object):
    table().to_csv(folder / "t.csv", index=False)
    document = {
        "name": "t",
        "data": {"path": "t.csv", "target": "pay", "protected": ["sex"], **data},
        "regimes": ["real"],
        "model": {"kind": "mlp"},
    }
    recipe = parse_recipe(document)
    return discover(recipe, load_dataset(recipe, folder))


def association(measured: Measurement, attribute: str, unit: str) -> float:
    return TABLES.find(measured, attribute).units[unit].association.value


def test_the_strongest_undeclared_columns_become_targets(tmp_path):
    dataset, plan = found(tmp_path, discover=2)
    assert [(a.name, a.role) for a in dataset.attributes] == [("sex", "protected"), ("title", "proxy"), ("height", "proxy")]
    assert [d.name for d in plan.discovered] == ["title", "height"]
    assert plan.columns[:2] == ("title", "height")
    assert ("left", "north") in [tuple(sorted(pair)) for pair in plan.pairs["sex"]]
    again = found(tmp_path, discover=2)[1]
    assert again.describe() == plan.describe()


@pytest.mark.parametrize(
    ("data", "names"),
    [
        ({"discover": 0}, ["sex"]),
        ({"discover": 9}, ["sex", "title", "height"]),  # neither noise nor halves of a pair
        ({"discover": 1, "proxies": ["title"]}, ["sex", "title", "height"]),
        ({"discover": 1, "legitimate": ["title"]}, ["sex", "height"]),
        ({"discover": 1, "exclude": ["sex", "title"]}, ["sex", "height"]),
        ({"discover": 1, "exclude": []}, ["sex", "title"]),  # the model reads the attribute itself; it is no proxy of itself
    ],
)
def test_declared_excluded_legitimate_and_weak_columns_are_not_discovered(tmp_path, data, names):
    assert [a.name for a in found(tmp_path, **data)[0].attributes] == names


def test_a_number_as_protected_attribute(tmp_path):
    dataset, plan = found(tmp_path, protected=["height"], discover=1)
    assert plan.discovered[0].name == "sex"
    out = Measurement()
    measure_association(dataset.audit, dataset, plan, 0, out, rows=True)
    assert association(out, "height", "sex") == pytest.approx(0.26, abs=0.08)


def test_equal_rows_are_not_one_person(tmp_path):
    """In a coarse table every row has its like; folds that kept them together would find nothing in the strongest proxy, or less."""
    rng = np.random.default_rng(0)
    street = rng.integers(0, 40, 4000)
    sex = (rng.random(4000) < np.where(street % 2 == 1, 0.9, 0.1)).astype(int)
    named = np.char.add("street", street.astype(str))
    frame = pd.DataFrame(
        {"street": named, "area": named.astype("<U7"), "precinct": street // 5, "sex": sex, "pay": rng.integers(0, 2, 4000)}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    recipe = parse_recipe(
        {"name": "t", "data": {"path": "t.csv", "target": "pay", "protected": ["sex"]}, "regimes": ["real"], "model": {"kind": "mlp"}}
    )
    dataset, plan = discover(recipe, load_dataset(recipe, tmp_path))
    assert len(dataset.audit.drop_duplicates()) < len(dataset.audit) / 10
    out = Measurement()
    measure_association(dataset.audit, dataset, plan, 0, out, rows=True)
    assert association(out, "sex", "street") == pytest.approx(1 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1), abs=0.15)


def test_a_release_without_the_attribute_is_told_and_levels_are_coded_as_in_the_audit_rows(tmp_path):
    dataset, plan = found(tmp_path, discover=0)
    release = dataset.train.drop(columns="sex")
    out = Measurement()
    measure_association(release, dataset, plan, 0, out, rows=False)
    assert TABLES.find(out, "sex") == TableRecord(reason="the table does not hold the attribute")
    foreign = Measurement()
    measure_association(dataset.train.assign(sex="homme"), dataset, plan, 0, foreign, rows=False)
    assert TABLES.find(foreign, "sex").units["title"].reason == "too few rows hold the attribute"
    odd = dataset.audit.head(5).assign(sex=["m", "f", "x", None, "m"])
    target, known = known_target(dataset.attributes[0], odd, np.arange(5), 0)
    assert target.labels_n.tolist() == [1, 0, 1]
    assert known.tolist() == [True, True, False, False, True]


HOSTILE = ("<script>alert(1)</script>", "a | b ` $x$ [l](http://evil.example)", "a\u202eb\nc", "{{ 7*7 }}")


def with_proxies(pack: EvidencePack) -> EvidencePack:
    made = list(pack.evidence.estimates)

    def add(channel: str, regime: str, unit: str | None, value: float | None, **more: object) -> None:
        about = {"channel": channel, "measure": channel, "subject": unit, "context": unit}
        made.append(Estimate(id=f"E{len(made) + 1}", attribute="sex", regime=regime, value=value, **about, **more))

    for index, name in enumerate(HOSTILE):
        add("association", "inputs", name, 0.4 - 0.1 * index, low=0.1, high=0.5, state="present")
        for regime in ("real", "tvae"):
            add("influence", regime, name, 0.05)
            add("proxy_use", regime, name, 0.02 - 0.005 * index, state="present" if index < 2 else "unknown")
            add("path_total", regime, name, 0.06, group="Female to <b>Male</b>")
            add("path", regime, name, 0.03)
            share = {"value": 0.5, "low": 0.4, "high": 0.6} if index else {"value": None, "reason": "unclear"}
            add("path_share", regime, name, share.pop("value"), **share)
            add("attribution_direction", regime, name, 0.25)
    add("association", "inputs", f"{HOSTILE[0]} + {HOSTILE[1]}", 0.5)
    add("pair_gain", "inputs", f"{HOSTILE[0]} + {HOSTILE[1]}", 0.1, state="present")
    add("association", "tvae", None, None, state="unknown", reason="the table does not hold <i>it</i>")
    plan = {**pack.plan, "proxies": {"discovered": [{"name": HOSTILE[0], "of": "sex", "association": 0.4}]}}
    return EvidencePack(pack.evidence.model_copy(update={"estimates": tuple(made)}), plan, pack.recipe, pack.environment, pack.arrays)


def test_the_section_shows_hostile_names_and_does_nothing_else(pack):
    full = with_proxies(pack)
    html, text = render_html(full), render_markdown(full)
    assert "<script>alert" not in html + text
    assert "<b>Male" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "49" not in text[text.index("## Proxies") : text.index("## Controls")]
    assert "\u202e" not in html + text
    for part in ("Of that through the direction", "50 % (40 % to 60 %)", "no share", "Found by this audit", "Pairs of columns"):
        assert part in html
    assert "does not hold &lt;i&gt;it" in html
    (view,) = proxy_views(full)
    lines = "\n".join(markdown_blocks(told_tables(view, "proxies"))).splitlines()
    widths = {line.count("|") for line in lines if line.startswith("| &lt;script") and " + " not in line}
    assert widths == {3, 8}


def test_columns_are_ranked_and_packs_without_proxies_have_no_section(pack):
    assert proxy_views(pack) == ()
    assert "Proxies" not in render_markdown(pack)
    (view,) = proxy_views(with_proxies(pack))
    assert [row[0] for row in view.tables[1].rows] == list(HOSTILE)
    assert view.answer.index("script") < view.answer.index("a | b")


def test_carriers_are_named_whether_or_not_they_move_the_output(pack):
    (view,) = proxy_views(with_proxies(pack))
    acting, carrying = view.answer.split("Carriers that do not surely move it:")
    assert "“<script>" in acting
    assert "“<script>" not in carrying
    assert "{{ 7*7 }}" in carrying
    full = with_proxies(pack)
    quiet = tuple(e.model_copy(update={"state": "unknown"}) if e.channel == "proxy_use" else e for e in full.evidence.estimates)
    quiet_pack = EvidencePack(full.evidence.model_copy(update={"estimates": quiet}), full.plan, full.recipe, full.environment, full.arrays)
    (view,) = proxy_views(quiet_pack)
    assert view.strongest == ()
    assert view.answer.startswith("No column was found that surely both carries")
    assert "Columns that surely carry it: “<script>" in view.answer
    assert "and 1 more" in view.answer
    # What real training alone does with a column is told as that.
    of_real = tuple(
        e.model_copy(update={"state": "unknown"}) if (e.channel, e.regime) == ("proxy_use", "tvae") else e for e in full.evidence.estimates
    )
    real_pack = EvidencePack(full.evidence.model_copy(update={"estimates": of_real}), full.plan, full.recipe, full.environment, full.arrays)
    (view,) = proxy_views(real_pack)
    assert view.strongest == ()
    assert view.answer.startswith("After real training these surely both carry “sex” and move the output: “<script>")


def test_words_and_tokens_of_texts_are_shown_and_do_nothing_else(pack):
    full = with_proxies(pack)
    tokens = [
        Estimate(
            id=f"T{index}", channel=channel, measure=channel, attribute="sex", regime="real", subject=f"token \u201c{name}\u201d", value=0.5
        )
        for index, (channel, name) in enumerate((c, n) for c in ("attribution_direction", "attribution_output") for n in HOSTILE)
    ]
    evidence = full.evidence.model_copy(update={"estimates": (*full.evidence.estimates, *tokens)})
    texts = EvidencePack(evidence, {**full.plan, "proxies": {"of": "texts"}}, full.recipe, full.environment, full.arrays)
    html, text = render_html(texts), render_markdown(texts)
    assert "<script>alert" not in html + text
    assert "\u202e" not in html + text
    assert "49" not in text[text.index("## Proxies") : text.index("## Controls")]
    (view,) = proxy_views(texts)
    assert view.answer.startswith(
        "Words and habits of style that surely carry \u201csex\u201d, most first: <script>alert(1)</script>, a | b"
    )
    titles = [made.title for made in view.tables]
    assert "Tokens that feed the direction and the output after training on real data" in titles
    assert not [made for made in view.tables if "Column" in made.header]
    for part in ("Leaving it out moves the output by", "Only what at least eleven people write is named"):
        assert part in html
