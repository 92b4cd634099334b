"""From measurements of single models to estimates, controls and findings over seeds and regimes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from proxyaudit.data.dataset import Attribute
from proxyaudit.data.unseen import NOT_SEEN
from proxyaudit.models.base import PENULTIMATE
from proxyaudit.pipeline.cells import (
    Cell,
    decide_cells,
    gap_in,
    gaps_within_label,
    largest_gap,
    over_seeds,
    weighted_sum,
)
from proxyaudit.pipeline.controls import FAILED_AT, add_controls, negative_controls
from proxyaudit.pipeline.effort_cells import add_effort
from proxyaudit.pipeline.ledger import UNIT_CLASSES, UNIT_GAP, UNIT_VALUES, Ledger, Run, significant
from proxyaudit.pipeline.localisation_cells import add_localisation
from proxyaudit.pipeline.measure import OUTPUT_SITE, group_codes
from proxyaudit.pipeline.methods import METHODS, NEGATIVE_FAILED, POOLED
from proxyaudit.pipeline.plan import LEVEL, Prepared
from proxyaudit.pipeline.planted_cells import planted_cell
from proxyaudit.pipeline.probing import Measurement, cell_key, classes_of, known_rows
from proxyaudit.pipeline.proxy_cells import add_proxies
from proxyaudit.pipeline.relearning_cells import CHANNEL as RELEARNED
from proxyaudit.pipeline.relearning_cells import CONTEXT, METHOD, add_relearning, relearned_cell
from proxyaudit.pipeline.tasks import INPUT_SITE, audit_labels, compared_groups
from proxyaudit.pipeline.use_cells import add_use_beside, add_use_controls, use_cells
from proxyaudit.probes.crossfit import auroc
from proxyaudit.stats.flatness import NOT_FLAT, surely_flat
from proxyaudit.stats.intervals import Measured, crossed_interval, p_above, p_below
from proxyaudit.types import Basis

Floats = NDArray[np.float64]

FEWEST_IN_LABEL = 30


class Assembler:
    """Builds the ledger of one run."""

    def __init__(self, prepared: Prepared, inputs: Measurement, placebos: dict[str, NDArray[Any]], runs: Iterable[Run]) -> None:
        """Keep what the estimates are made from."""
        self.prepared, self.inputs, self.placebos = prepared, inputs, placebos
        self.runs = {run.regime: run for run in runs}
        self.dataset, self.margins = prepared.dataset, prepared.recipe.margins
        self.clusters = prepared.dataset.clusters
        self.labels = audit_labels(prepared)
        self.followed = compared_groups(prepared)
        self.sites, self.verdict_sites = prepared.model.sites, prepared.model.verdict_sites
        self.ledger = Ledger()
        self.basis: dict[tuple[str, str], Basis | None] = {}
        self.negatives = negative_controls(self.runs.values(), self.dataset.attributes, self.sites)

    def build(self) -> Ledger:
        """Fill the ledger: inputs, regimes with references, controls."""
        self._add_inputs()
        for regime in self.prepared.regimes:
            run = self.runs[regime.name]
            cells = [cell for attribute in self.dataset.attributes for cell in self._cells(attribute, run)]
            if regime.is_reference:
                # A reference has numbers, never a verdict.
                cells = [replace(cell, decides=False, reason=None if cell.measured is not None else cell.reason) for cell in cells]
            if regime.name in self.prepared.plan.get("no_absence", ()):
                cells = [cell if cell.measured is None else replace(cell, can_be_absent=False, reason=NOT_SEEN) for cell in cells]
            blocked = {key[1:]: NEGATIVE_FAILED for key, p in self.negatives.items() if key[0] == regime.name and p <= FAILED_AT}
            for cell in decide_cells(cells, blocked):
                self.ledger.add(cell)
            for attribute in self.dataset.attributes:
                self._add_beside(attribute, run, reference=regime.is_reference)
            self._add_task(run)
        add_proxies(self)
        add_localisation(self)
        add_controls(self.ledger, self.runs.values(), self.dataset.attributes, self.verdict_sites, self.margins, self.negatives)
        for run in self.runs.values():
            for attribute in self.dataset.attributes:
                add_use_controls(self.ledger, run, self.runs.get("untrained"), attribute.name, self.verdict_sites)
        return self.ledger

    # Cells ----------------------------------------------------------------------------------------------------------

    def _unit(self, attribute: Attribute) -> str:
        return UNIT_VALUES if classes_of(attribute) == 0 else UNIT_CLASSES

    def _rows(self, attribute: Attribute) -> int:
        return int(known_rows(attribute).sum())

    def _cells(self, attribute: Attribute, run: Run) -> list[Cell]:
        margins, cells = self.margins, []
        reference = self.prepared.regime(run.regime).is_reference
        for site in self.sites:
            if site not in self.verdict_sites:
                cells.append(self._leak("elsewhere", attribute, run, site, "linear"))
                if not reference:
                    cells.append(self._leak("elsewhere", attribute, run, site, "nonlinear", "nonlinear"))
                    if classes_of(attribute) == 0:
                        cells.append(self._leak("elsewhere", attribute, run, site, "quarters", "in quarters"))
                        cells.append(self._leak("elsewhere", attribute, run, site, "quarters nonlinear", "in quarters, nonlinear"))
                continue
            cells.append(self._leak("linear", attribute, run, site, "linear"))
            if not reference:
                cells.append(self._leak("nonlinear", attribute, run, site, "nonlinear"))
                cells.append(self._leak("beyond", attribute, run, site, "beyond", "beyond the label"))
                cells.append(self._leak("beyond", attribute, run, site, "beyond nonlinear", "beyond the label, nonlinear"))
                if classes_of(attribute) == 0:
                    cells.append(self._leak("linear", attribute, run, site, "quarters", "in quarters"))
                    cells.append(self._leak("nonlinear", attribute, run, site, "quarters nonlinear", "in quarters, nonlinear"))
        if not reference and (left := self.prepared.model.unprofiled):
            why = f"not every part of the model was looked at: nothing of {', '.join(left)} is among the profiled sites"
            cells.append(Cell("elsewhere", attribute.name, run.regime, margin=margins.leak, unit=self._unit(attribute), reason=why))
        cells.append(self._gap(attribute, run))
        cells.append(self._leak("expressed", attribute, run, OUTPUT_SITE, "linear", "output leak"))
        if not reference:
            cells.append(self._leak("expressed", attribute, run, OUTPUT_SITE, "nonlinear", "output leak, nonlinear", margins.leak))
            cells.append(self._relearned(attribute, run))
        return cells + self._use(attribute, run)

    def _relearned(self, attribute: Attribute, run: Run) -> Cell:
        unit, site = self._unit(attribute), PENULTIMATE
        base = Cell(RELEARNED, attribute.name, run.regime, site, CONTEXT, margin=self.margins.relearned, unit=unit, method=METHOD)
        untrained = self.runs.get("untrained")
        return relearned_cell(base, run.measured, untrained.measured if untrained else (), self.clusters)

    def _leak(
        self, channel: str, attribute: Attribute, run: Run, site: str, test: str, context: str | None = None, margin: float | None = None
    ) -> Cell:
        outputs = site == OUTPUT_SITE
        base = Cell(
            channel,
            attribute.name,
            run.regime,
            None if outputs else site,
            context,
            margin=margin or (self.margins.nonlinear if test.endswith("nonlinear") else self.margins.leak),
            unit=UNIT_CLASSES if test.startswith("quarters") else self._unit(attribute),
            method=METHODS[test] + ("; on the log-odds of the outputs" if outputs else ""),
        )
        per_seed = [m.numbers["cells"][attribute.name][site] for m in run.measured]
        arrays = [m.arrays for m in run.measured]
        cell = planted_cell(base, per_seed, arrays, cell_key(attribute.name, site, ""), test, self.clusters)
        if test == "nonlinear" and not outputs and attribute.pools_levels:
            cell = replace(cell, can_be_absent=False, reason=POOLED)
        rows = self._rows(attribute)
        return replace(cell, n=min(rows, cell.extras.get("rows", rows)) if cell.n else None)

    def _gap(self, attribute: Attribute, run: Run) -> Cell:
        base = Cell(
            "expressed",
            attribute.name,
            run.regime,
            None,
            "gap",
            margin=self.margins.gap,
            unit=UNIT_GAP,
            method="largest difference in mean predicted probability over pairs of groups; simultaneous interval",
            can_be_absent=True,
        )
        if not run.measured:
            return replace(base, reason="the training or capture of this regime failed")
        groups, names = group_codes(attribute)
        found = largest_gap(run.outputs, groups, names, self.clusters, self.margins.gap, LEVEL)
        if classes_of(attribute) == 0 and not surely_flat(run.outputs, np.asarray(attribute.codes, dtype=np.float64), self.margins.gap):
            # Halves of a number can agree where its quarters do not.
            base = replace(base, can_be_absent=False, reason=NOT_FLAT)
        return replace(
            base,
            measured=found["measured"],
            interval=found["interval"],
            group=self._described(found),
            present_p=found["present_p"],
            absent_p=found["absent_p"],
            n=self._rows(attribute),
            extras={"pair": found["pair"], "column": found["column"]},
        )

    def _described(self, found: dict[str, Any]) -> str:
        classes = self.dataset.classes
        outcome = classes[1] if len(classes) == 2 else classes[found["column"]]
        return f"{found['group']}, predicted '{outcome}'"

    def _use(self, attribute: Attribute, run: Run) -> list[Cell]:
        found = self.inputs.numbers.get("association", {}).get(attribute.name, {}).get("units", {})
        carriers = [
            name for name, one in found.items() if "gain" not in one and one.get("association", {}).get("value", 0.0) > self.margins.leak
        ]
        return use_cells(self._use_base(attribute, run), run, self.runs.get("untrained"), self.verdict_sites, self.clusters, carriers)

    def _use_base(self, attribute: Attribute, run: Run) -> Cell:
        _, (low, high), _ = self.followed[attribute.name]
        return Cell("used", attribute.name, run.regime, group=f"{low} to {high}", margin=self.margins.effect, unit=UNIT_GAP)

    # Numbers reported beside the deciding ones ----------------------------------------------------------------------

    def _add_beside(self, attribute: Attribute, run: Run, *, reference: bool) -> None:
        if not run.measured:
            return
        per_seed = [m.numbers["cells"][attribute.name] for m in run.measured]
        for site in self.verdict_sites:
            if all("linear" in cells[site] for cells in per_seed):
                values = np.array([cells[site]["linear"]["unweighted"] for cells in per_seed])
                unit = UNIT_VALUES if classes_of(attribute) == 0 else "fraction of the attribute's entropy"
                self._report("linear", attribute, run.regime, site, "unweighted", float(values.mean()), unit, METHODS["raw"], values)
            add_effort(self.ledger, attribute.name, run.regime, site, [cells[site] for cells in per_seed])
        decided = self.ledger.find(RELEARNED, attribute.name, run.regime, context=CONTEXT)
        relearned = Cell(RELEARNED, attribute.name, run.regime, PENULTIMATE, unit=self._unit(attribute))
        add_relearning(self.ledger, self.ledger.cell_of(decided) if decided else None, run.measured, relearned, self.clusters)
        self._add_within(attribute, run)
        for site in (*self.sites, OUTPUT_SITE):
            relayed = np.array(
                [np.mean(column) for column in zip(*(cells[site].get("linear", {}).get("placebo", []) for cells in per_seed), strict=False)]
            )
            if len(relayed):
                shown = site if site != OUTPUT_SITE else None
                channel = "expressed" if site == OUTPUT_SITE else "linear" if site in self.verdict_sites else "elsewhere"
                context = f"{run.regime}: 95th percentile of {len(relayed)} placebos" + (", output leak" if shown is None else "")
                self._report(
                    channel,
                    attribute,
                    "placebo",
                    shown,
                    context,
                    float(np.quantile(relayed, 0.95)),
                    self._unit(attribute),
                    "label-planted on the inputs",
                )
            floor = [cells[site]["linear"]["null_high"] for cells in per_seed if "linear" in cells[site]]
            if floor and site in self.verdict_sites:
                self._report(
                    "linear",
                    attribute,
                    "floor",
                    site,
                    f"{run.regime}: 95th percentile of permuted labels",
                    float(np.mean(floor)),
                    self._unit(attribute),
                    METHODS["linear"],
                )
        gap = self.placebo_gap(attribute, run)
        if gap is not None:
            self._report(
                "expressed",
                attribute,
                "placebo",
                None,
                f"{run.regime}: 95th percentile of placebos, gap",
                gap,
                UNIT_GAP,
                "label-planted on the inputs",
            )
        if not reference:
            groups, _, output = self.followed[attribute.name]
            positive = self.labels == (1 if len(self.dataset.classes) == 2 else output)
            base = self._use_base(attribute, run)
            add_use_beside(self.ledger, base, run, self.verdict_sites, groups, output, positive, self.clusters)

    def _report(
        self,
        channel: str,
        attribute: Attribute,
        regime: str,
        site: str | None,
        context: str | None,
        value: float,
        unit: str,
        method: str,
        seeds: Floats | None = None,
    ) -> str:
        identifier = self.ledger.add(
            Cell(channel, attribute.name, regime, site, context, unit=unit, method=method, decides=False), value=value
        )
        if seeds is not None:
            shown = tuple(float(significant(float(v)) or 0.0) for v in seeds)
            self.ledger.estimates[-1] = self.ledger.estimates[-1].model_copy(update={"seed_values": shown, "seeds": len(shown)})
        return identifier

    def gap_of_pair(self, attribute: Attribute, run: Run, pair: tuple[int, int], column: int) -> Measured:
        """Signed gap of one pair of groups in one output column."""
        groups, _ = group_codes(attribute)
        return over_seeds([gap_in(outputs, groups, *pair, column, self.clusters) for outputs in run.outputs])

    def placebo_gap(self, attribute: Attribute, run: Run) -> float | None:
        """95th percentile of the output gap over the attribute's placebos, mean over seeds."""
        planted = self.placebos.get(attribute.name)
        if planted is None or not run.measured:
            return None
        outputs = np.mean(run.outputs, axis=0)
        sizes = []
        for column in planted.T:
            codes = (column > np.median(column)).astype(np.int64) if classes_of(attribute) == 0 else column
            means = [outputs[codes == k].mean(axis=0) for k in np.unique(codes)]
            sizes.append(float((np.max(means, axis=0) - np.min(means, axis=0)).max()))
        return float(np.quantile(sizes, 0.95))

    def _add_within(self, attribute: Attribute, run: Run) -> None:
        estimate = self.ledger.find("expressed", attribute.name, run.regime, context="gap")
        cell = self.ledger.cell_of(estimate) if estimate else None
        if cell is None or cell.measured is None:
            return
        groups, _ = group_codes(attribute)
        low, high = cell.extras["pair"]
        base = Cell(
            "expressed",
            attribute.name,
            run.regime,
            None,
            "gap within label",
            cell.group,
            unit=UNIT_GAP,
            decides=False,
            method="the same gap among rows of one true label, labels weighted as in the audit rows",
        )
        gaps = gaps_within_label(run.outputs, groups, self.labels, low, high, cell.extras["column"], self.clusters, FEWEST_IN_LABEL)
        if gaps is None:
            self.basis[attribute.name, run.regime] = "unknown"
            self.ledger.add(replace(base, reason="a label has too few rows of one group"))
            return
        within = weighted_sum(gaps)
        margin = self.margins.gap
        above = min(1.0, min(2 * len(gaps) * p_above(gap.oriented(), margin) for _, gap in gaps))
        below = max(p_below(gap.oriented(), margin) for _, gap in gaps)
        # A label explains a gap that is there; where only a reader of the outputs finds something, no gap speaks about it.
        explained = below <= 0.05 and cell.state == "present"
        self.basis[attribute.name, run.regime] = "beyond_label" if above <= 0.05 else "explained_by_label" if explained else "unknown"
        self.ledger.add(replace(base, measured=within, interval=crossed_interval(within, LEVEL)))
        # What the basis rests on: a gap above the margin in some label, and within it in all.
        shown = {"p_present": significant(above), "p_absent": significant(below), "margin": margin}
        self.ledger.estimates[-1] = self.ledger.estimates[-1].model_copy(update=shown)

    def _add_task(self, run: Run) -> None:
        if not run.measured:
            return
        classes = len(self.dataset.classes)
        values = []
        for outputs in run.outputs:
            columns = [(outputs[:, 0], self.labels == 1)] if classes == 2 else [(outputs[:, k], self.labels == k) for k in range(classes)]
            values.append(float(np.mean([auroc(scores, positive) for scores, positive in columns])))
        self.ledger.add(
            Cell(
                "task",
                "",
                run.regime,
                unit="AUROC of the target on the audit rows",
                method="rank statistic",
                decides=False,
                measured=Measured(np.array(values), np.zeros(len(self.labels)), self.clusters),
                n=len(self.labels),
            )
        )

    def _add_inputs(self) -> None:
        for attribute in self.dataset.attributes:
            base = Cell(
                "linear",
                attribute.name,
                "inputs",
                INPUT_SITE,
                margin=self.margins.leak,
                unit=self._unit(attribute),
                method=METHODS["linear"],
                decides=False,
            )
            cell = planted_cell(
                base,
                [self.inputs.numbers["cells"][attribute.name][INPUT_SITE]],
                [self.inputs.arrays],
                cell_key(attribute.name, INPUT_SITE, ""),
                "linear",
                self.clusters,
            )
            self.ledger.add(replace(cell, n=self._rows(attribute)))
