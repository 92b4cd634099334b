"""Planted worlds and models: their leak, or use, of an attribute is known by construction; no other part of the audit is trusted."""

from proxyaudit.planted.construction import World
from proxyaudit.planted.worlds import ABSENT, PRESENT, WORLDS, draw_world, make_world, sample_case

__all__ = ["ABSENT", "PRESENT", "WORLDS", "World", "draw_world", "make_world", "sample_case"]
