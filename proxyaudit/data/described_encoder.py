"""An encoder as plain data, which the signatures of a run keep, and the encoder again from it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast, get_args

import numpy as np
import pandas as pd

from proxyaudit.data.columns import MISSING, OTHER
from proxyaudit.data.encoding import CategoricalPart, Encoder, Native, NumericPart, Part, PlainPart, encoder_of


def describe_encoder(encoder: Encoder) -> list[dict[str, Any]]:
    """The encoder as plain data, without the names of levels that too few rows have."""
    found: list[dict[str, Any]] = []
    for part in encoder.parts:
        if isinstance(part, NumericPart):
            numbers = None if part.codes is None else [None if np.isnan(value) else value for value in part.codes]
            told = {key: value for key, value in asdict(part).items() if key not in ("native", "codes", "splits", "usual")}
            found.append({"kind": "numeric", **told, "missing": _coarse(part.missing), **_own_way(part.native, numbers)})
        elif isinstance(part, CategoricalPart):
            shares = {"missing": _coarse(part.missing), "rare": _coarse(part.rare_share)}
            # A model's codes stay where they are, those of too few people without their names.
            codes = None if part.codes is None else [level if level in part.levels else "" for level in part.codes]
            found.append({"kind": "categorical", "name": part.name, "levels": list(part.levels), **shares, **_own_way(part.native, codes)})
        else:
            found.append({"kind": "plain", "name": part.name})
    return found


def _own_way(native: Native, codes: list[Any] | None) -> dict[str, Any]:
    """How a model reads a column natively; nothing where it does not."""
    return {key: value for key, value in (("native", native), ("codes", codes)) if value}


def _coarse(share: float) -> float:
    """In steps of 5 %, so that no few rows can be read off."""
    return round(share * 20) / 20


def encoder_again(parts: list[dict[str, Any]], frame: pd.DataFrame) -> Encoder:
    """The encoder of :func:`describe_encoder`, for coerced rows.

    Rare levels were not written down: a level of ``frame`` without a column of its own goes where they went. Raises ``KeyError``: a part
    lacks what its kind needs. Raises ``ValueError``: a part is of no known kind, or its numbers cannot scale a column.
    """
    made: list[Part] = []
    for part in parts:
        name = str(part["name"])
        if part["kind"] == "numeric":
            fill, mean, scale = (float(part[key]) for key in ("fill", "mean", "scale"))
            if not (np.isfinite([fill, mean, scale]).all() and scale > 0):
                raise ValueError("a scale must be a positive number")
            # The first signatures do not say how many values were missing, or rare: then gaps and rare levels are not counted.
            missing = float(part.get("missing", bool(part["indicator"])))
            codes = None if "codes" not in part else tuple(np.nan if value is None else float(value) for value in part["codes"])
            made.append(NumericPart(name, fill, mean, scale, bool(part["indicator"]), missing, _native(part), codes))
        elif part["kind"] == "categorical":
            levels = tuple(str(level) for level in part["levels"])
            pooled = frozenset(str(v) for v in frame[name].dropna().unique()) - frozenset(levels)
            shares = (float(part.get("missing", MISSING in levels)), float(part.get("rare", OTHER in levels)))
            words = None if "codes" not in part else tuple(str(level) for level in part["codes"])
            made.append(CategoricalPart(name, levels, pooled, *shares, exact=False, native=_native(part), codes=words))
        elif part["kind"] == "plain":
            made.append(PlainPart(name))
        else:
            raise ValueError("an encoder part is of no known kind")
    return encoder_of(made)


def _native(part: Mapping[str, Any]) -> Native:
    found = part.get("native", "")
    if found not in get_args(Native):
        raise ValueError("an encoder part is read in no known way")
    return cast(Native, found)
