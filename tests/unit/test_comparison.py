"""Two packs side by side: differences and their noise, what belongs together, and what may be said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from proxyaudit.comparison import compare_packs
from proxyaudit.comparison.difference import Number, _rows_behind, numbers_in, subtract
from proxyaudit.comparison.outcomes import pair_outcome
from proxyaudit.errors import InputError
from proxyaudit.seeding import stream
from proxyaudit.types import Estimate
from tests.unit.small_packs import estimate, finding, small_pack, with_rows

# Differences -------------------------------------------------------------------------------------------------------


def number(value: float, *repetitions: float, rows: float = 1e-6, sums: np.ndarray | None = None) -> Number:
    return Number(value, np.array(repetitions or (value,)), (rows, 1e9), sums=sums)


def test_a_paired_difference_is_surer_than_a_separate_one():
    rng = stream(0, "paired")
    shared = rng.normal(size=10) * 0.01
    a, b = number(0.1, rows=1e-4, sums=shared), number(0.11, rows=1e-4, sums=shared + rng.normal(size=10) * 0.001)
    paired, apart = (subtract(a, b, models="given", same_rows=same) for same in (True, False))
    assert paired.paired
    assert not apart.paired
    assert paired.p is not None
    assert apart.p is not None
    assert paired.p < 1e-4 < 0.3 < apart.p
    assert apart.high - apart.low == pytest.approx(2 * 1.96 * 2**0.5 * 0.01, rel=0.01)


def test_identical_numbers_do_not_differ():
    sums = np.ones(10)
    found = subtract(number(0.1, sums=sums), number(0.1, sums=sums), models="given", same_rows=True)
    assert (found.value, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_training_noise_counts_where_models_were_trained_and_only_there():
    a, b = number(0.10, 0.06, 0.14), number(0.16, 0.20, 0.12)
    trained, given = (subtract(a, b, models=models, same_rows=False) for models in ("trained", "given"))
    assert given.p is not None
    assert trained.p is not None
    assert given.p < 1e-6 < 0.1 < trained.p
    # Welch with two repetitions on each side: two degrees of freedom.
    assert trained.high - trained.value == pytest.approx(float(stats.t.ppf(0.975, 2)) * 0.04 * 2**0.5, rel=0.01)
    assert given.agrees is False  # two of the models overlap


def test_one_trained_model_on_each_side_allows_no_claim_and_one_side_lends_its_spread():
    assert subtract(number(0.1), number(0.4), models="trained", same_rows=False).p is None
    lent = subtract(number(0.1, 0.09, 0.10, 0.11), number(0.2), models="trained", same_rows=False)
    se = (0.01**2 / 3 + 0.01**2) ** 0.5
    assert lent.p == pytest.approx(2 * float(stats.t.sf(0.1 / se, 3.2)), rel=0.15)
    assert lent.high - lent.value == pytest.approx(float(stats.t.ppf(0.975, 3.2)) * se, rel=0.02)


@pytest.mark.parametrize(
    ("a", "b", "agrees"),
    [
        ((0.1, 0.2), (0.3, 0.4), True),
        ((0.1, 0.3), (0.2, 0.4), True),
        ((0.1, 0.3), (0.28, 0.32), False),
        ((0.1, 0.3), (0.2,), False),
        ((0.1,), (0.2,), True),
    ],
)
def test_given_models_must_agree(a, b, agrees):
    x, y = (Number(float(np.mean(v)), np.array(v), (1e-8, 1e9)) for v in (a, b))
    assert subtract(x, y, models="given", same_rows=False).agrees is agrees


@pytest.mark.parametrize(("rows", "seeds"), [(1e-4, (0.1, 0.1001, 0.0999)), (1e-4, (0.10, 0.13, 0.09)), (4e-4, (0.10, 0.11))])
def test_packs_without_row_sums_give_back_the_row_variance_behind_their_interval(rows, seeds):
    values = np.array(seeds)
    spread = float(values.var(ddof=1)) / len(values)
    total = rows + spread
    half = float(stats.t.ppf(0.975, (len(values) - 1) * (total / spread) ** 2)) * total**0.5
    found = _rows_behind(half, values, 0.95)
    assert found >= rows * 0.97  # never much narrower than it was
    assert found <= (half / 1.96) ** 2


def test_numbers_come_from_row_sums_where_they_are_and_from_intervals_where_not():
    pack = small_pack([estimate("linear", 0.1, "present", se=0.01)], [finding("exposed")])
    assert numbers_in(pack)["E1"].rows[0] ** 0.5 == pytest.approx(0.01, rel=1e-3)
    assert numbers_in(pack)["E1"].sums is None
    kept = with_rows(pack, np.full(10, 0.02))
    assert numbers_in(kept)["E1"].rows[0] ** 0.5 == pytest.approx(0.02)
    unknown = with_rows(pack, np.full(10, 0.02), np.array([[2.0, 10.0, 0.0, 1e9]]))
    assert numbers_in(unknown) == {}


# What may be said --------------------------------------------------------------------------------------------------


def said(a: Estimate, b: Estimate, *, kind: str = "checkpoints", verdicts=("inconclusive", "inconclusive"), **more):
    first, second = (small_pack([e], [finding(v)], kind=kind, **more) for e, v in zip((a, b), verdicts, strict=True))
    comparison = compare_packs(first, second)
    return comparison.numbers[0].word, comparison.exit_code


@pytest.mark.parametrize(
    ("channel", "a", "b", "expected"),
    [
        ("linear", (0.0, "absent"), (0.15, "present"), ("worse", 1)),
        ("linear", (0.15, "present"), (0.0, "absent"), ("better", 0)),
        ("linear", (0.15, "present"), (0.155, "present"), ("unchanged", 0)),
        ("linear", (0.50, "present"), (0.52, "present"), ("unchanged", 0)),  # surely more, but less than a twentieth
        ("linear", (0.50, "present"), (0.56, "present"), ("worse", 1)),
        ("linear", (0.50, "present"), (0.45, "present"), ("unchanged", 0)),  # a decrease counts from a fifth on
        ("linear", (0.0, "absent"), (0.014, "absent"), ("unchanged", 0)),
        ("linear", (0.0, "absent"), (0.15, "unknown"), ("cannot_tell", 3)),
        ("linear", (0.15, "unknown"), (0.0, "absent"), ("not_seen", 0)),
        ("expressed", (0.01, "absent"), (0.2, "present"), ("worse", 1)),
        ("used", (0.0, "absent"), (0.1, "present"), ("worse", 1)),
        ("used", (0.1, "present"), (0.12, "present"), ("worse", 1)),
        ("expressed", (0.10, "present"), (0.12, "present"), ("unchanged", 0)),  # less than half of its margin
    ],
)
def test_a_change_is_sure_large_enough_and_about_something_present(channel, a, b, expected):
    assert said(estimate(channel, *a, se=0.002), estimate(channel, *b, se=0.002)) == expected


def test_noise_is_no_change():
    assert said(estimate("linear", 0.1, "present", se=0.03), estimate("linear", 0.14, "present", se=0.03)) == ("not_seen", 0)


def test_trained_models_need_repetitions_to_differ():
    a, b = estimate("expressed", 0.0, "absent", se=0.002), estimate("expressed", 0.3, "present", se=0.002)
    assert said(a, b) == ("worse", 1)
    assert said(a, b, kind="synthetic") == ("cannot_tell", 3)  # nothing can be claimed of one model, and this is no all-clear
    assert said(b, b, kind="synthetic")[0] == "unchanged"
    several = (estimate("expressed", v, s, se=0.004, seeds=(v - 0.01, v, v + 0.01)) for v, s in ((0.0, "absent"), (0.3, "present")))
    assert said(*several, kind="synthetic") == ("worse", 1)


def test_a_lower_bound_is_not_held_against_an_estimate():
    bound, whole = (estimate("nonlinear", v, "present", se=0.002, shown_by=by) for v, by in ((0.15, "trees"), (0.4, None)))
    assert said(bound, whole)[0] == "not_seen"  # the smaller one may be larger than it says
    assert said(estimate("nonlinear", 0.0, "absent", se=0.002), bound)[0] == "worse"
    assert said(bound, estimate("nonlinear", 0.4, "present", se=0.002, shown_by="trees"))[0] == "worse"


def test_raw_scores_are_never_compared():
    a, b = (estimate("linear", 0.1, "present", raw=raw) for raw in (0.02, 0.9))
    assert said(a, b) == ("unchanged", 0)


def test_holm_is_over_all_numbers_compared():
    def pack(values):
        return small_pack([estimate("linear", v, "present", se=0.02, site=f"s{i}") for i, v in enumerate(values)], [finding("exposed")])

    names = [f"s{i}" for i in range(40)]
    a, b = (replace(p, plan={**p.plan, "sites": {"verdict": names, "profile": []}}) for p in (pack([0.1] * 40), pack([0.1] * 39 + [0.18])))
    single = [small_pack([estimate("linear", v, "present", se=0.02)], [finding("exposed")]) for v in (0.1, 0.18)]
    alone = compare_packs(*single)
    assert alone.numbers[0].word == "worse"
    assert compare_packs(a, b).exit_code == 0
    assert compare_packs(a, b).numbers[-1].p_adjusted == pytest.approx(40 * compare_packs(a, b).numbers[-1].p, rel=1e-4)


def test_repetitions_of_one_recipe_are_rarely_said_to_differ():
    rng = stream(1, "two seeds")
    wrong = 0
    for _ in range(80):
        sides = []
        for side in range(2):
            rows = rng.normal(size=12) * 0.01
            seeds = 0.15 + rows[:, None] + rng.normal(size=(12, 3)) * 0.03
            errors = np.hypot(0.01, seeds.std(axis=1, ddof=1) / 3**0.5)
            numbers = [
                estimate("linear", float(v.mean()), "present", se=float(se), seeds=tuple(v), site=f"s{i}")
                for i, (v, se) in enumerate(zip(seeds, errors, strict=True))
            ]
            places = (tuple(f"s{i}" for i in range(12)), ())
            sides.append(small_pack(numbers, [finding("exposed")], kind="real", rows=str(side), digest=str(side), sites=places))
        wrong += compare_packs(*sides).exit_code != 0
    assert wrong <= 80 * 0.05


def seeded(verdict: str, value: float, state: str, seed: int, *, recipe=None, kind="synthetic", split=True):
    numbers = [estimate("expressed", value, state, se=0.004, seeds=(value - 0.005, value, value + 0.005))]
    pack = small_pack(numbers, [finding(verdict)], kind=kind, seed=seed, split=f"s{seed}" if split else None, digest=str(seed))
    return replace(pack, recipe={"name": "small", "seed": seed, "regimes": ["real"], **(recipe or {})})


def test_training_on_other_rows_is_noise_that_repetitions_do_not_show():
    a, b = seeded("hidden", 0.01, "absent", 0), seeded("exposed", 0.4, "present", 1)
    # Two seeds of one recipe: nothing changed that could have made it worse.
    found = compare_packs(a, b)
    assert (found.numbers[0].word, found.exit_code) == ("not_seen", 0)
    assert "not stable" in found.outcomes[0].reasons[0]
    assert "chance alone" in found.notes[0]
    # The same seed and rows, or given models: then it did get worse.
    same = replace(b, plan={**b.plan, "seed": 0, "hashes": a.plan["hashes"]})
    assert compare_packs(a, same).exit_code == 1
    given = (seeded("hidden", 0.01, "absent", 0, kind="checkpoints"), seeded("exposed", 0.4, "present", 1, kind="checkpoints"))
    assert compare_packs(*given).exit_code == 1
    # Another recipe, other data or another version, and other rows: the verdict is worse, and why cannot be told.
    other = {
        "recipe": seeded("exposed", 0.4, "present", 1, recipe={"seeds": 9}),
        "data": replace(b, plan={**b.plan, "hashes": {**b.plan["hashes"], "data": "u"}}),
        "version": replace(
            b, evidence=b.evidence.model_copy(update={"run": b.evidence.run.model_copy(update={"versions": {"torch": "1"}})})
        ),
        "unknown": seeded("exposed", 0.4, "present", 1, split=False, recipe={"seeds": 9}),
    }
    for pack in other.values():
        found = compare_packs(a, pack)
        assert (found.numbers[0].word, found.exit_code) == ("not_seen", 3)
        assert "trained on other rows" in found.notes[0]


# One answer for an attribute ---------------------------------------------------------------------------------------


def answered(verdicts, a, b, **more):
    first, second = (small_pack(list(e), [f], **more) for e, f in zip((a, b), verdicts, strict=True))
    return compare_packs(first, second).outcomes[0]


CLEAN = (estimate("expressed", 0.01, "absent"), estimate("linear", 0.001, "absent"))


@pytest.mark.parametrize(
    ("before", "after", "numbers", "outcome"),
    [
        (finding("removed"), finding("removed"), CLEAN, "no_change"),
        # B cannot decide, but a growth that mattered would have been seen.
        (finding("removed"), finding("inconclusive"), (estimate("expressed", 0.02, "unknown"), CLEAN[1]), "no_change"),
        # B cannot decide, and a growth of two margins might hide there.
        (finding("removed"), finding("inconclusive"), (estimate("expressed", 0.05, "unknown", se=0.08), CLEAN[1]), "cannot_tell"),
        (finding("removed"), finding("inconclusive"), (estimate("expressed", None, "unknown"), CLEAN[1]), "cannot_tell"),
        (finding("exposed"), finding("inconclusive"), (estimate("expressed", 0.05, "unknown", se=0.05), CLEAN[1]), "no_change"),
        (finding("inconclusive"), finding("removed"), CLEAN, "no_change"),
        # Decided on both sides and worse, yet no number differs by more than noise.
        (finding("removed"), finding("hidden"), (CLEAN[0], estimate("linear", 0.025, "present", se=0.02)), "cannot_tell"),
        (finding("removed"), finding("exposed"), (estimate("expressed", 0.3, "present"), CLEAN[1]), "worse"),
    ],
)
def test_what_verdicts_and_numbers_amount_to(before, after, numbers, outcome):
    found = answered((before, after), CLEAN, numbers)
    assert found.outcome == outcome
    assert bool(found.reasons) is (outcome in ("worse", "cannot_tell"))


@pytest.mark.parametrize(("se", "outcome"), [(0.02, "no_change"), (0.05, "cannot_tell")])
def test_where_a_was_undecided_itself_a_growth_of_three_margins_must_be_excluded(se, outcome):
    a, b = (estimate("expressed", v, s, se=se) for v, s in ((0.05, "unknown"), (0.09, "present")))
    assert answered((finding("inconclusive"), finding("exposed")), (a,), (b,)).outcome == outcome


@pytest.mark.parametrize(("low", "outcome"), [(0.12, "cannot_tell"), (0.04, "no_change")])
def test_what_appeared_beyond_its_margin_is_no_all_clear_where_the_correction_alone_forbids_a_claim(low, outcome):
    verdict, clean = finding("exposed"), estimate("expressed", 0.01, "absent")
    packs = (small_pack([e], [verdict]) for e in (clean, estimate("expressed", 0.2, "present")))
    number = replace(compare_packs(*packs).numbers[0], word="not_seen", p_adjusted=0.3, p_gaps=0.2, low=low)
    found = pair_outcome(("sex", "protected", "model", "model"), verdict, verdict, [number], "trained")
    assert found.outcome == outcome
    assert all("outputs (gap): 0.010 before, 0.200 after" in reason for reason in found.reasons)


def test_a_worse_and_a_better_number_is_worse():
    a = (estimate("expressed", 0.3, "present"), estimate("linear", 0.05, "present"))
    b = (estimate("expressed", 0.1, "present"), estimate("linear", 0.25, "present"))
    found = answered((finding("exposed"), finding("exposed")), a, b)
    assert found.outcome == "worse"
    assert len(found.reasons) == 2


def test_what_is_missing_in_b_cannot_be_told_unless_it_is_a_proxy():
    a = small_pack(
        list(CLEAN), [finding("removed"), finding("removed", attribute="age"), finding("removed", attribute="zip", role="proxy")]
    )
    b = small_pack(list(CLEAN), [finding("removed")])
    comparison = compare_packs(a, b)
    assert [(o.attribute, o.outcome) for o in comparison.outcomes] == [("sex", "no_change"), ("age", "cannot_tell")]
    assert comparison.exit_code == 3
    assert any("'zip' is only in run A" in note for note in comparison.notes)
    assert compare_packs(a, b, (), ["sex"]).exit_code == 0
    assert compare_packs(a, b, (), ["zip"]).exit_code == 3
    with pytest.raises(InputError, match="neither run has the attribute 'sx'"):
        compare_packs(a, b, (), ["sx"])


def test_a_regime_that_b_lacks_cannot_be_told_unless_it_is_left_out():
    a = small_pack(list(CLEAN), [finding("removed"), finding("removed", regime="x"), finding("removed", regime="y")])
    b = small_pack(list(CLEAN), [finding("removed")])
    assert compare_packs(a, b).exit_code == 3
    assert compare_packs(a, b, ["model"]).exit_code == 0


def test_absence_at_a_laxer_margin_is_no_absence():
    a = small_pack([estimate("linear", 0.001, "absent")], [finding("removed")])
    lax = {"leak": 0.2, "nonlinear": 0.1, "gap": 0.05, "effect": 0.02, "relearned": 0.05}
    near, far = (
        small_pack([estimate("linear", v, "absent", margin=0.2, se=0.01)], [finding("removed")], margins=lax, digest="e" * 64)
        for v in (0.005, 0.09)
    )
    assert compare_packs(a, near).exit_code == 0
    assert compare_packs(a, far).exit_code == 3
    assert any("laxer margin for leak" in note for note in compare_packs(a, far).notes)


def test_a_number_that_is_gone_or_of_another_unit_is_said_so():
    a = small_pack([estimate("linear", 0.1, "present"), estimate("relearned", 0.1, "present")], [finding("exposed")])
    b = small_pack([estimate("linear", 0.1, "present", unit="R squared")], [finding("exposed")])
    words = {n.channel: (n.word, n.note) for n in compare_packs(a, b).numbers}
    assert words["linear"] == ("cannot_tell", "not the same unit: fraction of log2 K, class-balanced against R squared")
    assert words["relearned"] == ("cannot_tell", "B: not measured")


def test_regimes_that_were_taken_to_belong_together_are_said_so():
    a, b = (small_pack(list(CLEAN), [finding("removed", regime=name)], digest=name * 3) for name in ("old", "new"))
    a, b = (
        replace(
            p, evidence=p.evidence.model_copy(update={"estimates": tuple(e.model_copy(update={"regime": n}) for e in p.evidence.estimates)})
        )
        for p, n in ((a, "old"), (b, "new"))
    )
    assert compare_packs(a, b).exit_code == 0
    assert compare_packs(a, b).notes[0] == "'old' of A and 'new' of B were taken to belong together"
    assert not any("taken to" in note for note in compare_packs(a, b, ["old=new"]).notes)


def test_an_attribute_of_other_levels_is_said_so():
    a, b = (small_pack([estimate("linear", 0.1, "present")], [finding("exposed")]) for _ in range(2))
    a, b = (
        replace(p, plan={**p.plan, "attributes": [{"name": "sex", "kind": "binary", "levels": v}]})
        for p, v in ((a, ["f", "m"]), (b, ["x"]))
    )
    assert any("'sex' was coded in other levels" in note for note in compare_packs(a, b).notes)
    assert not any("levels" in note for note in compare_packs(a, a).notes)


def test_gaps_of_other_groups_are_compared_by_size_and_said_so():
    a, b = (estimate("expressed", 0.1, "present", group=g) for g in ("m minus f", "f minus m"))
    number = compare_packs(*(small_pack([e], [finding("exposed")]) for e in (a, b))).numbers[0]
    assert number.word == "unchanged"
    assert "another one: m minus f in A, f minus m in B" in number.note


def test_the_order_of_the_two_runs_turns_the_answer_round():
    a = small_pack([estimate("linear", 0.3, "present")], [finding("exposed")])
    b = small_pack([estimate("linear", 0.1, "present")], [finding("exposed")], digest="e" * 64)
    there, back = compare_packs(a, b), compare_packs(b, a)
    assert (there.numbers[0].word, back.numbers[0].word) == ("better", "worse")
    assert there.numbers[0].difference == -back.numbers[0].difference
    assert compare_packs(a, b) == there


def test_a_leak_without_a_counterpart_is_not_called_no_change():
    bare = {"kind": "activations", "digest": "e" * 64}
    old = small_pack(
        [estimate("linear", 0.01, "absent", site=site) for site in ("x1", "x2")],
        [finding("removed")],
        kind="activations",
        sites=(("x1", "x2"),) * 2,
    )
    new = small_pack(
        [estimate("linear", 0.3, "present", site=site) for site in ("a", "b")], [finding("exposed")], **{**bare, "sites": (("a", "b"),) * 2}
    )
    assert compare_packs(old, new).outcomes[0].outcome == "cannot_tell"


@pytest.mark.parametrize(
    ("purged", "words"), [((), "an earlier version wrote it"), (("A",), "of run A:"), (("A", "B"), "of run A and run B:")]
)
def test_row_sums_that_were_purged_are_told_as_purged(purged: tuple[str, ...], words: str) -> None:
    pack = small_pack([estimate("linear", 0.1, "present")], [finding("hidden")])
    (told,) = [note for note in compare_packs(pack, pack, (), (), purged).notes if "same rows" in note]
    assert words in told
    assert ("'purge' deleted" in told) == bool(purged)


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ((estimate("linear", 0.4, "unknown", se=0.3),), "inconclusive"),
        ((estimate("expressed", 0.3, "present", se=0.4),), "hidden"),
        ((estimate("linear", None, "unknown"), estimate("expressed", 0.01, "absent", se=0.5)), "removed"),
    ],
)
def test_a_run_is_no_worse_than_itself_however_little_it_can_tell(numbers, verdict):
    pack, other = (small_pack(list(numbers), [finding(verdict)]) for _ in range(2))
    found = compare_packs(pack, other)
    assert (found.exit_code, [one.reasons for one in found.outcomes]) == (0, [()])
