"""Malformed recipes and data files: exit code 2, one line that says what, where and how to mend, and nothing written."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from spoilt_worlds import World, table

from proxyaudit.cli.main import main


@dataclass(frozen=True)
class Case:
    """How a sound audit is spoilt, and what the one line has to say: what, where, and how to mend."""

    name: str
    spoil: Callable[[World], object]
    says: tuple[str, ...]
    mend: str
    arguments: tuple[str, ...] = ()
    recipe_text: str | bytes | None = None


def _set(**keys: Any) -> Callable[[World], object]:
    return lambda w: w.recipe.update(keys)


def _data(**keys: Any) -> Callable[[World], object]:
    return lambda w: w.data.update(keys)


def _columns(**columns: Any) -> Callable[[World], object]:
    """The real table with some columns replaced by constants or by functions of the table."""

    def spoil(w: World) -> None:
        w.write(w.table.assign(**columns))

    return spoil


def _release(**columns: Any) -> Callable[[World], object]:
    return lambda w: w.release(table(seed=1).assign(**columns))


def _regimes(*regimes: Any) -> Callable[[World], object]:
    return lambda w: w.regimes.extend(regimes)


def _file(text: str | bytes, name: str = "real.csv", then: Callable[[World], object] = lambda w: None) -> Callable[[World], object]:
    def spoil(w: World) -> None:
        (w.folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        then(w)

    return spoil


def _use(name: str) -> Callable[[World], object]:
    return lambda w: w.data.update(path=name)


def _nothing(w: World) -> None:
    pass


def _shapes(hidden: int) -> Callable[[Path], object]:
    tensors = {"0.weight": (hidden, 5), "0.bias": (hidden,), "2.weight": (1, hidden), "2.bias": (1,)}
    return lambda path: save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, path)


def _nan_weights(path: Path) -> None:
    tensors = {"0.weight": (4, 5), "0.bias": (4,), "2.weight": (1, 4), "2.bias": (1,)}
    save_file({name: torch.full(shape, float("nan")) for name, shape in tensors.items()}, path)


def _torch_file(path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"0.weight": torch.zeros(4, 5)}, buffer)
    path.write_bytes(buffer.getvalue())


def _link(w: World, name: str, target: str) -> None:
    (w.folder / name).symlink_to(target)


_COPULA = {"synthetic": {"sdv": "gaussian_copula"}}
_GOOD = "name: spoilt\ndata: {path: real.csv, target: pay, protected: [sex]}\nregimes: [real]\nmodel: {kind: mlp}\n"

CASES = [
    # The recipe as a file.
    Case("recipe missing", _nothing, ("no such file", "nowhere.yaml"), "proxyaudit init", ("nowhere.yaml",)),
    Case("recipe is a folder", lambda w: (w.folder / "folder").mkdir(), ("a folder", "folder"), "name the file itself", ("folder",)),
    Case("not YAML", _nothing, ("not valid YAML", "recipe.yaml, line 2"), "check the indentation", recipe_text="name: [a\ndata: }"),
    Case("not a mapping", _nothing, ("not a mapping", "recipe.yaml"), "start with 'name", recipe_text="- a\n- b\n"),
    Case("empty recipe", _nothing, ("not a mapping", "recipe.yaml"), "start with 'name", recipe_text=""),
    Case("duplicate key", _nothing, ("key 'seeds' is given twice", "line 6"), "check", recipe_text=_GOOD + "seeds: 2\nseeds: 3\n"),
    Case("not UTF-8", _nothing, ("not UTF-8", "recipe.yaml"), "save it as UTF-8", recipe_text=_GOOD.encode() + b"# caf\xe9\n"),
    Case("control character", _nothing, ("not valid YAML", "recipe.yaml"), "check", recipe_text=_GOOD + "# \x07\n"),
    Case("yaml tag", _nothing, ("not valid YAML", "python/object"), "check", recipe_text="name: !!python/object/apply:os.getcwd []\n"),
    Case("nested too deeply", _nothing, ("not valid YAML", "nested too deeply"), "check", recipe_text="name: " + "[" * 3000),
    Case("13th month", _nothing, ("not valid YAML", "month"), "check", recipe_text=_GOOD + "seed: 2024-13-45\n"),
    Case("number of 5000 digits", _nothing, ("not valid YAML", "digits"), "check", recipe_text=_GOOD + f"seed: {'9' * 5000}\n"),
    Case("two documents", _nothing, ("not valid YAML", "another document"), "check", recipe_text=_GOOD + "---\n" + _GOOD),
    Case("alias of itself", _nothing, ("not valid YAML", "recursive"), "check", recipe_text="name: &a [*a]\n"),
    # Keys and values.
    Case("unknown key", _set(sedes=3), ("unknown key 'sedes'",), "did you mean 'seeds'?"),
    Case("unknown key, nothing near", _set(zzz=3), ("unknown key 'zzz'",), "known keys here: access, circuits, cures"),
    Case("unknown key in data", _data(protectd=["sex"]), ("unknown key 'protectd'", "data.protectd"), "did you mean 'protected'?"),
    Case("unknown key in a regime", _regimes({"synthetic": {"sdv": "tvae", "epoch": 2}}), ("'epoch'",), "did you mean 'epochs'?"),
    Case("unknown key in the model", lambda w: w.recipe["model"].update(hiden=[4]), ("'hiden'",), "did you mean 'hidden'?"),
    Case("missing key", lambda w: w.recipe.pop("model"), ("key 'model' is missing",), "add 'model: ...'"),
    Case("unknown kind of model", _set(model={"kind": "mpl"}), ("'mpl'", "model"), "did you mean 'mlp'?"),
    Case("kind of model missing", _set(model={"hidden": [4]}), ("model", "kind"), "'kind"),
    Case("no regime", _set(regimes=[]), ("regimes",), "correct this key"),
    Case("unknown regime word", _set(regimes=["reel"]), ("unknown regime 'reel'",), "write 'real'"),
    Case("duplicate regimes", _regimes("real"), ("two regimes are named 'real'",), "another 'name'"),
    Case("reserved name", _regimes({"synthetic": {"sdv": "tvae", "name": "placebo"}}), ("'placebo' is reserved",), "choose another 'name'"),
    Case("mixed of unknown", _regimes(_COPULA, {"mixed": {"of": "gausian_copula", "ratios": [0.5]}}), ("gausian_copula",), "did you mean"),
    Case("ratio out of range", _regimes(_COPULA, {"mixed": {"of": "gaussian_copula", "ratios": [1.5]}}), ("ratios", "1.5"), "less than 1"),
    Case("unknown synthesizer", _regimes({"synthetic": {"sdv": "gausian_copula"}}), ("gausian_copula",), "gaussian_copula"),
    Case("seeds 0", _set(seeds=0), ("seeds", "'0'"), "greater than or equal to 1"),
    Case("seeds is a word", _set(seeds="three"), ("seeds", "'three'"), "valid integer"),
    Case("seeds is yes", _set(seeds=True), ("seeds", "a number is needed"), "not a truth value"),
    Case("name is a date", _nothing, ("name", "text"), "in quotes", recipe_text=_GOOD.replace("spoilt", "2024-01-01")),
    Case("protected is no list", _data(protected="sex"), ("data.protected", "'sex'"), "should be a list"),
    Case("data is a list", _set(data=["real.csv"]), ("recipe.yaml: data",), "should be a mapping"),
    Case("too few training rows", _set(training_size=2), ("training_size 2",), "raise it"),
    Case("negative margin", _set(margins={"leak": -0.1}), ("margins.leak", "-0.1"), "greater than 0"),
    Case("too few placebos", _set(references={"placebos": 3}), ("references.placebos", "'3'"), "greater than or equal to 20"),
    Case("sites match nothing", _set(sites={"verdict": ["layer9*"]}), ("layer9*",), "penultimate"),
    Case("more rows than there are", _set(training_size=10**6), ("1000000", "'real'"), "lower it"),
    # Paths.
    Case("name leads out", _set(name="../../x"), ("name", "../../x"), "name"),
    Case("data.path leads out", _data(path="../../../../x.csv"), ("escapes", "../../../../x.csv"), "absolute path"),
    Case("release leads out", lambda w: w.release(path="../../y.csv"), ("escapes", "../../y.csv"), "absolute path"),
    Case("factory leads out", lambda w: w.module(file="../nets.py"), ("outside", "../nets.py"), "beside the recipe"),
    Case("checkpoint leads out", lambda w: w.checkpoint(None, "../../c.safetensors"), ("escapes", "c.safetensors"), "absolute path"),
    Case("card leads out", _set(data={"card": "../../../adult.yaml"}), ("escapes", "adult.yaml"), "absolute path"),
    Case("card missing", _set(data={"card": "nowhere"}), ("nowhere", "data.card"), "paths are relative"),
    Case("endless file name", _data(path="a" * 5000 + ".csv"), ("data.path", "too long"), "check the path"),
    Case("link to itself", lambda w: (_link(w, "l.csv", "l.csv"), w.data.update(path="l.csv")), ("data.path", "l.csv"), "check the path"),
    Case("link that leads out", lambda w: (_link(w, "l.csv", "/etc/hosts"), w.data.update(path="l.csv")), ("escapes", "l.csv"), "absolute"),
    Case("data file missing", _data(path="nowhere.csv"), ("data.path", "nowhere.csv"), "paths are relative"),
    Case("data file is a folder", _data(path="."), ("data.path", "folder"), "name the file"),
    # The table as a file.
    Case("empty CSV", _file(b""), ("empty", "real.csv"), "header line"),
    Case("header only", _file("age,hours,job,sex,pay\n"), ("no rows", "real.csv"), "at least one row"),
    Case("CSV is not UTF-8", _file("age,sex,pay\n1,\xf4\xe5\xec,low\n".encode("latin-1")), ("not UTF-8", "real.csv"), "save it as UTF-8"),
    Case("ragged CSV", _file("age,hours,job,sex,pay\n1,2,a,f\n"), ("4 fields", "5", "line 2"), "complete the row"),
    Case("column named twice", _file("age,age,sex,pay\n1,2,f,low\n"), ("two columns are named 'age'",), "rename"),
    Case("column without a name", _file("age,,sex,pay\n1,2,f,low\n"), ("column 2 has no name",), "name it"),
    Case("two separators", _file("age;sex,pay\n1;f,low\n"), ("separated by ',' and ';'", "real.csv"), "comma-separated"),
    Case("parquet is not parquet", _file(b"age,sex\n", "real.parquet", _use("real.parquet")), ("not a parquet", "real.parquet"), "CSV"),
    Case("unknown extension", _file(b"age,sex\n", "real.xlsx", _use("real.xlsx")), ("unknown kind of file", "real.xlsx"), ".parquet"),
    Case("gzip is cut", _file(b"\x1f\x8b\x08\x00", "r.csv.gz", _use("r.csv.gz")), ("gzip", "r.csv.gz"), "compress it again"),
    # Columns and roles.
    Case("target column missing", _data(target="pai"), ("column 'pai' (target) is missing",), "did you mean 'pay'?"),
    Case("protected column missing", _data(protected=["sexe"]), ("column 'sexe' (protected)",), "did you mean 'sex'?"),
    Case("proxy column missing", _data(proxies=["jobs"]), ("column 'jobs' (proxy)",), "did you mean 'job'?"),
    Case("excluded column missing", _data(exclude=["hour"]), ("column 'hour' (exclude)",), "did you mean 'hours'?"),
    Case("group column missing", _data(group="zzz"), ("column 'zzz' (group)",), "the columns are age"),
    Case("protected is the target", _data(protected=["pay"]), ("'pay' is the target",), "keep one"),
    Case("protected is a proxy", _data(proxies=["sex"]), ("'sex' is both",), "keep one"),
    Case("protected listed twice", _data(protected=["sex", "sex"]), ("listed twice", "data.protected"), "once"),
    Case("protected is empty", _data(protected=[]), ("'protected' is needed",), "name at least one"),
    Case("every column excluded", _data(exclude=["age", "hours", "job", "sex"]), ("no column is left",), "exclude fewer"),
    Case("target is no positive class", _data(target_positive="hihg"), ("target_positive",), "did you mean 'high'?"),
    Case(
        "holdout lacks a column",
        lambda w: (w.write(w.table[["age", "sex", "pay"]], "h.csv"), w.data.update(holdout="h.csv")),
        ("lacks the column 'hours'", "h.csv"),
        "needs the columns",
    ),
    Case("holdout missing", _data(holdout="h.csv"), ("data.holdout", "h.csv"), "paths are relative"),
    # Values.
    Case("target constant", _columns(pay="low"), ("target 'pay' has one value", "real.csv"), "another target"),
    Case("target all missing", _columns(pay=np.nan), ("target 'pay' has no values", "real.csv"), "another target"),
    Case("target of many values", _columns(pay=lambda t: range(len(t))), ("target 'pay'", "distinct values"), "target_threshold: median"),
    Case("target class too rare", _columns(pay=lambda t: ["high"] * 5 + ["low"] * (len(t) - 5)), ("a class has fewer than",), "more rows"),
    Case("protected constant", _columns(sex="f"), ("protected column 'sex' has one value",), "at least two groups"),
    Case("protected all missing", _columns(sex=np.nan), ("protected column 'sex' has no values",), "at least two groups"),
    Case("everything missing", lambda w: w.write(w.table.map(lambda _: None)), ("no values",), "another"),
    Case("infinite values", _columns(age=np.inf), ("column 'age' holds 300 infinite",), "replace them"),
    Case("numbers too large", _columns(age=lambda t: t["age"] * 1e300), ("column 'age'", "beyond 2**53"), "rescale"),
    Case(
        "identifier of people", _columns(ident=lambda t: [2**60 + i // 2 for i in range(len(t))]), ("'ident'", "identifier"), "data.group"
    ),
    Case(
        "free text",
        _columns(note=lambda t: [f"some words of {i} and more" for i in range(len(t))]),
        ("'note'", "free text"),
        "data.exclude",
    ),
    Case(
        "numbers with units",
        _columns(debt=lambda t: [f"{i},000 EUR" if i % 9 else "n/k" for i in range(len(t))]),
        ("'debt'",),
        "data.exclude",
    ),
    Case("too few rows", lambda w: w.write(w.table.head(12)), ("fewer than 30",), "use more rows"),
    Case("one row", lambda w: w.write(w.table.head(1)), ("too few",), "use more rows"),
    Case(
        "group all missing",
        lambda w: (w.write(w.table.assign(home=np.nan)), w.data.update(group="home")),
        ("group 'home'",),
        "drop data.group",
    ),
    Case("one group", lambda w: (w.write(w.table.assign(home="x")), w.data.update(group="home")), ("groups",), "data.group"),
    Case("encode none with text", _data(encode="none"), ("column 'job' is no number",), "data.encode: standard"),
    Case(
        "encode none with gaps",
        lambda w: (w.data.update(encode="none", exclude=["job", "sex"]), w.write(w.table.assign(age=[np.nan] * 9 + [40.0] * 291))),
        ("column 'age'", "missing"),
        "data.encode: standard",
    ),
    # Releases.
    Case("release missing", lambda w: w.release(path="nowhere.csv"), ("release vendor", "nowhere.csv"), "paths are relative"),
    Case("release empty", lambda w: w.release(table().head(0)), ("release vendor", "no rows"), "at least one row"),
    Case(
        "release lacks an input",
        lambda w: w.release(table().drop(columns="hours")),
        ("column 'hours' (input)", "release.csv"),
        "columns are",
    ),
    Case(
        "release lacks the target",
        lambda w: w.release(table().drop(columns="pay")),
        ("column 'pay' (target)", "release.csv"),
        "columns are",
    ),
    Case("release misspells a column", lambda w: w.release(table().rename(columns={"hours": "huors"})), ("'hours'",), "'huors'?"),
    Case("release of an unseen class", _release(pay=lambda t: ["huge"] * 4 + list(t["pay"][4:])), ("than 20", "no class"), "high, low"),
    Case("release of two rows", lambda w: w.release(table(seed=1).groupby("pay").head(1)), ("regime 'vendor' offers 2 rows",), "more rows"),
    Case("release target constant", _release(pay="low"), ("target 'pay' has one value", "release.csv"), "another release"),
    Case("release all missing", lambda w: w.release(table().map(lambda _: None)), ("release vendor", "no target 'pay'"), "fill or drop"),
    Case("release column all missing", _release(age=np.nan), ("column 'age' has no values", "release.csv"), "fill it"),
    Case("release column is text", _release(age="old"), ("column 'age' should hold numbers", "release.csv, row 1"), "plain numbers"),
    Case("release infinite", _release(age=np.inf), ("infinite", "release.csv"), "replace them"),
    Case(
        "release of other words", _release(job=lambda t: [f"J{i % 3}" for i in range(len(t))]), ("column 'job' shares no value",), "exclude"
    ),
    Case(
        "release not UTF-8",
        _file("age,pay\n1,\xe9\n".encode("latin-1"), "release.csv", World.release),
        ("release vendor", "UTF-8"),
        "save it",
    ),
    Case("release ragged", _file("age,hours,job,sex,pay\n1,2\n", "release.csv", World.release), ("release vendor", "line 2"), "complete"),
    Case("release without a name", _regimes({"synthetic": {"path": "release.csv"}}), ("release needs a 'name'",), "correct"),
    # Modules and checkpoints.
    Case("factory file missing", lambda w: w.module(file="net.py"), ("no file 'net.py'",), "relative to the recipe"),
    Case("factory function missing", lambda w: w.module("mak"), ("no function 'mak'",), "file.py:function"),
    Case("factory is no function", lambda w: w.module("number"), ("'number'",), "file.py:function"),
    Case("factory without a function", _set(model={"kind": "module", "factory": "nets.py"}), ("factory", "nets.py"), "file.py:function"),
    Case("factory has bad syntax", _file("def make(n:\n", "nets.py", World.module), ("nets.py", "SyntaxError"), "correct line 1"),
    Case("factory file raises", _file("1 / 0\n", "nets.py", World.module), ("nets.py", "ZeroDivisionError"), "must run through"),
    Case("factory raises", lambda w: w.module("raises"), ("RuntimeError: no such luck at all",), "mend the function"),
    Case("factory leaves", lambda w: w.module("leaves"), ("SystemExit",), "mend the function"),
    Case("factory returns no module", lambda w: w.module("nothing"), ("returned a NoneType",), "return a torch.nn.Module"),
    Case("checkpoint missing", lambda w: w.checkpoint(None), ("regime 'vendor'", "b0.safetensors"), "paths are relative"),
    Case(
        "checkpoint unreadable", lambda w: w.checkpoint(lambda p: p.write_bytes(b"rubbish" * 9)), ("regime 'vendor'", "b0"), "copy it again"
    ),
    Case("checkpoint empty", lambda w: w.checkpoint(lambda p: p.write_bytes(b"")), ("regime 'vendor'", "b0"), "copy it again"),
    Case("checkpoint is a pickle", lambda w: w.checkpoint(lambda p: p.write_bytes(pickle.dumps({"a": 1}))), ("pickle",), "save_file"),
    Case("checkpoint is a torch file", lambda w: w.checkpoint(_torch_file, "b0.pt"), ("'.pt' file",), "save_file"),
    Case("torch file in disguise", lambda w: w.checkpoint(_torch_file), ("pickle", "b0.safetensors"), "save_file"),
    Case("checkpoint of another shape", lambda w: w.checkpoint(_shapes(7)), ("'0.bias'", "(7,)", "(4,)"), "architectures"),
    Case("checkpoint with NaN", lambda w: w.checkpoint(_nan_weights), ("NaN", "b0.safetensors"), "diverged"),
    Case("erase without checkpoints", _regimes({"real": True, "erase": ["penultimate"]}), ("'erase' names the sites",), "correct this key"),
    Case(
        "erase at no site",
        lambda w: (w.checkpoint(_shapes(4)), w.regimes[0].update(erase=["penultimat"])),
        ("unknown site 'penultimat'",),
        "nearest sites: penultimate",
    ),
    Case(
        "erase without its maps",
        lambda w: (w.checkpoint(_shapes(4)), w.regimes[0].update(erase=["penultimate"])),
        ("lacks tensor 'erase/penultimate/weight'",),
        "the file holds",
    ),
    Case(
        "more checkpoints than seeds",
        lambda w: (w.checkpoint(_shapes(4)), w.regimes[0].update(checkpoints=["b0.safetensors"] * 3)),
        ("3 checkpoints for 2 seeds",),
        "raise 'seeds'",
    ),
    # The command line.
    Case("--set without =", _nothing, ("key=value", "--set seeds"), "e.g. --set seeds=3", ("recipe.yaml", "--set", "seeds")),
    Case("--set of an unknown key", _nothing, ("unknown key 'sed'",), "did you mean 'seed'?", ("recipe.yaml", "--set", "sed=1")),
    Case("--set is not YAML", _nothing, ("not valid YAML", "--set name=[a"), "quote the value", ("recipe.yaml", "--set", "name=[a")),
    Case(
        "--set of a 13th month",
        _nothing,
        ("month", "--set seed=2024-13-45"),
        "quote the value",
        ("recipe.yaml", "--set", "seed=2024-13-45"),
    ),
    Case("--set below a word", _nothing, ("'x'", "--set name.x=1"), "dotted key", ("recipe.yaml", "--set", "name.x=1")),
    Case("--jobs 0", _nothing, ("--jobs", "greater than or equal to 1"), "--help", ("recipe.yaml", "--jobs", "0")),
    Case("unknown option", _nothing, ("--fresch",), "--help", ("recipe.yaml", "--fresch")),
    Case("unknown backend", _nothing, ("--backend", "spark"), "dask", ("recipe.yaml", "--backend", "spark")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_one_line_says_what_where_and_how_to_mend(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    world = World(folder)
    case.spoil(world)
    text = yaml.safe_dump(world.recipe, sort_keys=False) if case.recipe_text is None else case.recipe_text
    (folder / "recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    arguments = case.arguments or ("recipe.yaml",)
    before = files_below(tmp_path)
    code = main(["run", *arguments, "--out", "out"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, ""), err
    assert err.startswith("proxyaudit: ")
    assert err.count("\n") == 1, err
    assert "Traceback" not in err
    for part in (*case.says, case.mend):
        assert part in err, f"{part!r} not in {err!r}"
    assert ";" in err, f"no remedy in {err!r}"
    assert files_below(tmp_path) == before


def files_below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_the_unspoilt_recipe_is_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    world.release()
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(world.recipe))
    assert main(["plan", "recipe.yaml"]) == 0


# One process shows that the shell sees what main() says; each more takes seconds to start.
_MORE = [pytest.param(name, marks=pytest.mark.study) for name in ("unknown key", "target constant")]


@pytest.mark.long
@pytest.mark.parametrize("name", ["checkpoint is a pickle", *_MORE])
def test_the_same_from_a_shell(name: str, tmp_path: Path) -> None:
    case = next(case for case in CASES if case.name == name)
    world = World(tmp_path)
    case.spoil(world)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(world.recipe))
    command = [sys.executable, "-m", "proxyaudit.cli.main", "run", "recipe.yaml", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    lines = [line for line in done.stderr.splitlines() if "code from outside runs" not in line]  # of the fence around a factory
    assert (len(lines), case.mend in lines[0]) == (1, True), done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["real.csv", "real.csv/below", "a" * 5000])
def test_out_that_is_no_folder(out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(world.recipe))
    before = files_below(tmp_path)
    assert main(["run", "recipe.yaml", "--out", out]) == 2
    error = capsys.readouterr().err
    assert (error.count("\n"), "--out" in error, "name another folder" in error) == (1, True, True), error
    assert files_below(tmp_path) == before


def test_a_columns_name_cannot_drive_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    world.write(world.table.rename(columns={"hours": "\x1b[31mhours\x07"}))
    world.data.update(proxies=["hours"])
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(world.recipe))
    assert main(["run", "recipe.yaml", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not {"\x1b", "\x07"} & set(error)
