"""Charts: named, described, complete, and safe; the page's colours have the contrast that WCAG AA asks for."""

from __future__ import annotations

import itertools
import re
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from large_pack import large_pack

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.reporting.blocks import Picture, Pictures, Section
from proxyaudit.reporting.charts import WIDTH, ForestRow, curve_chart, forest_chart, scatter_chart
from proxyaudit.reporting.first import report_page
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from proxyaudit.reporting.panels import Panel, Spot, frontier_chart, frontier_ends, multiples_chart, overview_chart
from proxyaudit.reporting.report import Report
from proxyaudit.reporting.sections import all_sections
from proxyaudit.reporting.sections.causal import causal
from proxyaudit.reporting.sections.depth import depth
from proxyaudit.reporting.sections.localisation import localisation, localisation_views
from proxyaudit.reporting.sections.mixing import mixing
from proxyaudit.reporting.sections.profile import profile
from proxyaudit.reporting.sections.proxies import proxies
from proxyaudit.reporting.sections.relearning import relearning
from proxyaudit.reporting.summary import Profile
from proxyaudit.reporting.svg import Drawing, Scale, Style, fit, linear_scale, log_scale, root_scale, width_of
from proxyaudit.types import Estimate

LOOK = Style("k0", "circle")


def _estimate(value: float, low: float | None = None, high: float | None = None) -> Estimate:
    return Estimate(id="E1", channel="linear", attribute="a", regime="real", value=value, low=low, high=high)


@given(st.floats(-5, 5), st.floats(0.001, 10))
def test_even_scales_hold_their_ends_and_few_ticks(low: float, width: float) -> None:
    scale = linear_scale(low, low + width, 0, 100)
    assert scale(low) == pytest.approx(0, abs=1e-6)
    assert scale(low + width) == pytest.approx(100, abs=1e-6)
    assert 2 <= len(scale.ticks) <= 7
    assert all(low - 1e-6 <= tick <= low + width + 1e-6 for tick in scale.ticks)


@given(st.floats(0.01, 1))
def test_root_scales_start_at_zero_and_are_monotone(high: float) -> None:
    scale = root_scale(high, 0, 100)
    places = [scale(high * share / 10) for share in range(11)]
    assert places == sorted(places)
    assert (places[0], scale.ticks[0]) == (0, 0.0)
    assert places[-1] == pytest.approx(100)


def test_logarithmic_scales_name_every_count() -> None:
    scale = log_scale([16, 64, 256, 1024], 0, 90)
    assert [round(scale(value)) for value in scale.ticks] == [0, 30, 60, 90]


@given(st.text(max_size=200), st.floats(20, 200))
def test_labels_fit_their_room(text: str, room: float) -> None:
    shown = fit(text, room)
    assert len(shown) <= max(len(text) * 8, 3)
    assert len(shown) <= 3 or len(shown) * 0.4 * 12 <= room + 12


def test_a_cut_interval_has_an_arrow_and_a_whole_one_has_none() -> None:
    short = forest_chart([ForestRow("a", _estimate(0.1, 0.05, 0.15), LOOK)], 0.02, axis="x", ident="f", title="t")
    long = forest_chart([ForestRow("a", _estimate(0.1, 0.05, 0.95), LOOK)], 0.02, axis="x", ident="f", title="t")
    assert "polygon" not in short
    assert long.count("polygon") == 1


def test_a_forest_without_numbers_is_no_picture() -> None:
    nothing = Estimate(id="E1", channel="used", attribute="a", regime="real", reason="not measured")
    assert forest_chart([ForestRow("a", nothing, LOOK), ForestRow("b", None, LOOK)], 0.02, axis="x", ident="f", title="t") == ""
    assert curve_chart({"a": {1.0: _estimate(0.1)}}, lambda _: LOOK, axis=("x", "y"), ident="c", title="t") == ""


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_forests_draw_any_numbers(value: float, below: float, above: float) -> None:
    rows = [
        ForestRow("a", _estimate(value, value - below, value + above), LOOK, 0.1, _estimate(value / 2)),
        ForestRow("b", _estimate(0.0), LOOK),
    ]
    root = ElementTree.fromstring(forest_chart(rows, 0.02, axis="x", ident="f", title="t"))
    spots = [float(n) for e in root.iter("polygon") for n in re.findall(r"-?[\d.]+", e.get("points", ""))]
    assert all(-10 <= spot <= 400 for spot in spots)


def test_hidden_is_a_place_on_the_picture() -> None:
    pack = large_pack(("sex", "p"), ("real", "vendor"), ("last",))
    report = Report.of(pack)
    rows = report.rows(report.summary.attributes[0])
    svg, names = scatter_chart(rows, report.style, (0.02, 0.05), ident="o", title="t")
    assert names == ["real", "vendor", "untrained", "reweighed"]
    assert "hidden: inside, does not show" in svg
    # The shaded corner lies right of the leak's margin and below the gap's.
    corner = re.search(r'<polygon class="kh" points="([^"]+)"', svg)
    assert corner
    left, top = (float(n) for n in corner[1].split()[0].split(","))
    dashed = re.findall(r"M([\d.]+) ([\d.]+)", " ".join(re.findall(r'<path class="kg(?: w\d+)?" d="([^"]+)"', svg)))
    assert left == float(dashed[0][0])
    assert top == float(dashed[1][1])


def test_profiles_draw_margin_band_floor_and_detection_limits() -> None:
    series = {"real": {"a": _estimate(0.3, 0.2, 0.4), "b": _estimate(0.2)}}
    whole = Profile(("a", "b"), series, {"a": 0.2, "b": 0.1}, 0.02, {"a": 0.01, "b": 0.01}, {"a": 0.015})
    svg = multiples_chart(whole, lambda _: LOOK, ident="p", title="t", unit="u")
    assert svg.count('<polygon class="km"') == 2
    assert len(re.findall(r'<path class="kg(?: w\d+)?"', svg)) == 2
    for words in ("real: a 0.300, b 0.200", "placebo band up to: a 0.200", "floor: a 0.010", "detection limit: a 0.015"):
        assert words in svg


def _panel(low: float, value: float, high: float, **more: object) -> Panel:
    return Panel("Gap", {"real": _estimate(value, low, high)}, (-0.05, 0.05), ", points", **more)  # type: ignore[arg-type]


def test_the_picture_at_a_glance_draws_values_bands_and_scale() -> None:
    looks = {"real": LOOK, "untrained": Style("km", "cross"), "the target itself": Style("km", "bar")}
    shares = {"real": _estimate(0.06), "untrained": _estimate(0.017), "the target itself": _estimate(0.3)}
    inside = Panel("Prominent", shares, (0.01, 0.02), fine=True)
    svg = overview_chart(looks, (_panel(0.1, 0.18, 0.2), inside), ident="f", title="t")
    assert svg.count('<polygon class="km"') == 2
    for words in (">18</text>", ">6.0</text>", ">1.7</text>", ">30</text>", "Gap, points: real 18 (10 to 20)", "the target itself 30"):
        assert words in svg
    assert overview_chart(looks, (Panel("Gap", {}, None),), ident="f", title="t") == ""
    alone = overview_chart(looks, (_panel(0.1, 0.18, 0.2), Panel("Prominent", {}, None)), ident="f", title="t")
    assert "Prominent" not in alone
    assert "untrained" not in alone


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_picture_at_a_glance_draws_any_numbers(value: float, below: float, above: float) -> None:
    svg = overview_chart({"real": LOOK}, (_panel(value - below, value, value + above),), ident="f", title="t")
    spots = [float(n) for e in ElementTree.fromstring(svg).iter("polygon") for n in re.findall(r"-?[\d.]+", e.get("points", ""))]
    assert all(-10 <= spot <= 400 for spot in spots)


def test_the_frontier_names_every_cure_and_shades_what_is_too_small() -> None:
    cheap = Spot("one", _estimate(0.004, 0.0, 0.01), _estimate(-0.1, -0.12, -0.08))
    spots = [cheap, Spot("two", _estimate(0.2), _estimate(0.01, -0.02, 0.04))]
    before = _estimate(0.2, 0.15, 0.25)
    svg = frontier_chart(before, spots, 0.05, LOOK, frontier_ends([before], spots, 0.05), ident="c", title="t")
    for words in (">one</text>", ">two</text>", ">as it is</text>", "too small to count", "one: 10.0 points left, costs 0.004"):
        assert words in svg
    # Higher is more left, and right is dearer.
    (_, y0), (x1, y1), (x2, y2) = _marks(svg)
    assert y0 < y1 < y2
    assert x1 < x2
    assert frontier_chart(before, [], 0.05, LOOK, frontier_ends([before], [], 0.05), ident="c", title="t") == ""


@pytest.mark.parametrize(
    "points",
    [
        [(0.004 * k, 0.2) for k in range(8)],  # a crowd high up
        [(0.02 - 0.005 * k, 0.001 * k) for k in range(8)],  # and one upon the axis
        [(0.01, 0.1)] * 7,
        [(0.05, 0.19), (-0.05, 0.02), (0.049, 0.18), (0.048, 0.03)],
    ],
)
def test_names_of_cures_stand_beside_one_another_within_the_picture(points: list[tuple[float, float]]) -> None:
    spots = [Spot(f"permuted-{k}", _estimate(cost), _estimate(left)) for k, (cost, left) in enumerate(points)]
    before = _estimate(0.2)
    svg = frontier_chart(before, spots, 0.05, LOOK, frontier_ends([before], spots, 0.05), ident="c", title="t")
    names = {"as it is", "too small to count", *(spot.name for spot in spots)}
    texts = [e for e in ElementTree.fromstring(svg).iter("text") if e.text in names]
    assert len(texts) == len(points) + 2
    boxes = [(float(e.attrib["x"]), float(e.attrib["x"]) + width_of(e.text or ""), float(e.attrib["y"])) for e in texts]
    assert all(left >= 52 and right <= WIDTH and 12 < line < 226 for left, right, line in boxes)
    for (left, right, line), (other_left, other_right, other_line) in itertools.combinations(boxes, 2):
        assert right <= other_left + 0.2 or other_right <= left + 0.2 or abs(line - other_line) >= 11.9


def _marks(svg: str) -> list[tuple[float, float]]:
    """Places of the points: a cross for the rows as they are, circles for cures."""
    cross = re.search(r'<path class="km w18" d="M([\d.]+) ([\d.]+) L([\d.]+) ([\d.]+)M', svg)
    assert cross
    x, y = ((float(cross[i]) + float(cross[i + 2])) / 2 for i in (1, 2))
    return [(x, y), *((float(a), float(b)) for a, b in re.findall(r'<circle[^>]*cx="([\d.]+)" cy="([\d.]+)"', svg))]


def test_every_kind_of_training_has_its_panel_and_all_have_one_scale() -> None:
    values = {"real": 0.4, "vendor": 0.1, "untrained": 0.05}
    shown = Profile(("a", "b"), {name: {"a": _estimate(x), "b": _estimate(x / 2)} for name, x in values.items()}, {}, None, {}, {})
    svg = multiples_chart(shown, lambda name: Style(f"k{len(name)}", "circle"), ident="p", title="t", unit="u")
    titles = [e.text for e in ElementTree.fromstring(svg).iter("text")]
    assert titles.count("real") == titles.count("vendor") == 1
    assert "untrained" not in titles
    assert titles.count("25") == titles.count("0") == 2


@pytest.fixture(scope="module")
def report() -> Report:
    regimes = ("real", "vendor", "tvae", "mixed-vendor-0.5")
    return Report.of(large_pack(("sex", "race", "age"), regimes, ("block0", "block1", "penultimate")))


def _pictures(section: Section | None) -> list[Picture]:
    assert section is not None
    return [picture for block in section.blocks if isinstance(block, Pictures) for picture in block.items]


@pytest.mark.parametrize(
    ("make", "count", "words"),
    [
        (profile, 3, "Leak inside along the model for sex"),
        (depth, 3, "Output gap against leak inside for sex"),
        (mixing, 3, "Real rows mixed with vendor rows: sex"),
        (causal, 6, "Interchange effect, fitted subspace: sex"),
        (proxies, 12, "What each column does between the groups of sex after training on real"),
        (relearning, 3, "Leak after training the last block again on a few rows: sex"),
    ],
)
def test_every_section_draws_what_it_is_about(make: object, count: int, words: str, report: Report) -> None:
    pictures = _pictures(make(report))  # type: ignore[operator]
    assert len(pictures) == count
    assert f"<title id={words!r}" in pictures[0].svg or f">{words}</title>" in pictures[0].svg
    for picture in pictures:
        root = ElementTree.fromstring(picture.svg)
        label = (root.get("aria-labelledby") or "").split()
        named = {child.get("id"): child.text for child in root if child.tag in ("title", "desc")}
        assert [bool(named.get(ident)) for ident in label] == [True, True]
        # Those of these two stand in other tables of the page.
        assert make in (depth, proxies) or (picture.numbers is not None and picture.numbers.rows)


def test_a_mixture_joins_real_mixed_and_synthetic(report: Report) -> None:
    numbers = _pictures(mixing(report))[0].numbers
    assert numbers is not None
    assert [(row[0].text, row[1].text) for row in numbers.rows] == [
        ("0.00", "real"),
        ("0.50", "mixed-vendor-0.5"),
        ("1.00", "vendor"),
    ]


def test_sections_without_data_are_left_out_and_new_ones_need_one_line(pack: EvidencePack) -> None:
    without = report_page(pack).sections
    assert {"proxies", "relearning"}.isdisjoint(section.ident for section in without)
    assert localisation(Report.of(pack)) is None
    e = Estimate(id="E9999", channel="localisation", attribute="sex", regime="real", site="penultimate", measure="whole", value=0.1)
    more = replace(pack, evidence=pack.evidence.model_copy(update={"estimates": (*pack.evidence.estimates, e)}))
    made = localisation(Report.of(more))
    assert made is not None
    assert made.blocks[1].parts == (localisation_views(more)[0].answer,)  # type: ignore[union-attr]
    assert len(all_sections()) >= len(without)


def test_ten_attributes_eight_regimes_and_thirteen_sites_take_less_than_five_seconds() -> None:
    regimes = ("real", *(f"vendor-{i}" for i in range(6)), "mixed-vendor-0-0.5")
    pack = large_pack(tuple(f"attribute {i}" for i in range(10)), regimes, tuple(f"block{i}.out" for i in range(13)))
    start = time.process_time()
    html, markdown = render_html(pack), render_markdown(pack)
    assert time.process_time() - start < 5
    assert html.count('role="img"') > 100
    assert markdown.count("\n## ") > 10


@pytest.mark.parametrize(
    ("ticks", "shown"), [((0.0, 0.002, 0.004), ["0", "0.002", "0.004"]), ((16.0, 1024.0), ["16", "1024"]), ((-0.5, 1.0), ["-0.5", "1"])]
)
def test_ticks_are_written_without_needless_zeros(ticks: tuple[float, ...], shown: list[str]) -> None:
    drawing = Drawing(100, 100)
    drawing.axis_x(Scale(lambda value: value, ticks[0], ticks[-1], ticks), 50, title="t")
    root = ElementTree.fromstring(drawing.render(ident="a", title="t", description="d"))
    assert [e.text for e in root.iter("text")][:-1] == [text.replace("-", "\N{MINUS SIGN}") for text in shown]


@pytest.mark.parametrize("widths", [(1.8, 1.6), (1.6, 0.7, 1.6), (2.0, 2.0, 1.6, 1.6)])
def test_every_line_is_drawn_whatever_its_width_and_whatever_came_before(widths: tuple[float, ...]) -> None:
    drawing, css = Drawing(100, 100), (resources.files("proxyaudit.reporting") / "templates" / "page.css").read_text()
    for place, width in enumerate(widths):
        drawing.line(0, place, 9, place, "km", width=width)
    found: list[tuple[str, str]] = []
    for path in ElementTree.fromstring(drawing.render(ident="a", title="t", description="d")).iter("path"):
        assert set(path.attrib) == {"class", "d"}
        found += [(path.attrib["class"], course) for course in re.findall(r"M[^M]+", path.attrib["d"])]
    assert [course for _, course in found] == [f"M0 {place} L9 {place}" for place in range(len(widths))]
    for width, (look, _) in zip(widths, found, strict=True):
        own = [name for name in look.split() if name != "km"]
        assert own == ([] if width == 1.6 else [f"w{10 * width:.0f}"])
        assert all(f".{name} {{ stroke-width:" in css for name in own)


def _variables(css: str) -> list[tuple[str, dict[str, str]]]:
    blocks = re.findall(r":root \{(.*?)\}", css, flags=re.DOTALL)
    found = [dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{3,6})", block)) for block in blocks]
    return list(zip(("light", "dark", "print"), found, strict=True))


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(c * 2 for c in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_colours_have_the_contrast_of_wcag_aa() -> None:
    css = resources.files("proxyaudit.reporting").joinpath("templates", "page.css").read_text(encoding="utf-8")
    for mode, colours in _variables(css):
        for text in ("ink", "muted", "link"):
            for ground in ("page", "card"):
                assert _contrast(colours[text], colours[ground]) >= 4.5, (mode, text, ground)
        for verdict in ("exposed", "hidden", "removed", "inconclusive"):
            assert _contrast(colours[verdict], colours[f"{verdict}-bg"]) >= 4.5, (mode, verdict)
        # Graphical objects need 3 to 1.
        for drawn in ("margin", *(f"s{index}" for index in range(8))):
            assert _contrast(colours[drawn], colours["page"]) >= 3, (mode, drawn)
