"""Who may read what of an audit: every file and every field that one writes, declared here and nowhere else.

Public is what a reader needs. Restricted is what helps to infer an attribute of single people: signatures, erasers, sums over rows, rows.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Literal

Tier = Literal["public", "restricted"]

RECEIPT: Final = "purge.json"
SIGNED_RECEIPT: Final = "purge.dsse.json"
ACCESS_LOG: Final = "access.log.jsonl"
BESIDE: Final = (
    RECEIPT,
    SIGNED_RECEIPT,
    ACCESS_LOG,
)  # what happened to a run after it was written: no part of it, so its manifest cannot list them
AGE: Final = ".age"  # ends the name of a file that is encrypted
ROW_SUMS: Final = "row-sums.safetensors"

FILES: Final[dict[str, Tier]] = {
    "arrays.safetensors": "public",
    "environment.json": "public",
    "evidence.json": "public",
    "manifest.json": "public",
    "plan.json": "public",
    "recipe.yaml": "public",
    "report.html": "public",
    "report.md": "public",
    "signatures.json": "restricted",
    "signatures.safetensors": "restricted",
    ROW_SUMS: "restricted",
    # of 'mitigate': the difference of the models is the erased direction; a factory's file lies beside them
    "mitigation.json": "public",
    "mitigation.md": "public",
    "mitigated.yaml": "public",
    "*.py": "public",
    "before-*.safetensors": "restricted",
    "mitigated-*.safetensors": "restricted",
    # of both
    "change.json": "public",
    "change.md": "public",
    # of 'cure'
    "cure.json": "public",
    "cured.yaml": "public",
    "release.csv": "restricted",
}


RUN_RESTRICTED: Final = ("signatures.json", "signatures.safetensors")  # open in a run only where the recipe names no recipients
RUN_ENCRYPTED: Final = tuple(f"{name}{AGE}" for name in (*RUN_RESTRICTED, ROW_SUMS))

ARRAYS: Final[dict[str, Tier]] = {"*.seed_values": "public", "row_parts.*": "restricted"}  # by name
# Every field of every document, so that a new one has to be thought about.
FIELDS: Final[dict[str, tuple[Tier, str]]] = {
    "Estimate": (
        "public",
        "id channel attribute regime site group measure subject reference_for context state p_present p_absent beyond_null "
        "value low high raw level unit auroc n seeds seed_values next_model margin bound detection_limit null_high shown_by "
        "rows_needed remedy method reason",
    ),
    "Control": ("public", "id kind channel attribute regime site passed detail figures"),
    "Origin": ("public", "encoding use"),
    "Change": ("public", "encoding use"),
    "TriedCure": ("public", "name estimates auroc_cost"),
    "Training": ("public", "word singled_out gain kept_of_real"),
    "Finding": (
        "public",
        "attribute role regime verdict at_least encoding use recoverable mechanisms basis origin change training retention "
        "cures sentence decided_by would_settle control_refs controls_supported",
    ),
    "NotTested": ("public", "what why"),
    "RunInfo": ("public", "id name status plan_digest versions seed input_encoding"),
    "Evidence": ("public", "schema_version run findings estimates controls not_tested"),
    "Plan": (
        "public",
        "name seed seeds regimes references sites attributes proxies localisation columns rows audit_rows holdout target "
        "margins level cells permutations tasks notes hashes versions schema_version language_models no_absence repetitions "
        "digest code estimated_minutes input_encoding",
    ),
    "NamedRun": ("public", "name run_id plan_digest"),
    "Side": ("public", "value low high state"),
    "Changed": ("public", "channel measure attribute site what unit before after"),
    "Mechanism": ("public", "name words sites columns"),
    "ChangeRecord": (
        "public",
        "change_version id kind attribute regime changed_regime mechanism source audit verdict_before verdict_after measured "
        "side_effects residual_risk artefacts",
    ),
    "Removed": ("public", "what name bytes sha256"),
    "Purge": ("public", "began ended removed"),
    "Receipt": ("public", "receipt_version plan_digest purges"),
    "Kind": ("restricted", "name kind date edges levels"),
    "KnownAttribute": ("restricted", "name role kind levels"),
    "Contexts": ("restricted", "column names edges levels held_out"),
    "Reference": ("restricted", "regime seed kept erase scrub quantise"),
    "Reading": ("restricted", "context rows rate mean sd by_group leak"),
    "Entry": ("restricted", "attribute level regime site seed state margin low high threshold known width readings"),
    "Document": (
        "restricted",
        "signatures_version plan_digest kinds features text encoder classes group attributes contexts references entries placebos",
    ),
}


def named_recipients(recipe: Mapping[str, Any]) -> tuple[str, ...]:
    """The age recipients of a published recipe, whoever wrote it."""
    access = recipe.get("access")
    found = access.get("recipients") if isinstance(access, Mapping) else None
    return tuple(text for text in found if isinstance(text, str)) if isinstance(found, list | tuple) else ()


def tier_of(name: str) -> Tier | None:
    """The tier of a file by its name, encrypted or not; ``None`` for one that no audit writes."""
    plain = name.removesuffix(AGE)
    return next((tier for pattern, tier in FILES.items() if fnmatchcase(plain, pattern)), None)


def is_restricted(name: str) -> bool:
    """Whether a file belongs to the restricted tier."""
    return tier_of(name) == "restricted"
