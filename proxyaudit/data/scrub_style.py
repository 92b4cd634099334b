"""Style flattened: the same words written the same way, whoever wrote them.

What is flattened is what stylometry reads first from short texts and what no task on their content needs: capitals, marks, emoticons,
drawn-out words, contractions, white space. What stays is what takes choosing other words to hide: which words are used and which function
words, how long texts and words are, spelling, grammar. English contractions only.
"""

import re
import unicodedata
from importlib import resources


def read_words(name: str) -> list[str]:
    """The lines of a file of words beside this module, but for those that begin with # and say what the words are."""
    text = resources.files("proxyaudit.data").joinpath("words", f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if not line.startswith("#")]


_MOST_PASSES = 5
EMOTICON = re.compile(r"(?<!\w)(?:[<>]?[:;=][-'^o]?[)(\]\[DPp/\\|*3oO]+|[xX]D+|<3+|\^[_.]?\^|[oO]_[oO])(?!\w)|(?<![(])[(]+[-']?[:;=]")
"""Western emoticons; emoji are marks."""
DRAWN_OUT = re.compile(r"([a-hj-vyz])\1{2,}", re.IGNORECASE)
"""Three or more of one letter, except those of XXL, www and numerals."""
_MARK = re.compile(r"[^\w\s]|_")
_INSIDE = re.compile(r"(?<=\d)[.,](?=\d)|(?<=[^\W\d_])'(?=[^\W\d_])")  # 1.5, don't
_MASK = re.compile(r"\[removed\]")  # as in scrubbing.py, which imports this module
_WHOLE = {short: plain for short, _, plain in (line.partition(" ") for line in read_words("contractions"))}
_ENDS = {"n't": " not", "'re": " are", "'ve": " have", "'ll": " will", "'d": " would", "'s": " is"}
_IS = frozenset(("it", "that", "there", "what", "who", "here", "where", "how", "he", "she"))  # elsewhere 's is mostly an owner's
_PLAIN = (
    rf"\b(?:(?P<whole>{'|'.join(sorted(_WHOLE, key=len, reverse=True))})|(?P<stem>[^\W\d_]+?)(?P<end>n't|'(?:re|ve|ll|d))"
    rf"|(?P<who>{'|'.join(sorted(_IS))})(?P<is>'s))(?!\w|')"
)
CONTRACTION = re.compile(_PLAIN.replace("'", "['\u2019]"), re.IGNORECASE)
"""Contractions, with either apostrophe."""


def flatten_style(text: str) -> str:
    """Write a text plainly: small letters, no marks but those inside numbers and words, contractions spelt out, single blanks.

    Deterministic, and the same when done twice.

    >>> flatten_style("Sooo GOOD!!! :-)  I can't wait... it's 1.5 inches; don't")
    'so good i can not wait it is 1.5 inches do not'
    """
    for _ in range(_MOST_PASSES):
        before, text = text, _flatten(text)
        if text == before:
            break
    return text


def spell_out(text: str) -> str:
    """Spell English contractions out."""
    return CONTRACTION.sub(_spelt, text)


def _flatten(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
    parts = _MASK.split(text)
    return " [removed] ".join(_flatten_part(part) for part in parts).strip() if len(parts) > 1 else _flatten_part(text)


def _flatten_part(text: str) -> str:
    text = EMOTICON.sub(" ", text).lower()
    kept = {match.start() for match in _INSIDE.finditer(text)}
    # Vowel signs and accents are parts of letters.
    kept |= {match.start() for match in _MARK.finditer(text) if unicodedata.category(match.group()).startswith("M")}
    text = _MARK.sub(lambda match: match.group() if match.start() in kept else " ", text)
    text = DRAWN_OUT.sub(r"\1", text)
    return " ".join(CONTRACTION.sub(_spelt, text).split())


def _spelt(match: re.Match[str]) -> str:
    whole, stem, who = match.group("whole"), match.group("stem"), match.group("who")
    if whole is not None:
        return _WHOLE[whole.lower().replace("\u2019", "'")]
    end = match.group("is" if stem is None else "end").lower().replace("\u2019", "'")
    return f"{who if stem is None else stem}{_ENDS[end]}"
