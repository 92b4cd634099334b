"""Batches of activations in files: the names leave one order of the rows, or the folder is refused with how to name them."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from proxyaudit.activations.layouts import find_layout
from proxyaudit.errors import InputError
from proxyaudit.seeding import stream

N = 240
ACTS = stream(0, "batches").normal(size=(N, 3)).astype(np.float32)


def write(folder, names, acts=ACTS):
    """The rows cut into as many files as there are names."""
    for name, rows in zip(names, np.array_split(acts, len(names)), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, rows)
    return folder


GOOD = {
    "plain": ["part-1.npy", "part-2.npy", "part-10.npy"],
    "case": ["part-1.npy", "Part-2.npy", "PART-3.npy"],
    "case of the site": ["acts_1.npy", "Acts_2.npy", "acts_3.npy"],
    "zeros before": ["b008.npy", "b9.npy", "b010.npy"],
    "from nought": ["shard-00000-of-00003.npy", "shard-00001-of-00003.npy", "shard-00002-of-00003.npy"],
    "from one": ["acts-1-of-2.npy", "acts-2-of-2.npy"],
    "with a version": ["v1.2-part-1.npy", "v1.2-part-2.npy"],
    "gaps": ["step100.npy", "step200.npy", "step300.npy"],
}


@pytest.mark.parametrize("names", GOOD.values(), ids=GOOD)
def test_rows_come_in_the_order_of_the_numbers(tmp_path, names):
    (site,) = find_layout(write(tmp_path, names), N).sites.values()
    assert np.array_equal(np.asarray(site), ACTS)
    assert [part.file.name for part in site.parts] == names


OPEN = {
    "a part of each layer": ([f"layer{k}-part1.npy" for k in range(8)], "'layer0-part1.npy' and 'layer1-part1.npy' differ"),
    "a batch of each layer": ([f"layer{k}.npy" for k in range(8)], "are named as layers"),
    "heads": ([f"acts.head_{k}.npy" for k in range(4)], "are named as layers"),
    "ranks": ([f"rank{k}_batch{j}.npy" for k in range(3) for j in range(4)], "differ before their numbers"),
    "words": (["one.npy", "two.npy", "three.npy"], "ends on no plain number"),
    "negative": (["b-2.npy", "b-1.npy", "b0.npy"], "differ before their numbers"),
    "decimal": (["part-1.npy", "part-1.5.npy"], "differ before their numbers"),
    "decimals of two lengths": (["part-1.25.npy", "part-1.5.npy"], "may end on a decimal number"),
    "exponents": (["batch_0.npy", "batch_1e2.npy", "batch_2e2.npy"], "differ before their numbers"),
    "hexadecimal": ([f"part_{k:X}.npy" for k in range(20)], "ends on no plain number"),
    "twice": (["part-1.npy", "Part-01.npy"], "have one number"),
    "nought twice": (["part-0.npy", "part-00.npy"], "have one number"),
    "some of so many": (["part-1.npy", "part-2-of-2.npy"], "'part-1-of-2.npy' is missing"),
    "name of a copy": (["part-1.npy", "part-1 (1).npy", "part-2.npy"], "'part-1 (1).npy' is named as a copy"),
    "copy in words": (["part-1.npy", "part-2 - Copy.npy"], "is named as a copy"),
    "copy in front": (["Copy of part-1.npy", "part-2.npy"], "is named as a copy"),
}


@pytest.mark.parametrize("fault", OPEN)
def test_an_order_that_is_open_is_refused(tmp_path, fault):
    names, words = OPEN[fault]
    with pytest.raises(InputError) as error:
        find_layout(write(tmp_path, names), N)
    assert words in str(error.value)
    assert error.value.mend


def test_tensors_of_one_name_in_files_of_two_sites_are_refused(tmp_path):
    for layer, rows in enumerate(np.split(ACTS, 4)):
        save_file({"hidden": torch.tensor(rows)}, tmp_path / f"layer{layer}-part1.safetensors")
    with pytest.raises(InputError, match="number each"):
        find_layout(tmp_path, N)


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_the_missing_file_is_named_whether_rows_fit_or_not(tmp_path, lost):
    names = [f"acts-{k:05d}-of-00003.npy" for k in (1, 2, 3)]
    missing = names.pop(lost)
    for rows in (N, N + 1):
        with pytest.raises(InputError, match=f"'{missing}' is missing"):
            find_layout(write(tmp_path, names), rows)


def test_a_copy_under_another_number_is_refused(tmp_path):
    rows = np.concatenate([ACTS[:80], ACTS[80:160], ACTS[:80]])
    with pytest.raises(InputError, match="holds the same numbers as"):
        find_layout(write(tmp_path, ["part-1.npy", "part-2.npy", "part-3.npy"], rows), N)


def test_batches_that_begin_alike_or_hold_one_value_are_no_copies(tmp_path):
    long = np.tile(ACTS[:1], (6000, 1))
    long[-1] += 1.0
    assert len(find_layout(write(tmp_path / "a", ["b1.npy", "b2.npy"], long), 6000).sites) == 1
    assert len(find_layout(write(tmp_path / "b", ["b1.npy", "b2.npy"], np.zeros((N, 3))), N).sites) == 1


def test_a_site_without_a_number_stands_beside_one_of_batches(tmp_path):
    write(tmp_path, ["embedding.npy"])
    write(tmp_path, ["layer1-part-2.npy", "Layer1-part-10.npy"])
    found = find_layout(tmp_path, N)
    assert {name.casefold() for name in found.sites} == {"embedding", "layer1"}
    assert all(np.array_equal(np.asarray(site), ACTS) for site in found.sites.values())
