"""A file of LightGBM that the audit reads as one model and the library as another: refused, or read as the library reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tree_models import COLUMNS, needs, outside, table

from proxyaudit.models.kinds.lightgbm import LightGBMSpec
from proxyaudit.models.libraries.lightgbm import read

pytestmark = needs("lightgbm")
Change = Callable[[str], str]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return outside("lightgbm", tmp_path_factory.mktemp("model"))[0].read_text()


def sized(text: str) -> str:
    """The file with the lengths that its trees have."""
    _, *trees = re.split(r"(?m)^(?=Tree=)", text.partition("end of trees")[0])
    sizes = " ".join(str(len(tree.encode())) for tree in trees)
    return re.sub("(?m)^tree_sizes=.*", f"tree_sizes={sizes}", text, count=1)


def set_first(key: str, value: str) -> Change:
    return lambda text: sized(re.sub(f"(?m)^{key}=\\S+", f"{key}={value}", text, count=1))


def after_first(key: str, more: str) -> Change:
    return lambda text: sized(re.sub(f"(?m)^({key}=.*)$", rf"\1{more}", text, count=1))


REFUSED: dict[str, Change] = {
    "fewer trees": lambda text: re.sub(r"(?m)^(tree_sizes=\S+ \S+) .*", r"\1", text),
    "two trees as one": lambda text: re.sub(r"(?m)^tree_sizes=(\d+) (\d+)", lambda m: f"tree_sizes={int(m[1]) + int(m[2])}", text),
    "no tree": lambda text: re.sub(r"(?m)^tree_sizes=.*", "tree_sizes=", text),
    "a number with a line": set_first("threshold", "1_0"),
    "digits of another script": set_first("leaf_value", "٣"),
    "another blank": lambda text: sized(re.sub(r"(?m)^(leaf_value=\S+) ", "\\1\u2003", text, count=1)),
    "a sigmoid with a line": lambda text: text.replace("sigmoid:1", "sigmoid:1_0"),
    "an end of a line for the library": lambda text: sized(re.sub(r"(?m)^(shrinkage=\S+)$", "\\1\rleaf_value=3", text, count=1)),
    "a sigmoid of zero": lambda text: text.replace("sigmoid:1", "sigmoid:0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_library_reads_otherwise_is_refused(name: str, text: str) -> None:
    changed = REFUSED[name](text)
    assert changed != text
    with pytest.raises(ValueError, match=r"\w"):
        read(LightGBMSpec(kind="lightgbm"), changed.encode())


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_line_ends_where_it_ends_for_the_library(end: str, text: str, tmp_path: Path) -> None:
    """A second value of a key, behind what ends a line for Python alone, is none."""
    import lightgbm

    count = len(re.search("(?m)^leaf_value=(.*)$", text)[1].split())  # type: ignore[index]
    changed = after_first("shrinkage", f"{end}leaf_value={' '.join(['3.0'] * count)}")(text)
    (tmp_path / "model.txt").write_bytes(changed.encode())
    x = table()[list(COLUMNS)].to_numpy(np.float32)
    expected = lightgbm.Booster(model_file=str(tmp_path / "model.txt")).predict(x, num_threads=1, raw_score=True)
    plain, found = (read(LightGBMSpec(kind="lightgbm"), one.encode()) for one in (text, changed))
    for one, other in zip(plain.trees, found.trees, strict=True):
        np.testing.assert_array_equal(one.value_mv, other.value_mv)
    lightgbm_plain = lightgbm.Booster(model_str=text).predict(x, num_threads=1, raw_score=True)
    np.testing.assert_allclose(expected, lightgbm_plain)
