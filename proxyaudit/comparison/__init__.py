"""Two audits, or two versions of a model, side by side: what got worse, what got better, what cannot be told. Pure: pack x pack."""

from proxyaudit.comparison.compare import compare_packs
from proxyaudit.comparison.matching import match_regimes
from proxyaudit.comparison.outcomes import Comparison, NumberChange, PairOutcome

__all__ = ["Comparison", "NumberChange", "PairOutcome", "compare_packs", "match_regimes"]
