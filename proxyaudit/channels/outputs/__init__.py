"""Whether the attribute shows in the outputs: gaps between groups, within true labels too, and how well the task was learnt."""

from proxyaudit.channels.outputs.estimate import estimate
from proxyaudit.estimates.channel import Channel, Question
from proxyaudit.estimates.questions import LINEAR_READER, READERS

_TERMS = (
    ("Output gap", "Difference between groups in the mean predicted probability; largest pair of groups."),
    ("Output leak", "What a reader gets of the attribute from the outputs alone; the outputs are judged by it and by the gap."),
)
_ASKS = "Does it show in the model's outputs, by the gap between groups or to a reader of the outputs?"
_MEASURES = {"gap": "gap", "output_leak": "output leak", "output_leak_nonlinear": "output leak, non-linear"}
_MEASURES |= {
    "output_leak_in_two_parts": "output leak in two parts",
    "output_leak_in_two_parts_nonlinear": "output leak in two parts, non-linear",
}

_SHOWS = "shows in the outputs"
_EXPRESSED = Question(
    "expressed", "use", ("gap", "leak"), "Outputs", _ASKS, _SHOWS, measures=_MEASURES, terms=_TERMS, readers=(LINEAR_READER, *READERS)
)
_MEASURE, _MARGINS = "proxyaudit.channels.outputs.measure:measure", {"gap": "output gap"}
CHANNEL = Channel(
    "outputs", 20, (_EXPRESSED, Question("task"), Question("selection", word="Selection")), estimate, measure=_MEASURE, margins=_MARGINS
)
