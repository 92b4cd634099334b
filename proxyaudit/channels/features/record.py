"""Latents of sparse autoencoders that carry an attribute, and what switching them off does."""

from dataclasses import dataclass

from proxyaudit.arrays import Floats
from proxyaudit.causal.circuits import Switched
from proxyaudit.estimates.record import Shelf


@dataclass(frozen=True)
class Latent:
    """One latent, on people that it was not picked on."""

    number: int
    auroc: float  # of its mean over tokens, for the second group against the first
    influence_n: Floats  # of each audit row on it
    active: float  # share of texts in which it is on
    switched: Switched | None = None  # what taking it out does to the gap within labels
    by: str = "difference"  # why it was tried: ``difference`` of the groups, or ``random`` among the others that are ever on


@dataclass(frozen=True)
class FeaturesRecord:
    """One autoencoder and one attribute in one model, on ``rows`` texts; or why nothing was measured."""

    site: str
    name: str  # of the autoencoder's folder
    rows: int = 0
    explained: float = 0.0  # share of the variance of the values that it gives again
    latents: int = 0
    active: int = 0  # latents that are on in eleven texts or more
    tried: tuple[Latent, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class FeaturesRecords:
    """All autoencoders of a recipe."""

    found: tuple[FeaturesRecord, ...] = ()


FEATURES = Shelf("features", FeaturesRecords)
