"""How much localisation tries, for the plan and for measuring."""

from typing import Any

# What is tried: fixed counts, cut down where the predicted operations ask for it; never by the clock.
# Parts tried at a place: by the gradient, by the difference between the groups, at random as controls.
TRIED = {"verdict": (6, 2, 2), "elsewhere": (2, 1, 1)}
MOST_RECIPIENTS, FEWEST_RECIPIENTS = 400, 100


def describe_localisation() -> dict[str, Any]:
    """What is tried, for the plan."""
    words = ("by gradient", "by difference", "at random")
    return {where: dict(zip(words, counts, strict=True)) for where, counts in TRIED.items()} | {"recipients": MOST_RECIPIENTS}
