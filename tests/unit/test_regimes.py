"""Regimes: sizes, mixtures, releases and weights."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_project import table as people

from proxyaudit import regimes as module
from proxyaudit.data.dataset import Dataset, load_dataset
from proxyaudit.data.odd_releases import odd_releases
from proxyaudit.data.releases import load_releases, release_notes
from proxyaudit.errors import InputError, TaskError
from proxyaudit.recipe.recipe import Recipe, SyntheticSpec, parse_recipe
from proxyaudit.regimes import Regime, common_training_size, make_regimes, make_training_data, reweigh, synthesize
from proxyaudit.seeding import stream


def table(n: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    sex = rng.choice(["f", "m"], n)
    frame = pd.DataFrame({"x": rng.normal(size=n), "k": rng.integers(0, 9, n), "job": rng.choice(["clerk", "cook"], n), "sex": sex})
    frame["age"] = rng.integers(18, 80, n)
    frame["y"] = np.where(rng.random(n) < np.where(sex == "m", 0.6, 0.3), "yes", "no")
    return frame.assign(day="2020-01-0" + pd.Series(1 + np.arange(n) % 9).astype(str))


def setup(folder: Path, regimes: list[Any], release: pd.DataFrame | None = None, **more: Any) -> tuple[Recipe, Dataset]:
    table().to_csv(folder / "t.csv", index=False)
    if release is not None:
        release.to_csv(folder / "v.csv", index=False)
    data = {"path": "t.csv", "target": "y", "protected": ["sex", "age"]}
    recipe = parse_recipe({"name": "t", "data": data, "regimes": regimes, "model": {"kind": "mlp"}} | more)
    return recipe, load_dataset(recipe, folder)


VENDOR = {"synthetic": {"name": "vendor", "path": "v.csv"}}


def test_order_and_references(tmp_path: Path) -> None:
    regimes = ["real", {"synthetic": {"sdv": "tvae"}}, {"mixed": {"of": "tvae", "ratios": [0.25, 0.5]}}, VENDOR]
    recipe, _ = setup(tmp_path, regimes, table(100, seed=5))
    made = make_regimes(recipe, tmp_path)
    assert [(r.name, r.kind) for r in made] == [
        ("real", "real"),
        ("tvae", "synthetic"),
        ("mixed-tvae-0.25", "mixed"),
        ("mixed-tvae-0.5", "mixed"),
        ("vendor", "release"),
        ("untrained", "untrained"),
        ("reweighed", "reweighed"),
    ]
    assert [r.name for r in made if r.is_reference] == ["untrained", "reweighed"]
    assert [r.name for r in made if not r.needs_training] == ["untrained"]


def test_checkpoints_need_their_files_and_no_reweighing(tmp_path: Path) -> None:
    recipe = parse_recipe(
        {
            "name": "t",
            "data": {"path": "t.csv", "target": "y", "protected": ["sex"]},
            "regimes": [{"name": "own", "checkpoints": ["a.safetensors"]}],
            "model": {"kind": "module", "factory": "nets.py:make"},
        }
    )
    with pytest.raises(InputError, match="checkpoint of regime 'own': no such file"):
        make_regimes(recipe, tmp_path)
    (tmp_path / "a.safetensors").write_bytes(b"")
    assert [r.name for r in make_regimes(recipe, tmp_path)] == ["own", "untrained"]


def test_unknown_synthesizer_names_the_nearest(tmp_path: Path) -> None:
    recipe, _ = setup(tmp_path, ["real", {"synthetic": {"sdv": "gausian_copula"}}])
    with pytest.raises(InputError, match="did you mean 'gaussian_copula'"):
        make_regimes(recipe, tmp_path)


def test_a_release_is_brought_to_the_real_kinds(tmp_path: Path) -> None:
    release = table(250, seed=5).drop(columns=["sex"]).assign(y=lambda f: " " + f["y"] + " ", extra=1)
    recipe, data = setup(tmp_path, ["real", VENDOR], release)
    rows = load_releases(recipe, data, tmp_path, [])["vendor"]
    assert list(rows.columns) == ["x", "k", "job", "age", "y", "day"]
    assert rows["day"].dtype == np.int64
    assert set(rows["y"]) == {"no", "yes"}
    assert common_training_size(recipe, data, {"vendor": rows}) == min(250, len(data.train))
    training = make_training_data(Regime("vendor", "release"), data, {"vendor": rows}, 150, stream(0))
    assert training.x.shape == (150, len(data.encoder.columns))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda f: f.drop(columns="job"), "column 'job' (input) is missing"),
        (lambda f: f.drop(columns="y"), "column 'y' (target) is missing"),
        (lambda f: f.iloc[:0], "no rows"),
        (lambda f: f.assign(x="text"), "'x' should hold numbers"),
        (lambda f: f.assign(day="soon"), "'day' should hold dates"),
        (lambda f: f.assign(y="no"), "one value only"),
        (lambda f: f.assign(y="maybe"), "no class of the real data"),
        (lambda f: f.assign(y=[None, *f["y"][1:]]), "fewer than 20 rows have no target"),
        (lambda f: f.assign(x=[np.inf, *f["x"][1:]]), "infinite"),
        (lambda f: f.assign(x=None), "'x' has no values"),
        (lambda f: f.assign(x=1e300), "too large"),
        (lambda f: f.assign(job="at the " + f["job"]), "shares no value"),
    ],
)
def test_bad_releases_are_refused_in_one_line(tmp_path: Path, change: Any, expected: str) -> None:
    recipe, data = setup(tmp_path, ["real", VENDOR], change(table(100, seed=5)))
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        load_releases(recipe, data, tmp_path, [])
    assert "\n" not in str(caught.value)
    assert "v.csv" in str(caught.value)


def test_copied_audit_rows_are_noted(tmp_path: Path) -> None:
    fresh = table(100, seed=5)
    recipe, data = setup(tmp_path, ["real", VENDOR], fresh)
    assert release_notes(data, load_releases(recipe, data, tmp_path, [])) == ()
    originals = table()
    held = originals[originals["x"].isin(data.audit["x"])]
    for copied, shown in ((50, "at least 40 of"), (3, "fewer than 20 of")):
        pd.concat([fresh, held.head(copied)]).to_csv(tmp_path / "v.csv", index=False)
        (note,) = release_notes(data, load_releases(recipe, data, tmp_path, []))
        assert note.why.startswith(shown)


@pytest.mark.parametrize("kind", ["fresh", "all of the real rows", "most of them", "every column shuffled", "one column shuffled"])
def test_releases_that_hold_the_real_rows_or_lost_what_goes_together_are_told(tmp_path: Path, kind: str) -> None:
    rng, real, release = np.random.default_rng(0), people(900, 0), people(500, 1)
    if kind == "all of the real rows":
        release = real
    elif kind == "most of them":
        release = pd.concat([real.head(500), release.head(200)])
    elif kind != "fresh":
        for name in release.columns if kind.startswith("every") else ["job"]:
            release[name] = rng.permutation(release[name].to_numpy())
    real.to_csv(tmp_path / "t.csv", index=False)
    release.to_csv(tmp_path / "v.csv", index=False)
    spec = {"path": "t.csv", "target": "pay", "protected": ["sex"], "discover": 0}
    recipe = parse_recipe({"name": "t", "data": spec, "regimes": ["real", VENDOR], "model": {"kind": "mlp"}})
    data = load_dataset(recipe, tmp_path)
    told = " ".join(f"{note.what}: {note.why}" for note in odd_releases(data, load_releases(recipe, data, tmp_path, [])))
    assert ("release vendor holds the real rows" in told) == ("of th" in kind)
    assert ("no longer go together" in told) == ("shuffled" in kind)
    assert (told == "") == (kind == "fresh")


def test_categories_unknown_to_real_data_are_noted(tmp_path: Path) -> None:
    release = table(100, seed=5)
    release.loc[:24, "job"] = "pilot"
    recipe, data = setup(tmp_path, ["real", VENDOR], release)
    (note,) = release_notes(data, load_releases(recipe, data, tmp_path, []))
    assert "column job" in note.what
    assert "25% of the column" in note.why
    release.loc[1:, "job"] = "clerk"
    release.to_csv(tmp_path / "v.csv", index=False)
    (note,) = release_notes(data, load_releases(recipe, data, tmp_path, []))
    assert "a few of the column" in note.why
    assert "pilot" not in str(note)


def test_asking_for_too_many_rows(tmp_path: Path) -> None:
    recipe, data = setup(tmp_path, ["real", VENDOR], table(100, seed=5), training_size=150)
    with pytest.raises(InputError, match="'vendor' can offer"):
        common_training_size(recipe, data, load_releases(recipe, data, tmp_path, []))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 300), st.one_of(st.none(), st.integers(1, 300)), st.floats(0.01, 0.99))
def test_mixtures_use_no_row_twice_and_are_as_large_as_can_be(n_real: int, n_release: int | None, ratio: float) -> None:
    release = None if n_release is None else pd.DataFrame(index=range(n_release))

    def fits(size: int) -> bool:
        synthetic = round(ratio * size)
        return size - synthetic <= n_real and (n_release is None or synthetic <= n_release)

    size = module._mixed_limit(n_real, release, ratio)
    assert fits(size)
    assert not any(fits(size + more) for more in range(3, 30))  # rounding may leave a row or two


def test_mixtures_hold_the_asked_share(tmp_path: Path) -> None:
    _, data = setup(tmp_path, ["real"])
    synthetic = data.train.assign(x=1000.0)
    training = make_training_data(Regime("m", "mixed", of="s", ratio=0.3), data, {"s": synthetic}, 100, stream(1))
    assert (training.x[:, 0] > 100).sum() == 30
    assert training.summary["synthetic_rows"] == 30
    assert training.summary["real_rows"] == 70
    assert (training.weight == 1).all()
    assert len({row.tobytes() for row in training.x[training.x[:, 0] < 100]}) == 70


def test_training_rows_follow_the_generator(tmp_path: Path) -> None:
    _, data = setup(tmp_path, ["real"])
    real = Regime("real", "real")
    one, same, other = (make_training_data(real, data, {}, 100, stream(seed)) for seed in (1, 1, 2))
    assert one.x.tobytes() == same.x.tobytes()
    assert one.x.tobytes() != other.x.tobytes()
    both = np.column_stack([one.x, one.y])
    everything = np.column_stack([data.encoder.transform(data.train), data.target_codes(data.train)]).astype(both.dtype)
    assert {row.tobytes() for row in both} <= {row.tobytes() for row in everything}


def test_training_that_cannot_be(tmp_path: Path) -> None:
    _, data = setup(tmp_path, ["real"])
    with pytest.raises(TaskError, match="one class"):
        make_training_data(Regime("s", "synthetic"), data, {"s": data.train.assign(y="no")}, 50, stream(0))
    with pytest.raises(TaskError, match="needs 500 rows"):
        make_training_data(Regime("real", "real"), data, {}, 500, stream(0))
    with pytest.raises(ValueError, match="not trained"):
        make_training_data(Regime("untrained", "untrained"), data, {}, 50, stream(0))


def test_weights_by_hand_and_independence(tmp_path: Path) -> None:
    _, data = setup(tmp_path, ["real"])
    y = data.target_codes(data.train)
    weight = reweigh(data.train, data)
    assert weight.mean() == pytest.approx(1)
    older = data.train["age"] > data.train["age"].median()
    for group in (data.train["sex"] == "m", older):
        rates = [np.average(y[mask], weights=weight[mask]) for mask in (group, ~group)]
        assert rates[0] == pytest.approx(rates[1], abs=1e-4)
    sex = (data.train["sex"] == "m").to_numpy()
    assert abs(y[sex].mean() - y[~sex].mean()) > 0.1


def test_one_attribute_gets_the_weights_of_kamiran_and_calders(tmp_path: Path) -> None:
    table().to_csv(tmp_path / "t.csv", index=False)
    spec = {"path": "t.csv", "target": "y", "protected": ["sex"]}
    recipe = parse_recipe({"name": "t", "data": spec, "regimes": ["real"], "model": {"kind": "mlp"}})
    data = load_dataset(recipe, tmp_path)
    weight = reweigh(data.train, data)
    sex, y = data.train["sex"], data.train["y"]
    for a in ("f", "m"):
        for b in ("no", "yes"):
            cell = ((sex == a) & (y == b)).to_numpy()
            np.testing.assert_allclose(weight[cell], (sex == a).mean() * (y == b).mean() / cell.mean())


class Echo:
    """Gives back its training rows; records what it was shown."""

    shown: pd.DataFrame

    def fit(self, frame: pd.DataFrame) -> Echo:
        Echo.shown = frame
        return self

    def sample(self, n: int, seed: int) -> pd.DataFrame:
        return Echo.shown.sample(n, random_state=seed % 2**32, replace=True)


@pytest.mark.parametrize("sees", [True, False])
def test_synthesizers_see_training_rows_and_not_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sees: bool) -> None:
    monkeypatch.setattr(module, "load_plugin", lambda *a, **k: lambda epochs, seed: Echo())
    table().assign(person=np.arange(400)).to_csv(tmp_path / "t.csv", index=False)
    spec = {"path": "t.csv", "target": "y", "protected": ["sex"], "group": "person"}
    recipe = parse_recipe({"name": "t", "data": spec, "regimes": ["real"], "model": {"kind": "mlp"}})
    data = load_dataset(recipe, tmp_path)
    rows = synthesize(SyntheticSpec(sdv="tvae", sees_protected=sees), data, 60, 0)
    assert len(rows) == 60
    assert ("sex" in Echo.shown) is sees
    assert "person" not in Echo.shown
    assert not set(Echo.shown["x"]) & set(data.audit["x"])
    assert len(Echo.shown) == len(data.train)


def test_a_synthesizer_that_breaks_its_word_is_a_failed_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, data = setup(tmp_path, ["real"])

    class Short(Echo):
        def sample(self, n: int, seed: int) -> pd.DataFrame:
            return Echo.shown.head(n - 1)

    class Odd(Echo):
        def sample(self, n: int, seed: int) -> pd.DataFrame:
            return Echo.shown.head(n).assign(y="maybe")

    for plugin in (Short, Odd):
        monkeypatch.setattr(module, "load_plugin", lambda *a, plugin=plugin, **k: lambda epochs, seed: plugin())
        with pytest.raises(TaskError):
            synthesize(SyntheticSpec(sdv="tvae"), data, 60, 0)


def test_no_module_of_regimes_imports_sdv() -> None:
    assert isinstance(module, ModuleType)
    spec = importlib.util.find_spec("proxyaudit.regimes")
    assert spec is not None
    assert "import sdv" not in Path(str(spec.origin)).read_text()


@pytest.mark.parametrize(
    ("regime", "words"),
    [
        (
            Regime("tvae", "synthetic", synthetic=SyntheticSpec(sdv="tvae", epochs=2)),
            "the synthesizer of 'tvae' made one class of 'y' only; give it more epochs",
        ),
        (
            Regime("copula", "synthetic", synthetic=SyntheticSpec(sdv="gaussian_copula")),
            "made one class of 'y' only; give it more rows, or take another",
        ),
        (Regime("vendor", "release"), "all training rows of regime 'vendor' are of one class of 'y'; a model needs rows of each"),
    ],
    ids=["a synthesizer of epochs", "one without", "a release"],
)
def test_rows_of_one_class_are_told_with_what_would_help(regime: Regime, words: str, tmp_path: Path) -> None:
    _, data = setup(tmp_path, ["real"])
    with pytest.raises(TaskError, match=words):
        make_training_data(regime, data, {regime.name: data.train.assign(y="no")}, 50, stream(0))
