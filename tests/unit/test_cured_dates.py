"""Dates of a cured release are written as they were read, whatever the century."""

import numpy as np
import pandas as pd
import pytest

from proxyaudit.audits.cure.run import _moments

TIMES = ["2517-08-01T00:00:05", "1860-06-25T18:00:00", "1970-01-01T12:00:01", "9999-12-31T23:59:59", "0001-01-01T06:00:00"]


@pytest.mark.parametrize("text", TIMES)
def test_days_are_moments_to_the_second(text):
    days = np.datetime64(text, "s").astype(np.int64) / 86_400
    written = _moments(pd.Series([days, np.nan], index=[7, 3], name="when"))
    assert (written.iloc[0], written.isna().tolist()) == (text, [False, True])
    assert (written.name, list(written.index)) == ("when", [7, 3])


def test_midnights_are_days_and_years_have_four_digits():
    assert _moments(pd.Series([-719162.0, 200000.0])).tolist() == ["0001-01-01", "2517-08-01"]
