"""Tables of the studies, written between markers of the pages that show them."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from proxyaudit.audits.selftest.run import SEEDS_APART, VERDICTS, Case, ModelCase, SelfTest, model_confusion, model_rates
from tests.studies import coverage, crossed, decisions, growth, randomised, real, trees, worlds

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
        "several": several_table,
        "crossed": crossed_table,
        "looks": looks_table,
        "real": real_table,
        "growth": growth_table,
        "trees": trees_table,
        "randomised": randomised_table,
    }
    for name, table in studies.items():
        file = results / f"{name}.jsonl"
        if file.exists():
            lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            text = table(lines) + cost_line(lines)
            for page in FILES:
                page.write_text(between_markers(page.read_text(encoding="utf-8"), name, text), encoding="utf-8")


def cost_line(lines: Lines) -> str:
    """Processor time of the cases whose time was taken; empty where none was."""
    took = {json.dumps(line["key"]): line["processor_seconds"] for line in lines if "processor_seconds" in line}
    if not took:
        return ""
    total, most = sum(took.values()), max(took.values())
    return f"\nProcessor time: {total / 60:,.0f} minutes for {len(took):,} cases, {total / len(took):.1f} s each, {most:,.0f} s at most.\n"


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
        "present family": "of the five kinds below, 2 to 4 times the margin",
        "absent family": "of the five kinds below, absent",
    }
    rows = [[parts[part], expected, *(str(counts.get(v, 0)) for v in VERDICTS)] for part, expected, counts in done.confusion()]
    seeds = sorted({line["key"][0] for line in lines})
    rates = [[name, f"{rate['count']} of {rate['of']}", f"{rate['upper_95']:.1%}"] for name, rate in done.rates().items()]
    said = f"{len(lines)} random worlds, seed {', '.join(map(str, seeds))}; rows: the truth, columns: the verdict.\n\n"
    text = (
        said + markdown(["truth", "a perfect audit says", *VERDICTS], rows) + "\n" + markdown(["error", "cases", "95 % upper bound"], rates)
    )
    groups = ideal_groups(lines)
    return text + ("\n" + ideal_table(groups) if groups else "")


def ideal_groups(lines: Lines) -> dict[str, Lines]:
    """Worlds that were audited beside an ideal test: those drawn at random, and each kind that was drawn apart."""
    lines = [line for line in lines if "ideal" in line]
    groups = {"drawn at random": [line for line in lines if line["part"] in ("present", "absent", "large")]}
    apart = [line for line in lines if line["part"] in worlds.FAMILY_PARTS]
    for place, name in enumerate(worlds.FAMILIES):
        groups[name] = [line for line in apart if line["key"][2] % len(worlds.FAMILIES) == place]
    return {name: own for name, own in groups.items() if own}


def reached_and_ideal(lines: Lines, verdict: str) -> tuple[int, float]:
    """How often worlds that deserve a verdict got it, and how often an ideal test would have given it."""
    own = [line for line in lines if line["expected"] == verdict]
    return sum(line["verdict"] == verdict for line in own), sum(line["ideal"] for line in own)


def bound_ratio(lines: Lines, channel: str) -> float | None:
    """Median, over absent worlds, of the bound that was reached over the ideal one; ``None`` where no audit told one."""
    pairs = [(line[f"reached_{channel}"], line[f"bound_{channel}"]) for line in lines if line[f"bound_{channel}"] is not None]
    # Where an ideal test could rule something out and the audit nothing, it is infinitely worse.
    ratios = [math.inf if reached is None else reached / ideal for reached, ideal in pairs]
    return float(np.median(ratios)) if any(reached is not None for reached, _ in pairs) else None


def ideal_table(groups: dict[str, Lines]) -> str:
    """Verdicts reached against those that an ideal test would reach, and bounds against its bounds."""
    rows = []
    for name, own in groups.items():
        cells = [name]
        for verdict in _PERFECT:
            reached, ideal = reached_and_ideal(own, verdict)
            cells.append(f"{reached} / {ideal:.1f} = {reached / ideal:.2f}" if ideal else "")
        cells.append(str(sum(line["verdict"] not in (line["expected"], "inconclusive") for line in own)))
        ratios = [bound_ratio(own, channel) for channel in ("linear", "nonlinear")]
        rows.append([*cells, *("not told" if ratio is None else f"{ratio:.2f}" for ratio in ratios)])
    header = ["worlds", *(f"{verdict}: reached / ideal" for verdict in _PERFECT), "wrong"]
    return markdown([*header, "linear bound over the ideal one (median)", "non-linear"], rows)


_PERFECT = ("exposed", "hidden", "removed")


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


def randomised_table(lines: Lines) -> str:
    """Coins that were told as changed by training, and placebos that were told as singled out, by table."""
    rows = [[str(value) for value in row.values()] for row in randomised.table_of(lines)]
    seeds = ", ".join(map(str, sorted({line["key"][0] for line in lines})))
    header = ["table", "coins", "told as changed by training", "task-matched placebos", "told as singled out"]
    return f"Seed {seeds}.\n\n" + markdown(header, rows)


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


def several_table(lines: Lines) -> str:
    """The same for several models on the same rows."""
    held = sum(map(coverage.covers, lines))
    low, high = stats.binomtest(held, len(lines)).proportion_ci(0.95)
    width = float(np.median([line["high"] - line["low"] for line in lines if line["low"] is not None]))
    return (
        f"{coverage.MODELS} models on the same {coverage.SEVERAL_SIZE[1]:,} rows of {coverage.SEVERAL_SIZE[0]} units, mean leak "
        f"{coverage.mean_leak():.3f}: {held} of {len(lines)} intervals hold it ({held / len(lines):.3f}, 95 % interval {low:.3f} to "
        f"{high:.3f}; median width {width:.3f}).\n"
    )


def crossed_table(lines: Lines) -> str:
    """Intervals of means over tables crossed with models: what they hold, and how wide they are."""
    rows = [
        [
            name,
            f"{found['audits']:,.0f}",
            *(f"{found[key]:.3f}" for key in ("coverage", "worst number")),
            "-" if math.isnan(found["next model"]) else f"{found['next model']:.3f}",
            *(f"{found[key]:.2f}" for key in ("median width", "mean width")),
            *(f"{found[key]:.4f}" for key in ("absent", "absent worst")),
        ]
        for name, found in crossed.rates(lines).items()
    ]
    heads = ["world", "audits", "coverage", "of the worst number", "of the next model", "median width", "mean width"]
    return markdown([*heads, "called absent", "of the worst number"], rows)


def looks_table(lines: Lines) -> str:
    """What numbers are called at the last look, and how many models that took."""
    rows = [
        [
            name,
            f"{found['numbers']:,.0f}",
            *(f"{found[key]:.4f}" for key in ("absent", "absent at one look", "present", "coverage")),
            f"{found['models']:.1f}",
        ]
        for name, found in crossed.look_rates(lines).items()
    ]
    return markdown(
        ["truth, rule, repetitions", "numbers", "called absent", "absent at one look", "called present", "coverage", "models trained"], rows
    )


def growth_table(lines: Lines) -> str:
    """Processor seconds along each axis, and the power of the size that they grow with."""
    rows = []
    for axis, values in growth.AXES.items():
        seconds = {line["value"]: line["seconds"] for line in lines if line["axis"] == axis}
        done = [value for value in values if value in seconds]
        shown = ", ".join(f"{value:,}: {seconds[value]:.0f}" for value in done)
        power = float(np.polyfit(np.log(done), np.log([seconds[value] for value in done]), 1)[0]) if len(done) > 1 else math.nan
        off = [line["seconds"] / line["planned"] for line in lines if line["axis"] == axis]
        beside = f"{min(off):.1f} to {max(off):.1f}" if off else "-"
        rows.append([axis, shown or "-", "-" if math.isnan(power) else f"{power:.2f}", beside])
    return markdown(["axis", "processor seconds by size", "grows with size to the power of", "times what the plan says"], rows)


def trees_table(lines: Lines) -> str:
    """Verdicts on planted trees, and how many of their channels say the opposite of the truth."""
    rows = [
        [kind, trees.TRUTH[kind][0], *(str(counts[name]) for name in ("right", "inconclusive", "wrong", "wrong_channels"))]
        for kind, counts in trees.outcomes(lines).items()
    ]
    seeds = ", ".join(sorted({str(line["key"][0]) for line in lines}))
    heads = ["planted", "a perfect audit says", "right", "inconclusive", "wrong", "channels that say the opposite"]
    return f"{len(lines)} planted ensembles, seed {seeds}.\n\n" + markdown(heads, rows)


def _share(lines: Lines) -> str:
    return f"{sum(map(coverage.covers, lines)) / len(lines):.3f}" if lines else ""


def real_table(lines: Lines) -> str:
    """Of real tables: verdicts, how many are decided, and what leaves the others open."""
    failed = [line for line in lines if "failed" in line]
    told = [line for line in lines if "verdict" in line]
    parts = [_real_summary(told), _real_verdicts(told), _real_blocks(told)] if told else []
    parts += [f"{line['table']} could not be audited: {line['failed']}.\n" for line in failed]
    return "\n".join(part for part in parts if part)


def _real_summary(lines: Lines) -> str:
    groups: dict[str, Lines] = {
        name: [line for line in lines if line["table"] == name] for name in dict.fromkeys(x["table"] for x in lines)
    }
    for name, enough in ((f"all of {real.ENOUGH_ROWS:,} audit rows and more", True), ("all of fewer", False)):
        groups[name] = [line for line in lines if line["enough_rows"] == enough]
    rows = []
    for name, own in ((name, own) for name, own in groups.items() if own):
        decided = [line for line in own if line["kind"] == "protected"]
        plain = [line for line in own if line["kind"] != "protected"]
        audit = ", ".join(dict.fromkeys(f"{line['audit_rows']:,}" for line in own))
        minutes = sum({line["table"]: line["processor_seconds"] for line in own}.values()) / 60
        share = sum(line["verdict"] != "inconclusive" for line in decided)
        present = sum(is_present(line) for line in plain)
        removed = sum(line["verdict"] == "removed" for line in plain)
        ideal = sum(line["ideal_removed"] for line in plain)
        cells = [f"{share} of {len(decided)}", f"{present} of {len(plain)}", f"{removed} of {len(plain)}", f"{ideal:.1f}"]
        rows.append([name, audit, f"{minutes:.1f}", *cells])
    meaningless = ["meaningless called present", "meaningless removed", "an ideal test"]
    return markdown(["table", "audit rows", "processor minutes", "protected decided", *meaningless], rows)


def is_present(line: dict[str, Any]) -> bool:
    """Whether a line claims that the attribute is there."""
    return line["verdict"] in ("exposed", "hidden") or line["at_least"] is not None


def _real_verdicts(lines: Lines) -> str:
    regimes = [regime for regime in dict.fromkeys(line["regime"] for line in lines) if regime != "real"]
    by_place = {(line["table"], line["attribute"], line["regime"]): line for line in lines}
    rows = []
    for table, attribute in dict.fromkeys((line["table"], line["attribute"]) for line in lines):
        cells = []
        for regime in ("real", *regimes):
            line = by_place.get((table, attribute, regime))
            at_least = "" if line is None or line["at_least"] is None else f", at least {line['at_least']}"
            cells.append("" if line is None else line["verdict"] + at_least)
        rows.append([table, attribute, *cells])
    return markdown(["table", "attribute", "real", *regimes], rows)


def _real_blocks(lines: Lines) -> str:
    """What leaves verdicts open, the most frequent first; ``alone`` counts verdicts that no other channel leaves open."""
    found: dict[tuple[str, str, str], list[tuple[int, bool, str]]] = defaultdict(list)
    for place, line in enumerate(lines):
        channels = {block["channel"] for block in line["blocked"]}
        for block in line["blocked"]:
            found[_way(block)].append((place, len(channels) == 1, block.get("reason") or ""))
    rows = []
    for way, cases in sorted(found.items(), key=lambda item: (-len({case[0] for case in item[1]}), item[0])):
        protected, plain = ({case[0] for case in cases if (lines[case[0]]["kind"] == "protected") == asked} for asked in (True, False))
        alone = len({place for place, only, _ in cases if only})
        example = Counter(reason for _, _, reason in cases).most_common(1)[0][0]
        rows.append([way[0], way[1], way[2], str(len(protected)), str(len(plain)), str(alone), example])
    header = ["channel", "measure", "how it stays open", "protected", "meaningless", "alone", "most frequent reason"]
    return markdown(header, rows) if rows else ""


def _way(block: dict[str, Any]) -> tuple[str, str, str]:
    # Without a test of absence nothing could have been called absent, however small the number.
    barred = block["outcome"] != "no number" and block.get("value") is not None and block.get("p_absent") is None
    return block["channel"], block["measure"], f"{block['outcome']}, absence barred" if barred else str(block["outcome"])
