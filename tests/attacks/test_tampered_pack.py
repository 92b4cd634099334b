"""Someone changes a run folder after it was written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from proxyaudit.errors import IntegrityError
from proxyaudit.evidence.canonical import canonical_json
from proxyaudit.evidence.manifest import check_manifest
from proxyaudit.evidence.pack import EvidencePack, read_pack, write_pack
from proxyaudit.files import write_file


def _flip(name: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = bytearray((folder / name).read_bytes())
        data[len(data) // 2] ^= 1
        (folder / name).write_bytes(bytes(data))

    return change


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _verdict(folder: Path) -> None:
    path = folder / "evidence.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"exposed"', '"removed"'), encoding="utf-8")


def _link(folder: Path) -> None:
    # Same bytes, but somebody else decides what they are tomorrow.
    (folder.parent / "elsewhere.json").write_bytes((folder / "plan.json").read_bytes())
    (folder / "plan.json").unlink()
    (folder / "plan.json").symlink_to(folder.parent / "elsewhere.json")


def _folder(folder: Path) -> None:
    (folder / "plan.json").unlink()
    (folder / "plan.json").mkdir()


def _manifest(change: Callable[[dict[str, str]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        document = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        change(document["files"])
        (folder / "manifest.json").write_bytes(canonical_json(document))

    return apply


ATTACKS = {
    "verdict rewritten": (_verdict, "evidence.json does not match"),
    "plan changed": (_flip("plan.json"), "plan.json does not match"),
    "environment changed": (_flip("environment.json"), "environment.json does not match"),
    "arrays changed": (_flip("arrays.safetensors"), "arrays.safetensors does not match"),
    "report changed": (_flip("report.html"), "report.html does not match"),
    "recipe removed": (_remove("recipe.yaml"), "recipe.yaml is missing"),
    "file added": (lambda folder: (folder / "notes.txt").write_text("x") and None, "notes.txt is not listed"),
    "folder added": (lambda folder: (folder / "more").mkdir(), "more is not listed"),
    "file replaced by a link": (_link, "plan.json is not a plain file"),
    "file replaced by a folder": (
        _folder,
        "plan.json is not a plain file",
    ),
    "evidence unlisted": (_manifest(lambda files: files.pop("evidence.json") and None), "evidence.json is not listed"),
    "path out of the folder": (_manifest(lambda files: files.update({"../x": "0" * 64})), "no plain file name"),
    "manifest not JSON": (lambda folder: (folder / "manifest.json").write_text("{") and None, "manifest.json cannot be read"),
    "manifest a list": (lambda folder: (folder / "manifest.json").write_text("[]") and None, "manifest.json is not a list of sha256"),
    "hash not a hash": (_manifest(lambda files: files.update({"plan.json": "md5"})), "no sha256"),
    "deeply nested": (lambda folder: (folder / "manifest.json").write_text("[" * 100_000) and None, "manifest.json"),
}


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_every_change_is_found_and_names_the_file(attack: str, pack: EvidencePack, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_pack(pack, folder, reports={"report.html": "<p>one</p>", "report.md": "one"})
    read_pack(folder)
    change, words = ATTACKS[attack]
    change(folder)
    assert any(words in line for line in check_manifest(folder, required=("evidence.json",)))
    with pytest.raises(
        IntegrityError, match=words.split()[0].replace(".", r"\.") if attack != "path out of the folder" else "manifest"
    ) as caught:
        read_pack(folder)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)


def test_a_file_named_like_a_report_is_not_let_through(pack: EvidencePack, tmp_path: Path) -> None:
    write_pack(pack, tmp_path, reports={"report.html": "x", "report.md": "x"})
    (tmp_path / "report.html evil").write_text("x")
    with pytest.raises(IntegrityError, match=r"report\.html evil"):
        read_pack(tmp_path, skip=("report.html", "report.md"))


def test_a_planted_link_does_not_carry_a_write_elsewhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".writing-plan.json").symlink_to(victim)
    (folder / "plan.json").symlink_to(victim)
    write_file(folder / "plan.json", b"new")
    assert victim.read_text() == "precious"
    assert (folder / "plan.json").read_bytes() == b"new"
    assert not (folder / "plan.json").is_symlink()


def test_yaml_in_a_recipe_makes_no_objects(pack: EvidencePack, tmp_path: Path) -> None:
    from proxyaudit.evidence.manifest import replace_files

    write_pack(pack, tmp_path)
    replace_files(tmp_path, {"recipe.yaml": b"a: !!python/object/apply:os.system ['touch /nowhere/x']\n"})
    with pytest.raises(IntegrityError, match=r"recipe\.yaml cannot be read"):
        read_pack(tmp_path)
