"""Purging: what holds rows goes, the pack stays valid, the receipt says what went, and nothing that is not ours is touched."""

from __future__ import annotations

import datetime
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from proxyaudit.audits.plan.run import passed_note
from proxyaudit.cache import OLD_CACHE, Cache, cache_folder
from proxyaudit.cli.main import main
from proxyaudit.digests import file_digest
from proxyaudit.errors import InputError, IntegrityError
from proxyaudit.evidence.manifest import check_manifest
from proxyaudit.evidence.pack import read_pack, write_pack
from proxyaudit.evidence.receipts import read_receipt, sums_purged, write_receipt
from proxyaudit.evidence.row_store import read_row_sums
from proxyaudit.evidence.tiers import RECEIPT
from proxyaudit.keeping.purge import purge
from proxyaudit.recipe.recipe import load_recipe
from proxyaudit.reporting.html import render_html
from proxyaudit.reporting.markdown import render_markdown
from tests.conftest import build_pack

RUN = "0123456789ab"
RECIPE = "name: t\ndata: {path: x.csv, target: y, protected: [sex]}\nregimes: [real]\nmodel: {kind: mlp}\n"


def make_run(out: Path, run: str = RUN, *, retain_until: str | None = None) -> Path:
    """A finished run with signatures, row sums, and two kept results, one of which another run uses too."""
    pack = build_pack()
    plan = {**pack.plan, "run_id": run, "digest": (run * 6)[:64]}
    evidence = pack.evidence.model_copy(update={"run": pack.evidence.run.model_copy(update={"id": run, "plan_digest": plan["digest"]})})
    recipe = {**pack.recipe, **({"retain_until": retain_until} if retain_until else {})}
    pack = replace(pack, plan=plan, evidence=evidence, recipe=recipe, row_sums={"E1": np.arange(4.0)})
    folder = out / "quickstart" / run
    files = {"signatures.json": b"{}\n", "signatures.safetensors": b"sums"}
    write_pack(pack, folder, reports={"report.html": render_html(pack), "report.md": render_markdown(pack)}, more=files)
    cache = Cache(cache_folder(), run)
    for digest in (run[0] * 64, "f" * 64):
        cache.commit("train", digest, lambda made: (made / "rows").write_text("rows") and None)
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("PROXYAUDIT_CACHE", str(tmp_path / "cache"))
    return Cache(tmp_path / "cache")


def test_what_holds_rows_goes_and_the_pack_stays_valid(tmp_path: Path, own_cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "reports")
    assert len(read_row_sums(folder / "evidence.json")) == 1
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    digest = file_digest(folder / "signatures.json")
    assert main(["purge", str(folder), "--dry-run"]) == 0
    assert "Would delete 2 restricted files" in capsys.readouterr().out
    assert not sums_purged(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert main(["purge", str(folder), "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["folders"]
    assert [part["what"] for part in told["removed"]] == ["restricted file", "restricted file", "kept result", "kept result", "row sums"]
    assert own_cache.entries() == []
    assert read_row_sums(folder / "evidence.json") == {}
    gone = {"signatures.json", "signatures.safetensors"}
    assert {path.name for path in folder.iterdir()} == before.keys() - gone | {RECEIPT}
    assert all((folder / name).read_bytes() == data for name, data in before.items() - {(name, before[name]) for name in gone})
    receipt = read_receipt(folder)
    assert receipt is not None
    assert (receipt.plan_digest, len(receipt.purges)) == ((RUN * 6)[:64], 1)
    assert receipt.purges[0].ended is not None
    assert sums_purged(folder)
    assert receipt.purges[0].removed[0].sha256 == digest
    assert all(one.sha256.startswith("keyed:") for one in receipt.purges[0].removed[2:])
    assert check_manifest(folder) == []
    assert read_pack(folder).evidence.run.id == RUN
    capsys.readouterr()
    assert main(["ls", str(tmp_path / "reports"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["status"] == "complete"


def test_again_there_is_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(tmp_path / "reports")
    purge(folder, Cache(cache_folder()))
    before = (folder / RECEIPT).read_bytes()
    assert main(["purge", str(folder)]) == 0
    assert "Nothing that holds rows is kept" in capsys.readouterr().out
    assert (folder / RECEIPT).read_bytes() == before


def test_an_interrupted_purge_leaves_a_valid_run_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_run(tmp_path / "reports")
    removed = []

    def die(path: Path) -> None:
        if removed:
            raise KeyboardInterrupt
        removed.append(path)
        path.unlink()

    with monkeypatch.context() as patch:
        patch.setattr("proxyaudit.keeping.purge.remove", die)
        with pytest.raises(KeyboardInterrupt):
            purge(folder, Cache(cache_folder()))
    assert not (folder / "signatures.json").exists()
    assert check_manifest(folder) == []
    (done,) = purge(folder, Cache(cache_folder()))
    assert len(done.removed) == 4
    receipt = read_receipt(folder)
    assert receipt is not None
    assert [one.ended is None for one in receipt.purges] == [True, False]


def test_of_a_folder_all_runs_and_the_cache_that_an_earlier_version_left(
    tmp_path: Path, own_cache: Cache, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "reports"
    folders = [make_run(out), make_run(out, "ba9876543210")]
    Cache(out / OLD_CACHE).commit("train", "e" * 64, lambda made: (made / "rows").write_text("rows") and None)
    assert main(["ls", str(out)]) == 0
    assert f"{out / OLD_CACHE} holds rows; 'proxyaudit purge {out}' deletes it" in capsys.readouterr().err
    assert main(["doctor", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "warn  old kept results" in told
    assert "kept results: " in told
    assert main(["purge", str(folders[0])]) == 0
    assert "holds rows of all runs of that folder" in capsys.readouterr().err
    assert len(own_cache.entries()) == 1
    assert main(["purge", str(out)]) == 0
    assert own_cache.entries() == []
    assert not (out / OLD_CACHE).exists()
    assert all(read_receipt(folder) is not None for folder in (*folders, out))
    assert main(["purge", str(out)]) == 0
    assert "Nothing that holds rows" in capsys.readouterr().out


def test_a_whole_cache_can_be_emptied(tmp_path: Path, own_cache: Cache) -> None:
    folder = make_run(tmp_path / "reports")
    shutil.rmtree(folder)
    purge(own_cache.root, own_cache)
    assert own_cache.entries() == []
    assert read_receipt(own_cache.root) is not None
    assert cache_folder() == own_cache.root


def test_nothing_is_taken_from_a_run_that_is_being_made(tmp_path: Path, own_cache: Cache) -> None:
    folder = make_run(tmp_path / "reports")
    other = Cache(own_cache.root, "ba9876543210")
    other.has("train", "f" * 64)
    for running, name in ((other, "elsewhere"), (Cache(own_cache.root, RUN), RUN)):
        with running.hold(tmp_path / name), pytest.raises(InputError, match="is being made and uses some of this"):
            purge(folder, own_cache)
    assert len(own_cache.entries()) == 2
    assert read_receipt(folder) is None


@pytest.mark.parametrize("where", ["link to the run", "linked file", "file of another", "changed file", "linked entry", "linked receipt"])
def test_what_is_not_ours_is_refused_and_nothing_is_deleted(where: str, tmp_path: Path, own_cache: Cache) -> None:
    folder, mine = make_run(tmp_path / "reports"), tmp_path / "thesis"
    mine.write_text("years of work")
    path, error = folder, InputError
    if where == "link to the run":
        path = tmp_path / "link"
        path.symlink_to(folder)
    elif where == "linked file":
        (folder / "signatures.json").unlink()
        (folder / "signatures.json").symlink_to(mine)
    elif where == "file of another":
        (folder / "release.csv").write_text("somebody's")
    elif where == "changed file":
        (folder / "signatures.json").write_text("other")
        error = IntegrityError
    elif where == "linked entry":
        entry = own_cache.folder("train", "f" * 64)
        shutil.rmtree(entry)
        entry.symlink_to(tmp_path / "reports")
    else:
        (folder / RECEIPT).symlink_to(mine)
        error = IntegrityError
    with pytest.raises(error):
        purge(path, own_cache)
    assert mine.read_text() == "years of work"
    assert (folder / "signatures.safetensors").exists()
    assert own_cache.has("train", RUN[0] * 64)


def test_what_an_interrupted_cure_left_goes_and_a_stranger_s_table_stays(tmp_path: Path, own_cache: Cache) -> None:
    ours, plan, nothing = (tmp_path / "reports" / name / "0123456789ab" for name in ("x-cured", "project", "other"))
    for folder in (ours, plan, nothing):
        folder.mkdir(parents=True)
        (folder / "release.csv").write_text("rows")
    (ours / "cured.yaml").write_text("# Written by 'proxyaudit cure': real, resampled.\nname: x\n")
    (plan / "plan.json").write_text('{"steps": ["write the thesis"]}')
    done = purge(tmp_path / "reports", own_cache)
    assert [(one.folder, len(one.removed)) for one in done] == [(plan, 0), (ours, 1)]
    assert [(folder / "release.csv").exists() for folder in (ours, plan, nothing)] == [False, True, True]


@pytest.mark.parametrize("kind", ["marked by another program", "entry named otherwise", "recipe copied", "old cache of others"])
def test_what_only_looks_like_ours_is_left_alone(kind: str, tmp_path: Path, own_cache: Cache) -> None:
    folder = tmp_path / "project"
    mine = folder / "photos" / "2020" / "a.jpg"
    if kind == "recipe copied":
        mine = folder / "release.csv"
    elif kind == "old cache of others":
        mine = folder / OLD_CACHE / "photos" / "2020" / "a.jpg"
    elif kind == "entry named otherwise":
        mine = folder / "train" / "notes" / "done.json"
    mine.parent.mkdir(parents=True)
    mine.write_text('{"files": {}}')
    if kind == "recipe copied":
        (folder / "cured.yaml").write_text("# Written by 'proxyaudit cure': real, resampled.\nname: x\n")
        assert all(one.removed == () for one in purge(folder, own_cache))
    else:
        for name, text in ((".gitignore", "*\n"), ("CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n")):
            (mine.parents[2] / name).write_text(text)
        with pytest.raises(InputError, match="no folder of kept results"):
            purge(folder, own_cache)
        assert Cache(mine.parents[2]).entries() == []
    assert mine.exists()
    assert not list(folder.rglob(RECEIPT))


def test_a_run_id_that_is_a_path_leads_nowhere(tmp_path: Path, own_cache: Cache) -> None:
    folder = make_run(tmp_path / "reports")
    (folder / "manifest.json").unlink()
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps({**plan, "run_id": f"../runs/{RUN}"}))
    purge(folder, own_cache)
    assert len(own_cache.entries()) == 2


def test_a_receipt_excuses_nothing_but_restricted_files_with_the_digest_of_the_manifest(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "reports")
    purge(folder, Cache(cache_folder()))
    receipt = read_receipt(folder)
    assert receipt is not None
    first = receipt.purges[0]
    forged = [one.model_copy(update={"sha256": "0" * 64}) for one in first.removed[:2]]
    write_receipt(folder, receipt.model_copy(update={"purges": (first.model_copy(update={"removed": tuple(forged)}),)}))
    assert check_manifest(folder) == ["signatures.json is missing", "signatures.safetensors is missing"]
    gone = first.removed[0].model_copy(update={"name": "report.md", "sha256": file_digest(folder / "report.md")})
    write_receipt(folder, receipt.model_copy(update={"purges": (first, first.model_copy(update={"removed": (gone,)}))}))
    (folder / "report.md").unlink()
    # Such a receipt is none, and excuses nothing else either.
    assert check_manifest(folder) == ["report.md is missing", "signatures.json is missing", "signatures.safetensors is missing"]


def test_runs_whose_day_of_retention_has_passed_are_due(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "reports"
    old, new = make_run(out, retain_until="2020-01-31"), make_run(out, "ba9876543210", retain_until="2999-01-31")
    make_run(out, "00000000000a")

    def due(*more: str) -> list[str]:
        assert main(["ls", str(out), "--due", "--json", *more]) == 0
        return [line["folder"] for line in json.loads(capsys.readouterr().out)]

    assert due() == [str(old)]
    assert due("--on", "2020-01-31") == []
    assert due("--on", "3000-01-01") == [str(old), str(new)]
    assert main(["ls", str(out), "--due"]) == 0
    assert f"Due since 2020-01-31: proxyaudit purge {old}" in capsys.readouterr().out
    purge(old, Cache(cache_folder()))
    assert due() == []
    Cache(cache_folder(), RUN).commit("train", "c" * 64, lambda made: None)  # it was made again
    assert due() == [str(old)]
    for wrong in (["--on", "2020-01-31"], ["--due", "--on", "soon"]):
        assert main(["ls", str(out), *wrong]) == 2


@pytest.mark.parametrize(("text", "day"), [("2027-12-31", "2027-12-31"), ("'2027-12-31'", "2027-12-31"), ("null", None)])
def test_a_recipe_says_until_when_it_is_kept(text: str, day: str | None, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"{RECIPE}retain_until: {text}\n")
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.published().get("retain_until") == day
    if day is not None:
        assert load_recipe(tmp_path / "r.yaml", (f"retain_until={day}",)) == recipe


@pytest.mark.parametrize("text", ["soon", "'2027-13-01'", "20271231", "2027", "2027-12-31T10:00:00", "[2027-12-31]"])
def test_a_day_that_is_none_is_told(text: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"{RECIPE}retain_until: {text}\n")
    with pytest.raises(InputError, match="write the day as 2027-12-31"):
        load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("line", ["retain_until: 2026-31-11", "seed: 2026-02-30", "margins: {leak: 2026-13-01}"])
def test_a_day_that_does_not_exist_names_key_and_form(line: str, tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(f"{RECIPE}{line}\n")
    key = line.replace("margins: {", "").partition(":")[0]
    with pytest.raises(InputError, match=rf"no such day.*line 5: {key}\]; .*2027-12-31"):
        load_recipe(tmp_path / "r.yaml")


def test_a_day_that_has_passed_is_noted() -> None:
    today = datetime.datetime.now(datetime.UTC).date()
    assert passed_note(None) == passed_note(today) == []
    (told,) = passed_note(today - datetime.timedelta(days=1))
    assert "has passed" in told["why"]
