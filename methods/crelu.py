"""Concatenated ReLUs: every unit gives its positive and its negative part, so that none falls silent.

Abbas et al. 2023, "Loss of plasticity in continual deep reinforcement learning", https://arxiv.org/abs/2303.07507;
Shang et al. 2016, https://arxiv.org/abs/1603.05201.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from continual_hackatari.methods.moments import Method


class CReLUMethod(Method):
    """`[relu(x), relu(-x)]` on the axis of channels or units, in every hidden layer."""

    @dataclass(frozen=True)
    class Settings:
        width: Literal["half", "same"] = "half"
        """half as many units, so that each layer gives as many numbers as before; or as many units, which give twice
        as many"""

    @classmethod
    def build(cls, settings: Any) -> Mapping[str, Any]:
        return {"crelu": 0.5 if settings.width == "half" else 1.0}


METHOD = CReLUMethod
