"""Words and features of writing as columns: what is counted, what leaving them out does, and what is never named."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxyaudit.data.scrubbing import MASK
from proxyaudit.data.text_features import STYLES, TextFeature, feature_table, frequent_terms

LINE = f"WOW, I can't believe she said so... :) 25 times!! Mary's dress sooo good {MASK}?"


@pytest.mark.parametrize(
    ("kind", "what", "without"),
    [
        ("word", "she", f"WOW, I can't believe said so... :) 25 times!! Mary's dress sooo good {MASK}?"),
        ("word", "can't", f"WOW, I believe she said so... :) 25 times!! Mary's dress sooo good {MASK}?"),
        ("word", "removed", LINE),  # a mask is no word of the text
        ("pattern", "!! ", LINE.replace("!!", "")),
        ("pattern", "ress", LINE.replace("dress ", "")),
        ("style", "exclamation marks", LINE.replace("!!", "")),
        ("style", "ellipses", LINE.replace("...", "")),
        ("style", "words in capitals", LINE.replace("WOW", "wow")),
        ("style", "capital letters", LINE.lower()),
        ("style", "drawn-out words", LINE.replace("sooo", "so")),
        ("style", "emoticons and emoji", LINE.replace(" :)", "")),
        ("style", "contractions", LINE.replace("can't", "can not")),
        ("style", "given names", LINE.replace("Mary's ", "")),
        ("style", "gendered words", LINE.replace("she ", "")),
        ("style", "digits", LINE.replace("25 ", "")),
        ("style", "length in words", LINE),
    ],
)
def test_a_text_without_a_feature(kind: str, what: str, without: str) -> None:
    feature = TextFeature(kind, what)  # type: ignore[arg-type]
    assert feature.without(LINE).split() == without.split()
    if feature.removable and without != LINE:
        before, after = feature_table([feature], [LINE, feature.without(LINE)]).iloc[:, 0]
        assert before > 0
        assert after == 0


@settings(max_examples=60)
@given(
    st.text(alphabet="aAeo nsh!.,?'\u20193\u2026:)(é", max_size=40),
    st.sampled_from([name for name in STYLES if TextFeature("style", name).removable]),
)
def test_what_is_left_out_is_gone_and_a_text_without_it_stays(text: str, name: str) -> None:
    feature = TextFeature("style", name)
    once = feature.without(text)
    if feature_table([feature], [text]).iloc[0, 0] == 0:
        assert once.split() == text.split()
    assert feature.without(once) == once


def test_rates_do_not_grow_with_the_length_of_a_text() -> None:
    names = ["exclamation marks", "function words", "length in words"]
    table = feature_table([TextFeature("style", name) for name in names], ["so good! the best", "so good! the best " * 5])
    assert table["exclamation marks"].tolist() == [25.0, 25.0]
    assert table["function words"].nunique() == 1
    assert table["length in words"].tolist() == [4, 20]


def world(few: int) -> tuple[list[str], np.ndarray]:
    """Three texts by each of 40 people: a common word by 20, one of ``few``, one that a single person writes thirty times."""
    texts, people = [], []
    for person in range(40):
        for _ in range(3):
            words = [
                "everyone",
                *(["common"] if person < 20 else []),
                *(["fewword"] if person < few else []),
                *(["mary"] if person < 20 else []),
            ]
            texts.append(" ".join([*words, *(["canaryxyz"] * 10 if person == 0 else []), *(["room101"] if person < 20 else [])]))
            people.append(person)
    return texts, np.array(people)


@pytest.mark.parametrize(("few", "named"), [(10, False), (11, True)])
def test_only_what_eleven_people_write_and_eleven_do_not_is_named(few: int, named: bool) -> None:
    texts, people = world(few)
    names = {feature.what for feature in frequent_terms(texts, people, texts, people).features if feature.kind == "word"}
    assert names == {"common", *(["fewword"] if named else [])}
    patterns = {feature.what for feature in frequent_terms(texts, people, texts, people).features if feature.kind == "pattern"}
    assert "comm" in patterns
    assert not [pattern for pattern in patterns if "mary" in pattern]  # a given name is one in every shape
    assert not [pattern for pattern in patterns if "xyz" in pattern or "1" in pattern]
    # Enough people in the training texts and too few in the audit texts is too few.
    other, _ = world(5)
    assert "fewword" not in {feature.what for feature in frequent_terms(texts, people, other, people).features}


def test_given_names_are_never_a_pattern_whatever_their_case() -> None:
    many = [f"{name} wrote this" for name in ["Anna", "ANNA", "Mary!", "nobody"] for _ in range(20)]
    features = frequent_terms(many, np.arange(80), many, np.arange(80)).features
    found = {feature.what.strip() for feature in features if feature.kind == "pattern"}
    assert {"nobo", "nna", "NNA", "ry!"} <= found
    assert not found & {"Anna", "ANNA", "Ann", "Mary"}


def test_texts_without_a_frequent_word_have_no_terms() -> None:
    lines = [f"own{i}" for i in range(30)]
    found = frequent_terms(lines, np.arange(30), lines, np.arange(30))
    assert not [feature for feature in found.features if feature.kind == "word"]
