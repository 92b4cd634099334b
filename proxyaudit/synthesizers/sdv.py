"""Gaussian copula, TVAE, CTGAN and CopulaGAN from the Synthetic Data Vault (Patki et al. 2016; Xu et al. 2019): their makers and costs.

A plan asks for the cost alone, so scikit-learn is loaded where one is made.
"""

from functools import partial
from typing import TYPE_CHECKING

from proxyaudit.synthesizers.base import costs

if TYPE_CHECKING:
    from proxyaudit.synthesizers.sdv_models import SdvSynthesizer


def _made(kind: str, epochs: int | None = None, seed: int = 0) -> "SdvSynthesizer":
    from proxyaudit.synthesizers.sdv_models import SdvSynthesizer

    return SdvSynthesizer(kind, epochs, seed)


# Gaussian copula with beta marginals, for which epochs have no meaning; variational autoencoder for tables and conditional GAN (Xu et
# al. 2019); the GAN on marginals made normal by a copula.
gaussian_copula = costs(0.02, epochs=10)(partial(_made, "gaussian_copula"))
tvae = costs(0.04, epochs=10)(partial(_made, "tvae"))
ctgan = costs(0.6, epochs=10)(partial(_made, "ctgan"))
copulagan = costs(0.7, epochs=10)(partial(_made, "copulagan"))
