"""The files for pipelines and clusters: each is read as its program reads it, and its very commands are run against local processes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_project import CURED, evidence_bytes, project

from proxyaudit.cli.main import app, main
from proxyaudit.evidence.pack import find_run
from proxyaudit.evidence.tiers import tier_of

ROOT = Path(__file__).parents[2]
CI = ROOT / "recipes" / "ci"
SCRIPTS = sorted(CI.glob("*.sh"))
RECORDS = """#!/bin/sh
for word; do printf "%s\\n" "$word"; done \\
  | {python} -c "import json, sys; print(json.dumps(sys.stdin.read().split(chr(10))[:-1]))" >> {file}
"""


def document(name: str) -> Any:
    return yaml.safe_load((CI / name).read_text(encoding="utf-8"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a small project, and programs of its own before all others."""
    project(tmp_path, CURED)
    (tmp_path / "bin").mkdir()
    program(tmp_path, "proxyaudit", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m proxyaudit.cli.main "$@"\n')
    return tmp_path


def program(place: Path, name: str, text: str) -> None:
    path = place / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def recorded(place: Path, name: str) -> Path:
    """A program that only writes down what it is given."""
    file = place / f"{name}.jsonl"
    program(place, name, RECORDS.format(python=shlex.quote(sys.executable), file=shlex.quote(str(file))))
    return file


def told(file: Path) -> list[list[str]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def execute(place: Path, *words: str, **more: str) -> str:
    path = os.pathsep.join([str(place / "bin"), os.environ["PATH"]])
    environment = {**os.environ, "PATH": path, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **more}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_sound(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert text.startswith("#!/bin/bash\n")
    assert "\nset -euo pipefail\n" in text
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", str(script)], check=True)


SBATCH = """#!/bin/bash
# A cluster of one machine: every task of an array at once, each a process; then what depends on it.
for word; do case "$word" in --array=*) array="${word#--array=}";; --dependency=*) echo "$word" >> dependencies;; esac; done
script="${!#}"
if [ -n "$array" ]; then
  for id in $(seq "${array%-*}" "${array#*-}"); do
    SLURM_ARRAY_TASK_ID=$id SLURM_ARRAY_TASK_MIN="${array%-*}" SLURM_ARRAY_TASK_COUNT=$((${array#*-} - ${array%-*} + 1)) \\
      SLURM_CPUS_PER_TASK=1 bash "$script" > "shard-$id" 2>&1 &
  done
  wait
  echo "4711;here"
else
  SLURM_CPUS_PER_TASK=1 bash "$script"
fi
"""


@pytest.mark.long
def test_slurm_with_two_shards_at_once_and_a_call_that_collects(place: Path) -> None:
    program(place, "sbatch", SBATCH)
    execute(place, str(CI / "slurm-submit.sh"), "recipe.yaml", str(place / "shared"), "2")
    assert (place / "dependencies").read_text() == "--dependency=afterany:4711\n"
    shards = [(place / f"shard-{number}").read_text() for number in (1, 2)]
    assert all(f"Shard {number}/2 of run" in text for number, text in enumerate(shards, 1)), shards
    run = find_run(place / "shared" / "reports")
    assert main(["verify", str(run)]) == 0
    assert main(["run", str(place / "recipe.yaml"), "--out", str(place / "alone"), "--cache", str(place / "kept"), "--jobs", "1"]) == 0
    assert evidence_bytes(place / "shared" / "reports") == evidence_bytes(place / "alone")


def container_of(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    job = document(name)
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    pod = job["spec"]["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    # A short name is looked up at a public registry, where it may be somebody else's; nobody can own this one.
    assert container["image"].startswith("registry.example/")
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert [variable["name"] for variable in container["env"]][-1] == "PROXYAUDIT_SECRET"
    return job, container


@pytest.mark.long
def test_kubernetes_jobs_are_all_shards_and_a_call_that_collects(place: Path) -> None:
    job, shard = container_of("kubernetes-shards.yaml")
    _, collect = container_of("kubernetes-collect.yaml")
    assert shard["image"] == collect["image"]
    count = job["spec"]["completions"]
    given = {"SHARDS": next(one["value"] for one in shard["env"] if one["name"] == "SHARDS")}
    assert (job["spec"]["completionMode"], given["SHARDS"]) == ("Indexed", str(count))
    file = recorded(place, "proxyaudit")
    for index in range(count):
        execute(place, *shard["command"], *shard["args"], JOB_COMPLETION_INDEX=str(index), **given)
    execute(place, *collect["command"], *collect["args"])
    *shards, last = told(file)
    assert [words[-2:] for words in shards] == [["--shard", f"{number}/{count}"] for number in range(1, count + 1)]
    assert {tuple(words[:-2]) for words in shards} == {tuple(last)}, "the last call is the same without --shard"
    # What they say is run here, in turn, with the folder of this test in place of the volume.
    for words in (shards[0], shards[-1], last):
        assert main([word.replace("/shared", str(place)) for word in [*words, "--jobs", "1"]]) == 0
    assert find_run(place / "reports").parent.name == "small"


KUBECTL = """#!/bin/sh
echo "$*" >> calls
case "$1" in get) [ "$(grep -c ^get calls)" -lt 3 ] && echo "$EARLY" || echo "$LATE";; esac
"""


@pytest.mark.parametrize(
    ("early", "late"), [("", "SuccessCriteriaMet Complete"), ("FailureTarget", "FailureTarget Failed"), ("Suspended", "Failed")]
)
def test_kubernetes_collects_however_the_shards_ended(place: Path, early: str, late: str) -> None:
    head = (CI / "kubernetes-shards.yaml").read_text(encoding="utf-8").partition("apiVersion")[0]
    lines = [line.removeprefix("#   ") for line in head.splitlines() if line.startswith(("#   kubectl apply", "#   until "))]
    program(place, "kubectl", KUBECTL)
    program(place, "sleep", "#!/bin/sh\n")
    execute(place, "bash", "-euc", "\n".join(lines), EARLY=early, LATE=late)
    calls = (place / "calls").read_text().splitlines()
    assert [call.partition(" ")[0] for call in calls] == ["apply", "get", "get", "get", "apply"]
    assert calls[-1] == "apply -f kubernetes-collect.yaml"
    assert all(call.startswith("get job proxyaudit-shards ") for call in calls[1:-1])
    assert document("kubernetes-shards.yaml")["spec"]["activeDeadlineSeconds"] == 86_400, "a job that hangs ends too"


@pytest.mark.long
def test_the_action_audits_and_decides(place: Path) -> None:
    action = document("action.yml")
    assert action["runs"]["using"] == "composite"
    inputs = {name: one.get("default", "") for name, one in action["inputs"].items()}
    assert all(one["description"] for one in action["inputs"].values())
    steps = action["runs"]["steps"]
    for step in steps:
        assert set(step) <= {"name", "shell", "env", "run", "uses", "with", "if"}
        assert ("run" in step) != ("uses" in step)
        assert step.get("shell", "bash") == "bash"
        assert "shell" in step or "uses" in step
        # What somebody else may have written reaches a script as a variable, never as its text.
        assert "${{" not in step.get("run", "")
        for value in step.get("env", {}).values():
            assert re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", value)[1] in inputs  # type: ignore[index]
        assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/any@v1"))
    (place / "policy.yaml").write_text("regimes: all\nallow: [removed, hidden, exposed]\ninconclusive: allow\n")
    (place / "runner").mkdir()
    given = inputs | {"clone": str(ROOT), "recipe": "recipe.yaml", "policy": "policy.yaml"}
    pip = recorded(place, "python")  # of the step that installs; afterwards it is Python again
    for step in steps:
        if "run" in step:
            variables = {name: given[value.split(".")[1].split()[0]] for name, value in step["env"].items()}
            variables |= {"RUNNER_TEMP": str(place / "runner"), "PROXYAUDIT_JOBS": "1"}
            execute(place, "bash", "-eo", "pipefail", "-c", step["run"], **variables)
            program(place, "python", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    assert told(pip) == [["-m", "pip", "install", "-c", f"{ROOT}/constraints.txt", str(ROOT)]]
    assert "<testsuites" in (place / "reports" / "gate.xml").read_text()
    uploaded = [path for path in (place / "reports").rglob("*") if path.is_file() and path.name != "gate.xml"]
    assert {tier_of(path.name) for path in uploaded} == {"public"}, "kept results and restricted files stay with the runner"


def test_the_container_file_builds_from_what_is_there(place: Path) -> None:
    text = (CI / "Containerfile").read_text(encoding="utf-8")
    lines = [line.split(None, 1) for line in text.splitlines() if line and not line.startswith("#")]
    assert [word for word, _ in lines] == ["FROM", "COPY", "RUN", "RUN", "USER", "WORKDIR", "ENV", "ENTRYPOINT", "CMD"]
    found = dict(lines)
    assert re.fullmatch(r"python:3\.1[1-3]-slim", found["FROM"])
    assert found["COPY"] == ". /clone"
    assert found["USER"] == "auditor"
    install = shlex.split(lines[2][1])
    assert install[:3] == ["pip", "install", "--no-cache-dir"]
    assert all((ROOT / word.removeprefix("/clone").lstrip("/")).exists() for word in install[3:] if word.startswith("/clone"))
    assert "PROXYAUDIT_CACHE=/kept" in found["ENV"].split()
    # The container's command, as a process.
    said = execute(place, *json.loads(found["ENTRYPOINT"]), *json.loads(found["CMD"]), PROXYAUDIT_CACHE=str(place / "kept"))
    assert "Usage: proxyaudit" in said


def copied(name: str) -> bool:
    """Whether a file of the clone goes into the image: the last pattern that fits it, or a folder above it, decides."""
    lines = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    above = [name, *map(str, Path(name).parents)][:-1]
    kept = True
    for line in lines:
        pattern = line.removeprefix("!")
        if any(fnmatch(one, pattern) and (pattern.startswith("**") or one.count("/") == pattern.count("/")) for one in above):
            kept = line.startswith("!")
    return kept


def test_an_image_holds_the_package_and_nothing_that_lies_beside_it() -> None:
    package = [path for path in (ROOT / "proxyaudit").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    needed = [*package, *(ROOT / "datasets").glob("adult*"), *(ROOT / "datasets").glob("*.yaml"), *(ROOT / "recipes").glob("*.yaml")]
    assert len(needed) > 500
    assert [path for path in needed if not copied(str(path.relative_to(ROOT)))] == []
    assert all(map(copied, ("pyproject.toml", "constraints.txt", "README.md", "LICENSE", "recipes/ci/action.yml")))
    private = (".venv/bin/python", ".git/config", "people.csv", "my.yaml", "reports/mine/1/evidence.json", "datasets/people.csv", ".env")
    private += (
        "recipes/people.parquet",
        "key.pem",
        "tests/conftest.py",
        "proxyaudit/__pycache__/api.pyc",
        "proxyaudit/a/__pycache__/b.pyc",
    )
    assert [name for name in private if copied(name)] == []


def test_the_user_of_the_image_is_the_one_that_rootless_podman_is_told_and_pods_run_as() -> None:
    text = (CI / "Containerfile").read_text(encoding="utf-8")
    number = re.search(r"useradd --uid (\d+)", text)[1]  # type: ignore[index]
    assert f"--userns=keep-id:uid={number},gid={number} " in text
    for name in ("kubernetes-shards.yaml", "kubernetes-collect.yaml"):
        assert document(name)["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(number)


def test_hooks_for_pre_commit_look_at_recipes_and_runs(place: Path) -> None:
    hooks = {hook["id"]: hook for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))}
    assert set(hooks) == {"proxyaudit-plan", "proxyaudit-verify"}
    for hook in hooks.values():
        assert {"id", "name", "entry", "language", "files"} <= set(hook)
        assert hook["language"] == "python"
    plan, verify = hooks["proxyaudit-plan"], hooks["proxyaudit-verify"]
    assert re.search(plan["files"], "recipes/quickstart.yaml")
    assert not re.search(plan["files"], "recipes/ci/kubernetes-shards.yaml")
    assert re.search(verify["files"], "reports/example/manifest.json")
    file = recorded(place, "proxyaudit")
    # As pre-commit calls them: the files follow the entry.
    execute(place, *shlex.split(plan["entry"]), "recipes/a b.yaml", "recipes/c.yaml")
    execute(place, *shlex.split(verify["entry"]), "reports/example/manifest.json")
    assert told(file) == [["plan", "recipes/a b.yaml", "--json"], ["plan", "recipes/c.yaml", "--json"], ["verify", "reports/example"]]
    program(place, "proxyaudit", "#!/bin/sh\nexit 2\n")
    with pytest.raises(AssertionError):
        execute(place, *shlex.split(plan["entry"]), "recipes/c.yaml")


def test_no_file_names_an_option_that_is_none() -> None:
    import typer

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {option for command in commands.values() for one in command.params for option in one.opts}
    others = {"--array", "--completions", "--cpus-per-task", "--dependency", "--export", "--from-literal", "--job-name", "--mem"}
    others |= {"--parsable", "--requeue", "--rm", "--time", "--no-cache-dir", "--create-home", "--help", "--uid", "--userns"}
    for path in [*CI.iterdir(), ROOT / ".pre-commit-hooks.yaml"]:
        found = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", path.read_text(encoding="utf-8")))
        assert found <= known | others, path.name
