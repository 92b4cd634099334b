"""Activations of one numpy file for each regime: one site, whatever the files are called; other sites are matched by their names."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import plan_files, probe_files
from proxyaudit.errors import InputError

N = 330


@pytest.fixture
def labels(tmp_path):
    pd.DataFrame({"sex": np.where(np.arange(N) % 2, "f", "m"), "person": np.arange(N)}).to_csv(tmp_path / "labels.csv", index=False)
    return tmp_path / "labels.csv"


def acts(seed=0):
    return np.random.default_rng(seed).normal(size=(N, 6)).astype(np.float32)


def numpy_files(folder, *names):
    for place, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, acts(place))
    return [f"r{place}={folder / name}" for place, name in enumerate(names)]


def test_one_numpy_file_for_each_regime_is_one_site(tmp_path, labels):
    named = numpy_files(tmp_path, "real_layer1.npy", "vendor_layer1.npy")
    request = ProbeRequest(("sex",), group="person", real="r0")
    plan = plan_files(named, labels, request)
    assert {name: list(layout.sites) for name, layout in plan.layouts.items()} == {"r0": ["activations"], "r1": ["activations"]}
    (remark,) = plan.remarks
    assert "real_layer1.npy ('r0'), vendor_layer1.npy ('r1')" in remark.why
    pack = probe_files(named, labels, request, out=tmp_path / "out", jobs=1)[1]
    assert {finding.regime for finding in pack.evidence.findings} == {"r0", "r1"}
    assert remark in pack.evidence.not_tested


def test_files_called_alike_and_one_file_keep_their_names(tmp_path, labels):
    alike = numpy_files(tmp_path, "a/layer1.npy", "b/layer1.npy")
    for named in (alike, alike[:1]):
        plan = plan_files(named, labels, ProbeRequest(("sex",)))
        assert {site for layout in plan.layouts.values() for site in layout.sites} == {"layer1"}
        assert plan.remarks == ()


def test_tensors_and_folders_called_otherwise_are_refused_with_the_mend(tmp_path, labels):
    numpy_files(tmp_path, "a/layer1.npy", "b/layer2.npy")
    save_file({"x": acts()}, tmp_path / "vendor.safetensors")
    for other in ("vendor.safetensors", "b", "b/layer2.npy"):
        with pytest.raises(InputError, match=r"do not have the same sites .* called alike: a site is a tensor"):
            plan_files([f"real={tmp_path / 'a'}", f"other={tmp_path / other}"], labels, ProbeRequest(("sex",)))
