"""Whether models learnt the task at all: quiet outputs of a model that did not prove nothing."""

from typing import Final

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.text import TextEncoder
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.not_tested import TURNED, learnt_question
from proxyaudit.estimates.task import Yardstick, yardstick
from proxyaudit.seeding import stream
from proxyaudit.types import NotTested

_MOST_ROWS: Final = 5000
_OTHER_UNITS: Final = -1.0  # R squared below which predictions are not of this scale


def learnt_notes(facts: Facts, dataset: Dataset) -> list[NotTested]:
    """A note for each kind of training whose models learnt little: near guessing, or less than half of what a linear model learns."""
    own = {run.regime: _mean_score(run.outputs, facts) for run in facts.runs if run.measured and not run.is_reference}
    if not own:
        return []
    by, linear = yardstick(facts.task), _linear_score(facts, dataset)
    few = {name: value for name, value in own.items() if by.is_little(value, linear if linear is not None and linear >= by.worth else None)}
    first = facts.classes[0] if len(facts.classes) == 2 and facts.task == "classes" else ""
    return [NotTested(what=learnt_question(name), why=_words(by, value, linear, first)) for name, value in few.items()]


def _words(by: Yardstick, value: float, linear: float | None, first: str = "") -> str:
    if by.is_turned(value):
        mend = f"write data: {{target_positive: {first}}}" if first else "compare the order of their classes with the target's"
        return f"{TURNED} (AUROC {value:.2f}); where models were given, {mend}"
    said = f"they learnt little of the task ({by.word} {value:.2f}"
    if by.measure == "r2" and value < _OTHER_UNITS:
        return f"{said}): their predictions may be in other units; for those of the target itself write model: {{predicts: units}}"
    if linear is None:
        return f"{said}); train longer (model: {{epochs: ...}}), or look at the target"
    if linear < by.worth:
        return f"{said}, and a linear model of the inputs {linear:.2f}): these inputs tell little of the target"
    mend = "what was trained here may need longer (model: {epochs: ...}); rows of a release may not tell the target"
    return f"{said}, where a linear model of the same inputs, trained on real rows, has {linear:.2f}); {mend}"


def _mean_score(outputs: list[Floats], facts: Facts) -> float:
    return float(np.mean([facts.score(one).value for one in outputs]))


def _linear_score(facts: Facts, dataset: Dataset) -> float | None:
    """What a linear model of real training rows does on the audit rows; ``None`` where there are texts, or nothing to fit on."""
    if isinstance(dataset.encoder, TextEncoder) or not len(dataset.train):
        return None
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.sort(stream(0, "linear model of the task").permutation(len(dataset.train))[:_MOST_ROWS])
    train = dataset.train.iloc[rows]
    said, x = dataset.learnt(train), dataset.encoder.features(train)
    audit = dataset.encoder.features(dataset.audit)
    if facts.task == "number":
        return facts.score(make_pipeline(StandardScaler(), Ridge(alpha=10.0)).fit(x, said).predict(audit)[:, None]).value
    if len(np.unique(said)) < len(facts.classes):
        return None
    scores = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200)).fit(x, said).predict_proba(audit)
    return facts.score(scores[:, 1:] if len(facts.classes) == 2 else scores).value
