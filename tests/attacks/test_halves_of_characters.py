"""Escapes of half a character in recipes, policies and overrides: no path, name or digest can be made of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.recipe.yaml import parse_yaml

RECIPE = "name: x\ndata: {{path: {path}, target: y}}\nregimes: [real]\nmodel: {{kind: mlp}}\n"


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udfff": 1}', '[1, {a: "x\\udc80y"}]'])
def test_half_a_character_is_refused_wherever_it_stands(text: str) -> None:
    with pytest.raises(InputError, match="half of a character"):
        parse_yaml(text, "recipe.yaml", "write it otherwise")


def test_whole_characters_of_every_kind_are_read() -> None:
    assert parse_yaml('"\\U0001f600 \\u00e4 \U0001f600"', "recipe.yaml", "") == "\U0001f600 ä \U0001f600"


@pytest.mark.parametrize("overridden", [False, True])
def test_a_path_of_half_a_character_is_one_line(overridden: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(path="real.csv" if overridden else '"\\ud800"'), encoding="utf-8")
    assert main(["plan", str(recipe), *(["--set", 'data.path="\\ud800"'] if overridden else [])]) == 2
    assert "half of a character" in capsys.readouterr().err
