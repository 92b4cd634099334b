from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from released_packs import bytes_only

from proxyaudit.cli import console
from proxyaudit.cli import main as cli
from proxyaudit.consent import Consent
from proxyaudit.doctor import Check, _package
from proxyaudit.errors import InputError, TaskError
from proxyaudit.evidence.manifest import check_manifest
from proxyaudit.evidence.pack import EvidencePack, write_pack
from proxyaudit.evidence.schema import evidence_schema
from proxyaudit.recipe.recipe import load_recipe

COMMANDS = (
    *("init", "plan", "run", "probe", "prompts", "report", "compare", "gate", "verify", "sign", "keys"),
    *("selftest", "mitigate", "scan", "ls", "datasets", "schema", "doctor"),
)


@dataclass(frozen=True)
class _Event:
    stage: str
    done: int
    total: int
    detail: str


@dataclass(frozen=True)
class _Result:
    folder: Path
    status: str
    evidence: Any
    reused: bool


@dataclass
class _Pipeline:
    """A stand-in for the pipeline: remembers what it was asked and writes the given pack."""

    pack: EvidencePack
    asked: dict[str, Any]
    failure: BaseException | None = None

    def plan_audit(self, recipe_path: Path, overrides: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
        self._maybe_fail()
        sys.stdout.write("a library says hello")
        self.asked = {"recipe": recipe_path, "overrides": overrides}
        return self.pack.plan

    def run_audit(self, recipe_path: Path, *, out: Path, progress: Callable[[Any], None], **more: Any) -> _Result:
        self._maybe_fail()
        sys.stdout.write("a library says hello")
        self.asked = {"recipe": recipe_path, "out": out, **more}
        progress(_Event("measure", 1, 2, "real, seed 0"))
        progress(_Event("measure", 2, 2, "real, seed 1"))
        folder = out / "quickstart" / "abc123"
        write_pack(self.pack, folder, reports={"report.html": "", "report.md": ""})
        return _Result(folder, self.pack.evidence.run.status, self.pack.evidence, reused=False)

    def _maybe_fail(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def pipeline(pack: EvidencePack, monkeypatch: pytest.MonkeyPatch) -> _Pipeline:
    stand_in = _Pipeline(pack, {})
    for name, given in (("pipeline.run", {"run_audit": stand_in.run_audit}), ("audits.plan", {"plan_audit": stand_in.plan_audit})):
        module = ModuleType(f"proxyaudit.{name}")
        module.__dict__.update(given)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return stand_in


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("PROXYAUDIT_") and name != "PROXYAUDIT_CACHE"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_help_is_light_and_fast() -> None:
    code = (
        "import sys, proxyaudit.cli.main as c; assert c.main(['--help']) == 0;"
        "heavy = {'torch', 'pandas', 'matplotlib', 'sklearn', 'sdv', 'scipy', 'numpy', 'jinja2', 'pydantic'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "-h"]) == 0
    out = capsys.readouterr().out
    assert f"Example:  proxyaudit {command}" in out
    assert "--json" in out


def test_version_and_bare_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("proxyaudit 0.")
    assert cli.main([]) == 0
    bare = capsys.readouterr().out
    assert cli.main(["--help"]) == 0
    assert bare.splitlines() == capsys.readouterr().out.splitlines()
    assert bare.startswith("Usage:")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run"],
        ["run", "r.yaml", "--frehs"],
        ["run", "r.yaml", "--jobs", "zero"],
        ["run", "r.yaml", "--jobs", "0"],
        ["run", "r.yaml", "--backend", "spark"],
        ["init", "x.yaml", "--template", "texts"],
        ["ls", "nowhere"],
        ["report", "nowhere"],
        ["ls", "a", "b"],
    ],
)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_usage_is_one_line_and_exit_2(arguments: list[str], as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*arguments, *(["--json"] if as_json else [])]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1
    assert err.startswith("proxyaudit: ")
    assert "Traceback" not in err
    assert "Value error" not in err
    if as_json:
        document = json.loads(out)
        assert document["exit_code"] == 2
        assert document["error"] in err
    else:
        assert out == ""


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (InputError("column 'x' is missing", where="a.csv", mend="add it"), 2, "column 'x' is missing [a.csv]; add it"),
        (TaskError("training failed"), 5, "training failed"),
        (ZeroDivisionError("oh\nno"), 5, "internal error: ZeroDivisionError: oh; run with PROXYAUDIT_DEBUG=1"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
@pytest.mark.parametrize("command", ["plan", "run"])
def test_failures_have_their_exit_code(
    failure: BaseException, code: int, words: str, command: str, pipeline: _Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.failure = failure
    assert cli.main([command, "r.yaml"]) == code
    out, err = capsys.readouterr()
    assert words in err
    assert err.count("\n") == 1
    assert out == ""


def test_debug_shows_the_traceback(pipeline: _Pipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.failure = ZeroDivisionError("oh")
    monkeypatch.setenv("PROXYAUDIT_DEBUG", "1")
    assert cli.main(["plan", "r.yaml"]) == 5
    assert "Traceback" in capsys.readouterr().err


def test_plan_prints_tables_and_writes_nothing(
    pipeline: _Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyaudit.cli.speed.slowness", lambda: 1.0)
    assert cli.main(["plan", "r.yaml", "--set", "seeds=2", "--set", "name=x"]) == 0
    out = capsys.readouterr().out
    for part in (
        "gaussian_copula",
        "penultimate",
        "relationship",
        "d" * 64,
        "about 4 minutes",
        "nothing was written",
        "library" not in out,
    ):
        assert part is True or part in out
    assert pipeline.asked["overrides"] == ("seeds=2", "name=x")
    assert list(tmp_path.iterdir()) == []


def test_plan_as_json_is_the_plan(pipeline: _Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "r.yaml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == pipeline.pack.plan


def test_run_shows_the_answer_and_where_it_lies(pipeline: _Pipeline, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "r.yaml", "--out", str(tmp_path / "o"), "--jobs", "2", "--fresh"]) == 0
    out, err = capsys.readouterr()
    assert "◐ Hidden" in out
    assert "16 %" in out
    assert str(tmp_path / "o" / "quickstart" / "abc123" / "report.html") in out
    assert "sex: Yes. Predictions differ between groups by 17 points after real" in out
    assert "library" not in out
    assert err.count("proxyaudit: measure: 50 % of the work done") == 1
    assert pipeline.asked == {
        "recipe": Path("r.yaml"),
        "out": tmp_path / "o",
        "overrides": (),
        "jobs": 2,
        "backend": "loky",
        "scheduler": None,
        "fresh": True,
        "consent": Consent(),
        "cache_root": Path(os.environ["PROXYAUDIT_CACHE"]),
    }


def test_on_a_terminal_a_bar_shows_stage_and_repetition(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    class _Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "160")
    with console.progress_bars(shown=True) as progress:
        progress(_Event("measure", 1, 2, "[b]real, repetition 2: done"))
    drawn = terminal.getvalue()
    assert all(part in drawn for part in ("measure", "50%", "[b]real, repetition 2", "left"))


def test_run_as_json(pipeline: _Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PROXYAUDIT_OUT", str(tmp_path / "env"))
    monkeypatch.setenv("PROXYAUDIT_JOBS", "3")
    assert cli.main(["run", "r.yaml", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["status"] == "complete"
    assert document["folder"] == str(tmp_path / "env" / "quickstart" / "abc123")
    assert {f["verdict"] for f in document["findings"]} == {"exposed", "hidden", "inconclusive"}
    assert pipeline.asked["jobs"] == 3


def test_a_partial_run_ends_with_5(pipeline: _Pipeline, make_pack: Callable[..., EvidencePack], capsys: pytest.CaptureFixture[str]) -> None:
    pipeline.pack = make_pack(status="partial")
    assert cli.main(["run", "r.yaml"]) == 5
    err = capsys.readouterr().err
    assert "the run is partial" in err
    assert "failed: train tvae, repetition 1: out of memory" in err


def test_hostile_names_do_not_steer_the_terminal(
    pipeline: _Pipeline, make_pack: Callable[..., EvidencePack], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.pack = make_pack(("\x1b[31mred", "[bold]x[/bold]", "a\u202eb"))
    assert cli.main(["run", "r.yaml"]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out
    assert "[bold]x[/bold]" in out


def test_report_mends_a_changed_report_but_not_changed_evidence(
    pack: EvidencePack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bytes_only(monkeypatch)
    run = tmp_path / "reports" / "a" / "b"
    write_pack(pack, run, reports={"report.html": "stale", "report.md": "stale"})
    assert cli.main(["report", "reports", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"changed": True, "folder": "reports/a/b", "report": "reports/a/b/report.html"}
    assert check_manifest(run) == []
    first = (run / "report.html").read_bytes()
    assert cli.main(["report", str(run)]) == 0
    assert "up to date" in capsys.readouterr().err
    (run / "report.html").write_text("tampered")
    assert cli.main(["report", str(run)]) == 0
    assert (run / "report.html").read_bytes() == first
    capsys.readouterr()
    (run / "evidence.json").write_text("{}")
    assert cli.main(["report", str(run)]) == 4
    assert "evidence.json does not match its hash" in capsys.readouterr().err


def test_ls(pack: EvidencePack, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "reports").mkdir()
    assert cli.main(["ls"]) == 0
    assert "No runs" in capsys.readouterr().out
    write_pack(pack, tmp_path / "reports" / "a" / "one")
    write_pack(pack, tmp_path / "reports" / "a" / "two")
    (tmp_path / "reports" / "a" / "two" / "manifest.json").unlink()
    assert cli.main(["ls"]) == 0
    out = capsys.readouterr().out
    assert "complete" in out
    assert "incomplete" in out
    assert "6 exposed, 2 hidden, 4 inconclusive" in out
    assert cli.main(["ls", "reports", "--json"]) == 0
    assert [line["status"] for line in json.loads(capsys.readouterr().out)] == ["complete", "incomplete"]


def test_schema_prints_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == evidence_schema()


def test_datasets_lists_cards(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["datasets", "--json"]) == 0
    cards = {card["name"]: card for card in json.loads(capsys.readouterr().out)}
    assert "sex" in cards["adult"]["protected"]
    assert cli.main(["datasets"]) == 0
    assert "included" in capsys.readouterr().out


def test_doctor(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    states: list[Any] = ["ok", "warn"]
    monkeypatch.setattr("proxyaudit.doctor.check_machine", lambda out: [Check(f"c{i}", state, "d") for i, state in enumerate(states)])
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == "ok    c0: d\nwarn  c1: d\n"
    states.append("fail")
    assert cli.main(["doctor", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["failed"] == 1


def test_doctor_checks_the_folder_and_leaves_nothing(tmp_path: Path) -> None:
    from proxyaudit.doctor import _reports

    assert [check.state for check in _reports(tmp_path / "not" / "yet")] == ["ok"]
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    assert [check.state for check in _reports(tmp_path / "file")] == ["fail"]


@pytest.mark.parametrize(
    ("version", "bounds", "right"),
    [
        ("2.3.1", ">=2.2,<3", True),
        ("3.0", ">=2.2,<3", False),
        ("2.13.0+cpu", ">=2.6", True),
        ("2.0", "<3,>=2.0", True),
        ("2.1", ">=2.2", False),
    ],
)
def test_versions_are_compared_as_numbers(monkeypatch: pytest.MonkeyPatch, version: str, bounds: str, right: bool) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: version)
    assert _package("any", SpecifierSet(bounds)).state == ("ok" if right else "fail")


def test_the_release_template_fits_files_as_it_describes(tmp_path: Path) -> None:
    assert cli.main(["init", "r.yaml", "--template", "release"]) == 0
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.data.path == "real.csv"
    assert recipe.regime_names() == ["real", "vendor", "mixed-vendor-0.5"]


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    command = (
        f"'{sys.executable}' -c 'import sys, proxyaudit.cli.main as c; sys.exit(c.main([\"schema\"]))' | true; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0
    assert done.stderr == ""
