"""The commands ``init``, ``plan`` and ``run``: from a commented recipe to a report."""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit

from proxyaudit.cli import console
from proxyaudit.cli.code import CodeNetwork, Network, consent_of
from proxyaudit.cli.options import (
    CacheRoot,
    Jobs,
    Json,
    MaybePath,
    Mlflow,
    Out,
    Overrides,
    RecipeFile,
    Root,
    RunCode,
    given,
    kept_results,
    quiet_stdout,
    show_audit,
    track_run,
)
from proxyaudit.cli.shard import make_shard, refuse_with_shard
from proxyaudit.cli.sign import MaybeKey, ask_signer
from proxyaudit.errors import InputError, ProxyauditError

if TYPE_CHECKING:
    from proxyaudit.evidence.seal import NamedSeal

INIT_EXAMPLE = "Example:  proxyaudit init recipe.yaml --template tabular"
PLAN_EXAMPLE = (
    "Example:  proxyaudit plan recipe.yaml --set seeds=2\n\nSealed:  proxyaudit plan recipe.yaml --seal plan.seal --policy policy.yaml"
)
EXAMPLE = "Example:  proxyaudit run recipe.yaml --out reports --jobs 2 --set seeds=3"


class Template(StrEnum):
    """What ``init`` can write: recipes, and a script that calls ``probe``."""

    tabular = "tabular"
    release = "release"
    text = "text"
    activations = "activations"


def init(
    path: Annotated[MaybePath, Argument(metavar="PATH", help="File to write (default: recipe.yaml; probe.sh for activations).")] = None,
    template: Annotated[Template, given("tabular runs as it is; the others need your files.", env="TEMPLATE")] = Template.tabular,
    json: Json = False,
) -> None:
    """Write a commented recipe (for activations: a script that calls 'probe')."""
    is_recipe = template is not Template.activations
    path = path or Path("recipe.yaml" if is_recipe else "probe.sh")
    name = f"{template.value}.{'yaml' if is_recipe else 'sh'}"
    text = resources.files("proxyaudit").joinpath("templates", name).read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8", newline="\n") as handle:
            handle.write(text)
    except FileExistsError:
        raise InputError("the file exists already", where=str(path), mend="choose another name; nothing was overwritten") from None
    except OSError as error:
        mend = "check its permissions" if path.parent.is_dir() else f"there is no folder '{path.parent}': make it first"
        raise InputError(f"the file cannot be written ({error.strerror})", where=str(path), mend=mend) from None
    if json:
        console.emit_json({"path": str(path), "template": template.value})
        return
    console.write_line(f"Wrote {path} ({template.value}).")
    if template is not Template.tabular:
        console.write_line("Put your files and columns where it says EDIT.")
    console.write_line(f"Next:  proxyaudit plan {path}   then   proxyaudit run {path}" if is_recipe else f"Next:  sh {path}")


class Effort(StrEnum):
    """What is measured beyond what a verdict rests on."""

    decide = "decide"
    standard = "standard"
    everything = "everything"


MaybeEffort = Annotated[Effort | None, given("What to measure beyond what decides (default: the recipe's, else standard).", env="EFFORT")]


def plan(
    recipe: RecipeFile,
    effort: MaybeEffort = None,
    overrides: Overrides = None,
    run_code: RunCode = None,
    network: CodeNetwork = Network.auto,
    seal: Annotated[MaybePath, given("Write a seal there: it fixes plan, data and policy before any result.", "FILE")] = None,
    policy: Annotated[MaybePath, given("Policy that the seal fixes (YAML).", "FILE", env="POLICY")] = None,
    key: MaybeKey = None,
    all_notes: Annotated[bool, given("Show every note, not the first ones alone.", name="--all-notes")] = False,
    json: Json = False,
) -> None:
    """Show what a run would do and cost; run nothing, write nothing but the seal that is asked for."""
    if seal is None and key is not None:
        raise InputError("a plan alone is not signed", where="--key", mend="give --seal FILE as well")
    sealed = None if seal is None else _sealing(seal, policy, key)  # what hinders it is told before any work
    with quiet_stdout():
        from proxyaudit.audits.plan import plan_audit

        found = plan_audit(recipe, (*(overrides or ()), *_set(effort=effort)), consent=consent_of(run_code, network))
    written = [] if sealed is None else sealed(found)
    if json:
        console.emit_json(found | ({"seal": [str(path) for path in written]} if written else {}))
        return
    console.plan_tables(found, sealed=bool(written), all_notes=all_notes)
    for path in written:
        console.write_line(f"Sealed: {path}")
    if asked := next((path for path in written if path.suffix == ".tsq"), None):
        console.write_line(f"Next:   a time stamp authority answers {asked}; put its answer there as {asked.with_suffix('.tsr').name}")


def _sealing(path: Path, policy: Path | None, key: Path | None) -> Callable[[dict[str, Any]], list[Path]]:
    """What writes the seal of a plan; ``InputError`` where its file is taken, or policy or key are not what they must be."""
    from proxyaudit.attestation.sealing import check_free, write_seal
    from proxyaudit.gating.policy import load_policy, policy_digest

    check_free(path)
    digest = None if policy is None else policy_digest(policy, load_policy(policy))
    signer = None if key is None else ask_signer(key)

    def write(plan: dict[str, Any]) -> list[Path]:
        written, lacking = write_seal(path, plan, digest, signer)
        if lacking:
            console.warn(f"proxyaudit: the request for a time stamp was not written: {lacking}")
        return written

    return write


def run(
    recipe: RecipeFile,
    out: Out = Path("reports"),
    cache: CacheRoot = None,
    jobs: Jobs = None,
    backend: Annotated[
        str, given("Where tasks run: loky (this machine), dask, ray, or another backend of joblib.", "NAME", env="BACKEND")
    ] = "loky",
    scheduler: Annotated[str | None, given("Address of the cluster of dask or ray.", "ADDRESS", env="SCHEDULER")] = None,
    shard: Annotated[str | None, given("Make part I of N into a shared --cache; then call once without it.", "I/N", env="SHARD")] = None,
    effort: MaybeEffort = None,
    overrides: Overrides = None,
    fresh: Annotated[bool, given("Compute everything again, whatever was kept.", name="--fresh", env="FRESH")] = False,
    signatures: Annotated[
        bool, given("Save signatures for 'scan' (tools of inference: opt-in).", name="--signatures", env="SIGNATURES")
    ] = False,
    run_code: RunCode = None,
    network: CodeNetwork = Network.auto,
    seal: Annotated[MaybePath, given("The seal of 'plan' that the run is made under.", "FILE", env="SEAL")] = None,
    tsa_root: Root = None,
    mlflow: Mlflow = None,
    json: Json = False,
) -> None:
    """Run an audit and write its report; an interrupted run goes on where it stopped."""
    given = (*(overrides or ()), *_set(effort=effort, signatures="true" if signatures else None))
    if shard is not None:
        clusters = {"backend": backend != "loky", "scheduler": scheduler is not None}
        refuse_with_shard(fresh=fresh, seal=seal is not None, mlflow=mlflow is not None, **clusters)
        part = make_shard(recipe, shard, given, json, out=out, cache_root=cache, jobs=jobs, consent=consent_of(run_code, network))
        raise Exit(ProxyauditError.exit_code if part.failures else 0)
    named, client = None if seal is None else _named(seal, tsa_root), _client(mlflow)
    with kept_results(cache), quiet_stdout(), console.progress_bars(shown=not json) as progress:
        from proxyaudit.evidence.pack import read_pack
        from proxyaudit.pipeline.run import run_audit

        elsewhere = "" if backend == "loky" else f"tasks run in the processes of {backend}, which have their own"
        more: dict[str, Any] = {} if named is None else {"beside": partial(_compared, named)}
        more |= {"jobs": jobs, "backend": backend, "scheduler": scheduler, "fresh": fresh}
        more["consent"] = consent_of(run_code, network, elsewhere=elsewhere)
        result = run_audit(recipe, overrides=given, out=out, progress=progress, cache_root=cache, **more)
        pack = read_pack(result.folder)
    if named is not None and pack.environment.get("seal", {}).get("sha256") != named.sha256:
        what = "the run lies there already, and was not made under this seal"
        raise InputError(what, where=str(result.folder), mend="use --fresh to make it again under the seal")
    show_audit(result.folder, pack, reused=result.reused, json=json, sentences=False)
    from proxyaudit.estimates.not_tested import TURNED

    for note in pack.evidence.not_tested:
        if note.why.startswith(TURNED):
            console.warn(f"proxyaudit: {note.what}: {note.why}")
    if client is not None:
        track_run(result.folder, pack, client)
    if again := pack.environment.get("made_anew") if not result.reused else None:
        console.warn(f"proxyaudit: kept results that were damaged and were made anew: {again}")
    if result.status != "complete":
        for failure in pack.environment.get("failures", ()):
            console.warn(f"proxyaudit: failed: {failure}")
        console.warn("proxyaudit: the run is partial; what did not fail stands. Mend what failed, or run the same command again")
        raise Exit(ProxyauditError.exit_code)


def _client(folder: Path | None) -> Any:
    if folder is None:
        return None
    from proxyaudit.tracking import tracking_client

    return tracking_client(folder)


def _named(path: Path, root: Path | None) -> "NamedSeal":
    from proxyaudit.attestation.sealing import read_named
    from proxyaudit.attestation.timestamps import read_roots

    return read_named(path, () if root is None else read_roots(root))


def _compared(named: "NamedSeal", plan: dict[str, Any]) -> dict[str, Any]:
    """The seal as the run names it; where its plan is another one, that is told before any work."""
    import datetime

    from proxyaudit.evidence.seal import deviations

    for line in deviations(named, plan, datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")):
        console.warn(f"proxyaudit: not as sealed: {line}")
    return {"seal": named.as_dict()}


def _set(**keys: str | None) -> tuple[str, ...]:
    """Options as overrides of the recipe's keys."""
    return tuple(f"{key}={value}" for key, value in keys.items() if value is not None)
