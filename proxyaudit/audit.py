"""The Python face of a finished run: findings and estimates as tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from proxyaudit.evidence.pack import EvidencePack, find_run, read_pack

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Audit:
    """A finished audit.

    Attributes:
        folder: The run directory.
        pack: Everything in it.
    """

    folder: Path
    pack: EvidencePack

    @cached_property
    def findings(self) -> pd.DataFrame:
        """One row for each attribute and regime."""
        import pandas as pd

        return pd.DataFrame([finding.model_dump() for finding in self.pack.evidence.findings])

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """One row for each estimate, indexed by its id."""
        import pandas as pd

        return pd.DataFrame([estimate.model_dump() for estimate in self.pack.evidence.estimates]).set_index("id")

    def __repr__(self) -> str:
        run = self.pack.evidence.run
        verdicts = ", ".join(f"{f.attribute}/{f.regime}: {f.verdict}" for f in self.pack.evidence.findings)
        return f"Audit({run.name!r}, {run.status}, {verdicts})"

    def _repr_html_(self) -> str:
        columns = ["attribute", "regime", "verdict", "sentence"]
        return str(self.findings[columns].to_html(index=False, escape=True))


def open_audit(folder: str | Path) -> Audit:
    """Open a run directory, or a folder that holds exactly one.

    Raises:
        InputError: there is no complete run.
        IntegrityError: its files do not match its manifest.
    """
    found = find_run(Path(folder))
    return Audit(found, read_pack(found))


def run(recipe: str | Path, *, out: str | Path = "reports", jobs: int | None = None, fresh: bool = False) -> Audit:
    """Run the audit of a recipe file, or reuse it where it is complete.

    Raises:
        InputError: the recipe or a file it names cannot be used.
    """
    from proxyaudit.pipeline import run_audit

    return open_audit(run_audit(Path(recipe), out=Path(out), jobs=jobs, fresh=fresh).folder)
