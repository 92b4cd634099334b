"""What readers get to see holds nobody's row: planted canaries, and counts that no subtraction turns into a small group."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import stat
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from canaries import CANARIES, NAMES, PEOPLE, RECIPE, people, plant
from safetensors.numpy import save_file

from proxyaudit.cache import cache_folder
from proxyaudit.cli.main import main
from proxyaudit.errors import InputError, TaskError, safe_line
from proxyaudit.evidence.pack import PACK_FILES, REPORT_FILES, EvidencePack, find_run, read_pack
from proxyaudit.evidence.tiers import RECEIPT

SMALLEST = 11


@dataclass(frozen=True)
class Seen:
    """Everything that readers of some commands get: texts by place."""

    folder: Path
    texts: dict[str, str]
    packs: dict[str, EvidencePack]


def read(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            # Arrays and weights too: their headers are text, and numbers in them are looked for as they lie in memory.
            data = path.read_bytes()
            yield str(path.relative_to(folder)), data.decode("utf-8", "replace") + " ".join(named_in(data))


def named_in(data: bytes) -> list[str]:
    """Canaries that are numbers and lie in bytes as such."""
    numbers = [(text, float(text)) for text in CANARIES.values() if text.replace(".", "").isdigit()]
    forms = [(text, struct.pack(form, number)) for text, number in numbers for form in ("<d", "<f")]
    return [text for text, form in forms if form in data]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("canaries")
    real = plant(people(PEOPLE, seed=0))
    real.to_csv(folder / "people.csv", index=False)
    release = people(300, seed=1)
    release.loc[:5, "job"] = CANARIES["category of a release"]
    release.loc[6, "age"] = float(CANARIES["fraction of a release"])
    # Copies of rows of people, as a careless maker leaves them.
    release = pd.concat([release, real.head(40)], ignore_index=True)
    release.drop(columns=["note", "person"]).to_csv(folder / "release.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE)
    labels = real.assign(reason=np.where(np.arange(len(real)) < 8, CANARIES["condition"], real["pay"]))
    labels.to_csv(folder / "labels.csv", index=False)
    rng = np.random.default_rng(3)
    acts = rng.normal(size=(len(real), 4)).astype(np.float32)
    acts[:, 1] += (real["sex"] == "m").to_numpy(dtype=np.float32)
    save_file({"layer": acts}, folder / "acts.safetensors")
    runs, probes = folder / "runs", folder / "probes"
    commands = {
        "plan": ["plan", str(folder / "recipe.yaml")],
        "run": ["run", str(folder / "recipe.yaml"), "--out", str(runs), "--jobs", "1"],
        "report": ["report", str(runs)],
        "verify": ["verify", str(runs)],
        "ls": ["ls", str(runs)],
        "probe": [
            *("probe", "--activations", f"a={folder / 'acts.safetensors'}", "--labels", str(folder / "labels.csv"), "--attribute", "sex"),
            *("--attribute", "town", "--group", "person", "--condition-on", "reason", "--out", str(probes), "--jobs", "1"),
        ],
    }
    return _seen(folder, commands, {"run": runs, "probe": probes})


@pytest.fixture(scope="module")
def mended(seen: Seen) -> Seen:
    """A mitigation of the same run."""
    out = seen.folder / "mended"
    arguments = ["mitigate", str(seen.folder / "runs"), "--attribute", "sex", "--regime", "real", "--out", str(out)]
    return _seen(seen.folder, {"mitigate": [*arguments, "--base", str(seen.folder), "--jobs", "1"]}, {"mitigate": out})


@pytest.fixture(scope="module")
def answered(seen: Seen) -> Seen:
    """What commands that only read the run answer and write."""
    run, out = str(seen.folder / "runs"), seen.folder / "answers"
    out.mkdir()
    commands = {
        "gate": ["gate", run, "--junit", str(out / "gate.xml")],
        "compare": ["compare", run, run, "--out", str(out / "compared")],
        "history": ["history", run, "--out", str(out / "history.html")],
        "controls": ["controls", run, "--oscal", str(out / "oscal.json")],
        "report": ["report", run, "--out", str(out / "fresh")],
        "verify": ["verify", run, "--json"],
        "ls": ["ls", run, "--due", "--json"],
        "purge": ["purge", run, "--dry-run"],
        "doctor": ["doctor", "--json"],
    }
    texts = {f"{name}, terminal": _captured(arguments, (0, 1, 3)) for name, arguments in commands.items()}
    return Seen(seen.folder, texts | {f"answers, {name}": text for name, text in read(out)}, {})


def _seen(folder: Path, commands: dict[str, list[str]], places: dict[str, Path]) -> Seen:
    texts = {f"{name}, terminal": _captured(arguments) for name, arguments in commands.items()}
    for kind, place in places.items():
        texts |= {f"{kind}, {name}": text for name, text in read(place)}
    return Seen(folder, texts, {kind: read_pack(find_run(place)) for kind, place in places.items()})


def _captured(arguments: list[str], codes: tuple[int, ...] = (0,)) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(arguments)
    assert code in codes, out.getvalue()
    return out.getvalue()


def names_below(folder: Path) -> set[str]:
    """Names of all files below a folder, hidden ones too."""
    return {path.name for path in folder.rglob("*") if not path.is_dir()}


def kept_results() -> set[str]:
    """Kinds of results that lie in the cache."""
    return {path.relative_to(cache_folder()).parts[0] for path in cache_folder().rglob("*.safetensors")}


def canaries_in(texts: dict[str, str]) -> list[str]:
    found = itertools.product(texts.items(), CANARIES.items())
    return [f"{what} in {where}" for (where, text), (what, canary) in found if canary.lower() in text.lower()]


@pytest.mark.long
def test_no_artefact_holds_a_canary(seen: Seen) -> None:
    assert {name.partition(",")[0] for name in seen.texts} == {"plan", "run", "report", "verify", "ls", "probe"}
    for kind in ("run", "probe"):
        there = [name for name in seen.texts if name.startswith(f"{kind}, ")]
        assert all(any(name.endswith(file) for name in there) for file in (*PACK_FILES, *REPORT_FILES, "manifest.json"))
    assert canaries_in(seen.texts) == []
    assert canaries_in({"a log": f"row of {NAMES[0]}"}) == ["person in a log"]


@pytest.mark.long
def test_nor_does_what_other_commands_answer_and_write(answered: Seen, seen: Seen) -> None:
    written = {name.partition(", ")[2] for name in answered.texts if name.startswith("answers, ")}
    assert {"gate.xml", "history.html", "oscal.json", "compared/comparison.json", "fresh/report.html"} <= written
    assert canaries_in(answered.texts) == []
    assert names_below(seen.folder / "runs") == {*PACK_FILES, *REPORT_FILES, "manifest.json"}


@pytest.mark.long
def test_nothing_but_public_files_lies_among_the_results(seen: Seen) -> None:
    for place in ("runs", "probes"):
        assert names_below(seen.folder / place) == {*PACK_FILES, *REPORT_FILES, "manifest.json"}
    assert {"inputs", "train", "measure", "probe"} <= kept_results()
    for path in (cache_folder(), *cache_folder().rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.name in (".gitignore", "CACHEDIR.TAG") or path.parent.name == "locks"


@pytest.mark.long
@pytest.mark.parametrize("stage", ["train", "measure"])
def test_what_fails_names_no_row_and_leaves_none(stage: str, seen: Seen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that fails with a row in its error; another place for temporary files shows what stays there."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def fail(task: object, prepared: object, cache: object, folder: Path) -> None:
        (folder / "half.csv").write_text(f"{NAMES[0]},{CANARIES['fraction']}\n")
        raise ValueError(f"row of '{NAMES[0]}' with {CANARIES['fraction']} and [{CANARIES['category of a feature']}] cannot be used")

    monkeypatch.setattr(f"proxyaudit.pipeline.{stage}.run", fail)
    out, said = tmp_path / "out", io.StringIO()
    arguments = ["run", str(seen.folder / "recipe.yaml"), "--out", str(out), "--jobs", "1", "--cache", str(tmp_path / "cache")]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        assert main([*arguments, "--set", "effort=decide"]) == 5
    assert canaries_in({"terminal": said.getvalue(), **dict(read(out)), **dict(read(tmp_path / "temporary"))}) == []
    assert names_below(out) <= {*PACK_FILES, *REPORT_FILES, "manifest.json"}
    assert not list((tmp_path / "cache").glob("*/.work-*"))
    assert not list((tmp_path / "cache").rglob("half.csv"))


@pytest.mark.long
def test_no_file_of_a_mitigation_holds_a_canary(mended: Seen, seen: Seen) -> None:
    for file in ("mitigation.md", "mitigation.json", "mitigated.yaml", "mitigated-0.safetensors"):
        assert any(name.endswith(file) for name in mended.texts)
    assert canaries_in(mended.texts) == []
    packs = {**seen.packs, **mended.packs}
    assert small_groups({f"{kind} {place}": n for kind, pack in packs.items() for place, n in published_counts(pack).items()}) == []


def test_common_values_are_named_so_that_the_search_can_find(seen: Seen) -> None:
    text = next(text for name, text in seen.texts.items() if name.startswith("run, ") and name.endswith("plan.json"))
    assert "job=smith" in text
    assert '"north"' in text


# Differencing -------------------------------------------------------------------------------------------------------------


def published_counts(pack: EvidencePack) -> dict[str, int]:
    """Every number of people that a pack states, by where it stands: fields, plan, and numbers before 'rows' in texts."""
    counts = {f"{e.id} n": e.n for e in pack.evidence.estimates if e.n is not None}
    rows = pack.plan.get("rows")
    counts |= {f"plan rows {key}": value for key, value in (rows if isinstance(rows, dict) else {}).items()}
    for regime in pack.plan["regimes"]:
        if regime.get("training_rows") is not None:
            counts[f"plan {regime['name']}"] = regime["training_rows"]
    documents = {"evidence": pack.evidence.model_dump(mode="json"), "plan": pack.plan}
    for name, text in _texts(documents):
        for number, count in enumerate(re.findall(r"(\d[\d,]*)(?:\s\w+)? (?:rows|people|persons)\b", text)):
            if _CONSTANTS.search(text) is None:
                counts[f"{name} text {number}: {text[:60]}"] = int(count.replace(",", ""))
    return counts


# Sizes that were asked for or are fixed by the method, the same whoever the people are; rows that would be needed.
_CONSTANTS = re.compile(
    r"\d+ (labelled )?rows($|:| to learn|,)|256 (real )?rows|about [\d,]+ |audit rows in each|fewer than (20|30) |last block|head only"
)


def _texts(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, where)


def small_groups(counts: dict[str, int]) -> list[str]:
    """Counts, and differences and sums of two, that amount to a group of one to ten people."""
    found = [f"{place}: {count}" for place, count in counts.items() if 0 < count < SMALLEST]
    values = sorted({*counts.values()})
    places = {count: place for place, count in counts.items()}
    found += [f"{places[a]} and {places[b]}: {abs(a - b)}" for a, b in itertools.combinations(values, 2) if abs(a - b) < SMALLEST]
    whole = max(values, default=0)
    # A part and the rest of it: the whole less two parts.
    for a, b in itertools.combinations(values, 2):
        if 0 < abs(whole - a - b) < SMALLEST:
            found.append(f"{places[whole]} less {places[a]} less {places[b]}: {whole - a - b}")
    return found


def test_the_checker_finds_what_subtraction_gives_away() -> None:
    assert small_groups({"a": 700, "b": 696})
    assert small_groups({"a": 700, "b": 400, "c": 295})
    assert small_groups({"a": 7})
    assert not small_groups({"a": 700, "b": 680, "c": 680})


@pytest.mark.parametrize("kind", ["run", "probe"])
def test_no_counts_of_a_pack_tell_a_small_group(kind: str, seen: Seen) -> None:
    counts = published_counts(seen.packs[kind])
    assert len(counts) > 10
    assert small_groups(counts) == []


def test_no_counts_of_two_packs_about_the_same_people_tell_a_small_group(seen: Seen) -> None:
    together = {f"{kind} {place}": count for kind, pack in seen.packs.items() for place, count in published_counts(pack).items()}
    assert small_groups(together) == []


def test_no_level_that_is_published_is_rare(seen: Seen) -> None:
    real = plant(people(PEOPLE, seed=0))
    for kind, pack in seen.packs.items():
        for attribute in pack.plan["attributes"]:
            counts = real[attribute["name"]].value_counts()
            assert all(counts[level] >= SMALLEST for level in attribute["levels"] if level != "(other)"), kind
        for column in pack.plan.get("columns", ()):
            name, equals, level = column.partition("=")
            assert not equals or level.startswith("(") or (real[name] == level).sum() >= SMALLEST


def test_arrays_have_no_rows(seen: Seen) -> None:
    """Nor sums of them: those lie in the auditor's own folder."""
    for pack in seen.packs.values():
        assert all(array.size < 100 and name.endswith(".seed_values") for name, array in pack.arrays.items())


# Errors -------------------------------------------------------------------------------------------------------------------


def _raised(make: Any) -> BaseException:
    try:
        make()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "make",
    [
        lambda: pd.Series([CANARIES["person"]]).astype(float),
        lambda: np.array([CANARIES["person"]]).astype(float),
        lambda: float(CANARIES["person"]),
        lambda: {"x": 1}[CANARIES["person"]],
        lambda: pd.to_datetime(pd.Series([CANARIES["person"]]), format="%Y"),
        lambda: (_ for _ in ()).throw(ValueError(f"bad value {CANARIES['fraction']} in [{CANARIES['person']}]")),
        lambda: (_ for _ in ()).throw(ValueError(f"bad key {CANARIES['whole number']}")),
    ],
)
def test_errors_of_other_code_lose_the_values_they_name(make: Any) -> None:
    line = safe_line(_raised(make))
    assert not any(canary in line for canary in CANARIES.values())
    assert "\n" not in line


def test_errors_keep_what_helps() -> None:
    assert safe_line(RuntimeError("mat1 and mat2 shapes cannot be multiplied (32x10 and 8x4)")).endswith("(32x10 and 8x4)")
    assert safe_line(TaskError("regime 'real' failed")) == "TaskError: regime 'real' failed"
    assert "column 'x'" in safe_line(InputError("column 'x' is missing"))


FAULTS = {
    "text among numbers": ("release", lambda f: f.assign(age=f["age"].astype(object).where(f.index > 2, CANARIES["person"]))),
    "unknown class": ("release", lambda f: f.assign(pay=f["pay"].where(f.index > 2, CANARIES["person"]))),
    "rare class": ("people", lambda f: f.assign(pay=f["pay"].where(f.index > 4, CANARIES["person"]))),
    "date": ("release", lambda f: f.assign(seen=f["seen"].where(f.index > 2, CANARIES["person"]))),
    "identifier": ("people", lambda f: f.assign(job=[f"{CANARIES['person']} {k}" for k in range(len(f))])),
    "long numbers": ("people", lambda f: f.assign(job=[f"{CANARIES['whole number']}{k // 2:012d}" for k in range(len(f))])),
    "constant": ("release", lambda f: f.assign(pay=CANARIES["person"])),
    "one group": ("people", lambda f: f.assign(sex=np.where(f.index > 5, "f", CANARIES["person"]))),
    "infinite": ("people", lambda f: f.assign(age=f["age"].where(f.index > 2, np.inf))),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_faulty_files_are_refused_without_naming_a_value(fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, spoil = FAULTS[fault]
    tables = {"people": people(300, seed=0), "release": people(200, seed=1)}
    tables[file] = spoil(tables[file])
    for name, frame in tables.items():
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    assert main(["plan", str(tmp_path / "recipe.yaml"), "--json"]) == 2
    out = capsys.readouterr()
    assert json.loads(out.out)["exit_code"] == 2
    for canary in (*CANARIES.values(), "p7"):
        assert canary not in out.out + out.err


# The last of the file: other tests look into what it deletes -----------------------------------------------------------


@pytest.mark.long
def test_what_was_purged_leaves_a_receipt_and_no_row_anywhere(seen: Seen) -> None:
    assert kept_results()
    made = [place for place in ("runs", "probes", "mended") if (seen.folder / place).exists()]
    for place in made:
        said = _captured(["purge", str(seen.folder / place)])
        assert canaries_in({"terminal": said, **dict(read(seen.folder / place))}) == []
        assert RECEIPT in names_below(seen.folder / place)
        assert place == "mended" or names_below(seen.folder / place) == {*PACK_FILES, *REPORT_FILES, "manifest.json", RECEIPT}
    assert kept_results() == set()
