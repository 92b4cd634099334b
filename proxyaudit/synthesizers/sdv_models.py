"""Models of the Synthetic Data Vault behind scikit-learn's conventions.

The only file that imports sdv, and only inside functions. SDV draws from global generators while it fits, and its sampler starts from one
fixed seed after every fit; here both are seeded on purpose, and the caller's generators and thread count are put back.
"""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from proxyaudit.errors import TaskError
from proxyaudit.seeding import integer_seed

_CLASSES = {"gaussian_copula": "GaussianCopula", "tvae": "TVAE", "ctgan": "CTGAN", "copulagan": "CopulaGAN"}
_EPOCHS = {"tvae": 20, "ctgan": 10, "copulagan": 10}
_TABLE = "rows"


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """Seed every global generator, on one thread so that sums come out alike; then put all of it back.

    From 500 rows on, TVAE and CTGAN transform columns in worker processes, whose generators nobody seeds (two fits with
    one seed gave different rows); the sequential backend keeps that work, and its draws, in this process.
    """
    import joblib
    import torch
    from threadpoolctl import threadpool_limits

    python_state, threads = random.getstate(), torch.get_num_threads()
    numpy_state = np.random.get_state()  # noqa: NPY002  (SDV draws from this generator)
    sequential = joblib.parallel_config(backend="sequential")
    with sequential, warnings.catch_warnings(), threadpool_limits(limits=1), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        try:
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            torch.manual_seed(seed)
            torch.set_num_threads(1)
            yield
        finally:
            torch.set_num_threads(threads)
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)


class SdvSynthesizer(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """One SDV model behind scikit-learn's conventions; ``epochs`` None is 20 for TVAE and 10 for the two GANs, the copula has none."""

    def __init__(self, kind: str, epochs: int | None = None, seed: int = 0) -> None:
        self.kind, self.epochs, self.seed = kind, epochs, seed

    def fit(self, frame: pd.DataFrame) -> Self:
        """Fit on numbers (int64 or float64) and text, missing values as NaN. Raises ``TaskError``: SDV could not fit these rows."""
        with _own_randomness(integer_seed(self.seed, "fit")):
            import sdv.single_table
            from sdv.metadata import Metadata

            columns = {str(name): {"sdtype": "numerical" if frame[name].dtype.kind in "iuf" else "categorical"} for name in frame.columns}
            metadata = Metadata.load_from_dict({"tables": {_TABLE: {"columns": columns}}})
            options = {"epochs": self.epochs or _EPOCHS[self.kind], "enable_gpu": False, "verbose": False} if self.kind in _EPOCHS else {}
            try:
                model = getattr(sdv.single_table, f"{_CLASSES[self.kind]}Synthesizer")(metadata, **options)
                model.fit({_TABLE: frame.reset_index(drop=True)})
            except Exception as error:  # SDV raises many kinds, and their texts may hold values of rows
                raise TaskError(f"synthesizer {self.kind} could not be fitted ({type(error).__name__})") from error
        self.model_, self.columns_ = model, list(frame.columns)
        return self

    def sample(self, n: int, seed: int) -> pd.DataFrame:
        """Draw ``n`` rows; the same seed repeats them, whatever was drawn before. Raises ``TaskError``: SDV could not sample."""
        with _own_randomness(integer_seed(seed, "global")):
            try:
                # Both states are private to SDV 2: the model's generator, and one per column that places missing values and rounding.
                self.model_.reset_sampling()
                self.model_._set_random_state(integer_seed(seed, "rows"))
                for name, transformer in self.model_._data_processor._hyper_transformer.field_transformers.items():
                    if transformer is not None:
                        state = np.random.RandomState(integer_seed(seed, "column", str(name)))
                        transformer.set_random_state(state, "reverse_transform")
                rows: pd.DataFrame = self.model_.sample(num_rows=n)[_TABLE]
            except Exception as error:
                raise TaskError(f"synthesizer {self.kind} could not sample ({type(error).__name__})") from error
        return rows.loc[:, self.columns_].reset_index(drop=True)
