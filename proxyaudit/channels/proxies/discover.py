"""What carries a protected attribute: asked of the real training rows while planning, so that the plan is fixed before measuring.

Discovery goes by association alone. Influence on the outputs is not known before a model is trained, and would differ between
regimes; every regime is asked about the same proxies. Of a table the columns are asked, and pairs of them. Of texts their features are:
thousands of terms are screened by a trace of counts, some hundreds are read out of fold, and the strongest are followed through the run.
What these carry in a table, the audit rows among them, is measured here too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, islice

import numpy as np
import pandas as pd

from proxyaudit.arrays import Bools, Floats, Ints
from proxyaudit.causal.columns import pair_codes, settle_cells
from proxyaudit.causal.proxies import Association, Target, associate, pair_gain, pair_trace
from proxyaudit.channels.proxies.record import TABLES, Carried, TableRecord, UnitCarried, label
from proxyaudit.channels.proxy_plan import Discovered, Proxy, ProxyPlan, people
from proxyaudit.data.attributes import MIN_LEVEL_ROWS, Attribute, code_attribute, codes_in
from proxyaudit.data.dataset import Dataset
from proxyaudit.data.public_counts import SMALLEST_CELL
from proxyaudit.data.scrubbing import FUNCTION_WORDS
from proxyaudit.data.text import lines_of
from proxyaudit.data.text_features import STYLES, Terms, TextFeature, feature_table, frequent_terms
from proxyaudit.estimates.record import Measurement
from proxyaudit.names import check_names
from proxyaudit.probes.folds import TooFewRowsError, assign_folds
from proxyaudit.recipe.recipe import Recipe
from proxyaudit.seeding import stream
from proxyaudit.stats.intervals import Measured, crossed_interval, row_variance
from proxyaudit.types import AUDITED, NotTested

MOST_COLUMNS = 30  # columns, those that carry most, that are followed through a run
MOST_PAIRS = 3  # of each attribute
_SCREENED_PAIRS, _READ_PAIRS = 435, 8
_ROWS, _PAIR_ROWS = 20_000, 8_000
MOST_OF = {"word": 12, "style": 6, "pattern": 6}  # followed through a run; parts of words would crowd out what a reader understands
FEWEST_FEATURES = 8
MOST_TEXTS = 5000
_WORDS, _PATTERNS = 120, 60  # read out of fold, besides function words and ways of writing
_SAME = 0.6  # share of texts in common above which a pattern is another one over again
_STYLES = [TextFeature("style", name) for name in STYLES]
_Carrying = dict[str, tuple[float, float]]
"""What each candidate carries of an attribute, and the lower end of that."""
MOST_TABLE_ROWS = 20_000
_AUDIT_PERMUTATIONS, _TABLE_PERMUTATIONS = 199, 99


def discover(recipe: Recipe, dataset: Dataset) -> tuple[Dataset, ProxyPlan]:
    """The data set, with discovered columns among its attributes and notes on what was not looked at, and what carries the attributes."""
    root, protected = recipe.seed, [a for a in dataset.attributes if a.role == "protected"]
    frame, most = dataset.train, _ROWS if dataset.text is None else MOST_TEXTS
    if len(frame) > most:
        frame = frame.iloc[np.sort(stream(root, "discovery rows").permutation(len(frame))[:most])]
    frame = frame.reset_index(drop=True)
    clusters = people(dataset, frame)
    targets = {a.name: known_target(a, frame, clusters, root) for a in protected}
    if dataset.text is None:
        values, proxies = frame, [Proxy(settle_cells(frame[feature.name], feature.kind)) for feature in dataset.features]
    else:
        values, proxies = _candidates(dataset, dataset.text, frame, list(targets.values()))
    found: dict[str, _Carrying] = {name: {} for name in targets}
    level = 1 - 0.05 / max(len(proxies) * len(protected), 1)
    for name, (target, known) in targets.items():
        for proxy in (p for p in proxies if p.name != name):
            try:
                one = associate(proxy.cells.codes(values[proxy.name][known]), target)
            except TooFewRowsError:
                break
            found[name][proxy.name] = (one.value, _low(one, target.clusters_n, level))
    strongest = {p.name: max((table[p.name][0] for table in found.values() if p.name in table), default=0.0) for p in proxies}
    ranked = sorted(proxies, key=lambda proxy: (-round(strongest[proxy.name], 9), proxy.name))
    if dataset.text is not None:
        plan = ProxyPlan(_pick_features(ranked, strongest), text=dataset.text)
        return replace(dataset, notes=(*dataset.notes, *_notes_on_texts(dataset, len(plan.proxies)))), plan
    plan = ProxyPlan(tuple(ranked[:MOST_COLUMNS]))
    taken = {proxy.name for proxy in proxies}
    pairs = {a.name: _pairs(plan, a, found[a.name], frame, clusters, root, taken) for a in protected}
    notes = list(dataset.notes)
    if more := len(proxies) - len(plan.proxies):
        why = f"the {len(plan.proxies)} that carry most in the training rows were followed"
        notes.append(NotTested(what=f"proxy use of {more} more input columns", why=why))
    attributes, discovered = _as_attributes(recipe, dataset, found, notes)
    check_names([a.name for a in (*dataset.attributes, *attributes)], "column", "data.discover")
    dataset = replace(dataset, attributes=(*dataset.attributes, *attributes), notes=tuple(notes))
    return dataset, replace(plan, pairs=pairs, discovered=discovered)


def _low(one: Association, clusters_n: Ints, level: float) -> float:
    return crossed_interval(Measured(np.array([one.value]), one.influence_n, clusters_n), level).low


def _as_attributes(
    recipe: Recipe, dataset: Dataset, found: dict[str, _Carrying], notes: list[NotTested]
) -> tuple[list[Attribute], tuple[Discovered, ...]]:
    """The strongest undeclared carriers as probe targets: each protected attribute's first, then each one's second, ..."""
    taken = {a.name for a in dataset.attributes} | set(dataset.legitimate) | {dataset.group}
    kinds = {kind.name: kind for kind in dataset.kinds}
    places: list[tuple[int, float, str, str]] = []
    for of, table in found.items():
        carrying = sorted((-round(value, 9), name) for name, (value, low) in table.items() if low > recipe.margins.leak)
        places += [(place, less, of, name) for place, (less, name) in enumerate(carrying)]
    attributes: list[Attribute] = []
    discovered: list[Discovered] = []
    for _, _, of, name in sorted(places):
        if name in taken or len(attributes) >= recipe.data.discover:
            continue
        taken.add(name)
        distinct = pd.concat([dataset.train[name], dataset.audit[name]]).nunique()
        groups = None if dataset.group is None else dataset.audit[dataset.group]
        attribute, remarks = code_attribute(
            dataset.audit[name], kinds[name], "proxy", distinct=distinct, where="audit rows", fewest=MIN_LEVEL_ROWS, groups=groups
        )
        notes.extend(remarks)
        if attribute is not None:
            attributes.append(attribute)
            discovered.append(Discovered(name, of, found[of][name][0]))
    return attributes, tuple(discovered)


def _pairs(
    plan: ProxyPlan, attribute: Attribute, singles: _Carrying, frame: pd.DataFrame, clusters: Ints, root: int, taken: set[str]
) -> tuple[tuple[str, str], ...]:
    """Pairs that tell surely more than the better column: screened by a cheap trace, the best read on rows not seen."""
    if not singles:
        return ()
    rows = np.sort(stream(root, "pair rows").permutation(len(frame))[:_PAIR_ROWS])
    frame, clusters = frame.iloc[rows].reset_index(drop=True), clusters[rows]
    target, known = known_target(attribute, frame, clusters, root)
    frame = frame[known]
    order = sorted((name for name in plan.columns if name in singles), key=lambda name: (-round(singles[name][0], 9), name))
    fine = {name: plan.codes(name, frame) for name in order}
    coarse = {name: plan.codes(name, frame, coarse=True) for name in order}
    traces: dict[tuple[str, str], float] = {}
    # The strongest columns' pairs come first, and the better column of each.
    for pair in islice(combinations([name for name in plan.columns if name in singles], 2), _SCREENED_PAIRS):
        better, other = sorted(pair, key=order.index)
        traces[better, other] = pair_trace(*pair_codes(fine[better], coarse[other]), target.labels_n, target.classes)
    best = sorted(traces, key=lambda pair: (-round(traces[pair], 6), pair))[:_READ_PAIRS]
    kept: list[tuple[float, tuple[str, str]]] = []
    for pair in best:
        try:
            better, other = pair
            _, gain = pair_gain(*pair_codes(fine[better], coarse[other]), target)
        except TooFewRowsError:
            continue
        if _low(gain, target.clusters_n, 1 - 0.05 / len(best)) > 0:
            kept.append((gain.value, pair))
    # Two things of one name could not be told apart in a report: a column may itself be called "a + b".
    named = {label(pair): pair for _, pair in sorted(kept, key=lambda item: (round(item[0], 9), item[1])) if label(pair) not in taken}
    return tuple(reversed(named.values()))[:MOST_PAIRS]


def _candidates(
    dataset: Dataset, column: str, frame: pd.DataFrame, targets: Sequence[tuple[Target, Bools]]
) -> tuple[pd.DataFrame, list[Proxy]]:
    """Features to be read out of fold, and their values: ways of writing that vary, function words, and the terms that differ most."""
    texts, others = lines_of(frame[column]), lines_of(dataset.audit[column])
    whose = (people(dataset, frame, column), people(dataset, dataset.audit, column))
    terms = frequent_terms(texts, whose[0], others, whose[1])
    chosen = _with_terms(_styles((texts, others), whose), terms, targets)
    values = pd.DataFrame({name: column for name, column in chosen.items() if name not in frame})
    named = {feature.name: feature for feature in (*terms.features, *_STYLES)}
    return values, [Proxy(settle_cells(values[name], "numeric"), named[name]) for name in values.columns]


def _pick_features(ranked: Sequence[Proxy], strongest: Mapping[str, float]) -> tuple[Proxy, ...]:
    """Those that are followed, the strongest first: so many of each kind, and none that carries nothing once there are a few."""
    picked: list[Proxy] = []
    for proxy in ranked:
        assert proxy.feature is not None
        taken = sum(other.feature is not None and other.feature.kind == proxy.feature.kind for other in picked)
        if taken < MOST_OF[proxy.feature.kind] and (strongest[proxy.name] > 0 or len(picked) < FEWEST_FEATURES):
            picked.append(proxy)
    return tuple(picked)


def _notes_on_texts(dataset: Dataset, followed: int) -> list[NotTested]:
    what = "words that fewer than eleven people use, and what lies in the order of words, in grammar and in spelling"
    why = (
        f"words, characters and habits of style were looked through one by one; the {followed} that carry most in the training "
        "texts were followed, and what few people write is never named"
    )
    notes = [NotTested(what=what, why=why)]
    if dataset.group is None:
        why = "data.group names no column of authors, so every different text counts as another person's"
        notes.append(NotTested(what="whether words that are reported are those of fewer people than texts", why=why))
    return notes


def _styles(texts: Sequence[Sequence[str]], people: Sequence[Ints]) -> dict[str, Floats]:
    """Ways of writing that at least eleven people use and that vary between as many, among the first texts (returned) and all others."""
    tables = [feature_table(_STYLES, lines) for lines in texts]

    def shared(name: str) -> bool:
        columns = [table[name].to_numpy() for table in tables]
        return all(
            len(np.unique(people_n[found_n])) >= SMALLEST_CELL
            for column_n, people_n in zip(columns, people, strict=True)
            for found_n in (column_n > 0, column_n != pd.Series(column_n).mode()[0])
        )

    return {name: tables[0][name].to_numpy() for name in STYLES if shared(name)}


def _with_terms(styles: dict[str, Floats], terms: Terms, targets: Sequence[tuple[Target, Bools]]) -> dict[str, Floats]:
    """Ways of writing, words, and patterns that are nothing of these over again; those whose counts differ most first."""
    if terms.held_nv is None:
        return styles
    trace = _traces(terms, targets)
    order = sorted(range(len(terms.features)), key=lambda place: (-round(float(trace[place]), 6), terms.features[place].name))
    words = [place for place in order if terms.features[place].kind == "word"]
    words = words[:_WORDS] + [place for place in words[_WORDS:] if terms.features[place].what in FUNCTION_WORDS]
    chosen = styles | {terms.features[place].name: terms.column(place) for place in words}
    patterns = 0
    for place in (place for place in order if terms.features[place].kind == "pattern"):
        column = terms.column(place)
        if patterns < _PATTERNS and not any(_overlap(column, other) >= _SAME for other in chosen.values()):
            chosen[terms.features[place].name] = column
            patterns += 1
    return chosen


def _overlap(one_n: Floats, two_n: Floats) -> float:
    """Jaccard's index of the texts that hold two things."""
    both, either = ((one_n > 0) & (two_n > 0)).sum(), ((one_n > 0) | (two_n > 0)).sum()
    return float(both / max(either, 1))


def _traces(terms: Terms, targets: Sequence[tuple[Target, Bools]]) -> Floats:
    """How far the classes (or the mean) of an attribute differ between texts with and without each term; for screening only."""
    best = np.zeros(len(terms.features))
    for target, known in targets:
        held = terms.held_nv.tocsr()[known]
        n, size = held.shape[0], np.asarray(held.sum(axis=0)).ravel()
        if target.classes:
            columns = (target.labels_n[:, None] == np.arange(target.classes)).astype(np.float64)
        else:
            values = target.labels_n.astype(np.float64)
            columns = ((values - values.mean()) / max(float(values.std()), 1e-300))[:, None]
        sums, mean = np.asarray(held.T @ columns), columns.mean(axis=0)
        spread = np.maximum((mean if target.classes else np.ones(1)) * (size * (1 - size / max(n, 1)))[:, None], 1e-9)
        free = max(columns.shape[1] - 1, 1)
        best = np.maximum(best, (((sums - size[:, None] * mean) ** 2 / spread).sum(axis=1) - free) / np.sqrt(2 * free))
    return best


def known_target(attribute: Attribute, frame: pd.DataFrame, clusters_n: Ints, root: int) -> tuple[Target, Bools]:
    """The attribute on the rows of any table where it is known, coded as on the audit rows; and those rows."""
    values = codes_in(attribute, frame, where="")
    known = np.isfinite(values) if attribute.kind == "continuous" else values >= 0
    clusters = np.unique(clusters_n[known], return_inverse=True)[1].astype(np.int64)
    folds = assign_folds(clusters, stream(root, "association folds")) if known.any() else np.zeros(0, dtype=np.int64)
    return Target(values[known], attribute.classes, folds, clusters), known


def associate_pair(
    pair: tuple[str, str], plan: ProxyPlan, frame: pd.DataFrame, target: Target, rng: np.random.Generator | None
) -> tuple[Association, Association]:
    """Association of a pair, and its gain over the first of the two."""
    better, other = pair
    codes, of_cell = pair_codes(plan.codes(better, frame), plan.codes(other, frame, coarse=True))
    return pair_gain(codes, of_cell, target, rng)


def measure_association(frame: pd.DataFrame, dataset: Dataset, plan: ProxyPlan, root: int, out: Measurement, *, rows: bool) -> None:
    """What each proxy and pair carries of each protected attribute in a table that has the model's inputs.

    Of the audit rows (``rows``) the row influences are kept, of other tables the variance.
    """
    if len(frame) > MOST_TABLE_ROWS and not rows:
        kept = np.sort(stream(root, "association rows").permutation(len(frame))[:MOST_TABLE_ROWS])
        frame = frame.iloc[kept]
    frame = plan.with_values(frame)
    # A text of a scrubbed regime is still its author's.
    clusters_n = people(dataset, frame) if rows or plan.text is not None else np.arange(len(frame))
    for attribute in (a for a in dataset.attributes if a.role in AUDITED):
        record = TableRecord(reason="the table does not hold the attribute")
        if set(attribute.columns) <= set(frame.columns):
            record = _carried(attribute, frame, clusters_n, plan, root, rows=rows)
        TABLES.write(out, record, attribute.name)


def _carried(attribute: Attribute, frame: pd.DataFrame, clusters_n: Ints, plan: ProxyPlan, root: int, *, rows: bool) -> TableRecord:
    target, known = known_target(attribute, frame, clusters_n, root)
    held = frame[known]
    units: dict[str, UnitCarried] = {}
    for unit in plan.units(attribute.name):
        if not set(attribute.columns).isdisjoint(unit):
            continue
        rng = stream(root, "association null", attribute.name, *unit)
        gain = None
        try:
            if len(unit) == 1:
                permutations = _AUDIT_PERMUTATIONS if rows else _TABLE_PERMUTATIONS
                carried = associate(plan.codes(unit[0], held), target, rng, permutations)
            else:
                carried, gain = associate_pair((unit[0], unit[1]), plan, held, target, rng)
        except TooFewRowsError as error:
            units[label(unit)] = UnitCarried(reason=str(error))
            continue
        known_of = known if rows else None
        numbers = UnitCarried(_numbers(carried, target, known_of), None if gain is None else _numbers(gain, target, known_of))
        better = units[unit[0]].association if len(unit) == 2 and unit[0] in units else None
        if better is not None and numbers.association is not None and numbers.gain is not None:
            # What the better column carries, the pair carries too.
            p = min(1.0, 2 * min(numbers.gain.p, better.p))
            numbers = replace(numbers, association=replace(numbers.association, p=p))
        units[label(unit)] = numbers
    return TableRecord(units, int(known.sum()))


def _numbers(found: Association, target: Target, known_n: Bools | None) -> Carried:
    """Numbers of one association; with its influences on all rows where it is said which are known."""
    assert found.null_high is not None  # a null was asked for
    full = None
    if known_n is not None:
        full = np.zeros(len(known_n))
        full[known_n] = found.influence_n
    return Carried(found.value, row_variance(found.influence_n, target.clusters_n)[0], found.p, found.null_high, full)
