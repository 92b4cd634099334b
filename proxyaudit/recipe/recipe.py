"""The recipe, a YAML file: what an audit is asked to do, strictly validated; an unknown key is refused with the nearest known one."""

import datetime
import re
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from proxyaudit.errors import InputError, did_you_mean
from proxyaudit.names import passes_for_real
from proxyaudit.recipe.circuits import CircuitsSpec, Saes
from proxyaudit.recipe.effort import Effort
from proxyaudit.recipe.margins import Margins as Margins
from proxyaudit.recipe.models import LanguageModelSpec, ModelSpec, NgramSpec, Positive, Share, Strict, refuse
from proxyaudit.recipe.overrides import parse_overridden
from proxyaudit.recipe.repetitions import Seeds, design_of
from proxyaudit.recipe.selection import Selection
from proxyaudit.recipe.tables import FormatSpec, JoinSpec, Statistics, ValuesSpec
from proxyaudit.recipe.targets import Target, check_asked, columns_of
from proxyaudit.recipe.yaml import read_yaml, validated
from proxyaudit.registry import check_plugin
from proxyaudit.types import REFERENCES, Task


def _rising(edges: tuple[float, ...]) -> tuple[float, ...]:
    refuse(any(low >= high for low, high in pairwise(edges)), "bands are cut at rising numbers, e.g. [30, 40, 50]")
    return edges


Edges = Annotated[tuple[Annotated[float, Field(strict=True)], ...], Field(min_length=1, max_length=20), AfterValidator(_rising)]


def _list_of_its_own(names: Any) -> Any:
    refuse(not isinstance(names, list | tuple), "each intersection is a list of its own: [[sex, race]]")
    refuse(not 2 <= len(names) <= 4, "an intersection names two to four attributes: [[sex, race]]")
    return names


Together = Annotated[tuple[str, ...], BeforeValidator(_list_of_its_own)]  # protected attributes, asked as one


class DataSpec(Strict):
    """Where the real data are and what each column is for."""

    card: str | None = None
    path: str | None = None
    format: FormatSpec | None = None
    metadata: str | None = None  # kinds of columns as SDV writes them
    text: str | None = None
    target: Target | None = None  # several columns of yes and no are labels that hold together
    target_positive: str | None = None
    target_threshold: float | Literal["median"] | None = None
    task: Literal["classification", "regression"] | None = None  # of a numeric target; found by its values where that is plain
    protected: tuple[str, ...] | None = None
    bands: dict[str, Edges] | None = None
    intersections: Annotated[tuple[Together, ...], Field(max_length=20)] | None = None
    proxies: tuple[str, ...] | None = None
    discover: Annotated[int, Field(ge=0, le=20, strict=True)] = 1
    exclude: tuple[str, ...] | None = None
    identifiers: tuple[str, ...] | None = None  # columns that name rows; they are found where this is not given
    legitimate: tuple[str, ...] | None = None
    holdout: str | None = None
    group: str | None = None
    order: str | None = None  # what orders the rows of one group: each group becomes one row then, its last
    pool: dict[str, Statistics] | None = (
        None  # what else is kept of a column of a group's rows; of numbers their mean where nothing is said
    )
    join: Annotated[tuple[JoinSpec, ...], Field(max_length=10)] | None = None
    encode: Literal["standard", "none"] = "standard"
    audit_share: Share = 0.5
    max_rows: Positive | None = None
    memory: Annotated[float, Field(ge=0.001, le=1e6)] | None = None  # gigabytes that a table's rows may take; larger tables are sampled

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        refuse(self.card is None and self.path is None, "give 'card' or 'path' (both: the card's roles for the file at path)")
        refuse(self.card is None and not self.protected, "'protected' is needed: name at least one protected column")
        refuse(self.card is None and self.target is None, "'target' is needed: name the column that the model predicts")
        if self.text is not None and self.text in (*columns_of(self.target), self.group, *(self.protected or ()), *(self.proxies or ())):
            raise ValueError("'text' is the column that the model reads; it can have no other role")
        if self.text is not None and self.encode == "none":
            raise ValueError("'encode: none' is for tables of numbers; a text is turned into the model's own tokens")
        refuse(self.pool is not None and self.order is None, "'pool' says what is kept of rows in 'order', which is needed beside it")
        refuse(self.text is not None and bool(self.order or self.join), "'order' and 'join' make columns; the model reads the text alone")
        return self


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]


class SyntheticSpec(Strict):
    """Synthetic training data: made here (``sdv``, ``ngram``, ``language_model``) or a release that someone else made (``path``)."""

    sdv: str | None = None
    language_model: LanguageModelSpec | None = None
    ngram: Annotated[NgramSpec | None, BeforeValidator(lambda v: {} if v is True else v)] = None
    path: str | None = None
    format: FormatSpec | None = None
    name: Name | None = None
    epochs: Positive | None = None
    sees_protected: bool = True

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.sdv, self.language_model, self.ngram, self.path)) != 1:
            raise ValueError("give exactly one of 'sdv' (a synthesizer), 'language_model', 'ngram' and 'path' (a release file)")
        refuse(self.sdv == "language_model", "a language model is written 'language_model: {path: ...}', not 'sdv: language_model'")
        refuse(self.sdv == "ngram", "an n-gram model is written 'ngram: true' or 'ngram: {order: ...}', not 'sdv: ngram'")
        refuse(self.path is not None and self.name is None, "a release needs a 'name'")
        refuse(self.path is None and self.format is not None, "'format' says how a release file is written: it belongs to 'path'")
        refuse(self.path is not None and self.epochs is not None, "'epochs' belongs to a synthesizer, not to a release file")
        refuse(self.ngram is not None and self.epochs is not None, "'epochs' has no meaning for an n-gram model, which counts once")
        return self

    @property
    def regime(self) -> str:
        """Name of the regime."""
        return self.name or self.plugin

    @property
    def plugin(self) -> str:
        """Name that its synthesizer is registered under."""
        return "language_model" if self.language_model is not None else "ngram" if self.ngram is not None else str(self.sdv)


class MixedSpec(Strict):
    """Mixtures of real rows and the rows of a synthetic regime."""

    of: Name
    ratios: tuple[Share, ...] = Field(min_length=1)


def _known_rule(name: str) -> str:
    try:
        check_plugin("scrubbers", name, where="")
    except InputError as error:
        raise ValueError(f"{error.what}; {error.mend}") from None
    return name


ScrubRule = Annotated[str, AfterValidator(_known_rule)]


class RegimeSpec(Strict):
    """One entry of ``regimes``: exactly one of real, synthetic, mixed, scrub, quantise + of, name + checkpoints, or name + path."""

    real: bool = False
    synthetic: SyntheticSpec | None = None
    mixed: MixedSpec | None = None
    name: Name | None = None
    checkpoints: tuple[str, ...] | None = None
    path: str | None = None
    erase: tuple[str, ...] | None = None
    scrub: tuple[ScrubRule, ...] | None = Field(default=None, min_length=1)
    quantise: Literal["int8", "bf16"] | None = None
    of: Name | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, value: Any) -> Any:
        if value == "real":
            return {"real": True}
        if isinstance(value, str):
            raise ValueError(f"unknown regime '{value}'; write 'real', 'synthetic: {{...}}', 'mixed: {{...}}' or 'name' with 'checkpoints'")
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        kinds = (self.synthetic, self.mixed, self.checkpoints, self.path, self.scrub, self.quantise)
        if self.real + sum(kind is not None for kind in kinds) != 1:
            raise ValueError("a regime is exactly one of 'real', 'synthetic', 'mixed', 'scrub', 'quantise', 'checkpoints' or 'path'")
        refuse(self.given and self.name is None, f"'{'path' if self.checkpoints is None else 'checkpoints'}' needs a 'name' beside it")
        if self.name is not None and not self.given and self.scrub is None and self.quantise is None:
            raise ValueError("'name' belongs to 'checkpoints', 'path', 'scrub' or 'quantise' (a synthetic regime is named in 'synthetic')")
        if (self.quantise is not None) != (self.of is not None):
            raise ValueError("'quantise' needs 'of' beside it: the regime whose models are quantised (and 'of' belongs to it)")
        refuse(self.checkpoints is not None and not self.checkpoints, "'checkpoints' is empty: name one safetensors file per seed")
        if self.erase is not None and (self.checkpoints is None or not self.erase):
            raise ValueError("'erase' names the sites whose affine maps lie in the 'checkpoints' beside it (as 'mitigate' saves them)")
        return self

    @property
    def given(self) -> bool:
        """Whether its models were trained elsewhere."""
        return self.checkpoints is not None or self.path is not None

    @property
    def names(self) -> tuple[str, ...]:
        """Name of the regime, or of each mixture: ``mixed-<name>-<share>``."""
        if self.real:
            return ("real",)
        if self.synthetic is not None:
            return (self.synthetic.regime,)
        if self.mixed is not None:
            return tuple(f"mixed-{self.mixed.of}-{ratio:g}" for ratio in self.mixed.ratios)
        if self.name is not None:
            return (self.name,)
        return ("scrub-" + "-".join(self.scrub) if self.scrub is not None else f"{self.quantise}-{self.of}",)


OneOrMany = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]


class SitesSpec(Strict):
    """Verdict sites and profiled sites, as globs over site names; ``all`` is one or more of every block, ``everything`` all there are."""

    verdict: OneOrMany = ("penultimate",)
    profile: OneOrMany = ("all",)
    sae: Saes | None = None  # sparse autoencoders whose latents are read


class ReferenceSpec(Strict):
    """The reference ladder: shown beside every regime, never given a verdict."""

    placebos: Annotated[int, Field(ge=20, strict=True)] = 40
    reweighed: bool = True


def _recipient(text: str) -> str:
    refuse(text.startswith("AGE-SECRET-KEY"), "this is a private key: name the public one, which begins with 'age1', and make a new pair")
    refuse(re.fullmatch("age1[02-9ac-hj-np-z]{58}", text) is None, "write an age recipient: 'age1' and 58 more letters and digits")
    return text


Recipient = Annotated[str, AfterValidator(_recipient)]


class SignaturesSpec(Strict):
    """Signatures to save with the run (opt-in): in which contexts their directions are stated."""

    contexts: str | None = None
    slices: Annotated[int, Field(ge=5, le=20, strict=True)] = 6


class AccessSpec(Strict):
    """Who may open the restricted tier: age recipients that its files are encrypted to."""

    recipients: Annotated[tuple[Recipient, ...], Field(min_length=1, max_length=50)]

    @model_validator(mode="after")
    def _once(self) -> Self:
        refuse(len(set(self.recipients)) < len(self.recipients), "a recipient is named twice")
        return self


def _day(value: Any) -> Any:
    """YAML reads an unquoted day as a date; JSON and ``--set`` have text."""
    if value is None or type(value) is datetime.date:
        return value
    try:
        return datetime.date.fromisoformat(value) if isinstance(value, str) and len(value) == 10 else datetime.date.fromisoformat("")
    except ValueError:
        raise ValueError("write the day as 2027-12-31") from None


def file_name(path: str) -> str:
    """Of an absolute path its last part; another is left as it is."""
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(path).is_absolute():
            return kind(path).name
    return path


class Recipe(Strict):
    """A whole audit."""

    name: Name
    data: DataSpec
    values: ValuesSpec | None = None
    regimes: tuple[RegimeSpec, ...] = Field(min_length=1)
    model: ModelSpec
    sites: SitesSpec = SitesSpec()
    seeds: Seeds = 5
    effort: Effort = "standard"
    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)] = 0
    training_size: Positive | None = None
    references: ReferenceSpec = ReferenceSpec()
    cures: bool = True  # try what altering the training rows would do
    circuits: CircuitsSpec | Annotated[bool, Field(strict=True)] | None = None  # exchange the parts of a transformer
    margins: Margins = Margins()
    selection: Selection | None = None
    signatures: Annotated[SignaturesSpec | None, BeforeValidator(lambda v: {} if v is True else v or None)] = None
    access: AccessSpec | None = None
    retain_until: Annotated[datetime.date | None, BeforeValidator(_day)] = None  # what holds rows is to be purged after this day

    @model_validator(mode="after")
    def _names_and_sources(self) -> Self:
        names = self.regime_names()
        for name in names:
            refuse(name.lower() in REFERENCES, f"regime name '{name}' is reserved for a reference; choose another 'name'")
        # Models that are given may be those of training on the real rows; no release is.
        own = [name for regime in self.regimes if not regime.real for name in regime.names if not regime.given or name != "real"]
        taken = next((name for name in own if passes_for_real(name)), None)
        refuse(taken is not None, f"regime name '{taken}' is reserved for training on the real rows; choose another 'name'")
        plain = [name.lower() for name in names]
        doubled = sorted({name for name in names if plain.count(name.lower()) > 1})
        if doubled:
            raise ValueError(f"two regimes are named '{doubled[0]}'; give one of them another 'name'")
        known = {s.regime for s in (r.synthetic for r in self.regimes) if s is not None}
        for regime in self.regimes:
            if regime.mixed is not None and regime.mixed.of not in known:
                hint = did_you_mean(regime.mixed.of, known, "list that synthetic regime too", cutoff=0.6)
                raise ValueError(f"'mixed.of' names '{regime.mixed.of}', which is no synthetic regime of this recipe; {hint}")
            listed = len(regime.checkpoints or ())
            most = design_of(self.seeds, makes_tables=True).looks[-1]
            refuse(listed > most, f"regime '{regime.name}' lists {listed} checkpoints for {most} seeds; raise 'seeds'")
        self._check_text()
        self._check_given()
        return self

    def _check_given(self) -> None:
        folders = [regime for regime in self.regimes if regime.path is not None]
        if folders and not self.model.given:
            raise ValueError(f"regime '{folders[0].name}' names a model's folder: write 'head: own' under 'model', or 'checkpoints'")
        for regime in self.regimes if self.model.given else ():
            if not (regime.real or regime.path is not None or regime.quantise is not None):
                what = f"regime '{regime.names[0]}' would be trained or filled here, and 'head: own' takes models as they are"
                raise ValueError(f"{what}; name folders: {{name: vendor, path: DIR}}")
        refuse(self.model.given and self.signatures is not None, "'signatures' are not made of models with 'head: own' in this version")

    def _check_text(self) -> None:
        reads_text = self.model.reads_text
        inner = bool(self.circuits) or bool(self.sites.sae)
        refuse(inner and not reads_text, "'circuits' and 'sites.sae' are asked of a model that reads 'data.text' (kind huggingface)")
        refuse(reads_text and self.data.text is None, f"model kind '{self.model.kind}' reads text: name its column under 'data.text'")
        if self.data.text is not None and not reads_text:
            raise ValueError(f"'data.text' needs a model that reads text (kind huggingface), not '{self.model.kind}'")
        quantised = {name for r in self.regimes if r.quantise is not None for name in r.names}
        refuse(bool(quantised) and bool(self.model.unquantisable), self.model.unquantisable)
        for regime in self.regimes:
            refuse(regime.scrub is not None and not reads_text, "'scrub' masks words of 'data.text', and this recipe has none")
            if regime.synthetic is not None and regime.synthetic.sdv is not None and reads_text:
                raise ValueError(f"synthesizer '{regime.synthetic.sdv}' makes tables, not texts; write 'ngram', 'language_model' or 'path'")
            if regime.synthetic is not None and regime.synthetic.ngram is not None and not reads_text:
                raise ValueError("'ngram' writes texts: name their column under 'data.text'")
            if regime.of is not None and regime.of not in set(self.regime_names()) - quantised:
                raise ValueError(f"'of: {regime.of}' names no regime of this recipe that could be quantised")

    def published(self) -> dict[str, Any]:
        """The recipe as plain data that everybody may read: of an absolute path, which tells of a machine, the name alone."""
        found: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        data, model = found["data"], found["model"]
        places = [(data, key) for key in ("card", "path", "holdout", "metadata")] + [(model, "path"), (model, "base")]
        places += [(one, "path") for one in (*found["sites"].get("sae", []), *data.get("join", []))]
        places += [(model["head"], "path")] if isinstance(model.get("head"), dict) else []
        for regime in found["regimes"]:
            made = regime.get("synthetic", {})
            places += [(made, "path"), (made.get("language_model", {}), "path"), (made.get("language_model", {}), "base")]
            places.append((regime, "path"))
            regime.update({"checkpoints": [file_name(path) for path in regime["checkpoints"]]} if "checkpoints" in regime else {})
        for section, key in places:
            if isinstance(section.get(key), str):
                section[key] = file_name(section[key])
        return found

    @property
    def tries_cures(self) -> bool:
        """Whether cures are tried: they decide nothing, and of texts a transformer that is trained takes too long for them."""
        return self.cures and self.effort != "decide" and (self.data.text is None or self.model.frozen)

    @property
    def keeps_signatures(self) -> bool:
        """Whether signatures are written: asked for, or because only those whom the recipe names can open them."""
        return self.signatures is not None or (self.access is not None and not self.model.given)

    def of_target(self, task: Task) -> Self:
        """The recipe with the margins that go with what models predict. ``InputError``: it asks for what only classes have."""
        if task == "classes":
            return self
        asked = {"selection": self.selection is not None, "model.class_weight": self.model.class_weight == "balanced"}
        asked |= {"signatures": task == "labels" and self.keeps_signatures}
        check_asked(task, asked, self.model.kind, of_labels=self.model.of_labels)
        return self.model_copy(update={"margins": self.margins.of_numbers()}) if task == "number" else self

    def check_outcome(self, classes: Sequence[str]) -> None:
        """Refuse, before anything is measured, an outcome that the target does not have."""
        if self.selection is not None:
            self.selection.column(classes)

    def regime_names(self) -> list[str]:
        """Names of the regimes in the order of the recipe, mixtures expanded."""
        return [name for regime in self.regimes for name in regime.names]


def parse_recipe(document: Any, *, where: str = "recipe") -> Recipe:
    """Validate a recipe given as plain data; the first mistake found is raised, in one line."""
    if not isinstance(document, dict):
        mend = "start with 'name: ...'; 'proxyaudit init' writes one that runs"
        raise InputError("the recipe is not a mapping of keys to values", where=where, mend=mend)
    return validated(Recipe, document, where=where, mend="correct this key ('proxyaudit init' shows every key with a comment)")


def load_recipe(path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read and validate a recipe file (``InputError`` if it is none); ``overrides`` are ``dotted.key=value`` strings."""
    path = Path(path)
    return parse_overridden(read_yaml(path), overrides, partial(parse_recipe, where=str(path)))
