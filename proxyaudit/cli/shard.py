"""``run --shard I/N``: one of several calls that make a run together."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxyaudit.cli import console
from proxyaudit.cli.options import quiet_stdout
from proxyaudit.errors import InputError

if TYPE_CHECKING:
    from proxyaudit.audits.shard import ShardResult


def make_shard(recipe: Path, text: str, overrides: tuple[str, ...], json: bool, **more: Any) -> "ShardResult":
    """Make one shard, and say what it did and what comes next."""
    with quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.audits.shard import run_shard
        from proxyaudit.shards import Shard

        shard = Shard.parse(text)
        # Nothing is cleared from the cache here: only the call that collects knows that nobody needs it.
        found = run_shard(recipe, shard, overrides=overrides, progress=progress, warn=_warn, **more)
    for line in found.failures:
        console.warn(f"proxyaudit: failed: {line}")
    if json:
        counts = {"made": found.made, "elsewhere": found.elsewhere, "failures": list(found.failures)}
        console.emit_json({"shard": str(shard), "run_id": found.run_id, "folder": str(found.folder), **counts})
        return found
    console.write_line(f"Shard {shard} of run {found.run_id}: {found.made} tasks made here, {found.elsewhere} by others meanwhile.")
    console.write_line(f"Next:  once all shards have ended, the same command without --shard; it writes {found.folder}")
    return found


_MENDS = {
    "fresh": "name a new --cache, which all shards share",
    "seal": "give it to the last call, which has no --shard",
    "mlflow": "give it to the last call, which has no --shard",
    "backend": "a shard works on its own machine: leave it out, or leave out --shard and let the cluster share the work",
}


def refuse_with_shard(**given: bool) -> None:
    """Refuse options that one shard alone cannot follow."""
    for option, asked in given.items():
        if asked:
            where, mend = f"--{option} with --shard", _MENDS.get(option, _MENDS["backend"])
            raise InputError("one shard cannot do that for all of them", where=where, mend=mend)


def _warn(line: str) -> None:
    console.warn(f"proxyaudit: {line}")
