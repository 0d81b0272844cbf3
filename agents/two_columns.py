"""Two columns: a knowledge base that keeps, and an active column that looks at it and learns anew.

The network of Progress & Compress (Schwarz et al. 2018, https://arxiv.org/abs/1805.06370).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from continual_hackatari.agents.actor_critic import ACTOR_GAIN, CRITIC_GAIN, HIDDEN_GAIN, blank, draw
from continual_hackatari.agents.player import Player
from continual_hackatari.agents.ppo import HIDDEN_LAYERS, PPO

COLUMNS = ("kb", "ac")
"""Names of the two as players, the knowledge base and the active column."""
GATE = 0.1
"""At which adaptors begin: so little that a knowledge base that knows nothing yet does not drown the active column."""
LEAST = 64
"""Units inside an adaptor, at least: with as many as a value head has, one, it would often be silent for ever."""
GAINS = {"actor": ACTOR_GAIN, "critic": CRITIC_GAIN}


class Lateral(nn.Module):
    """What a layer of one column is given of what the layer below it says in another: gate * U ReLU(V x + c)."""

    def __init__(self, layer: nn.Conv2d | nn.Linear) -> None:
        """layer: of the column that is given it, of whose kind and reach V is."""
        super().__init__()
        units = len(layer.weight)
        inside = max(units, LEAST)
        self.read: nn.Conv2d | nn.Linear
        self.write: nn.Conv2d | nn.Linear
        if isinstance(layer, nn.Conv2d):
            self.read = blank(nn.Conv2d, layer.in_channels, inside, layer.kernel_size[0], stride=layer.stride[0])
            self.write = blank(nn.Conv2d, inside, units, 1, bias=False)
        else:
            self.read = blank(nn.Linear, layer.in_features, inside)
            self.write = blank(nn.Linear, inside, units, bias=False)
        self.gate = nn.Parameter(torch.empty(units))

    def initialise(self, gain: float, generator: torch.Generator | None = None) -> None:
        """Draw it anew."""
        draw(self.read, HIDDEN_GAIN, generator)
        draw(self.write, gain, generator)
        nn.init.constant_(self.gate, GATE)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the layer's output before its activation; x: `[B, ...]` as the layer's own input."""
        given = self.write(F.relu(self.read(x)))
        return self.gate.view(-1, *[1] * (given.dim() - 2)) * given


class KnowledgeBase(PPO):
    """The column that keeps: it is held by how it plays, not by what it says games are worth."""

    def fisher_terms(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return {"log_prob": super().fisher_terms(x, generator)["log_prob"]}


class TwoColumns(PPO):
    """The active column, and beside it the knowledge base, from where no gradient returns.

    Each layer of the active column but the first, and each of its heads, is given what the layer below says in the
    knowledge base as it was when the active column was drawn: h = ReLU(W h_below + b + gate * U ReLU(V h_below_then +
    c)), with a gate per unit. With gates of 0 it is a `PPO`. It looks at a copy, `earlier`, because it teaches: were
    it given what its pupil says now, every lesson would change how it plays itself.

    As an `ActorCritic` it is the active column, which acts and learns; what plays when it is evaluated is the knowledge
    base, or one of `players`. Weights: `network.{0,2,4,7}`, `actor`, `critic` and `lateral.*` are of the active column,
    `knowledge_base.*` and `earlier.*` have the names of a `PPO`.
    """

    parts: Sequence[Callable[[Any, str], Any]] = (lambda agent, _task: agent.knowledge_base,)

    def __init__(self, num_actions: int, num_planes: int = 4, *, generator: torch.Generator | None = None) -> None:
        """num_planes, generator: as of `PPO`."""
        super().__init__(num_actions, num_planes, generator=generator)
        own = {name: self.network[place] for name, place in HIDDEN_LAYERS.items() if place > 0}
        layers = cast(Mapping[str, nn.Conv2d | nn.Linear], {**own, "actor": self.actor, "critic": self.critic})
        self.lateral = nn.ModuleDict({name: Lateral(layer) for name, layer in layers.items()})
        self._initialise_laterals(generator)
        self.knowledge_base = KnowledgeBase(num_actions, num_planes, generator=generator)
        self.earlier = copy.deepcopy(self.knowledge_base).requires_grad_(False)

    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw the active column anew. The knowledge base keeps what it knows, and that is looked at from now on."""
        for layer in self.network:
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                draw(layer, HIDDEN_GAIN, generator)
        for name, gain in GAINS.items():
            draw(getattr(self, name), gain, generator)
        if hasattr(self, "earlier"):  # not yet where PPO calls it
            self._initialise_laterals(generator)
            self.earlier.load_state_dict(self.knowledge_base.state_dict())

    def _initialise_laterals(self, generator: torch.Generator | None) -> None:
        for name, lateral in self.lateral.items():
            cast(Lateral, lateral).initialise(GAINS.get(name, HIDDEN_GAIN), generator)

    def active_parameters(self) -> list[nn.Parameter]:
        """Those of the active column, with what it is given."""
        return [each for name, each in self.named_parameters() if not name.startswith(("knowledge_base.", "earlier."))]

    @property
    def players(self) -> dict[str, Player]:
        """Each column by itself."""
        active = copy.copy(self)  # with the same weights
        active.parts = ()
        return dict(zip(COLUMNS, (self.knowledge_base, active), strict=True))

    def columns(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """What the four hidden layers of the active column say, and those of `earlier`; see `PPO.features`."""
        with torch.no_grad():
            known = self.earlier.features(x)
        below = {"conv2": known[0], "conv3": known[1], "fc": known[2].flatten(1)}
        return super().features(x, [self.lateral[name](seen) for name, seen in below.items()]), known

    def features(self, x: Tensor, added: Sequence[Tensor] = ()) -> list[Tensor]:
        """Those of the active column."""
        return self.columns(x)[0]

    def hidden(self, x: Tensor) -> Tensor:
        """Features `[B, 1024]`: those of the active column, then those of `earlier`."""
        return self.hidden_outputs(x)[1]

    def hidden_outputs(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        """Those of the active column, and what `hidden` gives."""
        own, known = self.columns(x)
        return own, torch.cat([own[-1], known[-1]], 1)

    def heads(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        own, known = hidden.chunk(2, 1)
        logits, value = super().heads(own)
        with torch.autocast(hidden.device.type, enabled=False):
            known = known.float()
            return logits + self.lateral["actor"](known), value + self.lateral["critic"](known).squeeze(-1)

    def keep_in_float32(self) -> None:
        super().keep_in_float32()
        self.knowledge_base.keep_in_float32()
        self.earlier.keep_in_float32()
        for name in GAINS:
            self.lateral[name].float()
