"""Scrubbing: words of some kinds masked by fixed rules, as teams do who say that "the words were removed".

The rules are deterministic and made to be read, not to be the best there is. What they cannot do is part of what is audited:

- English only. A word that is in no list and follows no pattern stays.
- ``names``: given names of a built-in list, and capitalised words inside a sentence that are not known to be something else. In a
  text written without capitals only the list works; a name that is also a word ("Will", "Rose") is masked only where it is
  capitalised inside a sentence; a brand or a place inside a sentence is masked with the names.
- ``pronouns``: gendered pronouns and gendered words (he, her, wife, grandmother, ...).
- ``dates``: ISO and slashed dates, months with a day or a year, years 1900 to 2099, weekdays.
- ``ages``: "45 years old", "age 45", "in my fifties", "45-year-old", "my age".
- ``style``: habits of writing flattened on the surface (capitals, marks, emoticons, drawn-out words, contractions, white space; see
  ``scrub_style``). It masks nothing and changes nearly every text; word choice, length and grammar stay. What it brings out
  ("sheee") the other rules mask as well.
- Every match of the other rules becomes the same mask, so the mask says that something was there, not what: how many masks a text has
  is itself a trace.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from proxyaudit.data.scrub_style import flatten_style
from proxyaudit.registry import load_plugin


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


GENDERED = _words("""
he she him her his hers himself herself he's she's he'd she'd he'll she'll
mr mrs ms miss mister missus sir madam ma'am lady ladies gentleman gentlemen lord dame
man men woman women male males female females guy guys gal gals bloke lad lads lass lasses
boy boys girl girls boyfriend boyfriends girlfriend girlfriends husband husbands wife wives hubby fiance fiancee
groom grooms bride brides bachelor widow widows widower
father fathers mother mothers dad dads daddy mom moms mommy mum mums mummy mama papa
grandfather grandmother grandpa grandma granny grandad granddad
son sons daughter daughters brother brothers sister sisters uncle uncles aunt aunts auntie niece nieces nephew nephews
grandson grandsons granddaughter granddaughters stepfather stepmother stepson stepdaughter
king queen prince princess actor actress actresses waiter waitress waitresses steward stewardess policeman policewoman
businessman businesswoman salesman saleswoman chairman chairwoman spokesman spokeswoman landlord landlady
""")

# Common given names in the United States of several generations and origins.
GIVEN_NAMES = _words("""
james robert john michael david william richard joseph thomas christopher charles daniel matthew anthony donald steven andrew
paul joshua kenneth kevin brian timothy ronald jason george edward jeffrey ryan jacob nicholas gary jonathan stephen larry justin
scott brandon benjamin samuel gregory alexander patrick jack dennis jerry tyler aaron jose adam nathan henry zachary douglas peter
kyle noah ethan jeremy walter christian keith austin roger terry sean gerald carl dylan harold jordan jesse bryan lawrence arthur
gabriel bruce logan billy joe alan juan elijah willie albert wayne randy vincent mason roy ralph bobby russell bradley philip eugene
mary patricia jennifer linda elizabeth barbara susan jessica sarah karen lisa nancy betty sandra margaret ashley kimberly emily donna
michelle carol amanda melissa deborah stephanie rebecca sharon laura cynthia dorothy amy kathleen angela shirley emma brenda pamela
nicole anna samantha katherine christine debra rachel carolyn janet maria catherine heather diane olivia julie joyce victoria ruth
virginia lauren kelly christina joan evelyn judith andrea hannah megan cheryl jacqueline martha madison teresa gloria sara janice ann
kathryn abigail sophia frances jean alice judy isabella julia denise amber beverly danielle theresa marilyn diana natalie brittany
charlotte marie kayla alexis lori anne kate katie claire chloe zoe molly lucy ella ava mia
latoya lakisha tamika ebony aisha keisha tanisha kenya jamal darnell tyrone leroy jermaine rasheed kareem hakim tremayne deshawn
carlos luis miguel jesus manuel antonio pedro alejandro francisco rosa guadalupe juana carmen ana sofia lucia elena
mohammed muhammad ahmed ali omar hassan fatima amina yusuf ibrahim priya raj amit anil sunil ravi deepak anjali pooja wei ming
hiroshi yuki kenji akira hyun nguyen
""")

# Names that are words as well: masked only where they are capitalised inside a sentence.
AMBIGUOUS_NAMES = _words("""
will mark grace hope may june april rose faith joy art bill bob chase dean drew frank gene grant guy hunter iris ivy jade lance
mason max miles nick olive pat penny pearl ray rich rob ruby sky sue summer violet wade ward wren christian jean jack jordan
""")

# Capitalised inside a sentence, yet no name of a person.
NOT_NAMES = _words("""
i i'm i've i'd i'll a ok okay tv usa us uk eu ny nyc la xs s m l xl xxl xxs monday tuesday wednesday thursday friday saturday sunday
january february march april may june july august september october november december
english french german spanish american british european asian african christmas easter thanksgiving halloween god
""")

MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?"
)
WEEKDAYS = "(?:mon|tues|wednes|thurs|fri|satur|sun)days?"
DECADES = "twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties"

# What stylometry goes by: words that come without thinking and have little to do with the subject. None of them is scrubbed.
FUNCTION_WORDS = _words("""
a about above after again against all almost along already also although always am among an and any anyway are around as at away
be because been before being below between both but by can cannot could did do does doing done down during each either else enough even
ever every few first for from further had has have having hence here how however i if in indeed instead into is it its itself just
least less like likely many may maybe me might mine more most much must my myself near neither never no nor not nothing now of off
often on once one only onto or other otherwise our ours ourselves out over own perhaps quite rather really same shall should since so
some somehow still such than that the their theirs them themselves then there therefore these they this those though through thus
till to together too toward towards under unless until up upon us very was we well were what whatever when whenever where whereas wherever
whether which while whilst who whoever whole whom whose why will with within without would yet you your yours yourself yourselves
""")


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
