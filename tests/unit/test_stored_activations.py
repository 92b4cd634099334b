"""Activations in files: every way in which they lie gives the same rows, in little memory, and whatever does not fit is one line."""

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from proxyaudit.activations.layouts import find_layout
from proxyaudit.activations.stored import pooled
from proxyaudit.audits.probe.inputs import ProbeRequest
from proxyaudit.audits.probe.run import plan_files, probe_files
from proxyaudit.audits.probe.sizes import size_of_shapes
from proxyaudit.audits.probe.stored import Found, find_activations, take_rows
from proxyaudit.cli.main import main
from proxyaudit.data.sampling import FEWEST, draw_rows
from proxyaudit.errors import InputError
from proxyaudit.evidence.pack import EvidencePack
from proxyaudit.files import natural
from proxyaudit.seeding import stream

N, D, SITES = 330, 6, ("layer2", "layer10")
CUTS = [slice(0, 40), slice(40, 200), slice(200, N)]
NAMES = ("part-9", "part-10", "part-11")  # as text 'part-10' comes first


def sites(dtype=torch.float16):
    rng = stream(0, "stored")
    sex = rng.integers(0, 2, N)
    found = {name: torch.tensor(rng.normal(size=(N, D)) + 0.9 * sex[:, None]).to(dtype) for name in SITES}
    return found, pd.DataFrame({"sex": np.where(sex == 1, "f", "m"), "person": np.arange(N) // 2})


def one_file(folder, found):
    save_file(found, folder / "acts.safetensors")
    return folder / "acts.safetensors"


def index(folder, found):
    for name, tensor in found.items():
        save_file({name: tensor}, folder / f"shard-{name}.safetensors")
    listed = {"weight_map": {name: f"shard-{name}.safetensors" for name in found}}
    (folder / "acts.safetensors.index.json").write_text(json.dumps(listed))
    return folder / "acts.safetensors.index.json"


def folder_with_index(folder, found):
    return index(folder, found).parent


def file_for_each_layer(folder, found):
    for name, tensor in found.items():
        np.save(folder / f"{name}.npy", tensor.float().numpy())
    return folder


def tensors_of_one_name(folder, found):
    for name, tensor in found.items():
        save_file({"hidden": tensor}, folder / f"{name}.safetensors")
    return folder


def file_for_each_batch(folder, found):
    for name, cut in zip(NAMES, CUTS, strict=True):
        save_file({site: tensor[cut].contiguous() for site, tensor in found.items()}, folder / f"{name}.safetensors")
    return folder


def layers_and_batches(folder, found):
    for site, tensor in found.items():
        for name, cut in zip(NAMES, CUTS, strict=True):
            np.save(folder / f"{site}.{name}.npy", tensor[cut].float().numpy())
    return folder


def folder_for_each_layer(folder, found):
    for site, tensor in found.items():
        (folder / site).mkdir()
        for name, cut in zip(NAMES, CUTS, strict=True):
            np.save(folder / site / f"{name}.npy", np.asfortranarray(tensor[cut].float().numpy()))
    return folder


LAYOUTS = [
    one_file, index, folder_with_index, file_for_each_layer, tensors_of_one_name,
    file_for_each_batch, layers_and_batches, folder_for_each_layer,
]  # fmt: skip


@pytest.mark.parametrize("write", LAYOUTS, ids=lambda write: write.__name__)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_every_way_to_lie_in_files_gives_the_same_rows(tmp_path, write, dtype):
    found, _ = sites(dtype)
    layout = find_layout(write(tmp_path, found), N)
    assert set(layout.sites) == set(SITES)
    chosen = np.array([3, 250, 41, 39, 40, 0])
    for name, tensor in found.items():
        stored = layout.sites[name]
        assert stored.shape == (N, D)
        assert np.array_equal(np.asarray(stored), tensor.float().numpy())
        assert np.array_equal(np.asarray(stored.take(np.arange(N)[::-1]).take(chosen)), tensor.float().numpy()[::-1][chosen])
    batches = {"file_for_each_batch", "layers_and_batches", "folder_for_each_layer"}
    assert bool(layout.joined) == (write.__name__ in batches)
    if layout.joined:
        assert "in the natural order of their names" in layout.order()
        assert "part-9" in layout.order().split(", '")[1]


def test_names_are_ordered_as_people_count():
    names = ["b2", "b10", "b1", "a", "b", "10", "9", "b1-x2", "b1-x10"]
    assert sorted(names, key=natural) == ["9", "10", "a", "b", "b1", "b1-x2", "b1-x10", "b2", "b10"]


def evidence(path, table, tmp_path, out, **more):
    table.to_csv(tmp_path / "labels.csv", index=False)
    request = ProbeRequest(("sex",), group="person", **more)
    return probe_files([f"real={path}"], tmp_path / "labels.csv", request, out=tmp_path / out, jobs=1)[1]


def told(pack: EvidencePack):
    return [one.model_dump(exclude={"id"}) for one in pack.evidence.estimates], [f.verdict for f in pack.evidence.findings]


def test_the_audit_is_the_same_for_files_read_at_once_and_site_by_site(tmp_path, monkeypatch):
    found, table = sites()
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    whole = evidence(one_file(tmp_path / "one", found), table, tmp_path, "a")
    monkeypatch.setattr(Found, "held", False)
    apart = evidence(file_for_each_batch(tmp_path / "many", found), table, tmp_path, "b")
    assert told(whole) == told(apart)
    assert apart.evidence.findings[0].verdict == "exposed"
    notes = [note.what for note in apart.evidence.not_tested]
    assert "whether the files of 'real' are in the order of the labels" in notes
    assert whole.plan["audit_rows"] == apart.plan["audit_rows"]


def test_rows_are_sampled_alike_however_files_are_cut(tmp_path, monkeypatch):
    found, table = sites()
    small = replace(size_of_shapes([D, D], N, 1, 0, None), rows=200)
    monkeypatch.setattr("proxyaudit.audits.probe.stored.size_of", lambda *_: small)
    taken = {}
    for write in LAYOUTS:
        (tmp_path / write.__name__).mkdir()
        at = find_activations({"real": write(tmp_path / write.__name__, found)}, N, ProbeRequest(("sex",), group="person"))
        acts, rows, notes = take_rows(at, table, ProbeRequest(("sex",), group="person"))
        taken[write.__name__] = np.asarray(acts["real"]["layer2"]).tobytes() + rows.to_csv().encode()
        assert 190 <= len(rows) <= 200
        assert set(rows["person"].value_counts()) == {2}  # whole groups
        assert any("drawn at random (seed 0), whole groups of 'person'" in note.why for note in notes)
    assert len(set(taken.values())) == 1


def test_small_levels_are_kept_beyond_their_share():
    rng = stream(0, "levels")
    level = np.zeros(40_000, dtype=np.int64)
    level[:700], level[700:750] = 1, 2
    keys = rng.integers(2**64, size=len(level), dtype=np.uint64)
    chosen, extra = draw_rows(keys, 5000, [level])
    counts = np.bincount(level[chosen])
    assert len(chosen) <= 5000
    assert counts[1] == FEWEST
    assert counts[2] == 50
    assert extra > 400
    plain, none = draw_rows(keys, 5000, [np.full(len(level), -1)])
    assert none == 0
    assert np.bincount(level[plain])[2] < 20


def tokens(folder, mask=False):
    rng = stream(0, "tokens")
    acts = rng.normal(size=(N, 5, D)).astype(np.float32)
    known = np.arange(5) < rng.integers(1, 6, N)[:, None]
    np.save(folder / "layer.npy", acts)
    np.save(folder / "mask.npy", known)
    return acts, known


@pytest.mark.parametrize("how", ["mean", "last", "first"])
def test_tokens_are_pooled_on_request(tmp_path, how):
    acts, known = tokens(tmp_path)
    rows = {"real": tmp_path / "layer.npy"}
    plain = find_activations(rows, N, ProbeRequest(("sex",), pool=how))
    wanted = {"mean": acts.mean(axis=1), "last": acts[:, -1], "first": acts[:, 0]}[how]
    assert np.allclose(np.asarray(plain.layouts["real"].sites["layer"]), wanted, atol=1e-6)
    assert plain.remarks[0].why.endswith("padding, where there is any, counts as tokens")
    masked = find_activations(rows, N, ProbeRequest(("sex",), pool=how, mask=str(tmp_path / "mask.npy")))
    by_hand = {
        "mean": [row[k].mean(axis=0) for row, k in zip(acts, known, strict=True)],
        "last": [row[k][-1] for row, k in zip(acts, known, strict=True)],
        "first": [row[k][0] for row, k in zip(acts, known, strict=True)],
    }[how]
    assert np.allclose(np.asarray(masked.layouts["real"].sites["layer"].take(np.arange(7, 60))), np.array(by_hand)[7:60], atol=1e-6)


def test_a_mask_of_no_token_or_of_other_values_is_refused():
    acts = np.zeros((2, 3, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="without any token"):
        pooled(acts, np.array([[1, 1, 0], [0, 0, 0]]), "mean")
    with pytest.raises(ValueError, match="other values than 0 and 1"):
        pooled(acts, np.array([[1, 1, 0], [0, 2, 0]]), "mean")


@pytest.mark.parametrize("tokens_first", [True, False])
def test_what_vllm_writes_for_each_prompt(tmp_path, tokens_first):
    rng = stream(0, "vllm")
    wanted = []
    for prompt in range(12):
        acts = torch.tensor(rng.normal(size=(int(rng.integers(1, 5)), 6, D))).to(torch.bfloat16)
        wanted.append(acts[-1].float().numpy())
        stored = acts if tokens_first else acts.transpose(0, 1).contiguous()
        save_file({"hidden_states": stored, "token_ids": torch.arange(len(acts))}, tmp_path / f"{prompt}-a1b2.safetensors")
    found = find_activations({"real": tmp_path}, 12, ProbeRequest(("sex",), pool="last"))
    layout = found.layouts["real"]
    assert list(layout.sites) == [f"layer{k}" for k in range(6)]
    assert layout.joined[1].startswith("1-")
    for place in range(6):
        assert np.array_equal(np.asarray(layout.sites[f"layer{place}"]), np.array(wanted)[:, place])
    with pytest.raises(InputError, match="12 prompts, the labels have 13 rows"):
        find_layout(tmp_path, 13)


def write_cut_short(folder):
    file = file_for_each_layer(folder, sites()[0]) / "layer2.npy"
    file.write_bytes(file.read_bytes()[:-9])


def write_eight_bits(folder):
    save_file({"a": torch.zeros(N, 3).to(torch.float8_e4m3fn)}, folder / "a.safetensors")


def write_lost_shard(folder):
    index(folder, sites()[0])
    (folder / "shard-layer2.safetensors").unlink()


def write_index_of_other_names(folder):
    index(folder, sites()[0])
    save_file({"layer3": torch.zeros(N, D)}, folder / "shard-layer2.safetensors")


def write_broken_index(folder):
    (folder / "acts.safetensors.index.json").write_text("{")


FAULTS = {
    "objects": (lambda f: np.save(f / "a.npy", np.array([{}], dtype=object), allow_pickle=True), "a type that is not read"),
    "structured": (lambda f: np.save(f / "a.npy", np.zeros(N, dtype=[("a", "f4")])), "a type that is not read"),
    "no numpy file": (lambda f: (f / "a.npy").write_bytes(b"hello"), "not a numpy file"),
    "cut short": (write_cut_short, "cut short"),
    "no safetensors": (lambda f: (f / "a.safetensors").write_bytes(b"\xff" * 64), "not a safetensors file"),
    "eight bits": (write_eight_bits, "a type that is not read (F8_E4M3)"),
    "pickles": (lambda f: (f / "a.pt").write_bytes(b"x"), "may run code"),
    "archives": (lambda f: np.savez(f / "a.npz", x=np.zeros((N, 2))), "may run code or fill the memory"),
    "nothing": (lambda f: (f / "readme.txt").write_text("x"), "holds no activations"),
    "two kinds": (lambda f: (np.save(f / "a.npy", np.zeros((N, 2))), one_file(f, sites()[0])), "numpy and safetensors"),
    "rows": (lambda f: [np.save(f / f"b{k}.npy", np.zeros((70 + k, 2))) for k in range(3)], "213 rows together, the labels have 330"),
    "dimensions": (lambda f: [np.save(f / f"b{k}.npy", np.zeros((110, 2 + k // 2))) for k in range(3)], "differ in their dimensions"),
    "types": (lambda f: [np.save(f / f"b{k}.npy", np.zeros((110, 2), f"f{2**k}")) for k in (1, 2, 3)], "differ in their dimensions"),
    "tokens": (lambda f: np.save(f / "a.npy", np.zeros((N, 4, 2))), "a vector for each token (330 x 4 x 2)"),
    "lost shard": (write_lost_shard, "the list of shards names 'shard-layer2.safetensors'"),
    "other names": (write_index_of_other_names, "the list of shards and its files differ in tensor 'layer2'"),
    "broken list": (write_broken_index, "the list of shards cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_one_line_with_a_way_out(tmp_path, fault):
    write, words = FAULTS[fault]
    write(tmp_path)
    with pytest.raises(InputError) as error:
        find_activations({"real": tmp_path}, N, ProbeRequest(("sex",)))
    assert words in str(error.value)
    assert error.value.mend
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("pool", "mask", "words"),
    [
        (None, "mask.npy", "a mask says which tokens are pooled"),
        ("mean", "few.npy", "the mask is 329 x 5"),
        ("mean", "wide.npy", "the mask is 330 x 6"),
        ("mean", "flat.npy", "the mask is 330, site 'layer'"),
        ("mean", "gone.npy", "no such file"),
    ],
)
def test_masks_that_are_not_of_these_tokens(tmp_path, pool, mask, words):
    tokens(tmp_path)
    np.save(tmp_path / "few.npy", np.ones((N - 1, 5)))
    np.save(tmp_path / "wide.npy", np.ones((N, 6)))
    np.save(tmp_path / "flat.npy", np.ones(N))
    with pytest.raises(InputError) as error:
        find_activations({"real": tmp_path / "layer.npy"}, N, ProbeRequest(("sex",), pool=pool, mask=str(tmp_path / mask)))
    assert words in str(error.value)


def test_pooling_rows_that_are_one_vector_is_refused(tmp_path):
    with pytest.raises(InputError, match="there are no tokens to pool"):
        find_activations({"real": one_file(tmp_path, sites()[0])}, N, ProbeRequest(("sex",), pool="mean"))


def test_sampled_rows_are_read_within_the_memory_of_a_block(tmp_path):
    mapped = np.lib.format.open_memmap(tmp_path / "layer.npy", "w+", np.float16, (100_000, 1024))  # 205 MB, of which nothing is written
    mapped[::1000, 0] = 1
    del mapped
    stored = find_layout(tmp_path / "layer.npy", 100_000).sites["layer"].take(np.arange(0, 100_000, 100))
    tracemalloc.start()
    try:
        found = np.asarray(stored)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found[:, 0].sum() == 100
    assert peak < 3 * found.nbytes


def test_a_plan_says_memory_and_time_of_any_size_before_it_starts(tmp_path, capsys):
    acts, labels, rows = tmp_path / "acts", tmp_path / "labels.csv", 20_000
    acts.mkdir()
    for site in range(80):
        np.lib.format.open_memmap(acts / f"layer{site}.npy", "w+", np.float16, (rows, 8192))  # 26 GB of holes
    pd.DataFrame({"sex": np.resize(["f", "m"], rows)}).to_csv(labels, index=False)
    given = ["probe", "--activations", f"real={acts}", "--labels", str(labels), "--attribute", "sex", "--plan"]
    assert main([*given, "--memory", "8"]) == 0
    text = capsys.readouterr().out
    words = ("nothing was measured", "80", "20,000 x 8,192", "26.2 GB", "drawn at random", "GB for each process", "minutes on one core")
    assert [word for word in words if word not in text] == []
    assert main([*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"]["sites"] == 80
    found = plan_files([f"real={acts}"], labels, ProbeRequest(("sex",), memory=64.0))
    assert found.size.rows == rows
    assert found.size.memory > 10
    assert not found.held


@pytest.mark.parametrize(
    ("shape", "more"),
    [
        ((N, D), ["--group", "nobody"]),
        ((N, D), ["--intersection", "sex,race"]),
        ((N, D), ["--intersection", "sex"]),
        ((N, D), ["--recipient", "age1nothing"]),
        ((N, D), ["--real", "other"]),
        ((N, D), ["--untrained", "other"]),
        ((N, D), ["--condition-on", "sex"]),
        ((N, 2, 2, D), []),
        ((N,), []),
    ],
)
def test_a_plan_refuses_what_the_probe_refuses(tmp_path, capsys, shape, more):
    np.save(tmp_path / "acts.npy", np.zeros(shape, dtype=np.float32))
    pd.DataFrame({"sex": np.resize(["f", "m"], N)}).to_csv(tmp_path / "labels.csv", index=False)
    given = ["probe", "--activations", f"m={tmp_path / 'acts.npy'}", "--labels", str(tmp_path / "labels.csv"), "--attribute", "sex", *more]
    said = []
    for last in (["--plan"], ["--out", str(tmp_path / "out")]):
        assert main([*given, *last]) == 2
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert said[0] == said[1]


@pytest.mark.parametrize("shape", [(N, 0), (0, D), (N, -4), (N, True)])
def test_a_numpy_file_whose_shape_holds_nothing_is_one_line(tmp_path, shape):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    head = head.encode() + b" " * (117 - len(head)) + b"\n"
    (tmp_path / "acts.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head)
    with pytest.raises(InputError, match="not a numpy file"):
        find_layout(tmp_path / "acts.npy", N)


@pytest.mark.parametrize("what", ["file", "folder", "itself"])
def test_links_in_folders_are_not_followed(tmp_path, what):
    np.save(tmp_path / "outside.npy", np.zeros((N, D), dtype="float32"))
    (tmp_path / "away").mkdir()
    (tmp_path / "acts").mkdir()
    (tmp_path / "acts" / "a").symlink_to(tmp_path / {"file": "outside.npy", "folder": "away", "itself": "acts"}[what])
    with pytest.raises(InputError, match="is a link"):
        find_layout(tmp_path / "acts", N)


def test_folders_of_folders_of_folders_and_tables_are_one_line(tmp_path):
    deep = tmp_path / "acts"
    for _ in range(40):
        deep = deep / "d"
    deep.mkdir(parents=True)
    np.save(deep / "a.npy", np.zeros((N, D), dtype="float32"))
    with pytest.raises(InputError, match="folders of folders"):
        find_layout(tmp_path / "acts", N)
    (tmp_path / "people.csv").write_text("sex\nf\n")
    with pytest.raises(InputError, match="a table holds no activations"):
        find_layout(tmp_path / "people.csv", N)
