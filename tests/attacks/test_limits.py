"""What senders of packs, recipes and tables could make hang, fill memory, hide or overwrite: each is one clear line, soon."""

from __future__ import annotations

import ast
import gzip
import inspect
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from released_packs import edit

from proxyaudit import files, limits
from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.evidence.canonical import canonical_json, parse_json
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_pack
from proxyaudit.files import hold, open_plain, read_file, write_file
from proxyaudit.gating.policy import load_policy
from proxyaudit.language import causal_model
from proxyaudit.limits import MOST_YAML, VARIABLE
from proxyaudit.models import sae, tree_files
from proxyaudit.models.kinds.gradient_boosting import GradientBoostingSpec
from proxyaudit.models.module import model_code
from proxyaudit.models.pipeline_head import read_head
from proxyaudit.publication import write_restricted
from proxyaudit.recipe.models import PretrainedSpec
from proxyaudit.recipe.recipe import load_recipe
from proxyaudit.recipe.yaml import parse_yaml
from proxyaudit.verification.run import verify_folder
from tests.conftest import build_pack

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 10)}]\n" for i in range(8))


def written(folder: Path) -> Path:
    write_pack(build_pack(), folder, reports={"report.html": "x", "report.md": "x"})
    return folder


def said(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int) -> str:
    started = time.process_time()
    assert main(arguments) == code
    assert time.process_time() - started < 20
    return capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "folder"])
@pytest.mark.parametrize("name", ["manifest.json", "evidence.json", "recipe.yaml"])
def test_what_is_no_plain_file_is_never_waited_for(kind: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "run")
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    elif kind == "folder":
        (folder / name).mkdir()
    else:
        (folder / name).symlink_to("/dev/zero" if kind == "device" else "/dev/stdin")
    for command in ("verify", "report", "gate"):
        started = time.process_time()
        assert main([command, str(folder)]) in (2, 3, 4)
        assert time.process_time() - started < 20
    assert "internal" not in capsys.readouterr().err


@pytest.mark.parametrize("text", [BOMB, "a: &a [1, *a]\n", "[" * 3000 + "]" * 3000])
def test_aliases_and_depth_are_bounded(text: str) -> None:
    started = time.process_time()
    with pytest.raises(InputError, match=r"aliases|nested|recursive"):
        parse_yaml(text, "policy.yaml", "write it out")
    assert time.process_time() - started < 5


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_nor_is_what_stands_in_for_a_file_of_a_model(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sizes were asked and files then read as they are: a device has no size and no end."""

    def planted(path: Path) -> Path:
        path.parent.mkdir(exist_ok=True)
        if kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to("/dev/zero")
        return path

    code = planted(tmp_path / "model" / "tokenizer_config.json").parent
    assert model_code("it", code) == {"it": None}  # what it names was not seen, so it may lie anywhere
    with pytest.raises(InputError, match=r"cfg\.json is no configuration"):
        sae._config(planted(tmp_path / "sae" / "cfg.json"), "sites.sae")
    with pytest.raises(InputError, match="cannot be read"):
        tree_files._read(GradientBoostingSpec(kind="gradient_boosting"), planted(tmp_path / "trees.skops"), what="the model")
    with pytest.raises(InputError, match=r"the head cannot be read .*it is no plain file"):
        read_head(planted(tmp_path / "head.skops"), (), what="the head")
    card = planted(tmp_path / "README.md")
    run = str(Path(__file__).parents[2] / "reports" / "example-text")
    assert "the card cannot be read" in said(["report", run, "--out", str(tmp_path), "--model-card", str(card)], capsys, 2)
    assert "it is no plain file" in said(["gate", run, "--policy", str(card)], capsys, 2)


def test_settings_of_models_may_nest_without_end(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert model_code("it", tmp_path) == {"it": None}
    assert causal_model._shape(PretrainedSpec(path=str(tmp_path)), tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["0x" + "f" * 20_000, "0b" + "1" * 100_000, "1:" + "59:" * 3_000 + "1", "1" * 5_000, "1" * 21, "!!bool x", "!!int x", "2001-13-01"],
)
def test_a_value_that_cannot_be_said_is_one_line(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A number of so many digits could not be put into the very message that refuses it."""
    (tmp_path / "r.yaml").write_text(f"name: t\nseeds: {text}\n")
    (tmp_path / "p.yaml").write_text(f"allow: [removed]\nmargins: {{leak: {text}}}\n")
    assert said(["plan", str(tmp_path / "r.yaml")], capsys, 2).count("\n") == 1
    with pytest.raises(InputError):
        load_policy(tmp_path / "p.yaml")


@pytest.mark.parametrize("text", ["1e999", "-1e999", "1" + "0" * 400 + ".0", "NaN", "-Infinity"])
def test_a_number_of_a_pack_that_nothing_can_count_with_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="is not JSON"):
        parse_json(f'{{"value": {text}}}'.encode())


@pytest.mark.parametrize(
    ("name", "value"), [("margin", 1e-320), ("margin", 1e-300), ("high", 1e308), ("value", 10**400), ("seed_values", [1e100, -1e100])]
)
def test_a_number_that_is_far_off_is_found_and_ends_nothing(
    name: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(Path(__file__).parents[2] / "reports" / "example-text", tmp_path / "run"))
    edit(run, lambda d: d["estimates"][0].update({name: value}))
    assert main(["verify", str(run)]) in ((0, 4) if name == "margin" else (4,))  # a margin of what decides nothing means nothing
    assert "internal" not in capsys.readouterr().err


@pytest.mark.parametrize("mark", ["\x85", "\u2028", "\u2029"])
@pytest.mark.parametrize("load", [load_policy, load_recipe])
def test_a_hidden_line_end_does_not_end_a_comment(mark: str, load: Callable[[Path], Any], tmp_path: Path) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(f"# strict{mark}allow: [removed, hidden, exposed]\nname: x\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"hidden line end .* line 1"):
        load(file)


@pytest.mark.parametrize("text", ["a\u2028b", "a\x85b", "b\u2029", "x\u2028 y: z", "Zürich"])
def test_a_run_whose_names_hold_a_hidden_line_end_reads_its_own_recipe(text: str, tmp_path: Path) -> None:
    pack = replace(build_pack(), recipe={"name": "t", "data": {"protected": [text], text: text}})
    write_pack(pack, tmp_path / "run", reports={"report.html": "x", "report.md": "x"})
    assert read_pack(tmp_path / "run").recipe == pack.recipe
    assert ("Zürich" in (tmp_path / "run" / "recipe.yaml").read_text(encoding="utf-8")) == (text == "Zürich")


def test_limits_can_be_raised_by_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(b"#" * (MOST_YAML + 1))
    with pytest.raises(OSError, match=VARIABLE):
        read_file(file, MOST_YAML)
    monkeypatch.setenv(VARIABLE, "2")
    assert len(read_file(file, MOST_YAML)) == MOST_YAML + 1
    monkeypatch.setenv(VARIABLE, "many")
    with pytest.raises(OSError, match="MB"), open_plain(file, MOST_YAML):
        pass


@pytest.mark.parametrize("name", ["real", "Real", "REAL", "rea1", "reaI", "REA1", "untrained", "Placebo"])
def test_reserved_names_are_refused_in_any_case(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: t\ndata: {path: t.csv, target: y, protected: [sex]}\nmodel: {kind: mlp}\n"
        f"regimes: [{{synthetic: {{name: {name}, path: r.csv}}}}]\n"
    )
    assert "is reserved" in said(["plan", str(recipe)], capsys, 2)


def test_a_table_that_expands_beyond_all_memory_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proxyaudit.data.batches.MOST_TABLE", 2**20)
    with gzip.open(tmp_path / "t.csv.gz", "wt") as stream:
        stream.write("sex,y\n" + "f,1\n" * 400_000)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("name: t\ndata: {path: t.csv.gz, target: y, protected: [sex]}\nregimes: [real]\nmodel: {kind: mlp}\n")
    assert "expands to more than" in said(["plan", str(recipe)], capsys, 2)


def test_a_lock_is_taken_once_and_ends_with_its_holder(tmp_path: Path) -> None:
    held = hold(tmp_path / "locks" / "run")
    with pytest.raises(BlockingIOError):
        hold(tmp_path / "locks" / "run")
    held.close()
    hold(tmp_path / "locks" / "run").close()


@pytest.mark.parametrize("moment", ["fsync", "replace", "unlink"])
def test_two_writers_of_one_file_leave_one_of_both(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process writes the same file while this one has written, is about to put it in place, or has just done so."""
    first, where = canonical_json("first" * 100), Path if moment != "fsync" else os
    plain, writers = getattr(where, moment), iter(["one-1", "two-2"])
    monkeypatch.setattr(files, "this_process", lambda: next(writers))

    def beside(*given: Any, **more: Any) -> Any:
        monkeypatch.setattr(where, moment, plain)
        write_file(tmp_path / "f", canonical_json("second"))
        return plain(*given, **more)

    monkeypatch.setattr(where, moment, beside)
    write_file(tmp_path / "f", first)
    assert next(writers, None) is None
    assert (tmp_path / "f").read_bytes() == (canonical_json("second") if moment == "unlink" else first)
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("name", ["signatures.safetensors", "row-sums.safetensors", "before-real-0.safetensors"])
def test_what_is_ones_own_is_nobody_elses_for_a_moment(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was written for everybody first, and then taken from them."""
    seen: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(os.fstat(handle).st_mode & 0o777))
    before = os.umask(0)
    try:
        write_pack(build_pack(), tmp_path / "run", reports={}, more={name: b"rows"})
        of_run = seen[:]
        seen.clear()
        write_restricted(tmp_path, {name: b"rows"}, ())
    finally:
        os.umask(before)
    assert of_run.count(0o600) == 1
    assert seen[0] == 0o600
    assert {(tmp_path / place / name).stat().st_mode & 0o777 for place in (".", "run")} == {0o600}


def test_the_guide_tells_the_limits_that_are_kept() -> None:
    page = (Path(limits.__file__).parent / "docs" / "limits.md").read_text(encoding="utf-8").split("## What is read at most")[1]
    rows = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", page.split("## ")[0], re.MULTILINE))
    told = {name: [float(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)] for name, text in rows.items()}
    megabyte = 2**20
    assert told == {
        "what": [],
        "---": [],
        "recipe, card, set of prompts, `recipe.yaml` of a run": [
            *(limits.MOST_YAML / megabyte, limits.DEEPEST, limits.MOST_VALUES, limits.MOST_BITS)
        ],
        "policy": [limits.MOST_POLICY / 1024],
        "`evidence.json` and other JSON": [limits.MOST_JSON / megabyte],
        "`arrays.safetensors`, signatures": [limits.MOST_ARRAYS / megabyte],
        "a report": [limits.MOST_PAGE / megabyte],
        "a table that is read whole (labels, inputs of `scan`), or a gzip file, once it is expanded": [limits.MOST_TABLE / megabyte],
        "a parquet table of which a sample is read": [limits.EXPANDED, limits.MOST_TABLE / megabyte],
        "code that makes a model and comes from outside ([security](security.md)): building it and running it once": [limits.CODE_SECONDS],
        "pattern of a span": [limits.SPAN_SECONDS, limits.SPANS_SECONDS],
        "key, identity": [limits.MOST_KEY / 1024],
        "time stamp, or the certificates of its authority": [limits.MOST_STAMP / 1024],
        "seal": [limits.MOST_SEAL / megabyte],
        "signatures of a run, and of one of its envelopes": [limits.MOST_ENVELOPES],
        "a model of trees, or a pipeline of skops": [
            *(limits.MOST_TREES / megabyte, limits.MOST_UNPACKED / megabyte, limits.DEEPEST_TREES, limits.MOST_LEAVES)
        ],
        "configuration of a sparse autoencoder": [limits.MOST_CONFIG / megabyte],
    }
    assert limits.SPAN_EACH == 0.01
    known = {name for name in vars(limits) if name[0].isupper() and name.isupper()} - {"VARIABLE", "MOST_TIMES", "SPAN_EACH"}
    source = inspect.getsource(test_the_guide_tells_the_limits_that_are_kept)
    assert {name for name in known if f"limits.{name}" not in source} == set()


def test_every_limit_stands_in_one_place() -> None:
    """What a file may hold at most was named in nine modules, and two of them did not heed what the reader had raised."""
    package, given = Path(limits.__file__).parent, []
    for path in package.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if getattr(getattr(call, "func", None), "id", None) in ("read_file", "open_plain") and path.name != "files.py":
                given += [(path.name, ast.unparse(one)) for one in call.args[1:]]
    assert len(given) > 20
    # Two are handed on by a function that takes them.
    assert {(path, text) for path, text in given if not hasattr(limits, text)} == {("digests.py", "most"), ("pack.py", "most")}


@pytest.mark.parametrize("behind", [True, False])
@pytest.mark.parametrize(
    ("kind", "line"), [("size", "it holds 4 MB"), ("values", "more than 100,000 values"), ("depth", "nested too deeply")]
)
def test_limits_are_raised_by_a_flag_for_one_command_alone(
    kind: str, line: str, behind: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There was but a variable, and it raised neither depth nor the seconds of one text."""
    monkeypatch.delenv(VARIABLE, raising=False)
    recipe = tmp_path / "r.yaml"
    recipe.write_text({"size": "#" * (MOST_YAML + 1), "values": "[" + "1," * 100_001 + "]", "depth": "[" * 150 + "]" * 150}[kind])
    command, flag = ["plan", str(recipe)], ["--limits", "3"]
    assert line in said(command, capsys, 2)
    assert "is not a mapping" in said([*command, *flag] if behind else [*flag, *command], capsys, 2)
    assert line in said(command, capsys, 2)
    monkeypatch.setenv(VARIABLE, "3")
    assert "is not a mapping" in said(command, capsys, 2)
    assert os.environ[VARIABLE] == "3"


@pytest.mark.parametrize("times", ["0.5", "0", "-1", "nan", "inf", "1e300", "many", ""])
@pytest.mark.parametrize("by", ["flag", "variable"])
def test_a_factor_of_limits_that_is_none_is_one_line(
    by: str, times: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a variable it was passed over, or ended in an internal error: no number of bytes is that large."""
    (tmp_path / "r.yaml").write_text("[]")
    if by == "variable":
        monkeypatch.setenv(VARIABLE, times)
    line = said(["plan", str(tmp_path / "r.yaml"), *(["--limits", times] if by == "flag" else [])], capsys, 2)
    assert ("--limits" in line) == (by == "flag" or times != "")  # an empty variable is none
    assert line.count("\n") == 1


def grown(pack: EvidencePack, times: int) -> EvidencePack:
    """The pack with so many times its attributes, and all numbers about them."""
    evidence, estimates, findings, controls = pack.evidence, [], [], []
    for copy in range(times):

        def of(name: str | None, copy: int = copy) -> str | None:
            return f"{name}{copy}" if name and copy else name

        ids = {e.id: f"E{len(estimates) + at + 1}" for at, e in enumerate(evidence.estimates)}
        estimates += [e.model_copy(update={"id": ids[e.id], "attribute": of(e.attribute)}) for e in evidence.estimates]
        controls += [
            c.model_copy(update={"id": f"C{len(controls) + at + 1}", "attribute": of(c.attribute)})
            for at, c in enumerate(evidence.controls)
        ]
        for f in evidence.findings:
            cures = tuple(c.model_copy(update={"estimates": tuple(ids.get(e, e) for e in c.estimates)}) for c in f.cures)
            decided = tuple(ids.get(e, e) for e in f.decided_by)
            findings.append(f.model_copy(update={"attribute": of(f.attribute), "cures": cures, "decided_by": decided}))
    made = evidence.model_copy(update={"estimates": tuple(estimates), "findings": tuple(findings), "controls": tuple(controls)})
    return replace(pack, evidence=made, arrays={})


@pytest.mark.long
def test_a_large_pack_takes_time_in_proportion(tmp_path: Path) -> None:
    """45 MB of evidence took half a minute: numbers were looked up among all numbers."""
    example, seconds = read_pack(Path(__file__).parents[2] / "reports" / "example"), []
    for times in (1, 1, 8):
        folder = tmp_path / f"run{len(seconds)}"
        write_pack(grown(example, times), folder, reports={"report.html": "", "report.md": ""})
        began = time.process_time()
        verify_folder(folder)
        seconds.append(time.process_time() - began)
    # The first is left out: it loads what the others find loaded. In proportion is 8, by the square 64.
    assert seconds[2] < 20 * seconds[1]
