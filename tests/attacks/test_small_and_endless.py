"""Small files that would take for ever: holes of terabytes, YAML that grows without aliases, activations of no width."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.evidence.manifest import check_manifest, read_manifest
from proxyaudit.recipe import yaml
from proxyaudit.recipe.yaml import parse_yaml

Told = pytest.CaptureFixture[str]
_STEP = "{}: &{} !!{} [{}]\n"


def growing(tag: str) -> str:
    """Pairs of pairs, eight of each: no list of them is long, and written out they fill any memory."""
    lines = [_STEP.format("x0", "a0", tag, ", ".join(f"k{i}: {i}" for i in range(8)))]
    lines += [_STEP.format(f"x{n}", f"a{n}", tag, ", ".join(f"k{i}: *a{n - 1}" for i in range(8))) for n in range(1, 10)]
    return "".join(lines)


@pytest.mark.parametrize("tag", ["pairs", "omap"])
def test_nothing_grows_within_pairs(tag: str, today: Path, capsys: Told) -> None:
    with pytest.raises(InputError, match=f"'!!{tag}' is not read"):
        parse_yaml(growing(tag), "recipe.yaml", "write it out")
    (today / "recipe.yaml").write_text(growing(tag))
    mend(today)
    assert main(["verify", str(today)]) == 4
    assert "is not read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["x: !!set {a, b}", "x: !!binary aGVsbG8=", "x: !!python/name:os.system", "b: &b {q: 1}\nx: {<<: *b}", "=: 1"]
)
def test_only_plain_values_are_made(text: str) -> None:
    with pytest.raises(InputError, match="is not read: write out plain keys and values"):
        parse_yaml(text, "policy.yaml", "write it out")


@pytest.mark.parametrize("text", ["x: 1" + ":59" * 3000 + ".5", "x: 1" + ":59" * 3000, "x: 1e400\ny: " + "9" * 5000])
def test_a_sum_without_end_is_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"cannot be read|more than 64 bits"):
        parse_yaml(text, "policy.yaml", "write it out")


@pytest.mark.parametrize(
    "text", ["x: [" + "1," * 2_000_000 + "]", "x:\n" + "- 1\n" * 900_000, "x: {" + ",".join(f"a{i}: 1" for i in range(200_000)) + "}"]
)
def test_no_more_values_are_read_than_count(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "MOST_VALUES", 2_000)  # the processor's time is in proportion
    started = time.process_time()
    with pytest.raises(InputError, match="more than 2,000 values"):
        parse_yaml(text, "recipe.yaml", "write it out")
    assert time.process_time() - started < 5


@pytest.mark.parametrize("text", ["x: " + "[" * 5000, "- " * 20_000, "\n".join(" " * i + "a:" for i in range(2000))])
def test_depth_is_told_while_it_is_read(text: str) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match="nested too deeply"):
        parse_yaml(text, "recipe.yaml", "write it out")
    assert time.process_time() - started < 3


@pytest.mark.parametrize("name", ["evidence.json", "report.html", "arrays.safetensors"])
def test_holes_are_never_hashed(name: str, today: Path, capsys: Told) -> None:
    """A letter holds a file of terabytes that are all holes, and hashing it takes hours."""
    os.truncate(today / name, 1 << 42)
    started = time.process_time()
    assert main(["verify", str(today)]) == 4
    assert f"{name} is too large" in capsys.readouterr().err
    assert main(["ls", str(today.parent)]) == 0
    assert main(["history", str(today.parent)]) in (0, 2, 4)  # it reads no pages
    assert main(["gate", str(today)]) == 4
    assert time.process_time() - started < 10


def test_nor_are_those_that_purge_would_name(today: Path) -> None:
    (today / "signatures.safetensors").touch()
    os.truncate(today / "signatures.safetensors", 1 << 42)
    started = time.process_time()
    assert main(["purge", str(today), "--dry-run"]) == 2
    assert time.process_time() - started < 5


@pytest.mark.parametrize("shape", [(200, 0), (200, 0, 4), (200, 3, 0)])
def test_activations_of_no_width_are_one_line(shape: tuple[int, ...], tmp_path: Path, capsys: Told) -> None:
    (tmp_path / "labels.csv").write_text("sex\n" + "f\nm\n" * 100)
    (tmp_path / "a.safetensors").write_bytes(safetensors.numpy.save({"p": np.zeros(shape, dtype=np.float32)}))
    words = ["probe", "--activations", f"real={tmp_path / 'a.safetensors'}", "--labels", str(tmp_path / "labels.csv"), "--attribute", "sex"]
    assert main([*words, *(["--pool", "mean"] if len(shape) > 2 else []), "--out", str(tmp_path / "out")]) == 2
    assert "internal" not in capsys.readouterr().err


def mend(folder: Path) -> None:
    """Give the manifest the hashes that the files have now."""
    from proxyaudit.digests import file_digest
    from proxyaudit.evidence.manifest import _write_manifest

    _write_manifest(folder, {name: file_digest(folder / name) for name in read_manifest(folder)[0]})
    assert not check_manifest(folder)
