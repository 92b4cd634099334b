"""One shard of a run: it makes its part of the tasks and leaves the results in the shared cache; the call without a shard collects them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import joblib

from proxyaudit.cache import Cache, cache_folder
from proxyaudit.consent import Consent
from proxyaudit.pipeline.plan import prepare_file
from proxyaudit.pipeline.run import settle
from proxyaudit.pipeline.try_cures import Runner
from proxyaudit.progress import Progress
from proxyaudit.publication import finished
from proxyaudit.shards import Shard, SharedWork
from proxyaudit.threads import one_thread

_MARK = re.compile(r"shard-(\d+)of(\d+)-(.+)-(\w+)")  # the claim that a shard holds as long as it lives
_DIFFER = "Recipe, --set, data, versions of packages or PROXYAUDIT_SECRET differ"


@dataclass(frozen=True)
class ShardResult:
    """What one shard did; ``folder`` is where the call that collects writes the run."""

    folder: Path
    run_id: str
    made: int  # tasks, here
    elsewhere: int  # tasks that other shards made meanwhile
    failures: tuple[str, ...]


def run_shard(
    recipe_path: Path,
    shard: Shard,
    *,
    overrides: tuple[str, ...] = (),
    out: Path = Path("reports"),
    jobs: int | None = None,
    progress: Progress | None = None,
    consent: Consent | None = None,
    cache_root: Path | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> ShardResult:
    """Make the part of a run that is this shard's, then what no other shard has begun; wait for what others are making.

    Arguments are those of ``run_audit``; ``warn`` is told of a shard at work that makes another run of this name. Nothing is written but
    results in the cache. Raises what ``run_audit`` does.
    """
    workers = SharedWork(joblib.cpu_count() if jobs is None else jobs, shard=shard)
    with one_thread():
        prepared = prepare_file(recipe_path, overrides, consent)
    run, root = prepared.plan.run_id, cache_folder(cache_root)
    folder, cache = out / prepared.recipe.name / run, Cache(root, run)
    if finished(folder) is not None:
        return ShardResult(folder, run, 0, 0, ())
    workers.shared = prepared, cache
    mark = f"shard-{shard.number}of{shard.count}-{prepared.recipe.name}-{run}"
    strangers = tuple(found for found in map(_MARK.fullmatch, cache.claims.live("shard-*")) if found is not None)
    for number, name, other in {(one[1], one[3], one[4]) for one in strangers if one[2] == str(shard.count)}:
        if name == prepared.recipe.name and other != run:
            warn(f"shard {number}/{shard.count} makes run {other} and this one {run}: they share nothing. {_DIFFER}")
    try:
        with cache.claim(mark):
            found = settle(Runner(prepared, {}, cache, workers, progress))
    finally:
        workers.close()
        cache.sweep()
    failures = tuple(line for lines in found.failures.values() for line in lines)
    return ShardResult(folder, run, workers.made, workers.elsewhere, failures)
