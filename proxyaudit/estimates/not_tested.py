"""What no audit of a kind looks at: it stands in every pack of that kind, so that ``verify`` can miss it."""

from collections.abc import Mapping
from typing import Final

from proxyaudit.estimates.scope import Scope
from proxyaudit.types import NotTested, Surface

_STANDING: Final[Mapping[Surface, tuple[tuple[str, str], ...]]] = {
    "outputs": (
        (
            "use through directions that no linear subspace holds, or at sites outside the verdict sites",
            "subspaces are linear, fitted (LEACE) or learned (DAS), and swapped at the verdict sites only",
        ),
    ),
    "activations": (
        ("outputs, use and relearning", "bare activations were given, no model; 'proxyaudit run' audits a model"),
        ("sites that were not given", "what is not in the files was not looked at"),
        ("where the feature comes from (learned, or relayed from the inputs)", "it takes an untrained model and placebo attributes"),
    ),
    "prompts": (
        (
            "whether the group can be read from the model's activations",
            "prompts ask what a model does; 'proxyaudit probe' reads activations, and a verdict of 'removed' takes it",
        ),
        ("where a difference comes from (training data, or the base model)", "it takes the checkpoint before; give it as another --model"),
        (
            "what names carry beside the group",
            "age, origin, frequency and spelling go with names; the intervals cover how names within a group differ, not what all share",
        ),
        ("other prompts than these", "the intervals cover templates like those of the set, and of a single template that template alone"),
        (
            "use that changes direction from template to template, or lies at other positions",
            "one direction was swapped, at the name and at the last token",
        ),
    ),
}
_TOGETHER: Final = ("what several sites tell only together", "sites are read one by one; put side by side as one matrix, they are one site")
_UNCONDITIONED: Final = ("leakage beyond what a label explains", "no --condition-on column was named")


TURNED: Final = "their outputs rank the classes the other way round"  # of models that were given, most often


def standing_notes(scope: Scope) -> tuple[NotTested, ...]:
    """What an audit of this scope leaves out whatever it finds; notes of the plan and of what was measured come after."""
    alone = (_UNCONDITIONED,) if scope.surface == "activations" and not scope.conditions else ()
    apart = (_TOGETHER,) if scope.surface != "prompts" and len(scope.verdict_sites) > 1 else ()
    return tuple(NotTested(what=what, why=why) for what, why in (*_STANDING[scope.surface], *alone, *apart))


def learnt_question(regime: str) -> str:
    """What is open of a kind of training whose models hardly learnt the task."""
    return f"what quiet outputs after '{regime}' prove"


def overlap_question(regime: str) -> str:
    """What is said to be open of a regime whose texts were compared word for word with real ones."""
    return f"how far what '{regime}' shows comes from passages that its texts share with real ones"
