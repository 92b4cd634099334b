"""How often a process that is wholly ours looks for cycles of garbage."""

import gc


def collect_rarely() -> None:
    """Look for cycles so seldom that a program's start does not wait for it: what is imported makes many objects, none of them garbage."""
    gc.set_threshold(50_000, 10, 10)
