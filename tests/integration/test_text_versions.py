"""Versions of one tiny model of texts (fine-tuned, int8, on another base, converted), audited and compared: what changed inside."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from text_versions import Weights, classifier, tiny_base
from text_world import MAX_TOKENS, texts, transformers

from proxyaudit.activations.capture import capture
from proxyaudit.cli.main import main
from proxyaudit.comparison import Comparison, compare_packs
from proxyaudit.evidence.pack import read_pack
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.huggingface import HuggingFaceSpec
from proxyaudit.pipeline.run import run_audit
from proxyaudit.recipe.recipe import SitesSpec

pytestmark = pytest.mark.long

KINDS = {"same": "bert", "other": "gpt2"}
READS = 2.0


@dataclass(frozen=True)
class Versions:
    """Run folders by base."""

    folders: dict[str, Path]

    def compare(self, base: str, regime: str) -> Comparison:
        packs = [read_pack(self.folders[name]) for name in ("same", base)]
        return compare_packs(packs[0], packs[1], [f"clean={regime}"])


def converted(weights: Weights) -> Weights:
    """The same numbers in another layout: another order and a wider type."""
    return {name: weights[name].astype(np.float64) for name in sorted(weights, reverse=True)}


def audit(folder: Path, base: str, regimes: list[dict[str, object]], *, rows: int, seed: int) -> Path:
    """Audit versions on one base; returns the run folder."""
    texts(rows, seed, told=0.95).to_csv(folder / "t.csv", index=False)
    recipe = {
        "name": base,
        "data": {"path": "t.csv", "text": "text", "target": "y", "protected": ["sex"], "discover": 0},
        "regimes": regimes,
        "model": {"kind": "huggingface", "path": f"{base}-0", "max_length": MAX_TOKENS, "tune": "full"},
        "sites": {"profile": ["penultimate"]},
        "references": {"placebos": 20, "reweighed": False},
        "seeds": 1,
        "seed": seed,
    }
    path = folder / f"{base}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return run_audit(path, out=folder / "out", jobs=1).folder


def make(folder: Path, *, names: tuple[str, ...], rows: int, seed: int) -> Versions:
    """Audit a clean model that cannot tell the pronouns, and versions of it; those named ``told`` can, and their heads read it."""
    weights = {}
    for base, kind in KINDS.items():
        for apart in (0, 1):
            place = tiny_base(folder / f"{base}-{apart}", kind, apart=float(apart), seed=seed)
            weights[base, apart] = classifier(place, reads=READS * apart, whole=True, seed=seed)
    given = {"clean": weights["same", 0], "tuned-told": weights["same", 1], "converted": converted(weights["same", 0])}
    swapped = {"swap": weights["other", 0], "swap-told": weights["other", 1]}
    quantised = {"int8": "clean", "int8-told": "tuned-told"}
    folders = {}
    for base, models in (("same", given), ("other", swapped)):
        kept = {name: one for name, one in models.items() if name in names}
        regimes: list[dict[str, object]] = []
        for name, one in kept.items():
            save_file(one, folder / f"{name}.safetensors")
            regimes.append({"name": name, "checkpoints": [f"{name}.safetensors"]})
        if base == "same":
            regimes += [{"name": name, "quantise": "int8", "of": of} for name, of in quantised.items() if name in names]
        folders[base] = audit(folder, base, regimes, rows=rows, seed=seed)
    return Versions(folders)


def check(versions: Versions, names: tuple[str, ...]) -> None:
    for name in names:
        found = versions.compare("other" if name.startswith("swap") else "same", name)
        assert found.same_rows
        worse = {number.channel for number in found.numbers if number.word == "worse"}
        told = name.endswith("told")
        assert found.exit_code == (1 if told else 0), (name, found.outcomes)
        assert "used" in worse if told else not worse, (name, worse)
        assert not any(number.word == "better" for number in found.numbers)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    transformers()
    names = ("clean", "converted", "tuned-told", "int8-told", "swap-told")
    return make(tmp_path_factory.mktemp("versions"), names=names, rows=1200, seed=0)


def test_what_changed_inside_each_version(versions: Versions) -> None:
    check(versions, ("clean", "converted", "tuned-told", "int8-told", "swap-told"))
    for base, name in (("same", "tuned-told"), ("same", "int8-told"), ("other", "swap-told")):
        inside = [n for n in versions.compare(base, name).numbers if n.channel == "linear" and n.word == "worse"]
        assert [n.difference is not None and n.difference > 0.05 for n in inside] == [True]


@pytest.mark.parametrize(
    ("base", "regime", "code"), [("same", "tuned-told", 1), ("same", "int8-told", 1), ("other", "swap-told", 1), ("same", "converted", 0)]
)
def test_compare_and_gate_answer_with_their_exit_codes(versions: Versions, tmp_path: Path, base: str, regime: str, code: int) -> None:
    before, after = str(versions.folders["same"]), str(versions.folders[base])
    assert main(["compare", before, after, "--regime", f"clean={regime}"]) == code
    policy = {
        "regimes": [regime],
        "allow": ["removed", "hidden", "exposed"],
        "inconclusive": "allow",
        "baseline": {"run": before, "regimes": {"clean": regime}},
    }
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy), encoding="utf-8")
    assert main(["gate", after, "--policy", str(tmp_path / "policy.yaml")]) == code


def test_a_model_folder_written_in_shards_is_the_same_model(tmp_path: Path) -> None:
    one = tiny_base(tmp_path / "one", "gpt2", apart=1.0)
    t = transformers()
    t.AutoModel.from_pretrained(one).save_pretrained(tmp_path / "many", max_shard_size="8KB")
    t.AutoTokenizer.from_pretrained(one).save_pretrained(tmp_path / "many")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    x = np.full((30, MAX_TOKENS), -1, dtype=np.float32)
    x[:, :5] = np.random.default_rng(0).integers(2, 40, (30, 5))
    found = []
    for name in ("one", "many"):
        spec = HuggingFaceSpec(kind="huggingface", path=name, max_length=MAX_TOKENS)
        found.append(capture(build_model(spec, SitesSpec(), n_inputs=MAX_TOKENS, n_classes=2, base=tmp_path, seed=1), x))
    assert all(np.array_equal(found[0].acts[site], found[1].acts[site]) for site in found[0].acts)


@pytest.mark.study
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_clean_and_planted_versions_of_other_models(tmp_path: Path, seed: int) -> None:
    transformers()
    names = ("clean", "converted", "tuned-told", "int8", "int8-told", "swap", "swap-told")
    check(make(tmp_path, names=names, rows=1500, seed=seed), names)
