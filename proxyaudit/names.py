"""Names that people decide by: no two that look alike, none with letters of two scripts or with what nobody sees.

Whoever names a column or a release could else let a policy speak of one thing while the exposed one stands beside it, unjudged.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from math import prod

from proxyaudit.errors import InputError

_SCRIPTS = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "DEVANAGARI", "BENGALI", "TAMIL", "TELUGU", "THAI", "GEORGIAN"}
_SCRIPTS |= {"ETHIOPIC", "CHEROKEE", "COPTIC", "LISU", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "CJK"}
_SCRIPTS |= {"FULLWIDTH", "HALFWIDTH", "MATHEMATICAL"}  # other forms of the same letters
# Written together every day (Unicode Technical Standard 39, "highly restrictive").
_TOGETHER = ({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}, {"LATIN", "CJK", "HANGUL"}, {"LATIN", "CJK", "BOPOMOFO"})
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")  # numbers and what is between them make up the name again: "01" is two of them
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u2800\u3164\ufe00-\ufe0f\uffa0]")  # letters and marks without ink
_CYRILLIC = dict(zip("авекмнорстухіѕјһԁԛԝАВЕКМНОРСТУХІЅЈ", "abekmhopctyxisjhdqwABEKMHOPCTYXISJ", strict=True))
_GREEK = dict(zip("αγεικνορτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ayeikvoptuxABEZHIKMNOPTYX", strict=True))
_ARMENIAN = dict(zip("\u0585\u057d\u0570\u0578\u0581", "ouhng", strict=True))
_LIKE = str.maketrans({**_CYRILLIC, **_GREEK, **_ARMENIAN})


def doubt(name: str) -> str | None:
    """Why a name may be taken for another by whoever reads it; ``None`` if there is no reason."""
    hidden = next((letter for letter in name if _unseen(letter)), None)
    if hidden is not None:
        return f"holds a character that cannot be seen (U+{ord(hidden):04X})"
    scripts = {word for letter in name if letter.isalpha() and (word := unicodedata.name(letter, "").split(" ")[0]) in _SCRIPTS}
    if len(scripts) > 1 and not any(scripts <= allowed for allowed in _TOGETHER):
        return f"mixes letters of {' and '.join(sorted(word.capitalize() for word in scripts))}"
    return None


def _unseen(letter: str) -> bool:
    return letter != " " and (unicodedata.category(letter) in _UNSEEN or letter.isspace() or bool(_BLANK.match(letter)))


def looks(name: str) -> str:
    """What a name looks like: letters of other scripts as the Latin ones that they resemble, blanks as one, nothing unseen."""
    seen = "".join(" " if letter.isspace() else letter for letter in name if letter.isspace() or not _unseen(letter))
    return " ".join(unicodedata.normalize("NFKC", seen).translate(_LIKE).split())


def passes_for_real(name: str) -> bool:
    """Whether a name looks like that of training on the real rows."""
    return looks(name).translate(str.maketrans("1I|", "lll")).casefold() == "real"


def twins(names: Iterable[str], others: Iterable[str] = ()) -> tuple[str, str] | None:
    """Two of the ``names`` that look alike, whatever their case, or one of them and one of ``others`` that does in its very case."""
    seen: dict[str, str] = {}
    exact: dict[str, str] = {}
    for name in names:
        if (first := seen.setdefault(looks(name).casefold(), name)) != name:
            return first, name
        exact[looks(name)] = name
    return next(((exact[looks(other)], other) for other in others if exact.get(looks(other), other) != other), None)


def check_names(names: Iterable[str], what: str, where: str, others: Iterable[str] = ()) -> None:
    """Refuse (``InputError``) names of ``what``, e.g. ``"attribute"``, that may be taken for others: :func:`doubt`, :func:`twins`."""
    names = list(names)
    for name in names:
        if (why := doubt(name)) is not None:
            raise InputError(f"{what} '{name[:80]}' {why}", where=where, mend="name it in letters of one script, all of which can be seen")
    found = twins(names, others)
    if found is not None:
        raise InputError(f"{what} '{found[0][:80]}' looks like '{found[1][:80]}'", where=where, mend="rename one of them")


def check_regime_names(regimes: Iterable[str], real: str | None, where: str) -> None:
    """The same of regimes that a caller names, and refuse one that seems to be the ``real`` one where another is compared with."""
    regimes = list(regimes)
    for name in regimes:
        if passes_for_real(name) and (name != "real" or real not in (None, "real")):
            mend = "call the model that was trained on the real rows 'real', and choose another name for every other"
            raise InputError(f"regime '{name[:80]}' seems to be the one that the others are compared with", where=where, mend=mend)
    check_names(regimes, "regime", where)


def in_short(sites: Sequence[str], most: int = 8) -> str:
    """Names of sites as a phrase: those that differ by their numbers alone, none of them missing, from the first to the last.

    >>> in_short(["embeddings", "layer0.mlp", "layer0", "layer1.mlp", "layer1", "layer2.mlp", "layer2", "penultimate"])
    'embeddings, layer0.mlp to layer2.mlp, layer0 to layer2 and penultimate'
    >>> in_short(["layer0", "layer1", "layer3"])
    'layer0, layer1 and layer3'
    >>> in_short(["a#", "a1", "a01", "a2", "b3", "b5", "b4"], most=3)
    'a#, a1 and 5 more'
    """
    alike: dict[tuple[str, ...], dict[tuple[int, ...], str]] = {}
    for site in sites:
        numbers = tuple(map(int, _NUMBER.findall(site)))
        alike.setdefault(tuple(_NUMBER.split(site)), {})[numbers] = site
    told: list[tuple[str, int]] = []
    for named in alike.values():
        ends = [(min(numbers), max(numbers)) for numbers in zip(*named, strict=True)]
        whole = len(named) == prod(last - first + 1 for first, last in ends)
        span = f"{named[min(named)]} to {named[max(named)]}"
        told += [(span, len(named))] if whole and len(named) > 2 else [(name, 1) for name in named.values()]
    if len(told) > most:
        told[most - 1 :] = [(f"{sum(count for _, count in told[most - 1 :])} more", 0)]
    said = [words for words, _ in told]
    return f"{', '.join(said[:-1])} and {said[-1]}" if len(said) > 1 else "".join(said)
