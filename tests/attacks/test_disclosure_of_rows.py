"""What audits of the same rows, their digests and row sums tell of single people: with every digit nearly all, as published nothing."""

from __future__ import annotations

import hashlib
import itertools
import re
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from disclosing import Project, gaps, numbers, sizes_by_areas, unprotected
from numpy.typing import NDArray
from safetensors.numpy import save_file

from proxyaudit.audits.probe import run as probing
from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.cli.main import main
from proxyaudit.data import splits
from proxyaudit.estimates.few_people import hide_few
from proxyaudit.estimates.row_sums import SUMS, row_parts, signed_sums
from proxyaudit.evidence.pack import EvidencePack, find_run, read_pack
from proxyaudit.secret import HOME, VARIABLE, auditor_secret, secret_file
from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import gap_in

ROWS, HELD = 1000, 700
FIELDS = ("value", "low", "high", "raw", "auroc", "bound")  # of what tells groups apart: smaller where they come closer


def linear_only(*asked: Any, **more: Any) -> Probing:
    """What is measured, less what takes four fifths of the time and what ``audited`` reads nothing of."""
    return Probing(*asked, **{**more, "nonlinear": False, "effort": False})


def audited(acts_nd: NDArray[np.float64], sex_n: NDArray[np.int64], *, published: bool) -> dict[Any, float]:
    """What an audit tells of how far the groups lie apart, by what it is."""
    labels = pd.DataFrame({"sex": np.where(sex_n == 1, "m", "f")})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "Probing", linear_only)
        pack = probing.probe_arrays({"model": {"site": acts_nd}}, labels, ProbeRequest(("sex",)), jobs=1, published=published)
    apart = [e for e in pack.evidence.estimates if e.measure in ("units", "total", "leak") and e.subject is None and e.regime == "model"]
    return {(e.measure, field): getattr(e, field) for e in apart for field in FIELDS if getattr(e, field) is not None}


def told_by_leaving(leavers: int, *, published: bool, seed: int = 2) -> float:
    """Of people who leave, each before a second audit, the share of whom the two audits tell the sex.

    Of each the attacker knows which sex the activations look like; half of them are of the other. Where somebody who looks like what they
    are leaves, the groups come closer to each other. How much everything moves on average is given as well.
    """
    rng = np.random.default_rng(seed)
    sex = rng.integers(0, 2, ROWS)
    acts = rng.normal(size=(ROWS, 2))
    acts[:, 0] += 0.8 * (sex - 0.5)
    fits, far = (acts[:, 0] > 0) == (sex == 1), np.abs(acts[:, 0]) > 0.5
    who = np.concatenate([rng.choice(np.flatnonzero(far & one), leavers // 2, replace=False) for one in (fits, ~fits)])
    before = audited(acts, sex, published=published)
    after = [audited(np.delete(acts, i, 0), np.delete(sex, i), published=published) for i in who]
    known = [key for key in before if all(key in other for other in after)]
    steps = np.array([[before[key] - other[key] for key in known] for other in after])
    closer = ((steps - steps.mean(axis=0)) / np.maximum(steps.std(axis=0), 1e-12)).sum(axis=1)
    return float(np.mean((closer > 0) == fits[who]))


@pytest.mark.long
def test_two_audits_do_not_tell_the_sex_of_the_one_person_who_left_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # Chance and five of a hundred, and what 32 draws scatter about it (the guide tells of 72).
    assert told_by_leaving(32, published=True) <= scattered(32)
    assert told_by_leaving(12, published=False) >= 0.9  # rounded, but nobody sits out
    unprotected(monkeypatch)
    assert told_by_leaving(12, published=False) >= 0.9


def scattered(people: int) -> float:
    """The largest share of people that an attack at chance, and five of a hundred, gets right in 95 of 100 draws."""
    return 0.55 + 1.645 * (0.25 / people) ** 0.5


def told_of_ten(seed: int, *, guard: str) -> float:
    """Of ten people whom activations know, the share of whom a probe tells the sex to somebody who knows all others'.

    Their values are powers of three, and everybody else's nearly nothing. The attacker audits the same rows with either sex of each of the
    ten, every digit and nobody sitting out, and takes the answer that comes nearer to what was published.
    """
    rng = np.random.default_rng(seed)
    sex = rng.integers(0, 2, ROWS)
    acts = 0.001 * rng.normal(size=(ROWS, 2))
    who = rng.choice(ROWS, 10, replace=False)
    acts[who, 0] = 3.0 ** -np.arange(10.0) * rng.choice([-1, 1], 10)
    with pytest.MonkeyPatch.context() as patch:
        unprotected(patch)
        right = audited(acts, sex, published=False)
        wrong = [audited(acts, np.where(np.arange(ROWS) == i, 1 - sex, sex), published=False) for i in who]
    found = right if guard == "none" else audited(acts, sex, published=guard == "all")

    def off(answer: dict[Any, float], other: dict[Any, float]) -> float:
        known = [key for key in found if key in answer and key in other]
        return sum(abs(found[key] - answer[key]) / max(abs(other[key] - answer[key]), 1e-12) for key in known)

    return float(np.mean([off(right, other) < off(other, right) for other in wrong]))


@pytest.mark.long
def test_a_probe_tells_nobodys_sex_of_ten_whom_the_activations_know() -> None:
    assert np.mean([told_of_ten(seed, guard="all") for seed in range(3, 6)]) <= scattered(30)
    assert told_of_ten(3, guard="rounding") >= 0.8  # rounded, but nobody sits out
    assert told_of_ten(3, guard="none") == 1.0


@pytest.mark.parametrize(("published", "rate"), [(False, 1.0), (True, 0.0)])
def test_areas_under_the_curve_of_a_probe_do_not_tell_group_sizes(published: bool, rate: float) -> None:
    rng = np.random.default_rng(0)
    sex = rng.integers(0, 2, 600)
    acts = {f"model {k}": {"site": rng.normal(size=(600, 2)) + (0.5 + 0.2 * k) * sex[:, None]} for k in range(4)}
    labels, size = pd.DataFrame({"sex": np.where(sex == 1, "m", "f")}), int(sex.sum())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "Probing", linear_only)
        if not published:
            unprotected(patch)
        pack = probing.probe_arrays(acts, labels, ProbeRequest(("sex",)), jobs=1, published=published)
    areas = [next(numbers(pack, regime, "linear", "leak")).auroc for regime in acts]
    found = [sizes_by_areas((float(one or 0), float(other or 0)), 600) for one, other in itertools.combinations(areas, 2)]
    assert np.mean([value in (size, 600 - size) for value in found]) == rate


def told_by_holdouts(leavers: int, folder: Path, *, sit_out: bool) -> float:
    """Of people who leave the holdout of a run, each before a second run, the share of whom the two published gaps tell the sex.

    The attacker made the model: where a woman with a high output leaves, women's scores fall beside men's. Equal gaps are half right.
    """
    project = Project(folder, seed=5)
    project.add("ordinary", 0.2)
    people = project.table
    people.iloc[:HELD].to_csv(folder / "real.csv", index=False)

    def gap(held: pd.DataFrame) -> float:
        held.to_csv(folder / "held.csv", index=False)
        return float(gaps(project.run("holdout: held.csv"), "ordinary")[0])

    held, right = people.iloc[HELD : 2 * HELD], []
    rng, far = np.random.default_rng(0), held[(held.hours - 38).abs() > 3]
    with pytest.MonkeyPatch.context() as patch:
        if not sit_out:
            unprotected(patch)
            patch.setattr(splits, "stay", lambda hashes, people: np.ones(len(people), dtype=bool))
        before = gap(held)
        for sex in ("f", "m"):
            for i in rng.choice(far.index[far.sex == sex], leavers // 2, replace=False):
                after = gap(held.drop(index=i))
                looks_female = (after < before) == (held.hours[i] > 38)
                right.append(0.5 if after == before else float(looks_female == (sex == "f")))
    return float(np.mean(right))


@pytest.mark.long
def test_two_runs_do_not_tell_the_sex_of_the_one_person_who_left_their_holdout(tmp_path: Path) -> None:
    assert told_by_holdouts(4, tmp_path / "plain", sit_out=False) == 1.0
    assert told_by_holdouts(12, tmp_path / "published", sit_out=True) <= scattered(12)


def test_regimes_of_activations_that_differ_on_ten_people_are_told_as_one() -> None:
    rng = np.random.default_rng(0)
    acts = rng.normal(size=(500, 4))
    few, many = acts.copy(), acts.copy()
    few[rng.choice(500, 10, replace=False)] += 3.0 ** np.arange(10)[:, None]
    many[rng.choice(500, 40, replace=False)] += 1
    first, second, third = hide_few([acts, few, many], np.arange(500))
    assert np.array_equal(first, acts)
    assert np.array_equal(second, acts)
    assert np.array_equal(third, many)


# Row sums ------------------------------------------------------------------------------------------------------------------


def test_row_sums_of_two_gaps_give_twenty_people_away() -> None:
    """Why they are no part of a run: twenty equations, and everything in them is known but the sex of twenty people."""
    rng = np.random.default_rng(1)
    n, right = 400, []
    for _ in range(5):
        sex, outputs = rng.integers(0, 2, n), rng.random((2, n, 1))
        sums = np.concatenate([signed_sums(gap_in(one, sex, 0, 1, 0, np.arange(n))) for one in outputs])
        unknown = rng.choice(n, 2 * SUMS, replace=False)
        signs = stream(0, "row parts").choice(np.array([-1.0, 1.0]), size=(n, SUMS))
        equations, rest = np.zeros((2 * SUMS, 2 * SUMS)), sums.copy()
        for j, one in enumerate(outputs[:, :, 0]):
            as_man, as_woman = (one - one[sex == 1].mean()) / (sex == 1).sum(), -(one - one[sex == 0].mean()) / (sex == 0).sum()
            known = np.where(np.isin(np.arange(n), unknown), as_woman, np.where(sex == 1, as_man, as_woman))
            rest[j * SUMS : (j + 1) * SUMS] -= known @ signs
            equations[j * SUMS : (j + 1) * SUMS] = (signs[unknown] * (as_man - as_woman)[unknown, None]).T
        found = np.linalg.lstsq(equations, rest, rcond=None)[0] > 0.5
        right.append((found == (sex[unknown] == 1)).mean())
    assert np.mean(right) >= 0.95


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EvidencePack]:
    """A folder with labels and activations, and the run of a probe in it."""
    folder, rng = tmp_path_factory.mktemp("probed"), np.random.default_rng(4)
    sex = rng.integers(0, 2, 400)
    acts = rng.normal(size=(400, 3)) + sex[:, None] * np.array([0.8, 0, 0])
    save_file({"site": acts.astype(np.float32)}, folder / "acts.safetensors")
    pd.DataFrame({"sex": np.where(sex == 1, "m", "f")}).to_csv(folder / "labels.csv", index=False)
    given = ["--activations", f"model={folder / 'acts.safetensors'}", "--labels", str(folder / "labels.csv"), "--attribute", "sex"]
    assert main(["probe", *given, "--out", str(folder / "out"), "--jobs", "1"]) == 0
    run = find_run(folder / "out")
    return folder, read_pack(run)


def test_row_sums_are_found_by_their_auditor_alone(
    probed: tuple[Path, EvidencePack], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder, pack = probed
    run = find_run(folder / "out")
    assert not any("row" in name for name in pack.arrays)
    assert pack.row_sums["row_parts.sums"].shape[1] == SUMS
    monkeypatch.setenv(VARIABLE, "some other secret, of somebody else")
    assert read_pack(run).row_sums == {}
    monkeypatch.undo()
    (run / "evidence.json").write_bytes((run / "evidence.json").read_bytes())
    assert read_pack(run).row_sums
    monkeypatch.setenv(HOME, str(tmp_path))
    assert read_pack(run).row_sums == {}
    assert list(tmp_path.iterdir()) == []  # reading draws no secret
    assert row_parts.__module__.startswith("proxyaudit.estimates")


# Digests -------------------------------------------------------------------------------------------------------------------

HIDDEN = 12


def written(folder: Path) -> set[str]:
    """Every digest that a run folder holds."""
    texts = [path.read_text(encoding="utf-8", errors="ignore") for path in folder.iterdir()]
    return {found for text in texts for found in re.findall(r"[0-9a-f]{32,64}", text)}


def guessed(labels: list[str]) -> dict[str, tuple[str, ...]]:
    """Digests of the labels' file, and of their codes as runs once published it, for every answer on the first people."""
    found, rest = {}, labels[HIDDEN:]
    numbers = hashlib.sha256(np.arange(len(labels), dtype=np.int64).tobytes())
    for answer in itertools.product("fm", repeat=HIDDEN):
        column = [*answer, *rest]
        codes = (np.array(column) == "m").astype(np.float64)
        rows = numbers.copy()
        rows.update(hashlib.sha256(codes.tobytes()).digest())
        found[rows.hexdigest()] = answer
        found[hashlib.sha256("\n".join(["sex", *column, ""]).encode()).hexdigest()] = answer
    return found


def test_no_digest_of_a_run_is_an_oracle_of_labels(probed: tuple[Path, EvidencePack]) -> None:
    folder, pack = probed
    labels = pd.read_csv(folder / "labels.csv").sex.tolist()
    answers = guessed(labels)
    known = {hashlib.sha256((folder / "labels.csv").read_bytes()).hexdigest()}
    assert [answers[one] for one in known if one in answers] == [tuple(labels[:HIDDEN])]  # with a plain digest all of them fall
    files = {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}
    assert written(find_run(folder / "out")).isdisjoint({*answers, *files})
    assert all(value.startswith("keyed:") for value in pack.plan["hashes"].values())


def test_the_same_secret_makes_the_same_run_and_another_one_another(
    probed: tuple[Path, EvidencePack], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, pack = probed
    given = ["--activations", f"model={folder / 'acts.safetensors'}", "--labels", str(folder / "labels.csv"), "--attribute", "sex"]
    assert main(["probe", *given, "--out", str(folder / "again"), "--jobs", "2"]) == 0
    again = find_run(folder / "again")
    assert (again / "evidence.json").read_bytes() == (find_run(folder / "out") / "evidence.json").read_bytes()
    monkeypatch.setenv(VARIABLE, "some other secret, of somebody else")
    assert main(["probe", *given, "--out", str(folder / "other"), "--jobs", "1"]) == 0
    other = read_pack(find_run(folder / "other"))
    assert other.plan["audit_rows"] != pack.plan["audit_rows"]
    assert [f.verdict for f in other.evidence.findings] == [f.verdict for f in pack.evidence.findings]


# The secret ----------------------------------------------------------------------------------------------------------------


def test_the_secret_is_drawn_once_and_kept_from_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv(HOME, str(tmp_path / "own"))
    first = auditor_secret()
    assert auditor_secret() == first
    assert len(first) == 64
    assert stat.S_IMODE(secret_file().stat().st_mode) == 0o600
    assert [path.name for path in secret_file().parent.iterdir()] == ["secret"]


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda path: path.chmod(0o644), "others on this machine can read the auditor's secret"),
        (lambda path: path.write_text("short"), "the auditor's secret is cut short"),
        (lambda path: (path.unlink(), path.mkdir(mode=0o700)), "the auditor's secret cannot be kept"),
    ],
)
def test_a_secret_that_is_none_is_one_clear_line(
    spoil: Any, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, probed: tuple[Path, EvidencePack], capsys: Any
) -> None:
    folder, _ = probed
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv(HOME, str(tmp_path))
    auditor_secret()
    spoil(secret_file())
    given = ["--activations", f"model={folder / 'acts.safetensors'}", "--labels", str(folder / "labels.csv"), "--attribute", "sex"]
    assert main(["probe", *given, "--out", str(tmp_path / "out"), "--jobs", "1"]) == 2
    assert line in capsys.readouterr().err
