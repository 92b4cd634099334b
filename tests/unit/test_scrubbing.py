"""Scrubbing rules: what each masks, what it leaves, and that fixed rules stay fixed."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyaudit.data.scrub_style import EMOTICON
from proxyaudit.data.scrubbing import AMBIGUOUS_NAMES, GENDERED, GIVEN_NAMES, MASK, NOT_NAMES, RULES, scrub
from proxyaudit.errors import InputError


@pytest.mark.parametrize(
    ("rule", "text", "wanted"),
    [
        ("pronouns", "She said his WIFE's dress, not theirs.", f"{MASK} said {MASK} dress, not theirs."),
        ("pronouns", "the shed and there", "the shed and there"),
        ("pronouns", "grandmother\u2019s", MASK),
        ("names", "then robert and Latoya left", f"then {MASK} and {MASK} left"),
        ("names", "I will go; Will stays. But Will knows Zorblatt well", f"I will go; Will stays. But {MASK} knows {MASK} well"),
        ("names", "Great dress. Love it in May", "Great dress. Love it in May"),
        ("names", "LOVE THIS DRESS FROM PARIS", "LOVE THIS DRESS FROM PARIS"),
        ("dates", "on 2021-05-04, 4/5/21, 4 May 2021 and Mondays", f"on {MASK}, {MASK}, {MASK} and {MASK}"),
        ("dates", "December 23rd, 1999 or in 2008", f"{MASK} or in {MASK}"),
        ("dates", "size 34/26/38, 12 pounds, may fit, 1.5 inch", "size 34/26/38, 12 pounds, may fit, 1.5 inch"),
        ("ages", "a 45 year-old aged 45 in her mid-forties, my age", f"a {MASK} in her {MASK}, {MASK}"),
        ("ages", "size 10, 135 lb, 5 stars", "size 10, 135 lb, 5 stars"),
        ("style", "LOVE it!!! :-) Really...  do\u2014you?", "love it really do you"),
        ("style", "Sooo loooong, XXXL www 1,000 at 1.5; $5", "so long xxxl www 1,000 at 1.5 5"),
        ("style", "I can't, WON'T, don't, dont; it's Ann's, he'd gonna", "i can not will not do not do not it is ann's he would going to"),
        ("style", "(size 8) or ratio 1:3", "size 8 or ratio 1 3"),
        ("style", "<3 \U0001f600 xD (: caf\u00e9 na\u00efve", "caf\u00e9 na\u00efve"),
        ("style", f"Then {MASK}, {MASK}! left", f"then {MASK} left"),
    ],
)
def test_what_each_rule_masks(rule: str, text: str, wanted: str) -> None:
    assert scrub([text], [rule]) == [wanted]


def test_a_text_without_a_match_is_left_as_it_is() -> None:
    text = "  two  blanks, and [removed] [removed] of its own  "
    assert scrub([text], [rule for rule in RULES if rule != "style"]) == [text]


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(InputError, match="ethnicity"):
        scrub(["x"], ["ethnicity"])


@settings(max_examples=30)
@given(st.lists(st.text(max_size=60), max_size=5), st.permutations(RULES))
def test_the_order_of_rules_has_no_say_and_each_text_stands_alone(lines: list[str], order: list[str]) -> None:
    together = scrub(lines, order)
    assert together == scrub(lines, RULES)
    assert together == [scrub([line], RULES)[0] for line in lines]


@pytest.mark.parametrize("text", ["\u2460he's here", "\u017fhe's here", "sheee's here", "\uff33\uff28\uff25 here", "HEEE is Ann\u00a0here"])
def test_what_style_brings_out_is_masked(text: str) -> None:
    once = scrub([text], ["pronouns", "names", "style"])
    assert MASK in once[0]
    assert not {"she", "he", "he's", "she's", "1he's", "ann"} & set(once[0].split())
    assert scrub(once, ["pronouns", "names", "style"]) == once


@settings(max_examples=100)
@given(st.text(alphabet="sheHE\u017f\u2460\u00b9'\u2019 \u00a0\u2003.!i4", max_size=14))
def test_scrubbing_with_style_twice_changes_nothing_more(text: str) -> None:
    once = scrub([text], RULES)
    assert scrub(once, RULES) == once


def test_long_runs_take_linear_time() -> None:
    start = time.process_time()
    assert scrub(["so " + "(" * 40_000], ["style"]) == ["so"]
    assert EMOTICON.sub("", f"a {'(' * 12}: b") == "a  b"
    assert time.process_time() - start < 1


def test_names_are_known_by_their_capitals_before_these_are_flattened() -> None:
    assert scrub(["So then we and Zorblatt left!!"], ["style", "names"]) == [f"so then we and {MASK} left"]


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([*"aAno !?.,'\u2019-_:;)(3<", "n't", "don't", "im", "sss", MASK, "\u0130", "\u00df", "\u2026"]), max_size=14)
)
def test_flattening_twice_is_flattening_once(parts: list[str]) -> None:
    (once,) = scrub(["".join(parts)], ["style"])
    assert scrub([once], ["style"]) == [once]
    assert "!" not in once
    assert once == once.strip()


def test_the_lists_do_not_contradict_each_other() -> None:
    assert all(word == word.lower() for word in GENDERED | GIVEN_NAMES | AMBIGUOUS_NAMES | NOT_NAMES)
    assert not (GIVEN_NAMES - AMBIGUOUS_NAMES) & NOT_NAMES
    assert {"she", "grandmother", "actress"} <= GENDERED
    assert "they" not in GENDERED
