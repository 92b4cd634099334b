"""Whether the attribute's subspace moves the outputs."""

from __future__ import annotations

from proxyaudit.channels.use import words
from proxyaudit.channels.use.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question

CHANNEL = Channel(
    "use",
    30,
    (
        Question(
            "used",
            "use",
            ("effect",),
            "Interchange effect",
            "Do the outputs move when its part of the representation is swapped?",
            "moves the outputs when its internal trace is swapped",
            measures=words.MEASURES,
            terms=words.TERMS,
        ),
        Question("completeness"),
        Question("selectivity"),
        Question("amnesic"),
        Question("mediation"),
    ),
    estimate,
    measure="proxyaudit.channels.use.measure:measure",
    margins=words.MARGINS,
    controls=words.CONTROLS,
)
