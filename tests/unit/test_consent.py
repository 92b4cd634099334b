"""Consent to execute code comes from the caller alone, and of what a pack names only as the hash of the file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from proxyaudit.cli.main import main
from proxyaudit.consent import Consent
from proxyaudit.errors import InputError
from proxyaudit.models.module import code_of, model_code
from proxyaudit.recipe.recipe import parse_recipe

DATA = {"path": "t.csv", "target": "y", "protected": ["sex"], "discover": 0}
NETS = """from pathlib import Path
from torch import nn
(Path(__file__).parent / "ran").touch()
def make(n):
    return nn.Sequential(nn.Linear(n, 4), nn.ReLU(), nn.Linear(4, 1))
"""


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("text", ["", "nets.py", "nets.py@sha256:12", "@sha256:" + "0" * 64, "nets.py@md5:" + "0" * 64, "all", "ANY"])
def test_what_is_no_consent_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="FILE@sha256:HASH"):
        Consent.of([text])


def test_only_the_very_file_may_run(tmp_path: Path) -> None:
    one, other = tmp_path / "a net.py", tmp_path / "other.py"
    one.write_text("1")
    other.write_text("2")
    files = {"the factory": one, "the model": other}
    for delivered in (False, True):
        with pytest.raises(InputError) as caught:
            Consent.of([f"{one.name}@sha256:{digest(one).upper()}"]).require(files, delivered=delivered)
        assert str(caught.value).endswith(f"add: --run-code other.py@sha256:{digest(other)}")
        assert "the factory" not in str(caught.value)
        Consent.of([f"x/{path.name}@sha256:{digest(path)}" for path in files.values()]).require(files, delivered=delivered)
        Consent().require({}, delivered=delivered)
        with pytest.raises(InputError, match=r"'a net\.py@sha256"):
            Consent().require(files, delivered=delivered)
    one.write_text("1 ")
    with pytest.raises(InputError):
        Consent.of([f"{path.name}@sha256:{digest(path)}" for path in (other,)]).require(files, delivered=True)


def test_any_counts_for_recipes_of_ones_own_only(tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text("1")
    for files in ({"it": tmp_path / "nets.py"}, {"it": None}):
        Consent.of(["any"]).require(files, delivered=False)
        with pytest.raises(InputError):
            Consent.of(["any"]).require(files, delivered=True)
    with pytest.raises(InputError, match="add: --run-code any"):
        Consent().require({"it": None}, delivered=False)


def test_every_file_of_a_trusted_model_is_code(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "parts").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    assert model_code("m", folder) == {}
    for name in ("modeling_x.py", "parts/more.py"):
        (folder / name).write_text("1")
    found = {"m: modeling_x.py": folder / "modeling_x.py", "m: parts/more.py": folder / "parts" / "more.py"}
    assert model_code("m", folder) == found
    (folder / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "someone/else--modeling.Model"}}))
    assert model_code("m", folder) == {"m": None, **found}
    assert model_code("m", None) == {"m": None}
    model = {"kind": "huggingface", "path": str(folder)}
    recipe = {"name": "t", "data": {**DATA, "text": "words"}, "regimes": ["real"], "model": model}
    assert code_of(parse_recipe(recipe), tmp_path) == {}
    trusted = parse_recipe({**recipe, "model": {**model, "trust_remote_code": True}})
    assert [path.name for path in code_of(trusted, tmp_path).values() if path] == ["modeling_x.py", "more.py"]
    assert code_of(parse_recipe({**recipe, "model": {**model, "trust_remote_code": True, "hub": True}}), tmp_path) == {"the model": None}


@pytest.mark.parametrize("kind", ["path", "escaped", "linked", "missing"])
def test_consent_is_asked_for_what_a_config_hides(kind: str, tmp_path: Path) -> None:
    """A config reaches code beside its folder by a path, by an escaped name or through a link."""
    folder = tmp_path / "model"
    folder.mkdir()
    named = {"path": f"{tmp_path}/mod.X", "escaped": "evil\\u002d-mod.X", "linked": "sub/mod.X", "missing": "mod.X"}[kind]
    (folder / "config.json").write_text(f'{{"auto_map": {{"AutoModel": ["{named}"]}}}}')
    if kind == "linked":
        (tmp_path / "elsewhere").mkdir()
        (folder / "sub").symlink_to(tmp_path / "elsewhere")
    assert model_code("it", folder) == {"it": None}
    with pytest.raises(InputError, match="lies elsewhere"):
        Consent().require(model_code("it", folder), delivered=True)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_recipe_of_ones_own_asks_before_it_executes(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("PROXYAUDIT_RUN_CODE")
    rng = np.random.default_rng(0)
    pd.DataFrame({"x": rng.normal(size=400), "sex": rng.choice(["f", "m"], 400), "y": rng.choice(["n", "p"], 400)}).to_csv(
        tmp_path / "t.csv", index=False
    )
    (tmp_path / "nets.py").write_text(NETS)
    recipe = {"name": "t", "data": DATA, "regimes": ["real"], "model": {"kind": "module", "factory": "nets.py:make"}}
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    given = [command, str(tmp_path / "r.yaml"), *(["--out", str(tmp_path / "out")] if command == "run" else [])]
    for more in ([], ["--run-code", "nets.py@sha256:" + "0" * 64], ["--run-code", "yes"]):
        assert main([*given, *more]) == 2
        found = capsys.readouterr()
        assert found.err.count("\n") == 1
        assert not (tmp_path / "ran").exists()
    assert main(given) == 2
    flag = capsys.readouterr().err.split("add: ")[1].split()
    assert flag == ["--run-code", f"nets.py@sha256:{digest(tmp_path / 'nets.py')}"]
    assert not (tmp_path / "out").exists()
    if command == "run":
        return
    assert main([*given, *flag]) == 0
    assert (tmp_path / "ran").exists()
    monkeypatch.setenv("PROXYAUDIT_RUN_CODE", "any")
    assert main(given) == 0
