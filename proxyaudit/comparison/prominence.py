"""How prominent an attribute is before and after, at the site that decides in run B: told beside the outcome, which it does not decide."""

import math
from collections.abc import Sequence
from typing import Final

from proxyaudit.comparison import matching
from proxyaudit.comparison.difference import numbers_in, subtract
from proxyaudit.comparison.matching import Training
from proxyaudit.comparison.outcomes import Models, Moved, ProminenceChange
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.rounding import significant
from proxyaudit.estimates.scope import read_scope
from proxyaudit.estimates.training import LARGER, PROMINENCE, deciding_site, prominence
from proxyaudit.evidence.pack import EvidencePack

_LARGER: Final = math.exp(LARGER)  # times as prominent: within it, in both directions, nothing changed


def prominence_changes(
    a: EvidencePack,
    b: EvidencePack,
    pairs: Sequence[tuple[str, str]],
    attributes: Sequence[str],
    *,
    same_rows: bool,
    training: Training,
) -> tuple[ProminenceChange, ...]:
    """The change of every attribute that both runs measured, in every pair of regimes."""
    before, after = (Numbers(pack.evidence.estimates, read_scope(pack.plan, pack.recipe, pack.environment)) for pack in (a, b))
    kept = [numbers_in(pack, also=(PROMINENCE,)) for pack in (a, b)]
    sites = matching.match_sites(matching.Sites.of(a), matching.Sites.of(b))
    words = [{(f.attribute, f.regime): f.training.word for f in pack.evidence.findings if f.training is not None} for pack in (a, b)]
    found = []
    for name in attributes:
        site = deciding_site(after, name)
        for old, new in pairs if site is not None and site in sites else ():
            first, last = prominence(before, name, old, sites[str(site)][0]), prominence(after, name, new, site)
            if first is None or last is None or first.value is None or last.value is None:
                continue
            models: Models = "given" if {matching.models_of(a, old), matching.models_of(b, new)} == {"given"} else "trained"
            x, y = kept[0].get(first.id), kept[1].get(last.id)
            told = subtract(x, y, models=models, same_rows=same_rows) if x is not None and y is not None else None
            claimed = told is not None and told.p is not None and (models == "given" or training == "same_rows")
            word: Moved = "cannot_tell"
            if told is not None and claimed and not told.low <= 0 <= told.high:
                word = "more" if told.value > 0 else "less"
            elif told is not None and told.low >= first.value * (1 / _LARGER - 1) and told.high <= first.value * (_LARGER - 1):
                word = "unchanged"
            difference, low, high = (None,) * 3 if told is None else (significant(end) for end in (told.value, told.low, told.high))
            about = (name, old, new, str(first.site), str(last.site), first.value, last.value)
            found.append(ProminenceChange(*about, difference, low, high, words[0].get((name, old)), words[1].get((name, new)), word))
    return tuple(found)
