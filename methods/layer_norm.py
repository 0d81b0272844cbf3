"""Layer normalisation in every hidden layer, between its weights and its activation.

Ba, Kiros and Hinton 2016, "Layer normalization", https://arxiv.org/abs/1607.06450.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from continual_hackatari.methods.moments import Method


class LayerNorm(Method):
    """Normalisers `norm.<layer>`, with a gain and an offset per unit; see `agents.layers.over_all`."""

    @classmethod
    def build(cls, settings: Any) -> Mapping[str, Any]:
        return {"layer_norm": True}


METHOD = LayerNorm
