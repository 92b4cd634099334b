"""Files of skops: objects of scikit-learn as data, opened only where every type in them is known, and never asked to do anything."""

import io
import zipfile
from collections.abc import Collection
from typing import Any

from proxyaudit.limits import MOST_UNPACKED, at_most, how_to_raise
from proxyaudit.models.libraries import Unfit, imported


def open_skops(data: bytes, *, trustable: Collection[str], trusted: Collection[str], save: str) -> Any:
    """What a skops file holds; only plain data are to be taken from it. ``save`` says how to save what is read.

    Types that skops does not trust by itself are loaded where the recipe names them (``trusted``), and only those that are known to be
    plain data (``trustable``). Raises ``Unfit``: it holds others.
    """
    skops = imported("skops.io")
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        if sum(entry.file_size for entry in packed.infolist()) > at_most(MOST_UNPACKED):
            raise Unfit(f"unpacks to more than {at_most(MOST_UNPACKED) / 2**30:,.0f} GiB", f"save a smaller model; {how_to_raise()}")
    found = sorted(str(name) for name in skops.get_untrusted_types(data=data))
    strange = [name for name in found if name not in trustable]
    if strange:
        raise Unfit(f"holds types that are not loaded, since they could run code: {', '.join(strange[:8])}", save)
    unnamed = [name for name in found if name not in trusted]
    if unnamed:
        mend = f"if you trust the file, name them under model: trusted: [{', '.join(found)}]"
        raise Unfit(f"holds types that skops does not trust: {', '.join(unnamed)}", mend)
    return skops.loads(data, trusted=found)
