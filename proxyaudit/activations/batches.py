"""Files of batches: the number that each name ends on, so that rows come in the order of the labels, or a refusal where it is open.

Rows in a wrong order hide what is there: nothing is put together unless the names leave one order.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from proxyaudit.activations.stored import Part
from proxyaudit.errors import InputError

_NUMBERED: Final = re.compile(
    r"(?P<head>(?P<site>.*?)[._ -]*(?P<word>batch|part|shard|chunk|rank)?[._ -]*)(?P<number>[0-9]+)(?:-of-(?P<of>[0-9]+))?", re.IGNORECASE
)
_COPY: Final = re.compile(r".*(?:\([0-9]+\)|[ ._-](?:copy|kopie|copie|copia)(?:[ ._-]*\(?[0-9]+\)?)?|~[0-9]*)|copy of .*", re.IGNORECASE)
_OF_LAYERS: Final = re.compile(r"(?:.*[._ -])?(?:layer|block|stage|site|head|h|l)s?[._ -]*", re.IGNORECASE)
_DECIMAL: Final = re.compile(r".*[0-9][.,]")
_LOOKED_AT: Final = 4096  # bytes that tell most batches apart
_BLOCK: Final = 2**25
_MEND: Final = (
    "name batches of one site alike with a plain number each, in the order of the labels (part-1.npy, part-2.npy), and of several "
    "sites with the site before it (layer0-part-1.npy, layer0-part-2.npy, layer1-part-1.npy)"
)


def site_of(stem: str) -> str:
    """What stands before the number of a batch; the whole name where it has none.

    >>> site_of("layer2.part-9"), site_of("part-00001-of-00003"), site_of("one")
    ('layer2', '', 'one')
    """
    found = _NUMBERED.fullmatch(stem)
    return found["site"].rstrip("._- ") if found else stem


def in_order(path: Path, parts: Sequence[Part]) -> tuple[Part, ...]:
    """Batches of one site by their numbers; ``InputError``: names leave it open what comes first, or a file is a copy of another."""
    if len(parts) == 1:
        return tuple(parts)
    names = [part.file.name for part in parts]
    found = [_NUMBERED.fullmatch(part.file.stem) for part in parts]
    if copy := next((part.file.name for part in parts if _COPY.fullmatch(part.file.stem)), None):
        raise InputError(f"'{copy[:80]}' is named as a copy", where=str(path), mend="move copies out of the folder, or " + _MEND)
    matches = [one for one in found if one is not None]
    if len(matches) < len(found):
        bare = next(name for name, one in zip(names, found, strict=True) if one is None)
        _refuse(path, f"'{bare[:80]}' ends on no plain number, so that it is open where its rows belong")
    heads = {(one["head"].casefold(), one["of"]): name for one, name in zip(matches, names, strict=True)}
    if len(heads) > 1:
        first, other = [name[:80] for name in heads.values()][:2]
        _refuse(path, f"'{first}' and '{other}' differ before their numbers: two sites, or batches of one in an order that is open")
    if not matches[0]["word"] and _OF_LAYERS.fullmatch(matches[0]["head"]):
        _refuse(path, f"'{names[0][:80]}' to '{names[-1][:80]}' are named as layers, but hold together the rows of one")
    numbers = [int(one["number"]) for one in matches]
    number, times = Counter(numbers).most_common(1)[0]
    if times > 1:
        twice = [name[:80] for name, one in zip(names, numbers, strict=True) if one == number][:2]
        _refuse(path, f"'{twice[0]}' and '{twice[1]}' have one number")
    order = sorted(range(len(parts)), key=numbers.__getitem__)
    if _DECIMAL.fullmatch(matches[0]["head"]) and order != sorted(order, key=lambda place: float(f"0.{matches[place]['number']}")):
        _refuse(path, f"'{names[order[0]][:80]}' may end on a decimal number, which would give the files another order")
    sorted_parts = tuple(parts[place] for place in order)
    _refuse_copies(path, sorted_parts)
    return sorted_parts


def _refuse(path: Path, what: str) -> None:
    raise InputError(what, where=str(path), mend=_MEND)


def check_complete(path: Path, files: Iterable[Path]) -> None:
    """``InputError`` where files that say how many they are (``-of-00003``) are not all there."""
    groups: dict[tuple[str, str], dict[int, Path]] = {}
    for file in files:
        one = _NUMBERED.fullmatch(file.stem)
        if one is not None and one["of"] is not None:
            groups.setdefault((one["head"].casefold(), one["of"]), {})[int(one["number"])] = file
    for (_, of), held in groups.items():
        start = 0 if 0 in held else 1
        lost = next((number for number in range(start, start + int(of)) if number not in held), None)
        if lost is not None:
            example = next(iter(held.values()))
            one = _NUMBERED.fullmatch(example.stem)
            assert one is not None
            missing = f"{one['head']}{lost:0{len(one['number'])}d}-of-{of}{example.suffix}"
            mend = f"put it there, or take '-of-{of}' out of the names if nothing is missing"
            raise InputError(f"'{missing[:120]}' is missing beside '{example.name[:80]}'", where=str(path), mend=mend)


def _refuse_copies(path: Path, parts: Sequence[Part]) -> None:
    """``InputError`` where two batches hold the same numbers; of files that begin otherwise only the beginning is read."""
    seen: dict[tuple[tuple[int, ...], str, bytes], list[Part]] = {}
    for part in parts:
        rows = max(1, _LOOKED_AT * len(part) // max(part.bytes, 1))
        start = part.read(slice(0, rows)).tobytes() if len(part) else b""
        if len(set(start)) <= 1:
            continue  # empty, or as good as: rows of nothing are no copies of one another
        alike = seen.setdefault((part.shape, part.dtype, start), [])
        if other := next((one for one in alike if _same(one, part)), None):
            what = f"'{part.file.name[:80]}' holds the same numbers as '{other.file.name[:80]}'"
            raise InputError(what, where=str(path), mend="move the copy out of the folder, and put the right file in its place")
        alike.append(part)


def _same(one: Part, other: Part) -> bool:
    step = max(1, _BLOCK * len(one) // max(one.bytes, 1))
    places = (slice(start, start + step) for start in range(0, len(one), step))
    return all(one.read(place).tobytes() == other.read(place).tobytes() for place in places)
