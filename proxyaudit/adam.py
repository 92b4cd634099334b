"""Adam and AdamW steps (Kingma & Ba 2015; Loshchilov & Hutter 2019) by torch's own kernels, without torch's compiler.

Making a ``torch.optim`` optimizer imports ``torch._dynamo``, which costs each process more than training a small network does.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

_FUSED = (torch.float32, torch.float64)


class Adam:
    """Steps of parameters in groups ``{"params": [...], "lr": rate, "weight_decay": decay}``; what a group lacks is as given to all.

    ``decoupled`` takes weight decay off the weights (AdamW), else it is added to gradients; ``maximize`` climbs.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[str, Any]],
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decoupled: bool = False,
        maximize: bool = False,
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {"lr": lr, "weight_decay": 0.0, **group, "params": list(group["params"])} for group in groups
        ]
        self._same: dict[str, Any] = {
            "beta1": betas[0],
            "beta2": betas[1],
            "eps": eps,
            "maximize": maximize,
            "decoupled_weight_decay": decoupled,
        }
        self._state: dict[Tensor, tuple[Tensor, Tensor, Tensor]] = {}  # first and second moments, and the number of steps

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move each parameter that has a gradient."""
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            for parameter in moved:
                if parameter not in self._state:
                    # Fused kernels want the number of steps beside the parameter, wherever that lies.
                    steps_taken = torch.zeros((), dtype=torch.float32, device=parameter.device)
                    self._state[parameter] = torch.zeros_like(parameter), torch.zeros_like(parameter), steps_taken
            first, second, steps = (list(part) for part in zip(*(self._state[parameter] for parameter in moved), strict=True))
            adam(
                moved,
                [parameter.grad for parameter in moved],
                first,
                second,
                [],
                steps,
                fused=all(parameter.dtype in _FUSED for parameter in moved),
                foreach=False,
                amsgrad=False,
                lr=group["lr"],
                weight_decay=group["weight_decay"],
                **self._same,
            )
