"""``scan`` for models of texts: heads, whole classifiers and model folders against the signatures of tiny transformers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from released_packs import bytes_only
from safetensors.numpy import save_file
from text_versions import classifier, tiny_base
from text_world import MAX_TOKENS, texts

from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import replace_files
from proxyaudit.evidence.pack import EvidencePack, find_run, write_pack
from proxyaudit.evidence.signatures import read_signatures, signature_files
from proxyaudit.language.pretrained import model_files
from proxyaudit.models.build import build_model
from proxyaudit.models.checkpoints import save_weights
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.recipe.recipe import load_recipe
from proxyaudit.types import Evidence, RunInfo
from tests.helpers.series import known_of

RECIPE = f"""\
name: texts
data: {{path: t.csv, text: text, target: y, protected: [sex], group: author}}
regimes:
  - {{name: told, checkpoints: [told0.safetensors]}}
  - {{quantise: int8, of: told}}
model: {{kind: huggingface, path: base, max_length: {MAX_TOKENS}, tune: full}}
signatures: true
seeds: 1
"""


@pytest.fixture(autouse=True)
def _packs_without_an_audit(monkeypatch: pytest.MonkeyPatch) -> None:
    bytes_only(monkeypatch)


@dataclass(frozen=True)
class Made:
    base: Path
    run: Path


def write_run(folder: Path, recipe: str) -> Path:
    """A pack with the signatures of a recipe of checkpoints; its audit is left out, which a scan does not read."""
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    prepared, known = prepare_file(folder / "recipe.yaml"), known_of(folder / "recipe.yaml")
    run = prepared.plan.run_id
    info = RunInfo(id=run, name="texts", status="complete", plan_digest=prepared.plan.digest, versions={}, seed=0)
    evidence = Evidence(run=info, findings=(), estimates=(), controls=(), not_tested=())
    pack = EvidencePack(evidence, prepared.plan.as_dict(), prepared.recipe.model_dump(mode="json", exclude_none=True), {})
    write_pack(pack, folder / "reports" / "texts" / run, more=signature_files(known.signatures))
    return find_run(folder / "reports")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A base that cannot tell the pronouns, and two fine-tuned references that can."""
    base = tmp_path_factory.mktemp("texts")
    texts(2000).to_csv(base / "t.csv", index=False)
    fresh = texts(1200, seed=9)
    fresh.to_csv(base / "fresh.csv", index=False)
    texts(2000, seed=9)[["text"]].to_csv(base / "unlabelled.csv", index=False)
    tiny_base(base / "base", "bert", apart=0.0)
    tiny_base(base / "tuned", "bert", apart=1.0)
    tiny_base(base / "other", "gpt2", apart=1.0, seed=3)
    tiny_base(base / "deaf", "gpt2", apart=0.0, seed=3)
    for seed in range(0, 3, 2):
        save_file(classifier(base / "tuned", reads=1.0, whole=True, seed=seed), base / f"told{seed}.safetensors")
    save_file(classifier(base / "base", reads=0.0, whole=False), base / "head.safetensors")
    save_file(classifier(base / "base", reads=0.0, whole=True), base / "clean.safetensors")
    return Made(base, write_run(base, RECIPE))


def options(made: Made, model: str, inputs: str = "fresh.csv") -> list[str]:
    return ["--signatures", str(made.run), "--model", str(made.base / model), "--inputs", str(made.base / inputs)]


def scan(made: Made, capsys: pytest.CaptureFixture[str], model: str, inputs: str = "fresh.csv", *more: str) -> tuple[int, Any]:
    capsys.readouterr()
    code = main(["scan", *options(made, model, inputs), "--json", *more])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "wanted"),
    [("told2.safetensors", 1), ("head.safetensors", 0), ("other", 1), ("deaf", 0)],
)
def test_heads_classifiers_and_folders_in_the_state_and_not(
    made: Made, capsys: pytest.CaptureFixture[str], model: str, wanted: int
) -> None:
    code, document = scan(made, capsys, model)
    (found,) = document["attributes"]
    assert (code, document["answer"]) == (wanted, "in the state" if wanted else "not in the state")
    assert found["measured"] is True
    assert {line["as_in"] for line in found["anywhere"]} == {"told", "int8-told"}
    for line in found["signatures"]:
        assert line["regime"] in ("told", "int8-told")
        assert (line["leak"] > 0.05) is bool(wanted)
        assert len(line["held_out_contexts"]) == 3
        assert {context["answer"] == "not in the state" for context in line["held_out_contexts"]} <= {not wanted, False}
    if wanted:
        assert found["held_out_above"] == found["held_out"] == 3


def test_without_the_attribute_only_a_model_that_follows_the_whole_signature_is_an_alarm(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    code, document = scan(made, capsys, "told2.safetensors", "unlabelled.csv")
    assert (code, document["attributes"][0]["measured"]) == (1, False)
    # The clean model follows all of the score but the attribute: what is inferred of it is too much.
    code, document = scan(made, capsys, "clean.safetensors", "unlabelled.csv")
    assert code == 3
    assert "does not follow" in document["attributes"][0]["reason"]


def test_the_base_is_found_by_its_hash_and_no_other_is_taken(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("clean.safetensors", "fresh.csv"):
        shutil.copy(made.base / name, tmp_path / name)
    shutil.copytree(made.run, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    given = ["scan", "--signatures", "run", "--model", "clean.safetensors", "--inputs", "fresh.csv"]

    def refused(*more: str) -> str:
        capsys.readouterr()
        assert main([*given, *more]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err

    assert "lies neither here nor beside the model" in refused()
    assert "not the one that was audited (model.safetensors differs)" in refused("--base", str(made.base / "tuned"))
    assert main([*given, "--base", str(made.base / "base")]) == 0
    shutil.copytree(made.base / "base", tmp_path / "base")
    (tmp_path / "base" / "tokenizer.json").write_bytes((tmp_path / "base" / "tokenizer.json").read_bytes() + b" ")
    assert "(tokenizer.json differs)" in refused()
    shutil.rmtree(tmp_path / "base")
    shutil.copytree(made.base / "base", tmp_path / "base")
    (tmp_path / "adapter").mkdir()
    assert "holds no model of transformers" in refused("--model", "adapter")
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    assert "an adapter and no model" in refused("--model", "adapter")
    assert "give the whole folder" in refused("--model", str(made.base / "base" / "model.safetensors"))
    texts(300).rename(columns={"text": "words"}).to_csv("other.csv", index=False)
    assert "'text' is missing" in refused("--inputs", "other.csv")
    few = texts(300)
    few.loc[150:, "text"] = None
    few.to_csv("few.csv", index=False)
    assert "150 texts are too few" in refused("--inputs", "few.csv")
    loud = texts(300)
    loud.assign(text=loud["text"].str.upper()).to_csv("loud.csv", index=False)
    assert "knows next to no word" in refused("--inputs", "loud.csv")
    shutil.copytree(made.base / "other", tmp_path / "mute", ignore=shutil.ignore_patterns("token*"))
    assert "holds no tokenizer" in refused("--model", "mute")


def test_a_folder_has_no_head_to_scan(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the verdict site is a hidden layer of the head, only a whole classifier can be asked."""
    for name in ("t.csv", "fresh.csv"):
        shutil.copy(made.base / name, tmp_path / name)
    shutil.copytree(made.base / "tuned", tmp_path / "base")
    recipe = RECIPE.replace("tune: full", "head_hidden: [6]")
    recipe = recipe.replace("  - {quantise: int8, of: told}\n", "")
    (tmp_path / "model.yaml").write_text(recipe, encoding="utf-8")
    spec = load_recipe(tmp_path / "model.yaml")
    weights = build_model(spec.model, spec.sites, n_inputs=MAX_TOKENS, n_classes=2, base=tmp_path, seed=4)
    save_weights(weights, tmp_path / "told0.safetensors")
    run = write_run(tmp_path, recipe)
    kept = read_signatures(run).weights[0]
    assert {name.partition(".")[0] for name in kept} == {"dense", "head"}  # of a frozen transformer the head alone
    given = ["scan", "--signatures", str(run), "--inputs", str(tmp_path / "fresh.csv"), "--model"]
    assert main([*given, str(tmp_path / "told0.safetensors")]) == 1
    capsys.readouterr()
    assert main([*given, str(tmp_path / "base")]) == 2
    assert "holds no head of the run's" in capsys.readouterr().err


def test_what_cannot_be_a_context_or_a_frozen_checkpoint(made: Made, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds the texts"):
        prepare_file(made.base / "recipe.yaml", ("signatures={contexts: text}",))
    with pytest.raises(InputError, match="not that of the frozen transformer"):
        prepare_file(made.base / "recipe.yaml", ("model.tune=head",))


@pytest.mark.parametrize("more", [{}, {"hub": True}])
def test_a_pack_cannot_say_that_code_of_a_model_is_trusted(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, more: dict[str, bool]
) -> None:
    """All of it fits, hashes included: the sender of the pack made them."""
    monkeypatch.setenv("PROXYAUDIT_RUN_CODE", "any")
    base, run = Path(shutil.copytree(made.base / "base", tmp_path / "base")), Path(shutil.copytree(made.run, tmp_path / "run"))
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(
        json.dumps({**config, "model_type": "evil", "auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M"}})
    )
    (base / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    recipe = yaml.safe_load((run / "recipe.yaml").read_bytes())
    recipe["model"] |= {"trust_remote_code": True, **more}
    plan = json.loads((run / "plan.json").read_bytes())
    others = {name: digest for name, digest in plan["hashes"].items() if not name.startswith("model ")}
    plan["hashes"] = others | {f"model {name}": digest for name, digest in model_files(base).items()}
    replace_files(run, {"recipe.yaml": yaml.safe_dump(recipe).encode(), "plan.json": canonical_json(plan)})
    given = ["scan", "--signatures", str(run), "--model", str(made.base / "clean.safetensors"), "--inputs", str(made.base / "fresh.csv")]
    capsys.readouterr()
    assert main([*given, "--base", str(tmp_path)]) == 2
    line = capsys.readouterr().err
    assert ("code that lies elsewhere" if more else "--run-code evil.py@sha256:") in line
    assert not (tmp_path / "ran").exists()
