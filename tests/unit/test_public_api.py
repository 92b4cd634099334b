"""The public names: complete, sorted, few, documented, and light to import."""

import subprocess
import sys

import proxyaudit


def test_all_is_sorted_complete_and_small():
    assert proxyaudit.__all__ == sorted(proxyaudit.__all__)
    assert len(proxyaudit.__all__) <= 30
    for name in proxyaudit.__all__:
        assert getattr(proxyaudit, name).__doc__


def test_audit_opens_a_run_as_tables(pack, tmp_path):
    from proxyaudit.evidence.pack import write_pack

    write_pack(pack, tmp_path / "run", reports={"report.html": "", "report.md": ""})
    audit = proxyaudit.open_audit(tmp_path)
    assert list(audit.findings["verdict"]) == [f.verdict for f in pack.evidence.findings]
    assert len(audit.estimates) == len(pack.evidence.estimates)
    assert "<table" in audit._repr_html_()
    assert audit.pack.evidence.run.name in repr(audit)


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, proxyaudit; print([m for m in ('torch', 'pandas', 'sklearn', 'sdv', 'matplotlib', 'scipy') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
