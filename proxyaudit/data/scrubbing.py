"""Scrubbing: words of some kinds masked by fixed rules, as teams do who say that "the words were removed".

The rules are deterministic and made to be read, not to be the best there is. What they cannot do is part of what is audited:

- English only. A word that is in no list and follows no pattern stays. Lists of words are files in the folder ``words``.
- ``names``: given names of a list, and capitalised words inside a sentence not known to be something else, brands and places too. In a
  text without capitals only the list works; a name that is also a word ("Will", "Rose") is masked only where it is capitalised inside.
- ``pronouns``: gendered words. ``dates``: ISO and slashed dates, months with a day or a year, years 1900 to 2099, weekdays. ``ages``: "45
  years old", "age 45", "in my fifties", "45-year-old", "my age".
- ``style`` flattens habits of writing on the surface (see ``scrub_style``) and masks nothing; word choice, length and grammar stay. What
  it brings out ("sheee") the other rules mask as well.
- All matches become the same mask, which says that something was there, not what: how many masks a text has is itself a trace.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from proxyaudit.data.scrub_style import flatten_style, read_words
from proxyaudit.registry import load_plugin

_LISTS = ("gendered", "given_names", "ambiguous_names", "not_names", "function_words")
GENDERED, GIVEN_NAMES, AMBIGUOUS_NAMES, NOT_NAMES, FUNCTION_WORDS = (frozenset(" ".join(read_words(name)).split()) for name in _LISTS)
MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
WEEKDAYS = "(?:mon|tues|wednes|thurs|fri|satur|sun)days?"
DECADES = "twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties"
MASK = "[removed]"
# Ages before dates before words: "in my 1950s" and "March 3" are looked at whole. Style last: names are known by their capitals.
RULES = ("ages", "dates", "names", "pronouns", "style")
_TURN_OF_OTHERS = 3.5  # other people's rules: after the words, before style
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
_SENTENCE_START = re.compile(r"(?:^|[.!?:;\n]|--)[\s\"'(\[\u201c\u2018*-]*$")
_DAY = r"(?:0?[1-9]|[12]\d|3[01])"  # a waist of 34/26/38 is no date
_DATES = re.compile(
    rf"\b\d{{4}}-\d{{1,2}}-\d{{1,2}}\b|\b{_DAY}[/.]{_DAY}[/.](?:\d{{4}}|\d{{2}})\b"
    rf"|\b(?:\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?)(?:{MONTHS})\b\.?(?:,?\s+(?:19|20)\d\d\b)?"
    rf"|\b(?:{MONTHS})\.?\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s+(?:19|20)\d\d\b)?"
    rf"|\b(?:{MONTHS})\.?,?\s+(?:19|20)\d\d\b|\b(?:19|20)\d\d\b|\b{WEEKDAYS}\b",
    re.IGNORECASE,
)
_AGES = re.compile(
    rf"\b\d{{1,3}}[\s-]*(?:years?|yrs?|yr)[\s.-]*(?:olds?|young)?\b|\b\d{{1,3}}[\s-]?(?:yo|y/o)\b"
    rf"|\b(?:age|aged|ages)\s+(?:of\s+)?\d{{1,3}}\b|\b(?:early|mid|late)?[\s-]*(?:\d0'?s|{DECADES})\b"
    rf"|\b(?:i am|i'm|im)\s+(?:over|under|almost|nearly)?\s*\d{{2}}\b(?!\s*(?:lb|pound|inch|cm|kg|'|\"|[a-d]\b))"
    r"|\b(?:my|our|your|her|his)\s+age(?:\s+group)?\b",
    re.IGNORECASE,
)
_MASKED = re.escape(MASK)
_MOST_PASSES = 5
_REPEATED = re.compile(rf"{_MASKED}(?:\s+{_MASKED})+")


def scrub(texts: Iterable[str], rules: Sequence[str]) -> list[str]:
    """Replace every match of registered scrubbers by ``MASK``, neighbouring masks joined; with ``style`` write plainly as well.

    The order of ``rules`` has no say. Raises ``InputError``: an unknown rule.

    >>> scrub(["She met Robert on 4 May 2021.", "no change"], ["names", "pronouns", "dates"])
    ['[removed] met [removed] on [removed].', 'no change']
    """
    ordered = sorted(set(rules), key=lambda name: (RULES.index(name) if name in RULES else _TURN_OF_OTHERS, name))
    chosen = [load_plugin("scrubbers", name, where="regimes: scrub") for name in ordered]
    return [_scrub_one(text, chosen) for text in texts]


def _scrub_one(text: str, rules: list[Callable[[str], str]]) -> str:
    before, flat = text, flatten_style in rules
    if flat:
        # "\u2460he" and "\u017fhe" are "1he" and "she" once style has written them plainly.
        text = unicodedata.normalize("NFKC", text)
    for _ in range(_MOST_PASSES if flat else 1):
        start = text
        for rule in rules:
            text = rule(text)
        if text == start or len(rules) == 1:
            break  # else style may have brought out a word that the masks are for, such as "she" of "sheee"
    return text if text == before else _REPEATED.sub(MASK, text)


def mask_ages(text: str) -> str:
    """Mask ages, in numbers or words."""
    return _AGES.sub(lambda match: match[0][: len(match[0]) - len(match[0].lstrip(" -"))] + MASK, text)


def mask_dates(text: str) -> str:
    """Mask dates, years and weekdays."""
    return _DATES.sub(lambda match: MASK, text)


def mask_gendered(text: str) -> str:
    """Mask gendered pronouns and words."""

    def mask(match: re.Match[str]) -> str:
        word = match.group().lower().replace("\u2019", "'")
        return MASK if word in GENDERED or word.removesuffix("'s") in GENDERED else match.group()

    return _WORD.sub(mask, text)


def mask_names(text: str) -> str:
    """Mask given names, and what looks like a name inside a sentence."""
    words = [match.group() for match in _WORD.finditer(text)]
    capitalised = sum(word[0].isupper() for word in words)
    # A title or a text in capitals says nothing by its capitals.
    telling = capitalised <= len(words) / 2

    def mask(match: re.Match[str]) -> str:
        word = match.group()
        lower = word.lower().replace("\u2019", "'").removesuffix("'s")
        if text[max(match.start() - 1, 0) : match.start()] == "[" and word == MASK[1:-1]:
            return word
        if lower in GIVEN_NAMES and lower not in AMBIGUOUS_NAMES:
            return MASK
        if not telling or not word[0].isupper() or word.lower() in NOT_NAMES or lower in NOT_NAMES:
            return word
        inside = _SENTENCE_START.search(text[max(match.start() - 12, 0) : match.start()]) is None and match.start() > 0
        return MASK if inside and (len(word) == 1 or not word.isupper()) else word

    return _WORD.sub(mask, text)
