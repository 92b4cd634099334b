"""Whether models learnt the task at all: quiet outputs of a model that did not prove nothing."""

from typing import Final

import numpy as np

from proxyaudit.arrays import Floats
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.text import TextEncoder
from proxyaudit.estimates.facts import Facts
from proxyaudit.estimates.not_tested import NEAR_GUESSING, learnt_question
from proxyaudit.seeding import stream
from proxyaudit.stats.group_gaps import auroc
from proxyaudit.types import NotTested

_MOST_ROWS: Final = 5000
_WORTH: Final = 0.6  # below it a linear model tells too little of the task to be a yardstick


def learnt_notes(facts: Facts, dataset: Dataset) -> list[NotTested]:
    """A note for each kind of training whose models learnt little: near guessing, or less than half of what a linear model learns."""
    own = {run.regime: _mean_auroc(run.outputs, facts) for run in facts.runs if run.measured and not run.is_reference}
    if not own:
        return []
    linear = _linear_auroc(facts, dataset)
    return [NotTested(what=learnt_question(name), why=_words(value, linear)) for name, value in own.items() if _little(value, linear)]


def _little(value: float, linear: float | None) -> bool:
    return value < NEAR_GUESSING or (linear is not None and linear >= _WORTH and value - 0.5 < (linear - 0.5) / 2)


def _words(value: float, linear: float | None) -> str:
    said = f"they learnt little of the task (AUROC {value:.2f}"
    if linear is None:
        return f"{said}); train longer (model: {{epochs: ...}}), or look at the target"
    if linear < _WORTH:
        return f"{said}, and a linear model of the inputs {linear:.2f}): these inputs tell little of the target"
    mend = "what was trained here may need longer (model: {epochs: ...}); rows of a release may not tell the target"
    return f"{said}, where a linear model of the same inputs, trained on real rows, has {linear:.2f}); {mend}"


def _mean_auroc(outputs: list[Floats], facts: Facts) -> float:
    return float(np.mean([_of_scores(one, facts) for one in outputs]))


def _of_scores(scores_nc: Floats, facts: Facts) -> float:
    labels, classes = facts.labels_n, len(facts.classes)
    columns = [(scores_nc[:, 0], labels == 1)] if classes == 2 else [(scores_nc[:, k], labels == k) for k in range(classes)]
    return float(np.mean([auroc(scores, positive) for scores, positive in columns]))


def _linear_auroc(facts: Facts, dataset: Dataset) -> float | None:
    """AUROC on the audit rows of a logistic regression on real training rows; ``None`` where there are texts, or nothing to fit on."""
    if isinstance(dataset.encoder, TextEncoder) or not len(dataset.train):
        return None
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows = np.sort(stream(0, "linear model of the task").permutation(len(dataset.train))[:_MOST_ROWS])
    train = dataset.train.iloc[rows]
    labels = dataset.target_codes(train)
    if len(np.unique(labels)) < len(facts.classes):
        return None
    fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200)).fit(dataset.encoder.transform(train), labels)
    scores = fitted.predict_proba(dataset.encoder.transform(dataset.audit))
    return _of_scores(scores[:, 1:] if len(facts.classes) == 2 else scores, facts)
