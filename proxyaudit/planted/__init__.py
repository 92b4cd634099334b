"""Planted worlds and models: activations whose leak of a sensitive attribute, and modules whose use of it, are known by construction.

The module trusts no other part of the audit, so that a defect there cannot hide in the truth as well.
"""

from proxyaudit.planted.construction import World
from proxyaudit.planted.worlds import ABSENT, PRESENT, WORLDS, draw_world, make_world, sample_case

__all__ = ["ABSENT", "PRESENT", "WORLDS", "World", "draw_world", "make_world", "sample_case"]
