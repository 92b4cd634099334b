"""What a trial of a cure reads of the model that it made: outputs, and what a linear reader gets at the verdict sites.

It asks what several channels ask, so it lies beside them.
"""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from proxyaudit.activations.capture import Captured
from proxyaudit.channels.cures.record import CURED_SITES, CuredSite
from proxyaudit.channels.leak.measure import read_linear_leak
from proxyaudit.channels.leak.site_probe import Probing
from proxyaudit.channels.prominence import measure as prominence
from proxyaudit.channels.prominence.record import PROMINENT
from proxyaudit.data.attributes import Attribute
from proxyaudit.data.dataset import Dataset
from proxyaudit.estimates.record import Measurement


def read_trial(
    captured: Captured, dataset: Dataset, attribute: Attribute, sites: Sequence[str], probing: Probing, *, leaks: bool
) -> Measurement:
    """Outputs on the audit rows ``(n, C)``, and at ``sites`` how prominent the attribute is; with ``leaks`` its linear leak, too."""
    out = Measurement()
    out.arrays["outputs"] = captured.outputs
    for site in sites:
        CURED_SITES.write(out, _site(captured.acts[site], dataset, attribute, site, probing if leaks else None), site)
    return out


def _site(acts_nd: NDArray[Any], dataset: Dataset, attribute: Attribute, site: str, probing: Probing | None) -> CuredSite:
    found = Measurement()
    prominence.measure_site(acts_nd, (attribute,), dataset.clusters, site=site, repetition=0, placebos={}, full=False, out=found)
    shown = PROMINENT.read(found, attribute.name, site)
    read = None if probing is None else read_linear_leak(acts_nd, dataset, attribute, probing)
    leak, leak_n = (None, None) if read is None else read
    return CuredSite(leak, shown.units, leak_n, shown.units_n)
