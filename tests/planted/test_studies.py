"""The long studies: what they conclude, and, in small, that they resume and write their tables."""

import json
from collections import Counter

import numpy as np
import pytest

from proxyaudit.audits.selftest.run import SelfTest, model_rates
from tests.studies import __main__ as program
from tests.studies import coverage, decisions, tables

WORLD = {"kind": "linear", "n": 500, "d": 16, "leak": 0.1, "powered": True, "at_least": None}


def lines(count, **values):
    return [{"key": [0, "present", i], **WORLD, **values} for i in range(count)]


def test_a_stopped_study_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    (tmp_path / "toy.jsonl").write_text(json.dumps({"key": [1, 2], "sum": -1}) + "\n")
    program.run("toy", [(1, 2), (3, 4), (5, 6)], _sum, jobs=1)
    found = [json.loads(line) for line in (tmp_path / "toy.jsonl").read_text().splitlines()]
    assert [(tuple(line["key"]), line["sum"]) for line in found] == [((1, 2), -1), ((3, 4), 7), ((5, 6), 11)]


def _sum(a, b):
    return {"sum": a + b}


def test_tables_are_written_between_their_markers():
    page = "before\n<!-- study: worlds -->\nold\n<!-- end of study: worlds -->\nafter\n"
    assert (
        tables.between_markers(page, "worlds", "new\n") == "before\n<!-- study: worlds -->\n\nnew\n\n<!-- end of study: worlds -->\nafter\n"
    )
    assert tables.between_markers(page, "coverage", "new\n") == page


def test_the_worlds_table_counts_false_removed():
    right = lines(3, part="present", expected="exposed", verdict="exposed")
    wrong = lines(1, part="present", expected="exposed", verdict="removed")
    text = tables.worlds_table([*right, *wrong, *lines(5, part="absent", expected="removed", verdict="removed")])
    assert "| present, 2 to 10 times the margin | exposed | 3 | 0 | 1 | 0 |" in text
    assert "| false removed | 1 of 4 | 75.1% |" in text
    assert "| false presence | 0 of 5 | 45.1% |" in text


def model_line(**changes):
    case = {"kind": "head_null", "seed": 0, "n": 400, "expected": "hidden", "verdict": "hidden", "at_least": None, "encoding": "linear"}
    case |= {"use": ["none"], "recoverable": ["beyond"], "states": {"used": "absent"}, "truth": {"used": "absent", "expressed": "absent"}}
    return {"key": ["head_null", 0, 400, 2], **case, "expected_proxy": None, "first_proxy": None, "quiet_controls": True, **changes}


def test_the_models_table_counts_false_removed_and_false_use():
    wrong = model_line(verdict="removed"), model_line(verdict="exposed", use=["used"], states={"used": "present"}, quiet_controls=False)
    text = tables.models_table([model_line(), model_line(verdict="inconclusive"), *wrong])
    assert "| head null | hidden | 1 | 1 | 1 | 1 |" in text
    assert "| false removed | 1 of 4 | 75.1% |" in text
    assert "| wrong verdict | 2 of 4 |" in text
    assert "| use claimed where there is none | 1 of 4 |" in text
    assert "| controls of effects above the margin | 1 of 4 |" in text
    assert "proxy named first" not in text


def test_the_decision_study_decides():
    smallest = 0
    assert decisions.run_case(0, smallest, 0.08, 0)["state"] == "present"
    assert decisions.run_case(0, smallest, 0.01, 0)["state"] in ("absent", "unknown")
    text = tables.decisions_table([{"setting": 0, "leak": 0.02, "index": i, "state": "absent" if i else "unknown"} for i in range(4)])
    assert "| 0.75 / 0.00 |" in text


@pytest.mark.parametrize("kind", sorted({setting.kind for setting in decisions.SETTINGS}))
def test_a_case_without_a_leak_has_independent_labels(kind):
    setting = decisions.Setting("small", 8, 4000, kind=kind)
    rng = np.random.default_rng(0)
    leaking, clean = (decisions.make_case(setting, leak, rng) for leak in (0.08, 0.0))
    assert (leaking.leak, clean.leak) == (0.08, 0.0)

    def explained(world):
        x = np.column_stack([np.ones(setting.n), world.acts_nd])
        y = world.labels_n if kind == "continuous" else (world.labels_n == "b").astype(float)
        return 1 - np.var(y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) / np.var(y)

    assert explained(clean) < (0.03 if kind == "grouped" else 0.012) < explained(leaking)


def test_coverage_is_one_sided_where_nothing_is_there():
    assert coverage.covers({"truth": 0.0, "low": 0.0, "high": 0.0})
    assert not coverage.covers({"truth": 0.0, "low": 0.001, "high": 0.1})
    assert not coverage.covers({"truth": 0.05, "low": 0.0, "high": 0.04})
    assert not coverage.covers({"truth": 0.05, "low": None, "high": None})
    assert 0.05 < coverage.mean_leak() < 0.08


def results(name):
    file = program.RESULTS / f"{name}.jsonl"
    if not file.exists():
        pytest.skip(f"python -m tests.studies {name} was not run here")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.study
def test_the_worlds_of_the_study_hold():
    found = results("worlds")
    names = set(WORLD) | {"part", "expected", "verdict"}
    rates = SelfTest(tuple(tables.Case(**{k: v for k, v in line.items() if k in names}) for line in found), 0).rates()
    assert {line["verdict"] for line in found if line["part"] == "large"} == {"removed"}
    assert rates["false removed"]["of"] >= 200
    assert rates["false removed"]["count"] == 0
    assert rates["false removed at the margin"]["share"] <= 0.01
    assert rates["false presence"]["share"] <= 0.05
    assert rates["wrong where the rows suffice"]["share"] <= 0.05


@pytest.mark.study
def test_the_intervals_of_the_study_cover():
    found = results("coverage")
    for index in range(len(coverage.SIZES)):
        own = [line for line in found if line["size"] == index]
        assert len(own) >= 1000
        assert np.mean([coverage.covers(line) for line in own]) >= 0.93
    assert np.mean([coverage.covers(line) for line in results("crossed")]) >= 0.93


@pytest.mark.study
def test_the_decisions_of_the_study_hold():
    found = results("decisions")
    at_margin = [line["state"] for line in found if line["leak"] == 0.02]
    assert np.mean([state == "absent" for state in at_margin]) <= 0.02
    assert not [line for line in found if line["leak"] >= 0.04 and line["state"] == "absent"]
    assert np.mean([line["state"] == "present" for line in found if line["leak"] == 0]) == 0


@pytest.mark.study
def test_the_models_of_the_study_hold():
    cases = tables.model_cases(results("models"))
    rates = model_rates(cases)
    assert min(Counter(case.kind for case in cases).values()) >= 20
    assert rates["models: false removed"]["count"] == 0
    assert rates["models: wrong verdict"]["share"] <= 0.02
    assert rates["models: a channel contradicts the construction"]["share"] <= 0.02
    assert rates["models: controls of effects above the margin"]["share"] <= 0.03
