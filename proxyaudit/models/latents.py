"""Latents of a sparse autoencoder at a place of a transformer, and the outputs when one of them is taken out."""

import numpy as np
import torch
from torch import Tensor

from proxyaudit.arrays import Floats, Ints, Singles
from proxyaudit.models.base import TrainedModel, as_tensor, inference
from proxyaudit.models.sae import SparseAutoencoder, moved
from proxyaudit.models.text import TextClassifier, placed
from proxyaudit.models.text_parts import find_places, tapped_places

_READ_ROWS = 32


class LatentParts:
    """Mean of each latent over the tokens of some texts, and how well the autoencoder gives the values again."""

    def __init__(self, model: TrainedModel, x: Singles, sae: SparseAutoencoder) -> None:
        assert isinstance(model.module, TextClassifier)
        self._model, self._module, self._sae = model, model.module, sae
        self._x = np.asarray(x, dtype=np.float32)
        self._place = next(place for place in find_places(model.module, self._x) if place.name == sae.at)
        self.latents_nm = np.zeros((len(x), sae.latents), dtype=np.float32)
        self.outputs_nc = np.zeros((len(x), 1))
        self.explained = 0.0  # share of the variance over tokens that the reconstruction explains
        self._read()

    def _read(self) -> None:
        width = int(self._sae.encoder_dm.shape[0])
        outputs: list[tuple[Ints, Floats]] = []
        left, count, total, squares = 0.0, 0, np.zeros(width), 0.0
        with placed(self._module), inference(self._module):
            sae = moved(self._sae, self._module.head.weight.device)
            for rows in self._module.batches(self._x, _READ_ROWS):
                table = self._x[rows]
                mask = torch.from_numpy(table >= 0)[:, : int((table >= 0).sum(axis=1).max(initial=1))].to(self._module.head.weight.device)
                seen: list[Tensor] = []
                with tapped_places(self._module, [self._place], lambda _, value, seen=seen: seen.append(value.detach())):  # type: ignore[misc]
                    outputs.append((rows, self._probabilities(table)))
                latents = sae.encode(seen[0]) * mask[..., None]
                self.latents_nm[rows] = (latents.sum(dim=1) / mask.sum(dim=1, keepdim=True)).cpu().numpy()
                values = seen[0].float()[mask]
                off = values - sae.written(seen[0], latents)[mask]
                left += float((off.double() ** 2).sum())
                squares += float((values.double() ** 2).sum())
                total += values.double().sum(dim=0).cpu().numpy()
                count += len(values)
        spread = squares - float(total @ total) / max(count, 1)
        self.explained = 1.0 - left / spread if spread > 0 else 0.0
        self.outputs_nc = np.zeros((len(self._x), outputs[0][1].shape[1] if outputs else 1))
        for rows, found in outputs:
            self.outputs_nc[rows] = found

    def without(self, rows: Ints, latent: int, output: int) -> Floats:
        """The followed probability ``(m,)`` of rows when what a latent writes is taken away at every token; the rest stays as it is."""
        found = np.empty(len(rows))
        with placed(self._module), inference(self._module):
            device = self._module.head.weight.device
            sae, which = moved(self._sae, device), torch.tensor([latent], device=device)

            def take(_: str, value: Tensor) -> Tensor:
                return value - sae.written(value, sae.encode(value), which).to(value.dtype)

            for batch in self._module.batches(self._x[rows], _READ_ROWS):
                with tapped_places(self._module, [self._place], take):
                    found[batch] = self._probabilities(self._x[rows[batch]])[:, output]
        return found

    def _probabilities(self, table: Singles) -> Floats:
        return self._model.outputs(self._model.logits(self._module(as_tensor(table)), len(table)).cpu())
