"""What two runs' trained models have in common: their rows, or the whole recipe but for its seed.

How much repetitions of one run differ says what initial weights and their order do. It says nothing of the rows that they were all
trained on: every repetition of a run has the same. So a difference between models that were trained on other rows cannot be held
against the repetitions alone; where the recipe is the same but for its seed, there is nothing that it could be put down to but chance.
"""

from __future__ import annotations

from typing import Literal

from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.evidence.plans import mapping

Training = Literal["same_rows", "other_seed", "other_rows"]
RUN_NOTES: dict[Training, str] = {
    "other_seed": "one recipe with two seeds: models that were trained by them differ by chance alone, and no change is claimed",
    "other_rows": "models were trained on other rows in the two runs (another seed or other data), so no change of numbers is claimed",
}
NUMBER_NOTES: dict[Training, str] = {
    "other_seed": "one recipe with two seeds: what differs is chance",
    "other_rows": "trained on other rows, and how much that alone changes is not known",
}
_BY_SEED = ("audit", "split")  # digests that change with the seed alone
_NOT_ASKED = ("seed", "name")


def training_of(a: EvidencePack, b: EvidencePack) -> Training:
    """Whether the two runs trained on the same rows, or are one recipe with two seeds, or neither."""
    first, second = (mapping(pack.plan, "hashes") for pack in (a, b))
    sizes = [mapping(pack.plan, "rows").get("training_size") for pack in (a, b)]
    drawn = [(first.get("split"), a.plan.get("seed"), sizes[0]), (second.get("split"), b.plan.get("seed"), sizes[1])]
    if drawn[0] == drawn[1] and drawn[0][0] is not None:
        return "same_rows"
    asked = [{key: value for key, value in pack.recipe.items() if key not in _NOT_ASKED} for pack in (a, b)]
    data = [{key: value for key, value in hashes.items() if key not in _BY_SEED} for hashes in (first, second)]
    versions = [pack.evidence.run.versions for pack in (a, b)]
    one = asked[0] == asked[1] and data[0] == data[1] and bool(data[0]) and versions[0] == versions[1]
    return "other_seed" if one and drawn[0][1] != drawn[1][1] else "other_rows"
