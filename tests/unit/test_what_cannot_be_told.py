"""What is too uncertain to tell is told as that, with the interval; numbers that look odd have a line that says why."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from proxyaudit.comparison.outcomes import ProminenceChange
from proxyaudit.estimates.rounding import coarse_step
from proxyaudit.estimates.training import times
from proxyaudit.reporting.blocks import figure_cell, share_cell, state_lines
from proxyaudit.reporting.report import rounding_note
from proxyaudit.reporting.sections.cures import _meanings
from proxyaudit.reporting.sentences import training_sentence
from proxyaudit.reporting.summary import AttributeView, Profile, Row, summarize
from proxyaudit.reporting.terminal import found_table
from proxyaudit.reporting.training import Inside, TriedView
from proxyaudit.types import Training
from tests.unit.small_packs import estimate, finding, small_pack


@pytest.mark.parametrize(
    ("word", "interval", "said"),
    [
        (
            "cannot_tell",
            (-0.316, -0.7, 0.1),
            "cannot be told (0.349 before, 0.033 after, at 'l'; difference -0.316, 95 % interval -0.700 to 0.100)",
        ),
        ("cannot_tell", (-0.316, -0.4, -0.2), "-0.200, which other initial weights or training rows alone may make)"),
        ("cannot_tell", (None, None, None), "cannot be told (0.349 before, 0.033 after, at 'l'; no interval is known)"),
        ("unchanged", (-0.0001, -0.01, 0.01), "about as prominent as before (0.349 before, 0.033 after, at 'l'; difference 0.000, 95 %"),
        ("less", (-0.316, -0.4, -0.2), "less prominent, 0.1 times (0.349 before"),
    ],
)
def test_a_change_of_prominence_is_told_with_its_interval(word, interval, said):
    told = ProminenceChange("a", "r", "r", "l", "l", 0.349, 0.033, *interval, None, None, word).text
    assert said in told
    assert "no difference" not in told


def test_present_beside_an_interval_that_holds_zero_says_what_decided():
    two = estimate("expressed", 0.12, "present", seeds=(0.1, 0.14)).model_copy(update={"low": -0.13, "high": 0.37})
    for lines in (state_lines(two), share_cell(two).lines, figure_cell(two).lines):
        assert lines[:2] == ("✚ present", "tested at the margin on the rows of each of 2 models; the interval tells how far models differ")
    apart, absent = two.model_copy(update={"low": 0.02}), two.model_copy(update={"state": "absent"})
    assert [len(state_lines(one)) for one in (apart, absent)] == [1, 1]


@pytest.mark.parametrize(
    ("low", "high", "seeds", "step"),
    [
        (0.0, 0.2, (0.1, 0.1, 0.1), 0.1),  # 10.0 (0.0 to 20.0)
        (0.02, 0.1, (0.04, 0.06, 0.08), 0.02),
        (0.017, 0.098, (0.05, 0.061, 0.064), None),
        (0.0, 0.0, (0.0,), None),  # zero fits every step
    ],
)
def test_coarse_steps_are_found_and_told(low, high, seeds, step):
    e = estimate("expressed", 0.1, "unknown", seeds=seeds).model_copy(update={"low": low, "high": high})
    assert coarse_step(e) == (None if step is None else pytest.approx(step))
    told = rounding_note([None, e])
    assert [re.findall(r"steps of up to (\d+)", str(block)) for block in told] == ([] if step is None else [[f"{100 * step:.0f}"]])


def test_many_times_as_prominent_says_no_more_than_99():
    assert [times(log) for log in (-9.0, -0.1, 0.0, 1.67, 6.9)] == ["0.01", "0.90", "1.0", "5.3", "over 99"]


def view(word: str, *, untrained: str | None = "untrained", measured: bool = True) -> AttributeView:
    """An attribute after real training, of which the report says ``word``."""
    gain = estimate("prominence", 1.67, "unknown", measure="gain").model_copy(update={"low": -9.0, "high": 9.0})
    own = {"real": estimate("prominence", 0.02, "unknown")} | ({"untrained": estimate("prominence", 0.004, "unknown")} if measured else {})
    inside = Inside("l", untrained, own, {}, {"real": gain}, {}, {}, {})
    found = finding("exposed", regime="real", training=Training(word=word, singled_out=None, gain="E1", kept_of_real=None))
    return AttributeView(
        "sex", "protected", (), "Yes.", "", (Row("real", found, None, None),), (), Profile((), {}, {}, None, {}, {}), (), inside
    )


def test_without_an_untrained_network_the_answer_says_what_to_give():
    assert training_sentence(view("unknown")) == "Prominence inside: unclear after real."
    bare = training_sentence(view("unknown", untrained=None, measured=False))
    assert "no untrained network was given" in bare
    assert "--untrained NAME" in bare
    assert "no untrained network was measured" in training_sentence(view("unknown", measured=False))


def test_a_factor_that_cannot_be_told_is_not_shown():
    summary = summarize(small_pack([estimate("linear", 0.2, "present")], [finding("exposed")]))
    alone = view("unknown", untrained=None, measured=False)
    views = {"unclear": view("unknown"), "up": view("amplified"), "alone": alone}
    cells = {name: found_table(summary._replace(bare=False, attributes=(one,)))[1][0][2] for name, one in views.items()}
    assert cells == {"unclear": "2.0 %, unclear", "up": "up 5.3x", "alone": "2.0 %"}


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ({"real": "exposed", "g": "inconclusive"}, "These data cannot tell. After real: yes."),
        ({"real": "exposed", "g": "removed"}, "No. After real: yes."),
        ({"real": "inconclusive", "g": "inconclusive"}, "These data cannot tell."),
        ({"real": "exposed", "g": "hidden"}, "Yes."),
        ({"real": "exposed"}, "Yes."),
    ],
)
def test_the_lead_does_not_contradict_the_row_of_real_training(verdicts, said):
    numbers = [estimate("linear", 0.1, "present", regime=regime) for regime in verdicts]
    pack = small_pack(numbers, [finding(verdict, regime=regime) for regime, verdict in verdicts.items()])
    assert summarize(pack).attributes[0].lead == said


@pytest.mark.parametrize(
    ("leak", "said"),
    [
        ((0.05, 0.02, 0.08), "found by a linear reader: 5 % after g; other readers were not asked"),
        ((0.01, -0.02, 0.034), "found by a linear reader: at most 3.4 % after g; other readers were not asked"),
        (None, "found by a linear reader: not asked after g; other readers were not asked"),
    ],
)
def test_what_an_eraser_leaves_inside_is_told_beside_its_gap(leak, said):
    number = None if leak is None else estimate("cure", leak[0], "unknown", low=leak[1], high=leak[2])
    made = [TriedView(name, "put in", None, None, None, None, leak=number) for name in ("erased", "dropped-1")]
    told = dict(_meanings([replace(Row("g", None, None, None), tried=tuple(made))]))
    assert told["erased"] == "put in"
    assert told["what the eraser leaves inside"] == said
    assert told["dropped-1"] == "put in"


def test_a_cure_whose_meaning_differs_by_training_is_told_for_each():
    def tried(regime: str, columns: str) -> Row:
        made = [TriedView(name, words, None, None, None, None) for name, words in (("dropped-1", columns), ("resampled", "drawn again"))]
        return replace(Row(regime, None, None, None), tried=tuple(made))

    told = dict(_meanings([tried("real", "without a"), tried("g", "without b"), tried("h", "without b")]))
    assert told == {
        "dropped-1, after real": "without a",
        "dropped-1, after g and h": "without b",
        "resampled": "drawn again",
        "as it is": "the training rows as they are",
    }
