"""What ``init`` writes: recipes that load, and a script whose options ``probe`` takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from proxyaudit.cli import main as cli
from proxyaudit.errors import InputError
from proxyaudit.recipe.recipe import Margins, load_recipe


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("template", ["tabular", "release", "text"])
def test_init_writes_a_valid_recipe_and_never_overwrites(template: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", "--template", template]) == 0
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.regimes[0].real
    assert f"proxyaudit run {'recipe.yaml'}" in capsys.readouterr().out
    before = (tmp_path / "recipe.yaml").read_bytes()
    assert cli.main(["init"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "recipe.yaml").read_bytes() == before
    assert cli.main(["init", "no/such/folder/r.yaml"]) == 2


def test_the_script_for_activations_calls_probe(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every '#' taken off it gives the options of ``probe`` values that it takes, the optional ones their defaults."""
    from proxyaudit.audits.probe import run as probe

    assert cli.main(["init", "--template", "activations"]) == 0
    assert "sh probe.sh" in capsys.readouterr().out
    text = (tmp_path / "probe.sh").read_text(encoding="utf-8")
    assert text.endswith('exec proxyaudit probe "$@"\n')
    lines = [line for line in text.splitlines() if "set -- " in line]
    given = [line.split('"$@" ' if "$@" in line else "set -- ")[1].split("  ")[0].split() for line in lines]
    asked: list[Any] = []

    def stop(*arguments: Any, **more: Any) -> Any:
        asked.extend(arguments)
        raise InputError("seen", where="", mend="")

    monkeypatch.setattr(probe, "probe_files", stop)
    assert cli.main(["probe", *(word for pair in given for word in pair)]) == 2
    activations, labels, request = asked
    assert [name.partition("=")[0] for name in activations] == ["real", "vendor"]
    assert labels == Path("people.csv")
    assert request == probe.ProbeRequest(("sex",), "real", "person", ("label",), Margins(), 0, "my-activations")


@pytest.mark.parametrize("template", ["tabular", "release", "text"])
def test_every_key_of_a_template_is_known_and_commented(template: str, tmp_path: Path) -> None:
    """Taking the '#' off the optional keys must give a recipe that is valid too, with the defaults they name."""
    cli.main(["init", "all.yaml", "--template", template])
    text = (tmp_path / "all.yaml").read_text(encoding="utf-8")
    keys = [
        "dropout",
        "batch_size",
        "learning_rate",
        "weight_decay",
        "patience",
        "validation_share",
        "class_weight",
        "hidden",
        "epochs",
        "legitimate",
        "encode",
        "group",
    ]
    models = [
        "package",
        "hub",
        "revision",
        "trust_remote_code",
        "gguf_file",
        "precision",
        "lora_rank",
        "lora_alpha",
        "pooling",
        "site_pooling",
        "spans",
    ]
    keys += models if template == "text" else []
    keys += ["sites", "  verdict", "  profile", "seed", "training_size", "margins", *(f"  {name}" for name in Margins.model_fields)]
    for key in keys:
        text = re.sub(rf"^( *)# ({re.escape(key)}:)", r"\1\2", text, flags=re.M)
    (tmp_path / "open.yaml").write_text(text, encoding="utf-8")
    assert load_recipe(tmp_path / "open.yaml") == load_recipe(tmp_path / "all.yaml").model_copy(
        update={"data": load_recipe(tmp_path / "open.yaml").data}
    )
    bare = [line for line in text.splitlines() if re.match(r" *[a-z_]+: +\S", line) and "#" not in line]
    assert bare == []
