"""Digests of code: each stage's covers what its code imports, and nothing that only words, estimates or reports are made of."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from proxyaudit.digests import PACKAGE, STAGES, _digest_over, code_digest, stage_files
from proxyaudit.estimates.channel import all_channels
from proxyaudit.registry import plugin_names

_NEVER = ("estimates/ledger.py", "estimates/conclude.py", "estimates/states.py")
_ROOMS = ("evidence", "verification", "comparison", "gating", "reporting", "cli", "audits")
_WORDS = ("estimate.py", "words.py", "margin.py")

_LOADED = """
import os, sys
import numpy, pandas, safetensors, sklearn.ensemble, torch, transformers  # what every stage needs, once for all
for modules in sys.stdin:
    child = os.fork()
    if not child:
        for module in modules.split():
            __import__(module)
        print(*(m.__spec__.origin for n, m in list(sys.modules.items()) if n.startswith("proxyaudit") and m.__spec__ and m.__spec__.origin))
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, modules
"""


@pytest.fixture(scope="module")
def loaded_by() -> Iterator[Callable[[tuple[str, ...]], set[str]]]:
    """Files of the package that a fresh interpreter has executed once some modules are imported."""
    with subprocess.Popen([sys.executable, "-c", _LOADED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as server:
        assert server.stdin is not None
        assert server.stdout is not None

        def ask(modules: tuple[str, ...]) -> set[str]:
            server.stdin.write(" ".join(modules) + "\n")
            found = {Path(path).relative_to(PACKAGE).as_posix() for path in server.stdout.readline().split()}
            assert found
            return found

        yield ask
        server.stdin.close()


def modules_of(stage: str) -> tuple[str, ...]:
    files = [path for glob in STAGES[stage] for path in sorted(PACKAGE.glob(glob))]
    inside = [path.relative_to(PACKAGE).with_suffix("") for path in files if path.name != "__init__.py"]
    return tuple("proxyaudit." + ".".join(path.parts) for path in inside)


@pytest.mark.long
@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_imports_is_in_its_digest(loaded_by: Callable[[tuple[str, ...]], set[str]], stage: str) -> None:
    """Packages execute their ``__init__`` beside what is asked of them: what only that brings in has no part in the stage's numbers."""
    loaded = loaded_by(modules_of(stage))
    packages = {path for path in loaded if path.endswith("__init__.py")}
    alone = loaded_by(tuple("proxyaudit." + ".".join(Path(path).parts[:-1]) for path in sorted(packages) if path != "__init__.py"))
    assert loaded - packages - alone <= stage_files(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_words_estimates_and_reports_are_in_no_stage(stage: str) -> None:
    files = stage_files(stage)
    assert not [path for path in files if path.split("/")[0] in _ROOMS]
    assert not [path for path in files if path.startswith("channels/") and path.endswith(_WORDS)]
    assert not files & set(_NEVER)


def test_trained_models_do_not_hang_on_probes() -> None:
    assert not [path for path in stage_files("train") | stage_files("synthesize") if path.startswith(("probes/", "stats/", "estimates/"))]
    assert "models/training.py" in stage_files("train")
    assert "probes/crossfit.py" in stage_files("measure")


def test_plugins_and_channels_are_found_without_an_import() -> None:
    assert {f"models/kinds/{name}.py" for name in plugin_names("models")} <= stage_files("train")
    assert {"synthesizers/sdv.py", "synthesizers/ngram.py", "language/causal_model.py"} <= stage_files("synthesize")
    assert "models/tabular.py" in stage_files("train")  # named by a string in its kind
    measures = {str(channel.measure).partition(":")[0] for channel in all_channels() if channel.measure}
    assert {"/".join(module.split(".")[1:]) + ".py" for module in measures} <= stage_files("measure")


@pytest.mark.long
def test_a_digest_changes_with_its_files_alone(tmp_path: Path) -> None:
    for path in (*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.txt"), *PACKAGE.rglob("*.yaml")):
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    stages = (None, *STAGES)
    before = {stage: _digest_over(tmp_path, stage) for stage in stages}
    assert before == {stage: code_digest(stage) for stage in stages}

    def changed_by(*parts: str) -> set[str | None]:
        path = tmp_path.joinpath(*parts)
        sound = path.read_bytes()
        path.write_bytes(sound + b"# changed\n")
        _digest_over.cache_clear()
        found = {stage for stage in stages if _digest_over(tmp_path, stage) != before[stage]}
        path.write_bytes(sound)
        _digest_over.cache_clear()
        return found

    assert changed_by("reporting", "words.py") == set()
    assert changed_by("estimates", "conclude.py") == {None}
    assert changed_by("controls", "frameworks", "gdpr.yaml") == {None}
    assert changed_by("channels", "leak", "estimate.py") == {None}
    assert {"measure"} < changed_by("probes", "crossfit.py") <= {None, "measure", "encode", "cure"}
    assert changed_by("models", "training.py") >= {None, "train", "measure"}
    assert changed_by("synthesizers", "sdv.py") == {None, "synthesize"}
    assert changed_by("data", "words", "given_names.txt") >= {None, "train", "measure"}
