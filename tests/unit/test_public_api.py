"""The public names: complete, sorted, few, documented, and light to import."""

import re
import subprocess
import sys
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from released_packs import edit, unpack

import proxyaudit


def test_all_is_sorted_complete_and_small():
    assert proxyaudit.__all__ == sorted(proxyaudit.__all__)
    assert len(proxyaudit.__all__) <= 30
    for name in proxyaudit.__all__:
        assert getattr(proxyaudit, name).__doc__


def test_audit_opens_a_run_as_tables(tmp_path):
    run = unpack("probe", tmp_path)
    with pytest.warns(UserWarning, match="is verified in part: older schema"):
        audit = proxyaudit.open_audit(tmp_path)
    found = audit.pack.evidence
    assert list(audit.findings["verdict"]) == [f.verdict for f in found.findings]
    assert len(audit.estimates) == len(found.estimates) > 0
    assert "<table" in audit._repr_html_()
    assert found.run.name in repr(audit)
    edit(run, lambda d: d["findings"][0].update(verdict="removed"))
    with pytest.raises(proxyaudit.IntegrityError, match="verdict is removed"):
        proxyaudit.open_audit(run)


def test_an_audit_shows_itself_in_a_notebook(make_pack):
    pack = make_pack(("<b>sex</b>", "race"), status="partial")
    audit = proxyaudit.Audit(None, pack)
    shown = audit._repr_html_()
    assert "&lt;b&gt;sex&lt;/b&gt;" in shown
    assert "<b>sex" not in shown
    assert "partial" in shown
    assert all(finding.verdict in shown for finding in pack.evidence.findings)
    assert isinstance(audit.findings, pd.DataFrame)
    assert list(audit.estimates.index) == [e.id for e in pack.evidence.estimates]


@pytest.mark.parametrize("kind", ["profile", "surface"])
def test_plots_are_objects(kind, pack, tmp_path):
    audit = proxyaudit.Audit(None, pack)
    plot = audit.plot(kind, attribute="race")
    assert isinstance(plot, proxyaudit.Plot)
    assert "race" in plot.title
    assert plot.title in repr(plot)
    assert audit.plot(kind, attribute="race") == plot
    drawing = ElementTree.fromstring(plot._repr_svg_())
    assert drawing.tag == "{http://www.w3.org/2000/svg}svg"
    # What the drawing refers to it brings along.
    for name in set(re.findall(r"var\((--\w+)\)", plot.svg)):
        assert f"{name}:" in plot.svg
    html = plot._repr_html_()
    assert all(name in html for name, _ in plot.legend)
    assert "gaussian_copula" in plot.svg
    assert "<script" not in html
    for ending in ("svg", "html"):
        assert plot.save(tmp_path / f"chart.{ending}").read_text(encoding="utf-8").count("<svg") >= 1
    ElementTree.fromstring((tmp_path / "chart.svg").read_text(encoding="utf-8"))
    other = audit.plot(kind, attribute="sex")
    assert ElementTree.fromstring(other.svg).get("id") != drawing.get("id")


def test_names_in_plots_are_text(make_pack):
    plot = proxyaudit.Audit(None, make_pack(("<script>alert(1)</script>", "race"))).plot("profile")
    assert "<script" not in plot._repr_html_()
    ElementTree.fromstring(plot.svg)


def test_plots_that_cannot_be_drawn_say_why(pack, tmp_path):
    audit = proxyaudit.Audit(None, pack)
    for arguments, words in ((("pie",), "profile, surface"), (("profile", "age"), "one of sex, race")):
        with pytest.raises(proxyaudit.InputError, match=words):
            audit.plot(*arguments)
    with pytest.raises(proxyaudit.InputError, match="\\.svg or \\.html"):
        audit.plot().save(tmp_path / "chart.png")
    with pytest.raises(proxyaudit.InputError, match="cannot be written"):
        audit.plot().save(tmp_path / "nowhere" / "chart.svg")


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, proxyaudit; print([m for m in ('torch', 'pandas', 'sklearn', 'sdv', 'matplotlib', 'scipy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


ROWS = pd.DataFrame({"sex": ["f", "m"], "pay": [1, 2]})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: proxyaudit.run(ROWS), ("recipe is no path, but a DataFrame", "parquet or CSV file", "data: {path: rows.parquet}")),
        (lambda: proxyaudit.run(pa.table(ROWS)), ("recipe is no path, but a Table", "parquet or CSV file")),
        (
            lambda: proxyaudit.run(pytest.importorskip("polars").DataFrame({"sex": ["f"]}).lazy()),
            ("recipe is no path, but a LazyFrame", "parquet or CSV file"),
        ),
        (
            lambda: proxyaudit.run({"data": {"path": ROWS}}),
            ("but a dict", "write these settings", "any frame in it", "data.path"),
        ),
        (lambda: proxyaudit.run({"data": {"path": "t.csv"}}), ("but a dict", "(yaml.safe_dump), and give the path")),
        (lambda: proxyaudit.run(3), ("but a int", "run('recipe.yaml')")),
        (lambda: proxyaudit.run("recipe.yaml", out=3), ("out is no path", "name a folder")),
        (lambda: proxyaudit.run("recipe.yaml", jobs="two"), ("jobs is no whole number",)),
        (lambda: proxyaudit.open_audit(ROWS), ("folder is no path, but a DataFrame", "folder of a run")),
        (lambda: proxyaudit.probe(np.zeros((9, 2)), ROWS, attributes="sex", out=ROWS), ("out is no path", "name a folder")),
    ],
)
def test_what_is_no_path_is_refused_in_one_line(call, words):
    with pytest.raises(proxyaudit.InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
