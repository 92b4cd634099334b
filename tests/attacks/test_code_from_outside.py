"""Code that a caller consents to (a factory, a model's own code, a plugin) reaches no network, whatever way it tries, and ends in time."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import toy_plugins
from own_processes import Ended, run_all
from small_project import NETS, project
from text_world import save_tiny, texts

from proxyaudit import fence
from proxyaudit.cli import code
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import find_run

pytestmark = pytest.mark.timeout(900)  # two whole runs, whatever else the machine does
RECIPE = """\
name: own
data: {path: real.csv, target: pay, protected: [sex], encode: none, exclude: [sex, job], discover: 0}
regimes: [real]
model: {kind: module, factory: "nets.py:make", epochs: 2}
references: {placebos: 20, reweighed: false}
effort: decide
seeds: 1
cures: false
"""
TEXTS = """\
name: t
data: {path: t.csv, text: text, target: y, protected: [sex], group: author}
regimes: [real]
model: {kind: huggingface, path: model, max_length: 12, trust_remote_code: true}
seeds: 1
"""
WAYS = """
import json, os, socket, subprocess, sys, threading
from pathlib import Path

def _tcp():
    socket.create_connection(("127.0.0.1", PORT), timeout=5).close()

def _udp():
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", PORT))

def _of_the_machine():
    socket.socket(socket.AF_UNIX).connect(PLACE)

def _child():
    line = f"import socket; socket.create_connection(('127.0.0.1', {PORT}), timeout=5)"
    subprocess.run([sys.executable, "-S", "-c", line], check=True, capture_output=True)

def _forked():
    child = os.fork()
    if child == 0:
        try:
            _tcp()
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        raise OSError

def _thread():
    found = []
    one = threading.Thread(target=lambda: found.append(_open(_tcp)))
    one.start()
    one.join()
    if not found[0]:
        raise OSError

def _open(way):
    try:
        way()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True

def _try_all(name):
    tried = {way.__name__: _open(way) for way in (_tcp, _udp, _of_the_machine, _child, _forked, _thread)}
    a, b = socket.socketpair()
    a.send(b"x")
    tried["_pair"] = b.recv(1) == b"x"
    Path(NOTES, f"{name}-{os.getpid()}.json").write_text(json.dumps(tried))
"""
ALL = {"_tcp", "_udp", "_of_the_machine", "_child", "_forked", "_thread"}
HANGS = {
    "sleeps": "import time\ndef make(n):\n    time.sleep(1000)\n",
    "swallows": "def make(n):\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass\n",
    "forward": NETS.replace(
        "        return self.head", "        import subprocess; subprocess.run(['sleep', '1000'])\n        return self.head"
    ),
}


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Source of every way to a network, where somebody listens; skipped where this system cannot close it."""
    asked = [sys.executable, "-c", "from proxyaudit import fence; print(fence.close_network())"]
    if why := subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip():
        pytest.skip(f"the network cannot be closed here: {why}")
    folder = tmp_path_factory.mktemp("listens")
    with socket.create_server(("127.0.0.1", 0), backlog=100) as server, socket.socket(socket.AF_UNIX) as own:
        own.bind(str(folder / "s"))
        own.listen(100)
        yield f"PORT, PLACE, NOTES = {server.getsockname()[1]}, {str(folder / 's')!r}, {str(folder)!r}\n{WAYS}"


def tried(ways: str, name: str) -> dict[str, bool]:
    """What one process found; each process that executed the code says the same."""
    folder = Path(ways.split("\n")[0].split(", ")[-1].strip("'\""))
    found = [json.loads(path.read_text()) for path in folder.glob(f"{name}-*.json")]
    assert found
    assert all(one == found[0] for one in found)
    return found[0]  # type: ignore[no-any-return]


def module(folder: Path, source: str, recipe: str = RECIPE) -> str:
    made = project(folder, recipe)
    (folder / "nets.py").write_text(source)
    return str(made)


@pytest.fixture(scope="module")
def ended(ways: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """How each command ended, by its name; what its code found is :func:`tried`."""
    folder = tmp_path_factory.mktemp("outside")
    commands, variables = dict[str, list[str]](), dict[str, dict[str, str]]()

    def factory(command: str, name: str, body: str, *more: str) -> None:
        recipe = module(folder / name, f"{NETS}\n{ways}\n{body}")
        out = ["--out", str(folder / name / "out"), "--cache", str(folder / name / "cache")] if command == "run" else []
        commands[name] = [command, recipe, "--run-code", "any", *out, *more]

    tries = "def make(n):\n    _try_all(Path(__file__).parent.name)\n    return Net(n)\n"
    factory("run", "open", tries, "--jobs", "1", "--network", "open")
    factory("run", "closed", tries, "--jobs", "2")
    factory("plan", "fetches", "def make(n):\n    _tcp()\n")
    for name, body in HANGS.items():
        factory("plan", name, body, *(["--json"] if name == "swallows" else []))
        variables[name] = {fence.SECONDS: "1"}

    toys = toy_plugins.install(folder / "toys")
    source = (toys / "toy_plugins_installed.py").read_text()
    own = source.replace("    from torch import nn\n", "    from torch import nn\n    _try_all('plugin')\n")
    (toys / "toy_plugins_installed.py").write_text(ways + own)
    recipe = RECIPE.replace('kind: module, factory: "nets.py:make"', "kind: toy_net")
    commands["plugin"] = ["plan", module(folder / "plugin", NETS, recipe), "--network", "none"]
    variables["plugin"] = {"PYTHONPATH": str(toys)}

    if importlib.util.find_spec("transformers"):
        commands["model"] = ["plan", str(evil_model(folder / "text", ways)), "--run-code", "any"]
    return run_all(folder / "said", commands, variables) | {"folder": Ended(0, str(folder), "")}


def evil_model(folder: Path, ways: str) -> Path:
    """A recipe of a model that brings code, which is executed and holds no model."""

    model = save_tiny("bert", folder / "model")
    config = json.loads((model / "config.json").read_text())
    auto = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (model / "config.json").write_text(json.dumps({**config, "model_type": "evil", "auto_map": auto}))
    (model / "evil.py").write_text(f"{ways}\n_try_all('model')\n")
    texts(300).to_csv(folder / "t.csv", index=False)
    (folder / "r.yaml").write_text(TEXTS)
    return folder / "r.yaml"


CLOSED = dict.fromkeys(ALL, False) | {"_pair": True}


@pytest.mark.long
def test_no_way_leads_out_of_a_factory_and_no_byte_of_evidence_differs(ways: str, ended: dict[str, Ended]) -> None:
    assert ended["open"].code == ended["closed"].code == 0, ended
    assert tried(ways, "open") == dict.fromkeys({*ALL, "_pair"}, True)
    assert tried(ways, "closed") == CLOSED  # of the workers too
    said = "proxyaudit: code from outside runs without a network (--network open leaves it)\n"
    assert ended["closed"].err.startswith(said)
    assert "network" not in ended["open"].err
    folder = Path(ended["folder"].out)
    one, two = ((find_run(folder / name / "out") / "evidence.json").read_bytes() for name in ("open", "closed"))
    assert one == two


@pytest.mark.long
def test_a_factory_that_needs_one_is_told_how_to_have_it(ended: dict[str, Ended]) -> None:
    told = ended["fetches"]
    assert told.code == 2
    assert told.err.count("\n") == 2
    assert told.err.endswith("add --network open\n")


@pytest.mark.long
def test_no_way_leads_out_of_a_plugin_where_that_is_asked_for(ways: str, ended: dict[str, Ended]) -> None:
    assert ended["plugin"].code == 0, ended["plugin"].err
    assert tried(ways, "plugin") == CLOSED


@pytest.mark.long
def test_nor_out_of_code_that_comes_with_a_model(ways: str, ended: dict[str, Ended]) -> None:
    if "model" not in ended:
        pytest.skip("the extra 'text' is not installed")
    assert ended["model"].code == 2
    assert tried(ways, "model") == CLOSED


@pytest.mark.long
@pytest.mark.parametrize("name", HANGS)
def test_what_never_ends_is_one_line(name: str, ended: dict[str, Ended]) -> None:
    one = ended[name]
    assert one.code == 2
    assert one.err.splitlines()[1:] == [
        "proxyaudit: the model's own code took more than 1 seconds to build it and to run it once [model.factory 'nets.py:make']; "
        "mend that, or set PROXYAUDIT_CODE_SECONDS=10 to wait longer"
    ]
    if name == "swallows":
        assert json.loads(one.out)["exit_code"] == 2


def test_where_it_cannot_be_closed_one_line_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(fence, "close_network", lambda: "the system refuses it")
    code.close(code.Network.auto, "", "")  # of a caller's process nothing is closed, and nothing is told
    monkeypatch.setattr(fence, "own_process", print)
    code.close(code.Network.open, "", "")
    assert capsys.readouterr().err == ""
    for elsewhere, need in (
        ("", ""),
        ("tasks run in the processes of dask, which have their own", ""),
        ("", "the recipe names a model on a hub"),
    ):
        code.close(code.Network.auto, elsewhere, need)
        line = capsys.readouterr().err
        assert line == f"proxyaudit: code from outside runs with your network: {elsewhere or need or 'the system refuses it'}\n"
        with pytest.raises(InputError, match="cannot be closed"):
            code.close(code.Network.none, elsewhere, need)


@pytest.mark.parametrize("machine", ["armv7l", "riscv64", "AMD64"])
def test_another_machine_is_told_by_its_name(machine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert machine in fence.close_network()


@pytest.mark.parametrize("given", ["", "0", "-3", "nan", "inf", "1e300", "soon"])
def test_no_setting_takes_the_limit_away(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fence.SECONDS, given)
    assert 1 <= fence._seconds() <= fence._LONGEST
