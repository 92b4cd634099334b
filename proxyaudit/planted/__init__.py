"""Planted worlds and models: activations whose leak of a sensitive attribute, and modules whose use of it, are known by construction.

Labels drawn from given activations, ``a ~ softmax(c + beta f(h))`` with ``beta`` solved on the rows at hand, are exact for any
activations; a shift by a class is exact for Gaussian ones only, where the leak is an integral. The module trusts no other part of the
audit, so that a defect there cannot hide in the truth as well.
"""

from proxyaudit.planted.construction import World
from proxyaudit.planted.worlds import ABSENT, PRESENT, WORLDS, draw_world, make_world, sample_case

__all__ = ["ABSENT", "PRESENT", "WORLDS", "World", "draw_world", "make_world", "sample_case"]
