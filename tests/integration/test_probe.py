"""The probe command end to end, and the four verdicts through `pa.probe` on planted worlds."""

import json
import shutil

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import proxyaudit as pa
from proxyaudit.cli.main import main
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import replace_files
from proxyaudit.evidence.pack import read_pack
from proxyaudit.evidence.schema import committed_schema
from proxyaudit.planted import make_world
from proxyaudit.reporting.summary import summarize
from proxyaudit.seeding import stream

N, D = 600, 8
FILES = {
    "recipe.yaml",
    "environment.json",
    "plan.json",
    "evidence.json",
    "report.html",
    "report.md",
    "arrays.safetensors",
    "manifest.json",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two regimes of two sites over people with two rows each, audited by the command line."""
    folder = tmp_path_factory.mktemp("probe")
    rng = stream(0, "probe files")
    person = np.repeat(np.arange(N // 2), 2)
    sex = rng.integers(0, 2, N // 2)[person]
    job = np.where(rng.random(N) < 0.8, sex, 1 - sex)
    base = rng.normal(size=(N, D))
    base[:, 0] += 1.8 * sex
    clean = rng.normal(size=(N, D))
    for name, acts in (("real", base), ("synthetic", clean)):
        tensors = {"layer1": acts, "layer2": acts @ rng.normal(size=(D, 5)) if name == "synthetic" else acts[:, :5]}
        save_file(
            {site: torch.as_tensor(values.astype(np.float32).copy()) for site, values in tensors.items()}, folder / f"{name}.safetensors"
        )
    labels = pd.DataFrame({"sex": np.array(["f", "m"])[sex], "job": np.array(["u", "v"])[job], "person": person})
    labels.to_csv(folder / "people.csv", index=False)
    arguments = [
        "probe",
        *("--activations", f"real={folder / 'real.safetensors'}", "--activations", f"synthetic={folder / 'synthetic.safetensors'}"),
        *("--labels", str(folder / "people.csv"), "--attribute", "sex", "--real", "real", "--group", "person", "--condition-on", "job"),
        *("--out", str(folder / "out"), "--jobs", "1"),
    ]
    return folder, arguments, main([*arguments, "--json"])


def run_folder(made):
    (manifest,) = (made[0] / "out").glob("probe/*/manifest.json")
    return manifest.parent


def test_the_run_directory_is_complete_and_verified(made):
    assert made[2] == 0
    assert {path.name for path in run_folder(made).iterdir()} == FILES
    pack = read_pack(run_folder(made))
    assert pack.evidence.run.status == "complete"
    assert pack.evidence.run.plan_digest == pack.plan["digest"]
    assert pack.evidence.run.id == run_folder(made).name
    assert "started" in pack.environment


def test_the_run_verifies_down_to_its_sentences(made, tmp_path, capsys):
    folder = shutil.copytree(run_folder(made), tmp_path / "run")
    assert main(["verify", str(folder), "--json"]) == 0
    states = {check["name"]: check["state"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert set(states.values()) == {"passed"}
    assert {"plan digest", "sentences", "reports"} <= states.keys()
    document = json.loads((folder / "evidence.json").read_text())
    document["findings"][0]["sentence"] = "All is well."
    replace_files(folder, {"evidence.json": canonical_json(document)})
    assert main(["verify", str(folder)]) == 4
    assert "the sentence is not what its numbers give" in capsys.readouterr().err


def test_the_evidence_fits_the_committed_schema(made):
    document = json.loads((run_folder(made) / "evidence.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, committed_schema())
    assert {(f["attribute"], f["regime"]) for f in document["findings"]} == {("sex", "real"), ("sex", "synthetic")}
    decided = {(e["channel"], e["regime"], e["site"]) for e in document["estimates"] if e["state"] is not None}
    channels, sites = ("linear", "nonlinear", "beyond"), ("layer1", "layer2")
    assert decided == {(c, r, s) for c in channels for r in ("real", "synthetic") for s in sites}
    assert {c["kind"] for c in document["controls"]} >= {"positive", "negative"}
    assert any("outputs" in note["what"] for note in document["not_tested"])


def test_the_findings_are_those_that_were_planted(made):
    findings = {f.regime: f for f in read_pack(run_folder(made)).evidence.findings}
    assert findings["real"].verdict == "exposed"
    assert findings["real"].change.encoding == "not_applicable"
    assert findings["real"].basis in ("beyond_label", "unknown")
    assert findings["synthetic"].verdict != "exposed"
    assert findings["synthetic"].change.encoding in ("reduced", "eliminated")
    assert "less than in 'real'" in findings["synthetic"].sentence or findings["synthetic"].verdict == "inconclusive"


def test_no_row_of_the_input_is_in_the_pack(made):
    pack = read_pack(run_folder(made))
    assert all(N not in array.shape for array in pack.arrays.values())
    text = (run_folder(made) / "evidence.json").read_text(encoding="utf-8")
    assert str(made[0]) not in text


def test_a_second_call_reuses_the_run_and_a_fresh_one_gives_the_same_evidence(made, capsys):
    folder, arguments, _ = made
    before = {path.name: path.stat().st_mtime_ns for path in run_folder(made).iterdir()}
    assert main([*arguments, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["folder"] == str(run_folder(made))
    assert [f["verdict"] for f in said["findings"]]
    assert {path.name: path.stat().st_mtime_ns for path in run_folder(made).iterdir()} == before
    # Without the finished run, its measurements are still there: same evidence, byte for byte.
    kept = folder / "kept"
    shutil.copytree(run_folder(made), kept)
    shutil.rmtree(run_folder(made))
    assert main(arguments) == 0
    assert (run_folder(made) / "evidence.json").read_bytes() == (kept / "evidence.json").read_bytes()
    assert "sex" in capsys.readouterr().out


def test_the_report_renders_again_the_same(made, capsys):
    before = (run_folder(made) / "report.html").read_bytes(), (run_folder(made) / "report.md").read_bytes()
    assert main(["report", str(run_folder(made)), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert ((run_folder(made) / "report.html").read_bytes(), (run_folder(made) / "report.md").read_bytes()) == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--attribute", "sxe"), "no column 'sxe'"),
        (("--real", "reel"), "none of the regimes"),
        (("--group", "nobody"), "no column 'nobody'"),
        (("--leak-margin", "1.5"), "no margin"),
        (("--nonlinear-margin", "0"), "no margin"),
        (("--name", "../up"), "cannot name a folder"),
        (("--labels", "nowhere.csv"), "nowhere.csv"),
        (("--activations", "real"), "not NAME=FILE"),
        (("--activations", "floor={folder}/real.safetensors"), "reserved"),
        (("--activations", "real={folder}/people.csv"), "two regimes are named 'real'"),
        (("--activations", "other={folder}/people.csv"), "a table holds no activations"),
        (("--seed", "-1"), "seed"),
    ],
)
def test_bad_input_is_exit_code_2_and_one_line(made, change, words, capsys, tmp_path):
    folder, arguments, _ = made
    option, value = change[0], change[1].format(folder=folder)
    assert main([*arguments, option, value, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert words in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert "Traceback" not in said.err
    assert not said.out
    assert not list(tmp_path.glob("out/probe/*/evidence.json"))


def test_rows_that_do_not_fit_are_exit_code_2(made, capsys, tmp_path):
    folder, arguments, _ = made
    pd.read_csv(folder / "people.csv").iloc[:-1].to_csv(tmp_path / "short.csv", index=False)
    assert main([*arguments, "--labels", str(tmp_path / "short.csv"), "--out", str(tmp_path), "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == 2
    assert "600 rows, the labels have 599" in said["error"]


def audited(kind, n, d, leak, seed=1, **more):
    world = make_world(kind, n=n, d=d, leak=leak, rng=stream(seed, "verdicts", kind))
    labels = {"a": world.labels_n} | ({} if world.condition_n is None else {"y": world.condition_n})
    (finding,) = pa.probe({"real": {"l": world.acts_nd}}, labels, attributes=["a"], jobs=1, **more).pack.evidence.findings
    return finding


def test_a_linear_leak_is_exposed():
    found = audited("linear", 800, 8, 0.15)
    assert (found.verdict, found.encoding, found.mechanisms) == ("exposed", "linear", ("linear",))


def test_an_exclusive_or_is_hidden():
    found = audited("xor", 1500, 8, 0.4)
    assert (found.verdict, found.encoding, found.mechanisms) == ("hidden", "nonlinear_only", ("nonlinear",))
    assert "hidden" in found.sentence


@pytest.mark.long
def test_what_only_a_non_linear_reader_finds_is_compared_with_real_as_such():
    world = make_world("xor", n=3000, d=8, leak=0.4, rng=stream(1, "verdicts", "xor"))
    clean = stream(1, "clean").normal(size=(3000, 8))
    audit = pa.probe(
        {"real": {"l": world.acts_nd}, "synthetic": {"l": clean}}, {"a": world.labels_n}, attributes=["a"], real="real", jobs=1
    )
    real, synthetic = audit.pack.evidence.findings
    assert (real.verdict, synthetic.verdict) == ("hidden", "removed")
    assert synthetic.change.encoding == "eliminated"
    summary = summarize(audit.pack)
    assert summary.question == "Is “a” in these activations?"
    row = summary.attributes[0].rows[0]
    assert row.stronger.channel == "nonlinear"
    assert row.stronger.value > 0.2
    assert "only a stronger reader gets it out" in summary.attributes[0].answer
    assert "outputs" not in summary.attributes[0].answer


def verdict_of(acts, labels, **more):
    (found,) = pa.probe({"real": {"l": acts}}, labels, attributes=["a"], jobs=1, **more).pack.evidence.findings
    return found


def test_a_leak_of_the_rarest_class_alone_is_not_removed():
    rng = stream(0, "rarest")
    codes = rng.choice(8, 2000, p=[0.02, *[0.14] * 7])
    acts = rng.normal(size=(2000, 8))
    acts[codes == 0] += 2.0 / np.sqrt(8)
    assert verdict_of(acts, {"a": np.array(list("abcdefgh"))[codes]}).verdict == "exposed"


@pytest.mark.long
@pytest.mark.parametrize("shape", ["distance to the middle", "codes whose order means nothing"])
def test_a_number_that_leaks_without_its_mean_is_exposed(shape):
    rng = stream(0, "numbers", shape)
    if shape == "distance to the middle":
        number = rng.normal(45, 12, 1000)
        told = np.abs(number - 45) / 12
    else:
        number = rng.integers(0, 12, 1000).astype(float)
        told = np.minimum(number, 11 - number) / 3
    acts = rng.normal(size=(1000, 8))
    acts[:, 2] += 1.5 * told
    found = verdict_of(acts, {"a": number})
    assert (found.verdict, found.encoding) == ("exposed", "linear")


def test_a_variance_within_the_label_is_hidden():
    rng = stream(0, "within")
    label, codes = rng.integers(0, 2, (2, 1500))
    acts = rng.normal(size=(1500, 8))
    acts[:, :2] *= np.where(label == codes, 1.5, 0.7)[:, None]
    found = verdict_of(acts, {"a": codes, "y": label}, condition_on=["y"])
    assert (found.verdict, found.mechanisms) == ("hidden", ("beyond",))


@pytest.mark.long
def test_groups_too_small_to_ask_are_not_called_clean():
    rng = stream(0, "small strata")
    small = rng.random(3000) < 0.09
    column = np.where(small, rng.integers(2, 14, 3000), rng.integers(0, 2, 3000))
    codes = rng.integers(0, 2, 3000)
    acts = rng.normal(size=(3000, 8))
    acts[:, 0] += np.where(small, 3.0 * np.where(column % 2 == 1, codes, -codes), 0.0)
    found = verdict_of(acts, {"a": codes, "y": np.char.add("y", column.astype(str))}, condition_on=["y"])
    assert found.verdict == "inconclusive"
    assert "too small to ask" in found.would_settle


def test_rows_where_the_attribute_is_missing_take_no_part():
    rng = stream(0, "missing")
    acts = rng.normal(size=(2500, 8))
    sex = np.array(["f", "m"], dtype=object)[rng.integers(0, 2, 2500)]
    sex[acts[:, 0] > 0.8] = None
    audit = pa.probe({"real": {"l": acts}}, {"a": sex}, attributes=["a"], jobs=1)
    assert audit.pack.evidence.findings[0].verdict == "removed"
    assert any("missing" in note.what for note in audit.pack.evidence.not_tested)


def test_effort_stands_beside_the_verdict():
    world = make_world("linear", n=1500, d=8, leak=0.2, rng=stream(0, "effort"))
    labels = {"a": world.labels_n, "person": np.arange(1500) // 3}
    audit = pa.probe({"real": {"l": world.acts_nd}}, labels, attributes=["a"], group="person", jobs=1)
    effort = audit.estimates.query("channel == 'effort'").set_index("context")
    assert effort["state"].isna().all()
    assert 0.1 < effort.loc["online codelength", "value"] < 0.25
    shots = [effort.loc[f"few-shot, {m} labelled rows", "value"] for m in (16, 64, 256)]
    assert 0.5 < shots[0] < shots[1] < shots[2] < 0.9
    control = effort[effort.index.str.startswith("selectivity")]
    assert 0.1 < control["value"].item() < 0.4


def test_independence_of_many_rows_is_removed():
    found = audited("absent", 2500, 8, 0)
    assert (found.verdict, found.encoding) == ("removed", "absent")
    assert "would have been found" in found.sentence


def test_independence_of_few_rows_is_inconclusive_and_says_what_would_settle_it():
    found = audited("absent", 200, 40, 0)
    assert (found.verdict, found.encoding) == ("inconclusive", "unknown")
    assert found.would_settle


def test_what_the_label_explains_is_exposed_and_said_so():
    found = audited("only_through_label", 2000, 8, 0.15, condition_on=["y"])
    assert (found.verdict, found.basis) == ("exposed", "explained_by_label")
    assert "y explains it" in found.sentence


@pytest.mark.long
def test_the_attribute_behind_its_exclusive_or_with_the_label_is_hidden():
    found = audited("conditional_xor", 1500, 8, 0.15, condition_on=["y"])
    assert found.verdict == "hidden"
    assert "beyond" in found.mechanisms


@pytest.mark.long
def test_the_number_of_jobs_makes_no_difference(made, tmp_path):
    assert main([*made[1], "--out", str(tmp_path / "two"), "--jobs", "2"]) == 0
    (evidence,) = (tmp_path / "two").glob("probe/*/evidence.json")
    assert evidence.read_bytes() == (run_folder(made) / "evidence.json").read_bytes()


def test_a_spoilt_report_is_put_right_from_the_pack_alone(made):
    page = run_folder(made) / "report.md"
    sound = page.read_bytes()
    page.write_text("spoilt", encoding="utf-8")
    assert main(["report", str(run_folder(made))]) == 0
    assert page.read_bytes() == sound
    read_pack(run_folder(made))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_faint_linear_leak_beside_a_variance_leak_is_not_hidden(seed):
    rng = stream(seed, "faint linear beside variance")
    codes = rng.integers(0, 2, 900)
    acts = rng.normal(size=(900, 48))
    acts[:, :4] *= np.where(codes == 1, 2.0, 0.6)[:, None]
    acts[:, 10] += np.where(codes == 1, 0.24, -0.24)
    found = verdict_of(acts, {"a": codes})
    assert found.verdict in ("exposed", "inconclusive")
    if found.verdict == "inconclusive":
        assert found.at_least == "hidden"
        assert "'a' is at least hidden: a non-linear reader recovers it" in found.sentence
        assert "is hidden" not in found.sentence
        assert "not settled" in found.sentence
        assert found.would_settle
