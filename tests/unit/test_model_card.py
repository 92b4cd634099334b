"""The section of a model card: nothing else of the card changes, twice is once, and the library reads what it wrote."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from released_packs import bytes_only

from proxyaudit.cli.main import main
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import EvidencePack, write_pack
from proxyaudit.reporting.model_card import render_model_card, update_card

CARD = "---\nlicense: mit\nlanguage: en\n---\n# My model\n\nTrained by hand.\n\n## Limits\n\nMany.\n"


def test_the_section_says_what_was_found_and_not_tested(pack: EvidencePack) -> None:
    text = render_model_card(pack)
    assert text.startswith("## Sensitive attributes")
    for part in (
        "Is it still in these models? Yes. Exposed after training on real",
        "| sex | tvae | ● Exposed |",
        "25 points (24 to 26)",
        "### Not tested",
        "Planted absence",
        "d" * 64,
    ):
        assert part in text, part


def test_only_the_regimes_asked_for_are_spoken_of(pack: EvidencePack) -> None:
    text = render_model_card(pack, ["tvae"])
    assert "gaussian_copula" not in text
    with pytest.raises(InputError, match="no kind of training"):
        render_model_card(pack, ["tvae", "vendor"])


def test_the_rest_of_a_card_stays_and_twice_is_once(pack: EvidencePack) -> None:
    first = update_card(CARD, pack, ["tvae"])
    assert update_card(first, pack, ["tvae"]) == first
    assert "# My model\n\nTrained by hand.\n\n## Limits\n\nMany.\n" in first
    other = update_card(first, pack, ["gaussian_copula"])
    assert other.count("## Sensitive attributes") == 1
    assert "after tvae" not in other


def test_the_metadata_can_be_read_again(pack: EvidencePack) -> None:
    theirs = (
        "model-index:\n- name: mine\n  results:\n  - task:\n      type: tabular-classification\n    dataset:\n      type: adult\n"
        "      name: Adult\n    metrics:\n    - type: accuracy\n      value: 0.9\n"
    )
    data = ModelCard(update_card(CARD.replace("language: en\n", "language: en\n" + theirs), pack, ["tvae"])).data
    assert (data.license, data.tags, data.model_name) == ("mit", ["proxyaudit"], "mine")
    results = {(result.metric_type, result.metric_name): result for result in data.eval_results}
    assert ("accuracy", None) in results
    leak = results["proxyaudit_leak", "sex after tvae"]
    assert leak.metric_value == 0.142
    assert leak.metric_args["verdict"] == "exposed"


@pytest.mark.parametrize("content", ["", "# No metadata\n"])
def test_a_card_without_metadata_gets_some(content: str, pack: EvidencePack) -> None:
    text = update_card(content, pack)
    assert text.startswith("---\n")
    assert text.count("---\n") >= 2
    assert "# No metadata" in text or not content


def test_what_cannot_be_read_is_said(pack: EvidencePack, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="metadata cannot be read"):
        update_card("---\n[1, 2]\n---\ntext\n", pack)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match="needs the package huggingface_hub"):
        update_card(CARD, pack)


def test_the_command_writes_a_card_and_leaves_the_run_sound(
    pack: EvidencePack, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bytes_only(monkeypatch)
    run, card = tmp_path / "run", tmp_path / "README.md"
    write_pack(pack, run)
    card.write_bytes(CARD.replace("\n", "\r\n").encode())
    assert main(["report", str(run), "--model-card", str(card), "--regime", "tvae", "--json"]) == 0
    assert '"model_card"' in capsys.readouterr().out
    written = card.read_bytes()
    assert b"sex after tvae" in written
    assert main(["report", str(run), "--model-card", str(card), "--regime", "tvae"]) == 0
    assert card.read_bytes() == written
    for wrong in (
        ["--regime", "tvae"],
        ["--model-card", str(run / "card.md")],
        ["--model-card", str(tmp_path)],
        ["--model-card", str(card), "--regime", "x"],
    ):
        assert main(["report", str(run), *wrong]) == 2
