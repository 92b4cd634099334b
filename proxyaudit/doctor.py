"""Checks of this machine: is everything there that an audit needs? Part of the command line."""

import importlib
import importlib.metadata
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from proxyaudit.registry import COMMAND, NAMES, NOTHING_REGISTERED, own_distribution, plugin_names


@dataclass(frozen=True)
class Check:
    """One line of the doctor."""

    name: str
    state: Literal["ok", "warn", "fail"]
    detail: str


def check_machine(out: Path) -> list[Check]:
    """Run every check; none of them changes anything that stays."""
    right = (3, 11) <= sys.version_info[:2] < (3, 14)
    python = Check("python", "ok" if right else "fail", f"{platform.python_version()} (3.11 to 3.13 are supported)")
    return [python, *_packages(), *_imports(), _kinds(), *_datasets(), *_reports(out), *_kept(out)]


def _packages() -> Iterator[Check]:
    own = own_distribution()
    if own is None:
        yield Check("proxyaudit", "fail", "not installed; in your clone: pip install .")
    else:
        yield Check("proxyaudit", "ok", f"{own.version} (distribution {own.name})")
    for other in NAMES:
        foreign = _foreign(other, own)
        if foreign is not None:
            yield foreign
    for requirement in map(Requirement, (own.requires if own is not None else None) or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield _package(requirement.name, requirement.specifier)


def _foreign(name: str, own: importlib.metadata.Distribution | None) -> Check | None:
    """Another distribution of a name of this one: an older installation, or another project's."""
    try:
        found = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None
    if own is not None and found.name == own.name:
        return None
    ours = any(point.value == COMMAND for point in found.entry_points)
    what = "an older installation of this package" if ours else "another project, whose files may stand in for this one's"
    return Check(
        f"distribution {found.name}", "warn", f"{found.version}: {what}; pip uninstall {found.name}, then in your clone: pip install ."
    )


def _package(name: str, bounds: SpecifierSet) -> Check:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "fail", f"not installed; needs {bounds or 'any version'}")
    within = bounds.contains(version, prereleases=True)
    return Check(name, "ok" if within else "fail", f"{version} (needs {bounds})" if len(bounds) else version)


def _imports() -> Iterator[Check]:
    try:
        torch = importlib.import_module("torch")
        yield Check("torch import", "ok", f"{torch.get_num_threads()} threads by default; an audit fixes its own number")
    except (ImportError, OSError) as error:
        yield Check("torch import", "fail", _first_line(error))
    try:  # by name, so that sdv stays out of everything but its own plugin file
        importlib.import_module("sdv")
        yield Check("sdv import", "ok", "synthesizers can be used")
    except (ImportError, OSError) as error:
        yield Check("sdv import", "warn", f"{_first_line(error)}; needed for synthesizers only, not for releases")


def _kinds() -> Check:
    names = plugin_names("models")
    return Check("kinds of models", "ok" if names else "fail", ", ".join(names) or NOTHING_REGISTERED)


def _datasets() -> Iterator[Check]:
    from proxyaudit.errors import ProxyauditError

    try:
        from proxyaudit.data.sources import list_cards

        names = [card.name for card in list_cards()]
    except (ImportError, ProxyauditError) as error:
        yield Check("datasets", "fail", _first_line(error))
        return
    yield Check("datasets", "ok" if names else "warn", ", ".join(names) or "no data set cards found; recipes need 'path'")


def _reports(out: Path) -> Iterator[Check]:
    # Nothing is created that stays: the nearest folder that exists must be writable.
    folder = out.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        yield Check("reports folder", "fail", f"{out}: cannot be written ({error.strerror}); choose another with --out")
        return
    yield Check("reports folder", "ok", f"{out} can be written")


def _kept(out: Path) -> Iterator[Check]:
    """What is kept that holds rows, and where."""
    from proxyaudit.cache import OLD_CACHE, Cache, cache_folder, is_cache
    from proxyaudit.errors import InputError
    from proxyaudit.keeping.room import SIZE, in_words, most_bytes, size_of

    try:
        cache, most = Cache(cache_folder()), most_bytes()
        size = sum(size_of(folder) for folder in cache.entries())
        yield Check("kept results", "ok", f"{cache.root}: {in_words(size)} that hold rows, of at most {in_words(most)} ({SIZE})")
    except (InputError, OSError) as error:
        yield Check("kept results", "fail", _first_line(error))
    if is_cache(out / OLD_CACHE):
        yield Check("old kept results", "warn", f"{out / OLD_CACHE} holds rows; 'proxyaudit purge {out}' deletes it")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
