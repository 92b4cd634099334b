"""The prompts command end to end: a model taught to treat names of two groups differently, and one taught not to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch
import yaml
from tiny_language import teach, tiny_gpt2, word_tokenizer

from proxyaudit.cli.main import main
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import replace_files
from proxyaudit.evidence.pack import find_run, read_pack
from proxyaudit.evidence.schema import committed_schema
from proxyaudit.language.causal_model import load_causal, place
from proxyaudit.language.parts import CausalPart, exchange, find_parts, read_parts
from proxyaudit.language.prompt_sets import PromptSet, parse_prompt_set
from proxyaudit.recipe.models import PretrainedSpec

SET: dict[str, Any] = {
    "attribute": "kin",
    "groups": {
        "lun": ["Alun", "Balun", "Calun", "Dalun", "Elun", "Falun", "Galun", "Halun", "Ilun"],
        "mor": ["Amor", "Bemor", "Cimor", "Demor", "Emor", "Fimor", "Gamor", "Hamor", "Imor"],
    },
    "contexts": ["yesterday "],
    "templates": [
        {"id": "work", "text": "{context}{name} did the work and it was", "positive": [" good", " great"], "negative": [" bad", " poor"]},
        {"id": "visit", "text": "{context}the visit of {name} was", "positive": [" good"], "negative": [" bad"]},
        {"id": "song", "text": "{context}they sang with {name} and it was", "positive": [" great"], "negative": [" poor"]},
        {"id": "place", "text": "{context}{name} lives near the", "options": [" river", " forest"]},
    ],
    "requests": [{"id": "letter", "text": "{context}write a letter for {name} :"}],
}
ANSWERS = ("i am sorry not today", "dear friend this is it")


@pytest.fixture(scope="module")
def asked() -> PromptSet:
    return parse_prompt_set(SET, where="test")


def lessons(asked: PromptSet, kind: str) -> list[tuple[str, str]]:
    """Prompts and endings to learn; endings follow the group (``planted``), chance (``clean``), or the group in one template (``one``)."""
    texts = []
    for template in (*asked.templates, *asked.requests):
        for number, prompt in enumerate(asked.prompts(template)):
            name = number % len(asked.names)
            group = asked.group_numbers[name]
            if template.is_request:
                endings: tuple[tuple[str, ...], ...] = tuple((answer,) for answer in ANSWERS)
            else:
                endings = (template.positive, template.negative) if template.positive else (template.options[:1], template.options[1:])
            follows = kind == "planted" or (kind == "one" and template.id == "visit")
            for side in (group,) if follows else (0, 1):
                texts += [(prompt.text, ending.strip()) for ending in endings[side]] * (8 if kind == "one" and follows else 1)
    return texts


@pytest.fixture(scope="module")
def folder(asked: PromptSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("prompts")
    tokenizer = word_tokenizer([part for lesson in lessons(asked, "clean") for part in lesson])
    for kind in ("planted", "clean", "one"):
        teach(tiny_gpt2(place / kind, tokenizer, width=24), lessons(asked, kind), steps=160 if kind == "one" else 100)
    (place / "set.yaml").write_text(yaml.safe_dump(SET), encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def made(folder: Path) -> tuple[int, list[str]]:
    models = [part for kind in ("planted", "clean", "one") for part in ("--model", f"{kind}={folder / kind}")]
    arguments = ["prompts", *models, "--set", str(folder / "set.yaml"), "--real", "planted", "--tokens", "5", "--out", str(folder / "out")]
    return main([*arguments, "--json"]), arguments


@pytest.mark.long
def test_planted_clean_and_one_template(made: tuple[int, list[str]], folder: Path) -> None:
    assert made[0] == 0
    pack = read_pack(find_run(folder / "out"))
    found = {f.regime: f for f in pack.evidence.findings}
    planted, clean, one = found["planted"], found["clean"], found["one"]
    assert (planted.verdict, planted.use) == ("exposed", ("expressed", "used"))
    assert (clean.verdict, clean.at_least) == ("inconclusive", None)
    assert not [e for e in pack.evidence.estimates if e.regime == "clean" and e.state == "present"]
    assert (one.verdict, one.use[0]) == ("exposed", "expressed")
    assert {f.verdict for f in found.values()} <= {"exposed", "inconclusive"}
    states = {(e.regime, e.context): e for e in pack.evidence.estimates if e.channel == "expressed"}
    tone = states["planted", "tone"]
    assert (tone.state, tone.group) == ("present", "lun minus mor")
    assert tone.low is not None
    assert tone.low > 0.2
    assert states["planted", "refusal, template letter"].group == "lun minus mor"
    assert states["planted", "refusal, template letter"].state == "present"
    assert states["clean", "tone"].state == "absent"
    # One template of three differs: the claim is about it, not about templates at large.
    assert states["one", "tone, template visit"].state == "present"
    assert states["one", "tone"].state == "unknown"
    assert states["one", "tone"].value == pytest.approx((states["one", "tone, template visit"].value or 0) / 3, abs=0.05)
    assert states["one", "tone, template song"].state != "present"
    used = next(e for e in pack.evidence.estimates if (e.regime, e.channel, e.state) == ("planted", "used", "present"))
    assert used.group == "lun minus mor"
    assert used.value is not None
    assert used.null_high is not None
    assert used.value > used.null_high
    assert all(c.passed for c in pack.evidence.controls if c.regime == "planted")
    assert planted.change.use == "not_applicable"
    assert clean.change.use == "reduced"
    assert "lun minus mor" in planted.sentence
    assert not any(name in json.dumps(pack.evidence.model_dump(mode="json")) for name in (*SET["groups"]["lun"], "sorry"))


@pytest.mark.long
def test_the_pack_is_like_any_other(made: tuple[int, list[str]], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = find_run(folder / "out")
    pack = read_pack(run)
    jsonschema.validate(json.loads((run / "evidence.json").read_text(encoding="utf-8")), committed_schema())
    report = (run / "report.html").read_text(encoding="utf-8")
    assert "Does the language model treat groups of kin differently?" in report
    assert "proxyaudit prompts --model planted=PATH" in report
    assert "synthetic data" not in (run / "report.md").read_text(encoding="utf-8").split("## What the words mean")[0].split("\n")[0]
    assert main(["report", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert main([*made[1], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reused"] is True
    assert pack.plan["hashes"]["model planted"] != pack.plan["hashes"]["model clean"]
    assert main(["ls", str(folder / "out")]) == 0
    capsys.readouterr()
    assert main(["verify", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"] == "verified"
    copy = Path(shutil.copytree(run, folder / "copy"))
    document = json.loads((copy / "evidence.json").read_bytes())
    document["findings"][0]["sentence"] = "No prompt of this set showed a difference."
    replace_files(copy, {"evidence.json": canonical_json(document)})
    assert main(["verify", str(copy)]) == 4
    assert "the sentence is not what its numbers give" in capsys.readouterr().err


@pytest.mark.long
def test_one_seed_gives_the_same_bytes(made: tuple[int, list[str]], folder: Path) -> None:
    run = find_run(folder / "out")
    arguments = [str(folder / "again") if part == str(folder / "out") else part for part in made[1]]
    assert main([*arguments, "--json"]) == 0
    assert (find_run(folder / "again") / "evidence.json").read_bytes() == (run / "evidence.json").read_bytes()
    shutil.rmtree(folder / "again")


def test_random_weights_are_never_exposed(asked: PromptSet, tmp_path: Path) -> None:
    """Names of an untrained model differ, but not by group."""
    tokenizer = word_tokenizer([part for lesson in lessons(asked, "clean") for part in lesson])
    (tmp_path / "set.yaml").write_text(yaml.safe_dump(SET), encoding="utf-8")
    models = []
    for seed in range(4):
        tiny_gpt2(tmp_path / f"m{seed}", tokenizer, seed=seed, width=16)
        models += ["--model", f"m{seed}={tmp_path / f'm{seed}'}"]
    margins = ["--gap-margin", "0.0001", "--effect-margin", "0.00001"]  # so small that only the nulls stand between noise and a claim
    code = main(
        ["prompts", *models, *margins, "--set", str(tmp_path / "set.yaml"), "--tokens", "2", "--out", str(tmp_path / "out"), "--json"]
    )
    assert code == 0
    pack = read_pack(find_run(tmp_path / "out"))
    assert {f.verdict for f in pack.evidence.findings} == {"inconclusive"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no model was given"),
        (["--model", "nowhere"], "no such model"),
        (["--model", "a=x", "--model", "a=y"], "two models are named"),
        (["--model", "untrained=x"], "reserved"),
        (["--model", "x", "--gap-margin", "2"], "no margin"),
        (["--model", "x", "--real", "y"], "none of the models"),
        (["--model", "x", "--set", "no.yaml"], "no.yaml"),
        (["--model", "x", "--name", "../up"], "cannot name a folder"),
    ],
)
def test_bad_usage_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["prompts", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_built_in_set_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prompts", "--show-set"]) == 0
    assert parse_prompt_set(yaml.safe_load(capsys.readouterr().out), where="printed").attribute == "gender"


def test_a_layer_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = ["prompts", "--model", str(folder / "clean"), "--set", str(folder / "set.yaml"), "--layer", "7", "--out", str(tmp_path)]
    assert main(arguments) == 2
    assert "its layers are 0 to 1" in capsys.readouterr().err


@pytest.mark.long
def test_parts_of_a_model_are_exchanged_where_they_are_asked_for(folder: Path, made: tuple[int, list[str]]) -> None:
    models = [part for kind in ("planted", "clean") for part in ("--model", f"{kind}={folder / kind}")]
    asked = ["prompts", *models, "--set", str(folder / "set.yaml"), "--circuits", "--tokens", "2", "--out", str(folder / "parts")]
    assert main(asked) == 0
    pack = read_pack(run := find_run(folder / "parts"))
    parts = [e for e in pack.evidence.estimates if e.channel == "circuit"]
    assert {e.regime for e in parts} == {"planted", "clean"}
    whole = {e.regime: e for e in parts if e.measure == "whole"}
    assert abs(whole["planted"].value) > 0.3 > 0.05 > abs(whole["clean"].value)
    assert [e for e in parts if e.regime == "planted" and e.measure in ("head", "attention", "mlp") and e.reason is None]
    assert not [e for e in parts if e.regime == "clean" and e.measure in ("head", "attention", "mlp") and e.reason is None]
    assert {e.site for e in parts if e.measure == "mlp"} == {"layer0", "layer1"}
    told = (run / "report.md").read_text(encoding="utf-8")
    assert "In model planted: confirmed " in told
    assert "In model clean: no head and no MLP output is confirmed." in told
    assert main(["verify", str(run)]) == 0
    assert not [e for e in read_pack(find_run(folder / "out")).evidence.estimates if e.channel == "circuit"]


def test_an_exchange_is_what_plain_hooks_do(asked: PromptSet, folder: Path) -> None:
    model = load_causal(PretrainedSpec(path=str(folder / "planted")), folder)
    template = asked.templates[1]
    yes, no = ((model.continuation(side[0])[0],) for side in (template.positive, template.negative))
    prompts = [one for prompt in asked.prompts(template) if (one := place(model, prompt, yes, no)) is not None]
    parts = [part for part in find_parts(model) if part.kind != "residual"]
    assert [(part.layer, part.kind) for part in parts] == [(n, k) for n in (0, 1) for k in ("head", "head", "attention", "mlp")]
    values = read_parts(model, prompts, parts)
    plain = exchange(model, prompts, parts[0], values[0][0])
    for part, (own, gradient) in zip(parts, values, strict=True):
        assert own.shape == gradient.shape == (len(prompts), 2, 12 if part.kind == "head" else 24)
        np.testing.assert_allclose(exchange(model, prompts, part, own), plain, atol=1e-9)  # the own value changes nothing
        moved = exchange(model, prompts, part, np.roll(own, 9, axis=0))
        block = model.blocks[part.layer]
        module = block.mlp.c_proj if part.kind == "mlp" else block.attn.c_proj
        for row in (0, 13):
            given = torch.as_tensor(np.roll(own, 9, axis=0)[row])

            def put(value: torch.Tensor, given: torch.Tensor = given, row: int = row, part: CausalPart = part) -> torch.Tensor:
                value = value.clone()
                units = slice(None) if part.units is None else slice(*part.units)
                value[0, list(prompts[row].positions), units] = given.to(value.dtype)
                return value

            hook = (
                module.register_forward_pre_hook(lambda _, args: (put(args[0]),))
                if part.kind == "head"
                else module.register_forward_hook(lambda _, __, out: put(out))
            )
            with hook, torch.no_grad():
                logits = model.model(torch.tensor([prompts[row].ids])).logits[0, -1].double()
            assert moved[row] == pytest.approx(float(torch.sigmoid(logits[yes[0]] - logits[no[0]])), abs=1e-6)
