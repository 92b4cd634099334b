"""Moments as documents write them: UTC, to the second, in one form, so that they compare as texts; a day that there is."""

import datetime
import re
from typing import Annotated, Any

from pydantic import AfterValidator

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\+00:00")


def is_moment(value: Any) -> bool:
    """Whether a value is one.

    >>> is_moment("2026-11-30T05:51:58+00:00"), is_moment("2026-13-30T05:51:58+00:00"), is_moment("2026-11-30")
    (True, False, False)
    """
    if not isinstance(value, str) or _FORM.fullmatch(value) is None:
        return False
    try:
        datetime.datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _checked(text: str) -> str:
    if not is_moment(text):
        raise ValueError("it is no moment such as 2026-11-30T05:51:58+00:00")
    return text


Moment = Annotated[str, AfterValidator(_checked)]
