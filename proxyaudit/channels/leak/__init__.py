"""Whether a reader gets the attribute out of activations."""

from __future__ import annotations

from proxyaudit.channels.leak import words
from proxyaudit.channels.leak.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel(
    "leak",
    10,
    (
        Question(
            "linear",
            "encoding",
            ("leak",),
            "Linear leak",
            "Can a linear reader get the attribute out at a verdict site?",
            measures=words.LEAKS,
            terms=words.TERMS,
            of_activations=True,
        ),
        Question(
            "nonlinear",
            "encoding",
            ("nonlinear", "leak"),
            "Non-linear leak",
            "Can a stronger reader get out more than the linear one?",
            measures=words.NONLINEAR,
            of_activations=True,
        ),
        Question(
            "elsewhere",
            "recoverable",
            ("leak", "nonlinear"),
            "Elsewhere",
            "Is it at another place in the model?",
            measures=words.LEAKS,
            may_lack=True,
        ),
        Question(
            "beyond",
            "recoverable",
            ("leak", "nonlinear"),
            "Beyond what is known",
            "Is there more of it inside than the label, or what else is known of a row, explains?",
            measures=words.LEAKS,
            place=1,
            of_activations=True,
        ),
        Question("effort", of_activations=True),
    ),
    estimate,
    measure="proxyaudit.channels.leak.measure:measure",
    margins=words.MARGINS,
    controls=words.CONTROLS,
)
