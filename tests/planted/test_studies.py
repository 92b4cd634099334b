"""The long studies: what they conclude, and, in small, that they resume and write their tables."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from proxyaudit.audits.selftest.run import SelfTest, model_rates
from proxyaudit.evidence.pack import read_pack
from proxyaudit.planted import make_world
from proxyaudit.recipe.recipe import Recipe, parse_recipe
from proxyaudit.seeding import stream
from tests.studies import __main__ as program
from tests.studies import coverage, crossed, decisions, ideal, randomised, real, tables, worlds

EVEN = np.array([0.5, 0.5])
EXAMPLE = Path(__file__).parents[2] / "reports" / "example"
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


def test_a_part_of_a_study_can_be_done_and_a_case_may_leave_several_lines(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    for _ in range(2):
        program.run("toy", [(1, 2), (3, 4), (5, 6)], _both, jobs=1, most=1)
    assert [(line["key"], line["value"]) for line in program.read_lines("toy")] == [([1, 2], 1), ([1, 2], 2), ([3, 4], 3), ([3, 4], 4)]


def _both(a, b):
    return [{"value": a}, {"value": b}]


def test_a_seed_is_asked_for_or_that_of_the_lines_or_from_the_clock(tmp_path, monkeypatch):
    monkeypatch.setattr(program, "RESULTS", tmp_path)
    monkeypatch.setattr(program.time, "time", lambda: 1234.5)
    (tmp_path / "worlds.jsonl").write_text(json.dumps({"key": [7, "absent", 3]}) + "\n")
    assert [program.seed_of("worlds", 5), program.seed_of("worlds", None), program.seed_of("models", None)] == [5, 7, 1234]
    (tmp_path / "models.jsonl").write_text(json.dumps({"key": ["used", 9 * program.SEEDS_APART + 4, 4200, 1]}) + "\n")
    assert program.seed_of("models", None) == 9


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


def test_the_worlds_table_holds_verdicts_beside_the_ideal():
    def line(place, verdict, ideal, expected="removed", **more):
        part = "absent family" if expected == "removed" else "present family"
        bounds = {
            "bound_linear": 0.01 if expected == "removed" else None,
            "bound_nonlinear": None,
            "reached_linear": None,
            "reached_nonlinear": None,
        }
        return {**WORLD, **bounds, "key": [0, part, place], "part": part, "expected": expected, "verdict": verdict, "ideal": ideal, **more}

    five = len(worlds.FAMILIES)
    found = [line(2, "removed", 1.0, reached_linear=0.012), line(2 + five, "inconclusive", 1.0, reached_linear=0.03)]
    found += [line(2, "removed", 0.5, "exposed"), line(2 + five, "exposed", 0.7, "exposed"), line(2 + 2 * five, "inconclusive", 0.0)]
    text = tables.ideal_table(tables.ideal_groups(found))
    assert "| four classes | 1 / 1.2 = 0.83 |  | 1 / 2.0 = 0.50 | 1 | 3.00 | not told |" in text
    assert "drawn at random" not in text
    # An audit that certifies nothing where the ideal test could is infinitely worse, and counts.
    nothing = [line(0, "removed", 1.0, reached_linear=0.01), line(five, "removed", 1.0), line(2 * five, "inconclusive", 1.0)]
    assert tables.bound_ratio(nothing, "linear") == math.inf
    assert tables.bound_ratio(nothing[1:], "linear") is None


@pytest.mark.long
@pytest.mark.parametrize("rate", [0.5, 0.05])
def test_the_ideal_test_of_two_classes_is_reached_by_a_test_that_knows_the_margin(rate):
    n, d, leak, rng = 2000, 8, 0.05, stream(0, "ideal", rate)
    rates = np.array([1 - rate, rate])
    present = []
    for _ in range(60):
        world = make_world("linear", n=n, d=d, leak=leak, rng=rng, rate=rate)
        x = world.acts_nd.astype(float) - world.acts_nd.mean(axis=0)
        a = (world.labels_n == "b") - np.mean(world.labels_n == "b")
        explained = x @ np.linalg.lstsq(x, a, rcond=None)[0]
        present.append(n * np.var(explained) / np.var(a))
    bar = ideal.stats.ncx2.ppf(0.99, d, ideal.noncentrality(n, 0.02, rates))
    assert np.mean(present) == pytest.approx(d + ideal.noncentrality(n, leak, rates), rel=0.12)
    assert np.mean(np.array(present) > bar) == pytest.approx(ideal.present_power(n, d, leak, 0.02, rates), abs=0.15)


def test_the_ideal_test_knows_rare_classes_several_classes_and_numbers():
    assert ideal.absent_power(2000, 16, 0.02, EVEN) == pytest.approx(0.9986, abs=1e-4)  # the reference simulation of the method
    assert ideal.ideal_bound(6000, 64, EVEN) == pytest.approx(0.00399, abs=1e-5)
    assert ideal.r_squared_of_two(0.02, 0.5) == pytest.approx(2 * math.log(2) * 0.02, rel=0.02)
    assert ideal.r_squared_of_two(0.02, 0.05) == pytest.approx(ideal.r_squared_of_two(0.02, 0.95))
    assert ideal.contrast_ratio(np.array([0.05, 0.95])) == pytest.approx(4 * 0.05 * 0.95)
    assert ideal.contrast_ratio(np.full(4, 0.25)) == pytest.approx(1)
    unequal = np.array([0.4, 0.3, 0.2, 0.1])
    assert ideal.contrast_ratio(unequal) < ideal.contrast_ratio(unequal, np.eye(4)[:, 1:])
    assert ideal.noncentrality(100, 0.02, None) == pytest.approx(2.0)
    assert ideal.absent_power(2000, 16, 0.02, np.array([0.05, 0.95])) < 0.5 < ideal.absent_power(8000, 16, 0.02, np.array([0.05, 0.95]))
    assert ideal.ideal_bound(50, 384, EVEN) is None


def test_rows_that_belong_together_count_as_about_one():
    rng = stream(0, "groups")
    constant = make_world("absent_grouped", n=4000, d=16, leak=0.0, rng=rng)
    persons = int(constant.groups_n.max()) + 1
    varying = make_world("absent_varying_groups", n=4000, d=16, leak=0.0, rng=rng)
    linear, quadratic = ideal.effective_rows(constant)
    assert linear == pytest.approx(persons, rel=0.15)
    assert quadratic == pytest.approx(persons, rel=0.25)
    assert persons < ideal.effective_rows(varying)[0] < ideal.effective_rows(varying)[1] <= 4000
    assert ideal.effective_rows(make_world("absent", n=400, d=8, leak=0.0, rng=rng)) == (400, 400)


def test_what_no_test_could_see_is_not_asked_of_the_audit():
    rng = stream(0, "few")
    assert ideal.ideal_of(make_world("few_rows", n=60, d=64, leak=0.0, rng=rng))["ideal"] < 0.01
    assert ideal.ideal_of(make_world("absent", n=6000, d=16, leak=0.0, rng=rng))["ideal"] > 0.95
    for kind, leak in (("linear", 0.08), ("xor", 0.4), ("conditional_xor", 0.2), ("multiclass", 0.08), ("continuous", 0.08)):
        assert ideal.ideal_of(make_world(kind, n=6000, d=16, leak=leak, rng=rng))["ideal"] > 0.95, kind


def test_a_world_of_the_study_is_drawn_again_from_its_key():
    every = worlds.tasks(3, 20)
    assert len(every) == len(set(every)) == 20 + 10 + 20 + 2 + 10 + 10
    assert {part for _, part, _ in every[:35]} == {"present", "margin", "absent", "present family", "absent family", "large"}
    for key in every[:4]:
        assert np.array_equal(worlds.draw(*key).acts_nd, worlds.draw(*key).acts_nd)
    kinds = [worlds.draw(3, part, index).kind for part in worlds.FAMILY_PARTS for index in range(5)]
    assert kinds == [kind for place in (0, 1) for kind in (names[place] for names in worlds.FAMILIES.values())]


def test_meaningless_attributes_are_drawn_from_the_seed():
    rows = real.BANK[1].rows().head(3000)
    first, again = (real.with_meaningless(rows, 1, "adult", 1000) for _ in range(2))
    assert first.equals(again)
    assert len(first) == 1000
    assert not first[real.COIN].equals(real.with_meaningless(rows, 2, "adult", 1000)[real.COIN])
    assert first[real.COIN].value_counts().min() > 400
    assert first[real.LABEL].nunique() == 4
    recipe = parse_recipe(real.recipe_of(real.BANK[1], Path("table.csv"), 1))
    assert recipe.data.protected == ("sex", "race", real.COIN, real.LABEL)
    # The verdicts of the committed table are those of the settings that a recipe has where nothing is said.
    assert recipe.seeds == real.SEEDS == Recipe.model_fields["seeds"].default


def test_a_table_that_is_not_at_hand_is_told(monkeypatch, tmp_path):
    pair = next(table for table in real.BANK if table.release)
    monkeypatch.delenv(real.DATA_DIR, raising=False)
    assert real.lacking(pair) == "PROXYAUDIT_DATA_DIR names no folder"
    monkeypatch.setenv(real.DATA_DIR, str(tmp_path))
    assert "PROXYAUDIT_DATA_DIR holds no" in real.lacking(pair)
    assert real.lacking(real.BANK[1]) == ""


def test_lines_of_a_run_say_what_leaves_its_verdicts_open():
    pack = read_pack(EXAMPLE)
    lines = real.lines_of(pack)
    verdicts = {(f.attribute, f.regime): f.verdict for f in pack.evidence.findings if f.role == "protected"}
    assert {(line["attribute"], line["regime"]): line["verdict"] for line in lines} == verdicts
    assert {bool(line["blocked"]) for line in lines if line["verdict"] != "inconclusive"} <= {False}
    still_open = [line for line in lines if line["verdict"] == "inconclusive"]
    assert all(line["blocked"] for line in still_open)
    for line in still_open:
        assert {block["channel"] for block in line["blocked"]} <= {name for name, state in line["states"].items() if state == "unknown"}
    assert json.loads(json.dumps(lines)) == lines


def test_the_table_of_real_data_counts_what_blocks():
    def line(attribute, kind, verdict, *blocked, at_least=None, rows=6000):
        about = {"key": [0, "toy", 1], "table": "toy", "attribute": attribute, "regime": "real", "kind": kind, "audit_rows": rows}
        told = {"verdict": verdict, "at_least": at_least, "blocked": list(blocked), "processor_seconds": 90.0, "ideal_removed": 0.75}
        return {**about, **told, "enough_rows": rows >= 5000}

    barred = {"channel": "used", "measure": "effect", "outcome": "between", "value": 0.01, "p_absent": None, "reason": "why"}
    between = {"channel": "linear", "measure": "leak", "outcome": "between", "value": 0.01, "p_absent": 0.2, "reason": "rows"}
    text = tables.real_table(
        [
            line("sex", "protected", "exposed"),
            line("race", "protected", "inconclusive", barred, barred, at_least="hidden"),
            line("coin", "coin", "inconclusive", barred, between),
            line("label", "label", "removed"),
            {"key": [0, "other", 1], "table": "other", "failed": "no rows"},
        ]
    )
    assert "| toy | 6,000 | 1.5 | 1 of 2 | 0 of 2 | 1 of 2 | 1.5 |" in text
    assert "| toy | race | inconclusive, at least hidden |" in text
    assert "| used | effect | between, absence barred | 1 | 1 | 1 | why |" in text
    assert "| linear | leak | between | 0 | 1 | 0 | rows |" in text
    assert "other could not be audited: no rows." in text
    assert "Processor time: 2 minutes for 1 cases" in tables.cost_line([line("sex", "protected", "exposed")])


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
def test_the_worlds_of_the_study_reach_what_an_ideal_test_does():
    groups = tables.ideal_groups(results("worlds"))
    if not groups:
        pytest.skip("the worlds were audited before an ideal test stood beside them")
    for name, own in groups.items():
        for verdict in ("exposed", "removed"):
            reached, ideal = tables.reached_and_ideal(own, verdict)
            assert reached >= 0.9 * ideal, (name, verdict)
    ratio = tables.bound_ratio(groups["drawn at random"], "linear")
    assert ratio is not None
    assert ratio <= 1.25


@pytest.mark.study
def test_the_real_tables_of_the_study_are_decided():
    told = [line for line in results("real") if "verdict" in line]
    decided = [line["verdict"] != "inconclusive" for line in told if line["kind"] == "protected"]
    meaningless = [line for line in told if line["kind"] != "protected"]
    enough = [line["verdict"] == "removed" for line in meaningless if line["enough_rows"]]
    few = [line for line in meaningless if not line["enough_rows"]]
    assert np.mean(decided) >= 0.8
    assert not [line for line in meaningless if tables.is_present(line)]
    assert np.mean(enough) >= 0.9
    assert sum(line["verdict"] == "removed" for line in few) >= 0.9 * sum(line["ideal_removed"] for line in few)


@pytest.mark.study
def test_the_intervals_of_the_study_cover():
    found = results("coverage")
    for index in range(len(coverage.SIZES)):
        own = [line for line in found if line["size"] == index]
        assert len(own) >= 1000
        assert np.mean([coverage.covers(line) for line in own]) >= 0.93
    assert np.mean([coverage.covers(line) for line in results("several")]) >= 0.93


@pytest.mark.study
def test_the_crossed_repetitions_of_the_study_hold():
    found = crossed.rates(results("crossed"))
    of_three = [world.name for world in crossed.WORLDS if world.shape == (3, 3)]
    assert set(of_three) < set(found)
    for world in crossed.WORLDS:
        assert found[world.name]["coverage"] >= 0.93
        assert found[world.name]["absent"] <= (0.0115 if not world.heavy else 0.015)
    of_three = [name for name in of_three if name in {world.name for world in crossed.WORLDS[: crossed.CROSSED]}]
    for name in of_three:
        assert found[name]["audits"] >= 1000
        assert found[name]["coverage"] >= 0.93
        assert found[name]["median width"] <= 1.3
        assert found[name]["next model"] >= 0.93


@pytest.mark.study
def test_looks_do_not_inflate_errors():
    found = crossed.look_rates(results("looks"))
    for world in crossed.LOOKS:
        one = found[world.name]
        assert one["coverage"] >= 0.93
        if world.truth == 1:
            assert one["numbers"] >= 2000
            # Of 2,000 numbers 20 at most; their count errs by 4.
            assert max(one["absent"], one["absent at one look"]) <= 0.0145
            assert one["present"] <= 0.05


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


def test_randomised_attributes_are_counted_by_table():
    lines = [
        {"key": [1, "a", 9], "table": "a", "words": {"not_present": 18, "left_alone": 1, "amplified": 1}, "matched": 20, "singled_out": 1},
        {"key": [1, "b", 9], "table": "b", "words": {"not_present": 20}, "matched": 19, "singled_out": 0},
    ]
    assert randomised.table_of(lines)[-1] == {"table": "all", "coins": 40, "changed": 1, "placebos": 39, "singled out": 1}
    assert "| all | 40 | 1 | 39 | 1 |" in tables.randomised_table(lines)


@pytest.mark.long
def test_training_on_a_real_table_changes_no_coin(monkeypatch):
    monkeypatch.setattr(randomised, "MODELS", 2)
    found = randomised.run_case(3, "adult", 1500)
    assert sum(found["words"].values()) == randomised.COINS
    assert found["words"].get("not_present", 0) + found["words"].get("left_alone", 0) >= randomised.COINS - 1
    assert found["matched"] > 0
    assert found["singled_out"] <= 1
