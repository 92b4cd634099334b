"""Making the synthetic rows of one repetition of a regime."""

from pathlib import Path

from proxyaudit.cache import Cache, Task
from proxyaudit.pipeline.prepared import Prepared
from proxyaudit.regimes import synthesize
from proxyaudit.seeding import integer_seed


def run(task: Task, prepared: Prepared, cache: Cache, folder: Path) -> None:
    """Write the rows as ``table.parquet``."""
    spec = prepared.regime(task.regime).synthetic
    if spec is None:
        raise ValueError(f"regime {task.regime!r} is not synthesized here")
    seed = integer_seed(prepared.recipe.seed, "synthesizer", task.regime, task.seed)
    table = synthesize(spec, prepared.dataset, prepared.size, seed, prepared.base)
    table.to_parquet(folder / "table.parquet", index=False)
