"""A user's own module: the factory, its sites, and what is refused."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from shifting import shifted_outputs
from torch import nn

from proxyaudit.activations.capture import capture
from proxyaudit.activations.replay import replayer
from proxyaudit.errors import InputError
from proxyaudit.models.base import TrainedModel
from proxyaudit.models.build import build_model
from proxyaudit.models.kinds.module import ModuleSpec
from proxyaudit.models.training import train_model
from proxyaudit.recipe.recipe import SitesSpec

HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
NET = """
class Net(nn.Module):
    def __init__(self, n_inputs):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_inputs, 8), nn.ReLU(), nn.Linear(8, 5), nn.BatchNorm1d(5), nn.Tanh())
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(5, 1)
    def forward(self, x):
        return self.head(self.drop(self.encoder(x))).squeeze(-1)
def make(n_inputs):
    return Net(n_inputs)
"""


def make(
    folder: Path, body: str, *, sites: SitesSpec | None = None, globs: tuple[str, ...] = ("*",), n_classes: int = 2, seed: int = 0
) -> TrainedModel:
    (folder / "nets.py").write_text(HEAD + body)
    spec = ModuleSpec(kind="module", factory="nets.py:make", sites=globs, epochs=2)
    return build_model(spec, sites or SitesSpec(), n_inputs=4, n_classes=n_classes, base=folder, seed=seed)


def rows(n: int = 20) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 4)).astype(np.float32)


def forward(body: str) -> str:
    """A factory of a module with linear layers a (4 to 6) and b (6 to 1) and this forward."""
    return (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.a, self.b, self.relu = nn.Linear(4, 6), nn.Linear(6, 1), nn.ReLU()\n"
        f"    def forward(self, x):\n        {body}\ndef make():\n    return Net()\n"
    )


def test_sites_in_forward_order_without_the_output(tmp_path: Path) -> None:
    model = make(tmp_path, NET)
    # encoder, encoder.4 and drop (the identity in eval mode) are the very tensor that goes into the head.
    assert model.sites == ("encoder.0", "encoder.1", "encoder.2", "encoder.3", "penultimate")
    assert model.verdict_sites == ("penultimate",)
    assert model.taps["penultimate"].tail == "head"


def test_seeds_differ_and_repeat(tmp_path: Path) -> None:
    def first(seed: int) -> torch.Tensor:
        return next(make(tmp_path, NET, seed=seed).module.parameters())

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_own_draws_of_the_factory_follow_the_seed(tmp_path: Path) -> None:
    body = "import random\nimport numpy as np\n" + forward("return self.b(self.a(x))").replace(
        "return Net()", "net = Net()\n    nn.init.constant_(net.b.bias, random.random() + np.random.rand())\n    return net"
    )
    bias = [make(tmp_path, body, seed=seed).module.get_parameter("b.bias").item() for seed in (1, 1, 2)]
    assert bias[0] == bias[1] != bias[2]


def test_sites_profile_all_means_the_globs_of_the_model(tmp_path: Path) -> None:
    assert make(tmp_path, NET, globs=("encoder.[13]",)).sites == ("encoder.1", "encoder.3", "penultimate")
    assert make(tmp_path, NET, sites=SitesSpec(verdict=("encoder.1",), profile=("encoder.3",))).sites == ("encoder.1", "encoder.3")


@pytest.mark.parametrize(
    ("glob", "reason"), [("head", "model's output"), ("encodr.1", "encoder.1"), ("spare", "does not run"), ("twice", "runs 2 times")]
)
def test_a_glob_that_fits_no_site_says_why(tmp_path: Path, glob: str, reason: str) -> None:
    body = NET.replace("self.drop =", "self.spare, self.twice = nn.Linear(2, 2), nn.Tanh()\n        self.drop =").replace(
        "self.drop(self.encoder(x))", "self.twice(self.twice(self.drop(self.encoder(x))))"
    )
    with pytest.raises(InputError, match=reason):
        make(tmp_path, body, globs=(glob,))


def test_dropout_and_batchnorm_are_in_eval_mode(tmp_path: Path) -> None:
    model = make(tmp_path, NET)
    model.module.train()
    stats = model.module.get_buffer("encoder.3.running_mean").clone()
    outputs = [capture(model, rows()).outputs for _ in range(2)]
    assert np.array_equal(*outputs)
    assert torch.equal(stats, model.module.get_buffer("encoder.3.running_mean"))


def test_a_user_module_trains_captures_and_replays(tmp_path: Path) -> None:
    x = rows(60)
    spec = ModuleSpec(kind="module", factory="nets.py:make", epochs=2)
    model = train_model(make(tmp_path, NET), x, (x[:, 0] > 0).astype(np.int64), np.ones(60, dtype=np.float32), spec, 0)
    captured = capture(model, x, batch_size=17)
    with torch.no_grad():
        np.testing.assert_allclose(captured.outputs[:, 0], torch.sigmoid(model.module(torch.tensor(x))).numpy(), atol=1e-6)
    rng = np.random.default_rng(1)
    index = rng.integers(0, 60, 90)
    for site in model.sites:
        shift = rng.normal(size=(90, captured.acts[site].shape[1]))
        expected = shifted_outputs(model, x[index], {site: shift})
        np.testing.assert_allclose(replayer(model, x, site)(shift, index), expected, atol=1e-6)
        assert np.abs(expected - captured.outputs[index]).max() > 1e-3


@pytest.mark.parametrize(
    "body",
    [
        "return self.b(self.relu(self.a(x)))",
        "return self.b(self.relu(self.a(x))).squeeze(1)",
        "z = self.b(self.relu(self.a(x))); return torch.cat([-z, z], dim=1)",
        "return self.b(input=self.relu(self.a(x)))",
        "return self.b(self.relu(self.a(x))) + 2 * x[:, :1]",
        "z = self.b(F.relu_(self.a(x))); z += x[:, :1]; return z",
        "return self.b(self.relu(self.a(x))) * 3",
    ],
)
def test_output_forms_and_replay(tmp_path: Path, body: str) -> None:
    model = make(tmp_path, forward(body))
    x = rows()
    captured, index = capture(model, x), np.arange(20)[::-1].copy()
    shift = np.random.default_rng(3).normal(size=(20, 6))
    expected = shifted_outputs(model, x[index], {"penultimate": shift})
    assert captured.outputs.shape == (20, 1)
    assert np.abs(expected - captured.outputs[index]).max() > 1e-3
    np.testing.assert_allclose(replayer(model, x, "penultimate")(shift, index), expected, atol=1e-6)


def test_a_skip_past_the_head_is_not_replayed_by_the_head_alone(tmp_path: Path) -> None:
    assert make(tmp_path, forward("return self.b(self.relu(self.a(x))) + x[:, :1]")).taps["penultimate"].tail == "none"
    assert make(tmp_path, forward("z = self.b(self.relu(self.a(x))); z += x[:, :1]; return z")).taps["penultimate"].tail == "none"


def test_an_activation_in_place_is_told_from_the_layer_before(tmp_path: Path) -> None:
    model = make(tmp_path, "def make(n):\n    return nn.Sequential(nn.Linear(n, 6), nn.ReLU(inplace=True), nn.Linear(6, 1))\n")
    assert model.sites == ("0", "penultimate")
    acts = capture(model, rows()).acts
    assert acts["0"].min() < 0 <= acts["penultimate"].min()


@pytest.mark.parametrize(
    "body", ["def make(n):\n    return nn.Linear(n, 1)\n", "def make(n):\n    return nn.Sequential(nn.Linear(n, 1), nn.Flatten(0))\n"]
)
def test_logistic_regression_has_its_input_as_penultimate(tmp_path: Path, body: str) -> None:
    model = make(tmp_path, body)
    assert model.sites == ("penultimate",)
    np.testing.assert_array_equal(capture(model, rows()).acts["penultimate"], rows())


def test_without_any_linear_layer_the_last_site_is_penultimate(tmp_path: Path) -> None:
    body = forward("h = self.relu(x * 2); return h.sum(1)")
    model = make(tmp_path, body)
    assert model.sites == ("penultimate",)
    np.testing.assert_array_equal(capture(model, rows()).acts["penultimate"], np.maximum(2 * rows(), 0))
    assert make(tmp_path, body, sites=SitesSpec(verdict=("relu",))).verdict_sites == ("penultimate",)


def test_tokens_are_pooled_and_shifted_together(tmp_path: Path) -> None:
    body = (
        "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.embed, self.head = nn.Linear(1, 6), nn.Linear(6, 3)\n"
        "        self.block = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)\n"
        "    def forward(self, x):\n        return self.head(self.block(self.embed(x[:, :, None])).mean(1))\n"
        "def make():\n    return Net()\n"
    )
    model = make(tmp_path, body, n_classes=3, globs=("embed", "block"))
    assert model.sites == ("embed", "block", "penultimate")
    x = rows()
    captured = capture(model, x)
    assert captured.acts["embed"].shape == (20, 6)
    np.testing.assert_allclose(captured.acts["block"], captured.acts["penultimate"], atol=1e-6)
    shift = np.random.default_rng(4).normal(size=(20, 6))
    np.testing.assert_allclose(shifted_outputs(model, x, {"block": shift}), shifted_outputs(model, x, {"penultimate": shift}), atol=1e-6)
    np.testing.assert_allclose(replayer(model, x, "embed")(shift, np.arange(20)), shifted_outputs(model, x, {"embed": shift}), atol=1e-6)


@pytest.mark.parametrize(
    "signature",
    ["()", "(n_inputs)", "(n_inputs, n_classes)", "(n_inputs=4, width=1)", "(*sizes)", "(n, classes)", "(n_inputs, *, n_classes=9)"],
)
def test_factory_signatures(tmp_path: Path, signature: str) -> None:
    extra = "    assert width == 1\n" if "width" in signature else ""
    extra += "    assert classes == 2\n" if "classes)" in signature and "n_classes" not in signature else ""
    assert make(tmp_path, f"def make{signature}:\n{extra}    return nn.Linear(4, 1)\n").n_classes == 2


def test_one_file_name_in_two_folders(tmp_path: Path) -> None:
    models = []
    for i, width in enumerate((3, 7)):
        folder = tmp_path / str(i)
        folder.mkdir()
        text = f"import dataclasses\n@dataclasses.dataclass\nclass Shape:\n    width: int = {width}\ndef make(n):\n    w = Shape().width\n"
        models.append(make(folder, text + "    return nn.Sequential(nn.Linear(n, w), nn.ReLU(), nn.Linear(w, 1))\n"))
    assert [capture(model, rows()).acts["penultimate"].shape[1] for model in models] == [3, 7]
    assert "nets" not in sys.modules
    assert not list(tmp_path.rglob("__pycache__"))


def test_the_default_dtype_is_restored_and_double_outputs_converted(tmp_path: Path) -> None:
    body = forward("return self.b(self.relu(self.a(x.double())))").replace(
        "def make():\n", "def make():\n    torch.set_default_dtype(torch.float64)\n"
    )
    captured = capture(make(tmp_path, body), rows())
    assert torch.get_default_dtype() == torch.float32
    assert captured.acts["penultimate"].dtype == np.float32


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def make(n)\n", "SyntaxError.*correct line 4"),
        ("raise RuntimeError('boom')\n", "executing 'nets.py' failed: RuntimeError: boom"),
        ("raise SystemExit(3)\n", "executing 'nets.py' failed: SystemExit"),
        ("import no_such_package_here\n", "install 'no_such_package_here'"),
        ("other = 1\n", "has no function 'make'"),
        ("make = 1\n", "has no function 'make'"),
        ("def make(n):\n    raise KeyError('k')\n", "raised KeyError"),
        ("def make(n):\n    return 3\n", "returned a int"),
        ("def make(a, b, c):\n    return 3\n", "requires \\(a, b, c\\)"),
        ("def make(n):\n    return nn.Linear(n + 1, 1)\n", "fails on a table of shape"),
        ("def make(n):\n    return nn.Linear(n, 5)\n", "returned shape \\(11, 5\\)"),
        (forward("return {'logits': x}"), "returned a dict"),
        (forward("return x, x"), "returned a tuple"),
        (forward("return self.b(self.a(x)).sum()"), "returned shape \\(\\)"),
        (forward("return self.b(self.a(x)) > 0"), "returned bool"),
        (forward("return self.b(F.dropout(self.a(x), 0.5, training=True))"), "another output from call to call"),
        (forward("return self.b(self.a(x - x.mean(0)))"), "other rows in its batch"),
    ],
)
def test_what_cannot_be_used_is_one_line(tmp_path: Path, body: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make(tmp_path, body)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["../outside.py", "missing.py", "link.py", "folder.py", "nul\0.py"])
def test_paths_that_escape_or_miss(tmp_path: Path, file: str) -> None:
    marker, base = tmp_path / "ran", tmp_path / "recipes"
    base.mkdir()
    (base / "folder.py").mkdir()
    outside = tmp_path / "outside.py"
    outside.write_text(f"from pathlib import Path\nPath({str(marker)!r}).touch()\ndef make(n): ...\n")
    (base / "link.py").symlink_to(outside)
    for factory in {f"{file}:make", f"{outside}:make"}:
        spec = ModuleSpec(kind="module", factory=factory)
        with pytest.raises(InputError, match=r"outside the recipe's folder|no file|cannot be used"):
            build_model(spec, SitesSpec(), n_inputs=4, n_classes=2, base=base, seed=0)
    assert not marker.exists()


def test_lazy_modules_take_their_shape_from_the_table(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that lazy modules may change
        model = make(tmp_path, "def make():\n    return nn.Sequential(nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(1))\n")
    assert isinstance(model.module.get_submodule("0"), nn.Linear)
    assert capture(model, rows()).acts["penultimate"].shape == (20, 6)
