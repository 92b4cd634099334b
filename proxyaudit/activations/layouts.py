"""How activations lie in files: one file, a list of shards, a folder with a file for each layer, for each batch, or for each prompt.

Rows of several files are put one after the other by the numbers of their names (``batch-2`` before ``batch-10``), whatever the case.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from proxyaudit.activations.batches import check_complete, in_order, site_of
from proxyaudit.activations.stored import How, Part, Stored, read_header
from proxyaudit.data.shards import is_index, read_shards
from proxyaudit.errors import InputError
from proxyaudit.files import natural

_KINDS = (".safetensors", ".npy")
# What runs code when it is read, or would have to be expanded in memory.
_REFUSED = (".pt", ".pth", ".bin", ".pkl", ".pickle", ".npz", ".h5", ".hdf5", ".zst")
_REQUEST = frozenset({"hidden_states", "token_ids"})  # what vLLM writes for each prompt
_DEEPEST = 2  # folders of folders
_SAVE = "save safetensors or numpy files: one (n, d) array for each site, or for each site and batch of rows"


@dataclass(frozen=True)
class Layout:
    """The sites of one regime, and the files that they lie in, in the order in which rows are put together."""

    sites: dict[str, Stored]
    files: tuple[Path, ...]
    joined: tuple[str, ...] = ()  # names of the files whose rows were put one after the other, empty where each site is one array

    def order(self) -> str:
        """In words, how rows were put together."""
        first, last = self.joined[0], self.joined[-1]
        return f"rows of {len(self.joined)} files were put one after the other in the natural order of their names, '{first}' to '{last}'"


def find_layout(path: Path, rows: int | None) -> Layout:
    """What lies at a path, for labels of so many ``rows``: they tell files of layers from files of batches.

    ``InputError``: there is nothing that can be read, files do not fit together, or their rows are not those of the labels.
    """
    if is_index(path):
        return _indexed(path)
    if path.is_dir():
        return _folder(path, rows)
    if not path.is_file():
        raise InputError("no such file", where=str(path), mend="give the path of a safetensors file, or of a folder of them")
    if path.suffix.lower() in _REFUSED:
        raise InputError("activations are not read from such a file, which may run code or fill the memory", where=str(path), mend=_SAVE)
    arrays = read_header(path)
    if not arrays:
        raise InputError("the file holds no tensors", where=str(path), mend="write one (n, d) tensor for each site")
    return Layout({name: Stored((part,)) for name, part in sorted(arrays.items())}, (path,))


def _indexed(path: Path) -> Layout:
    try:
        places = read_shards(path)
    except InputError as error:
        raise InputError(error.what, where=error.where, mend="write the list and its safetensors files again") from None
    headers = {file: read_header(file) for file in sorted(set(places.values()))}
    held = {(name, file) for file, arrays in headers.items() for name in arrays}
    if odd := sorted({name for name, _ in held ^ set(places.items())}):
        what = f"the list of shards and its files differ in tensor '{odd[0]}'"
        raise InputError(what, where=str(path), mend="write the list and its safetensors files again")
    return Layout({name: Stored((headers[file][name],)) for name, file in sorted(places.items())}, (path, *headers))


def _folder(path: Path, rows: int | None, depth: int = 0) -> Layout:
    if depth > _DEEPEST:
        raise InputError("the folder holds folders of folders of activations", where=str(path), mend=_SAVE)
    inside = sorted(
        (one for one in path.iterdir() if not one.name.startswith(".")), key=lambda one: (natural(one.name.casefold()), one.name)
    )
    if linked := next((one for one in inside if one.is_symlink()), None):
        raise InputError(
            f"'{linked.name[:80]}' is a link; links in folders are not followed", where=str(path), mend="put the file itself there"
        )
    index, folders = [one for one in inside if is_index(one)], [one for one in inside if one.is_dir()]
    if len(index) == 1 and not folders:
        return _indexed(index[0])
    files = _files(inside)
    if folders and not files:
        return _by_site(path, folders, rows, depth)
    if folders or not files:
        what = "the folder holds files and folders of activations" if files else "the folder holds no activations"
        raise InputError(what, where=str(path), mend=_SAVE)
    check_complete(path, files)
    headers = {file: read_header(file) for file in files}
    if all(set(arrays) == _REQUEST for arrays in headers.values()):
        return _requests(path, headers, rows)
    named: dict[str, list[Part]] = {}
    for file, arrays in headers.items():
        for name, part in arrays.items():
            named.setdefault("" if file.suffix.lower() == ".npy" else name, []).append(part)
    if not named:
        raise InputError("the files hold no tensors", where=str(path), mend=_SAVE)
    sites: dict[str, Stored] = {}
    for name, parts in named.items():
        sites |= _of_one_name(path, name, parts, rows, single=len(named) == 1)
    return _layout(sites, files)


def _files(inside: Sequence[Path]) -> list[Path]:
    """Files of activations of one kind."""
    refused = [one for one in inside if one.suffix.lower() in _REFUSED]
    if refused:
        what = f"'{refused[0].name[:80]}' is a kind of file that may run code or fill the memory; activations are not read from it"
        raise InputError(what, where=str(refused[0].parent), mend=_SAVE)
    files = [one for one in inside if one.suffix.lower() in _KINDS and not one.is_dir()]
    if len({one.suffix.lower() for one in files}) > 1:
        raise InputError("the folder holds numpy and safetensors files", where=str(files[0].parent), mend="keep one of the two kinds")
    return files


def _layout(sites: dict[str, Stored], files: Sequence[Path]) -> Layout:
    joined = next((site for site in sites.values() if len(site.parts) > 1), None)
    names = () if joined is None else tuple(part.file.name for part in joined.parts)
    return Layout(dict(sorted(sites.items(), key=lambda item: natural(item[0]))), tuple(files), names)


def _by_site(path: Path, folders: Sequence[Path], rows: int | None, depth: int) -> Layout:
    """A folder for each site, each with files of batches."""
    sites: dict[str, Stored] = {}
    files: list[Path] = []
    for folder in folders:
        found = _folder(folder, rows, depth + 1)
        files += found.files
        names = list(found.sites)
        sites |= {folder.name if len(names) == 1 else f"{folder.name}.{name}": found.sites[name] for name in names}
    if not sites:
        raise InputError("the folder holds no activations", where=str(path), mend=_SAVE)
    return _layout(sites, files)


def _of_one_name(path: Path, name: str, parts: Sequence[Part], rows: int | None, *, single: bool) -> dict[str, Stored]:
    """Sites of arrays of one name (numpy files have none): one for each file, or all of them as batches of rows."""
    lengths, stems = [len(part) for part in parts], [part.file.stem for part in parts]
    if len(parts) == 1:
        return {name or stems[0]: Stored((parts[0],))}
    if rows is None or all(length == rows for length in lengths):
        return {stem if single else f"{stem}.{name}": Stored((part,)) for stem, part in zip(stems, parts, strict=True)}
    groups: dict[str, list[Part]] = {}
    for stem, part in zip(stems, parts, strict=True):
        groups.setdefault(site_of(stem).casefold(), []).append(part)
    if sum(lengths) == rows:
        plain = name or (site_of(stems[0]) if len(groups) == 1 else "") or "activations"
        return {plain: _batches(path, plain, parts)}
    if all(sum(map(len, group)) == rows for group in groups.values()):
        named = {site_of(group[0].file.stem): group for group in groups.values()}
        return {(site or "activations") if single else f"{site}.{name}": _batches(path, site, group) for site, group in named.items()}
    held = f" hold '{name}'" if name else ""
    what = f"{len(parts)} files{held} with {sum(lengths):,} rows together, the labels have {rows:,}"
    mend = "give each file all rows (one file for each layer), or all files together the rows of the labels (one for each batch)"
    raise InputError(what, where=str(path), mend=mend)


def _batches(path: Path, site: str, parts: Sequence[Part]) -> Stored:
    shapes = {(len(part.shape), part.shape[-1], part.dtype, part.brain) for part in parts}
    if len(shapes) > 1:
        what = f"the files of '{site}' differ in their dimensions or type of numbers"
        raise InputError(what, where=str(path), mend="write all batches alike; see that none is of another layer or model")
    return Stored(in_order(path, parts))


def _requests(path: Path, headers: dict[Path, dict[str, Part]], rows: int | None) -> Layout:
    """Files of vLLM, each the hidden states of one prompt; sites are the layers in the order of the file."""
    parts = [arrays["hidden_states"] for arrays in headers.values()]
    tokens = [len(arrays["token_ids"]) for arrays in headers.values()]
    if any(len(part.shape) != 3 or not all(part.shape) for part in parts):
        what = "'hidden_states' are not tokens x layers x dimensions in every file"
        raise InputError(what, where=str(path), mend="export every token, or save one (n, d) array for each layer")
    first = all(part.shape[0] == count for part, count in zip(parts, tokens, strict=True))
    rest = {part.shape[1:] if first else (part.shape[0], part.shape[2]) for part in parts}
    if len(rest) > 1 or len({(part.dtype, part.brain) for part in parts}) > 1:
        raise InputError("the files differ in layers, dimensions or type", where=str(path), mend="export all prompts from one model")
    if rows is not None and len(parts) != rows:
        what = f"the folder holds {len(parts):,} prompts, the labels have {rows:,} rows"
        raise InputError(what, where=str(path), mend="give one file for each row of the labels, in the order of their names")
    layers = parts[0].shape[1 if first else 0]
    sites = {f"layer{place}": Stored(tuple(parts), layer=place, tokens_first=first) for place in range(layers)}
    return Layout(sites, tuple(headers), tuple(part.file.name for part in parts))


def with_pooling(layout: Layout, pool: How | None, mask: Layout | None, where: str) -> Layout:
    """The same with tokens pooled; ``InputError``: there are tokens and no way to pool them was named, or the mask is not theirs."""
    tokens = [name for name, site in layout.sites.items() if site.layer is not None or len(site.parts[0].shape) == 3]
    if tokens and pool is None:
        shape = " x ".join(f"{size:,}" for size in layout.sites[tokens[0]].parts[0].shape)
        mend = "name --pool mean, last or first (and --mask FILE where rows are padded), or pool them to one vector for each row"
        raise InputError(f"site '{tokens[0]}' holds a vector for each token ({shape})", where=where, mend=mend)
    if pool is not None and not tokens:
        raise InputError("there are no tokens to pool: each row is one vector", where=where, mend="leave --pool out")
    if mask is None:
        return replace(layout, sites={name: replace(site, pool=pool if name in tokens else None) for name, site in layout.sites.items()})
    if len(mask.sites) != 1:
        raise InputError("the mask file holds several arrays", where="--mask", mend="give one (rows, tokens) array of 0 and 1")
    marks = next(iter(mask.sites.values()))
    for name in tokens:
        _check_mask(name, layout.sites[name], marks, where)
    return replace(
        layout, sites={name: replace(site, pool=pool, mask=marks) if name in tokens else site for name, site in layout.sites.items()}
    )


def _check_mask(name: str, site: Stored, marks: Stored, where: str) -> None:
    if site.layer is not None:
        raise InputError("files of one prompt have no padding, so no mask", where="--mask", mend="leave --mask out")
    shapes, wanted = [part.shape for part in marks.parts], [part.shape[:2] for part in site.parts]
    widths = {shape[-1] for shape in (*shapes, *wanted)}
    alike = shapes == wanted or (len(widths) == 1 and sum(s[0] for s in shapes) == sum(s[0] for s in wanted))
    if any(len(shape) != 2 for shape in shapes) or not alike:
        what = f"the mask is {' x '.join(f'{size:,}' for size in marks.shape)}, site '{name}' has {site.stored_rows:,} rows"
        what += f" of {', '.join(f'{width:,}' for width in sorted({s[1] for s in wanted})[:4])} tokens"
        raise InputError(what, where=where, mend="give a mask of the same rows and tokens, in the same files where these differ in tokens")
