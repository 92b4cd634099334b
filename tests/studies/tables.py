"""Tables of the studies, written between markers of the pages that show them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from proxyaudit.audits.selftest.run import SEEDS_APART, VERDICTS, Case, ModelCase, SelfTest, model_confusion, model_rates
from tests.studies import coverage, decisions

ROOT = Path(__file__).parents[2]
FILES = (ROOT / "proxyaudit" / "docs" / "method.md", ROOT / "tests" / "studies" / "README.md")
Lines = list[dict[str, Any]]


def write_tables(results: Path) -> None:
    """Write the table of each study that has results."""
    studies = {
        "worlds": worlds_table,
        "models": models_table,
        "decisions": decisions_table,
        "coverage": coverage_table,
        "crossed": crossed_table,
    }
    for name, table in studies.items():
        file = results / f"{name}.jsonl"
        if file.exists():
            text = table([json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()])
            for page in FILES:
                page.write_text(between_markers(page.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def between_markers(page: str, name: str, text: str) -> str:
    """Put a text between the markers of a page; a page without them stays as it is."""
    start, end = f"<!-- study: {name} -->\n", f"<!-- end of study: {name} -->\n"
    if start not in page:
        return page
    return page[: page.index(start) + len(start)] + "\n" + text + "\n" + page[page.index(end) :]


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows]) + "\n"


def worlds_table(lines: Lines) -> str:
    """Confusion matrix and rates with exact bounds."""
    names = {field.name for field in fields(Case)}
    done = SelfTest(tuple(Case(**{k: v for k, v in line.items() if k in names}) for line in lines), 0)
    parts = {
        "present": "present, 2 to 10 times the margin",
        "margin": "present, exactly the margin",
        "absent": "absent",
        "large": "absent, 8,000 to 12,000 rows of 64 units",
    }
    rows = [[parts[part], expected, *(str(counts.get(v, 0)) for v in VERDICTS)] for part, expected, counts in done.confusion()]
    seeds = sorted({line["key"][0] for line in lines})
    rates = [[name, f"{rate['count']} of {rate['of']}", f"{rate['upper_95']:.1%}"] for name, rate in done.rates().items()]
    said = f"{len(lines)} random worlds, seed {', '.join(map(str, seeds))}; rows: the truth, columns: the verdict.\n\n"
    return (
        said + markdown(["truth", "a perfect audit says", *VERDICTS], rows) + "\n" + markdown(["error", "cases", "95 % upper bound"], rates)
    )


def model_cases(lines: Lines) -> list[ModelCase]:
    """The audited planted models that lines tell of."""
    names = {field.name for field in fields(ModelCase)}
    return [ModelCase(**{k: tuple(v) if isinstance(v, list) else v for k, v in line.items() if k in names}) for line in lines]


def models_table(lines: Lines) -> str:
    """Verdicts by kind of planted model, and rates with exact bounds."""
    cases = model_cases(lines)
    rows = [
        [kind.replace("_", " "), expected, *(str(counts.get(v, 0)) for v in VERDICTS)] for kind, expected, counts in model_confusion(cases)
    ]
    seeds = sorted({case.seed // SEEDS_APART for case in cases})
    about = f"{len(cases)} planted models, seed {', '.join(map(str, seeds))}; rows: what was planted, columns: the verdict.\n\n"
    rates = [
        [name.removeprefix("models: "), f"{rate['count']} of {rate['of']}", f"{rate['upper_95']:.1%}"]
        for name, rate in model_rates(cases).items()
        if rate["of"]
    ]
    return (
        about
        + markdown(["planted", "a perfect audit says", *VERDICTS], rows)
        + "\n"
        + markdown(["error", "models", "95 % upper bound"], rates)
    )


def decisions_table(lines: Lines) -> str:
    """Shares called absent and present."""
    rows = []
    for index, setting in enumerate(decisions.SETTINGS):
        cells, most = [], 0
        for leak in decisions.LEAKS:
            states = Counter(line["state"] for line in lines if (line["setting"], line["leak"]) == (index, leak))
            count = sum(states.values())
            most = max(most, count)
            cells.append(f"{states['absent'] / count:.2f} / {states['present'] / count:.2f}" if count else "")
        if most:
            rows.append([setting.name, str(setting.d), f"{setting.n:,}", str(most), *cells])
    return markdown(["attribute", "d", "n", "cases", *(f"{leak:g}" for leak in decisions.LEAKS)], rows)


def coverage_table(lines: Lines) -> str:
    """Share of intervals that hold the truth."""
    rows = []
    for index, (d, n) in enumerate(coverage.SIZES):
        own = [line for line in lines if line["size"] == index]
        shares = [_share([line for line in own if line["truth"] == truth]) for truth in coverage.TRUTHS]
        if own:
            rows.append([str(d), f"{n:,}", str(len(own)), *shares, _share(own)])
    return markdown(["d", "n", "repetitions", *(f"{truth:g}" for truth in coverage.TRUTHS), "all"], rows)


def crossed_table(lines: Lines) -> str:
    """The same for several models on the same rows."""
    held = sum(map(coverage.covers, lines))
    low, high = stats.binomtest(held, len(lines)).proportion_ci(0.95)
    width = float(np.median([line["high"] - line["low"] for line in lines if line["low"] is not None]))
    return (
        f"{coverage.MODELS} models on the same {coverage.CROSSED_SIZE[1]:,} rows of {coverage.CROSSED_SIZE[0]} units, mean leak "
        f"{coverage.mean_leak():.3f}: {held} of {len(lines)} intervals hold it ({held / len(lines):.3f}, 95 % interval {low:.3f} to "
        f"{high:.3f}; median width {width:.3f}).\n"
    )


def _share(lines: Lines) -> str:
    return f"{sum(map(coverage.covers, lines)) / len(lines):.3f}" if lines else ""
