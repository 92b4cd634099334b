"""Names that people decide by: no two that look alike, none with letters of two scripts or with what nobody sees.

Whoever names a column or a release could else let a policy speak of one thing while the exposed one stands beside it, unjudged.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from math import prod

from proxyaudit.errors import InputError

# Scripts that are recommended for names (Unicode Technical Standard 39, table 4). Letters of the others (Lisu, Cherokee, Deseret) pass for
# these one by one, and there are too many of them to list.
_SCRIPTS = {"LATIN", "GREEK", "CYRILLIC", "ARMENIAN", "HEBREW", "ARABIC", "DEVANAGARI", "BENGALI", "TAMIL", "TELUGU", "THAI", "GEORGIAN"}
_SCRIPTS |= {
    "ETHIOPIC",
    "HIRAGANA",
    "KATAKANA",
    "HANGUL",
    "BOPOMOFO",
    "CJK",
    "GUJARATI",
    "GURMUKHI",
    "KANNADA",
    "KHMER",
    "LAO",
    "MALAYALAM",
}
_SCRIPTS |= {"MYANMAR", "ORIYA", "SINHALA", "THAANA", "TIBETAN"}
_SCRIPTS |= {"FULLWIDTH", "HALFWIDTH", "MATHEMATICAL"}  # other forms of the same letters
_COMMON = {"MODIFIER", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "VERTICAL", "MASU"}  # signs that several scripts share
# Written together every day (Unicode Technical Standard 39, "highly restrictive").
_TOGETHER = ({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}, {"LATIN", "CJK", "HANGUL"}, {"LATIN", "CJK", "BOPOMOFO"})
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")  # numbers and what is between them make up the name again: "01" is two of them
_UNSEEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u2800\u3164\ufe00-\ufe0f\uffa0]")  # letters and marks without ink
_CYRILLIC = dict(zip("авекмнорстухіѕјһԁԛԝАВЕКМНОРСТУХІЅЈ", "abekmhopctyxisjhdqwABEKMHOPCTYXISJ", strict=True))
_GREEK = dict(zip("αγεικνορτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ayeikvoptuxABEZHIKMNOPTYX", strict=True))
_ARMENIAN = dict(zip("\u0585\u057d\u0570\u0578\u0581\u054f\u054d\u0555\u053c", "ouhngSUOL", strict=True))
# Letters of phonetic scripts and small capitals, which count as Latin; and letters of the others that resemble them alone.
_LATIN = dict(zip("\u0251\u0261\u0131\u0269\u1d04\u1d0f\u1d20\u1d21\u1d22\u1d1c\ua731\u04cf\u0475\u03f2", "agiicovwzuslvc", strict=True))
_LIKE = str.maketrans({**_CYRILLIC, **_GREEK, **_ARMENIAN, **_LATIN})
_STROKES = str.maketrans("1I|0", "lllO")


def doubt(name: str) -> str | None:
    """Why a name may be taken for another by whoever reads it; ``None`` if there is no reason."""
    hidden = next((letter for letter in name if _unseen(letter)), None)
    if hidden is not None:
        return f"holds a character that cannot be seen (U+{ord(hidden):04X})"
    scripts = {script for letter in name if (script := _script(letter)) is not None}
    if rare := sorted(scripts - _SCRIPTS):
        return f"holds letters of {rare[0].capitalize()}, a script whose letters pass for those of others"
    if len(scripts) > 1 and not any(scripts <= allowed for allowed in _TOGETHER):
        return f"mixes letters of {' and '.join(sorted(word.capitalize() for word in scripts))}"
    return None


def _script(letter: str) -> str | None:
    """The script of a letter, or of a digit that is not 0 to 9; ``None`` of what belongs to none, such as signs, or stands for another."""
    if letter.isascii():
        return "LATIN" if letter.isalpha() else None
    words = unicodedata.name(letter, "").removeprefix("EXTENDED ").replace("ARABIC-INDIC", "ARABIC").split(" ")
    if not (letter.isalpha() or letter.isdecimal()) or words[0] in _COMMON:
        return None
    # Another form of a letter (a micro sign) or of a digit is taken as what it stands for by whoever compares names.
    other = unicodedata.normalize("NFKC", letter) != letter
    return words[0] if not other or (letter.isalpha() and words[0] in _SCRIPTS) else None


def _unseen(letter: str) -> bool:
    return letter != " " and (unicodedata.category(letter) in _UNSEEN or letter.isspace() or bool(_BLANK.match(letter)))


def looks(name: str) -> str:
    """What a name looks like: letters of other scripts as the Latin ones that they resemble, blanks as one, nothing unseen."""
    seen = "".join(" " if letter.isspace() else letter for letter in name if letter.isspace() or not _unseen(letter))
    return " ".join(unicodedata.normalize("NFKC", seen).translate(_LIKE).split())


def _blurred(name: str) -> str:
    """What a name looks like to whoever reads it in passing, or in a poor font."""
    return looks(name).translate(_STROKES).replace("rn", "m").replace("vv", "w")


def passes_for_real(name: str) -> bool:
    """Whether a name looks like that of training on the real rows."""
    return _blurred(name).casefold() == "real"


def twins(names: Iterable[str], others: Iterable[str] = ()) -> tuple[str, str] | None:
    """Two of the ``names`` that look alike, whatever their case, or one of them and one of ``others`` that does in its very case.

    Among the names 1, I and l count as alike, and so do 0 and O, rn and m, vv and w.
    """
    seen: dict[str, str] = {}
    exact: dict[str, str] = {}
    for name in names:
        for form in (looks(name), _blurred(name)):
            if (first := seen.setdefault(form.casefold(), name)) != name:
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
