"""What every agent shares: a policy and a value head on one hidden layer, how they are read, and how they start."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, overload

import torch
import torch.nn.functional as F  # noqa: N812 (the name everyone knows it by)
from torch import Tensor, nn

from continual_hackatari.agents.layers import HiddenLayer

Self = TypeVar("Self", bound="ActorCritic")
Layer = TypeVar("Layer", bound=nn.Module)
DRAWN = (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm)
"""Layers whose weights `ActorCritic.initialise` draws."""

# Gains of the orthogonal initialisation (the PPO convention): hidden layers keep the scale of their input through the
# ReLU, the policy starts close to uniform, the value head starts at unit scale.
HIDDEN_GAIN = math.sqrt(2)
ACTOR_GAIN = 0.01
CRITIC_GAIN = 1.0


def blank(layer: type[Layer], *sizes: int, **settings: int) -> Layer:
    """A layer whose weights `initialise` will draw: what it draws itself costs the run no random numbers.

    PyTorch's `skip_init` would load sympy for that, which takes a second.
    """
    with torch.random.fork_rng(devices=()):
        return layer(*sizes, **settings)


class ActorCritic(nn.Module, ABC):
    """Base of the agents. A subclass builds its layers, `actor` and `critic`, defines `hidden`, calls `initialise`.

    | call | returns |
    |---|---|
    | `forward(x)` | logits `[B, num_actions]`, value `[B]` |
    | `get_value(x)` | value `[B]` |
    | `get_action_and_value(x, action=None)` | action `[B]` int64, log_prob `[B]`, entropy `[B]` (nats), value `[B]` |
    | `act(x)` | action `[B]` int64 |
    | `describe(x)` | `entropy` `[B]` (nats) and `value` `[B]` by name |

    Logits, log-probabilities, entropies and values are float32, also under autocast and with bfloat16 weights: the
    ratio of two probabilities, PPO's core quantity, would drown in the rounding of a 16-bit logarithm.
    """

    actor: nn.Linear
    critic: nn.Linear
    castable: bool = False
    """Whether it computes in the precision that its weights are cast to; any other is read by autocast alone."""
    parts: Sequence[Callable[[Any, str], Any]] = ()
    """(agent, modification string) -> what of the agent plays it, one after the other; see `player.playing`"""

    @abstractmethod
    def hidden(self, x: Tensor) -> Tensor:
        """Features `[B, units]` that both heads read, from unscaled observations."""

    def inspect(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Outputs of the hidden layers by name, after their activation, and the features that `hidden` gives.

        Outputs are `[B, units]`, or `[B, positions..., units]` where a layer looks at several places with one set of
        weights. For measurements, not for training. An agent that does not say more has no hidden layers to look at.
        """
        return {}, self.hidden(x)

    def hidden_layers(self) -> list[HiddenLayer]:
        """The layers whose units may be measured and replaced, in the order of the forward pass."""
        return []

    def hidden_outputs(self, x: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """What each of `hidden_layers` gives after its activation, and the features that `hidden` gives.

        `[B, channels, H, W]` of a convolution, `[B, units]` or `[B, frames, units]` of a fully connected layer.
        """
        return [], self.hidden(x)

    @overload
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(self, x: Tensor, with_hidden: Literal[True]) -> tuple[Tensor, Tensor, list[Tensor]]: ...

    def forward(
        self, x: Tensor, with_hidden: bool = False
    ) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, list[Tensor]]:
        """Logits `[B, num_actions]` and value `[B]`: the whole network, without sampling (this is what to compile).

        with_hidden: the outputs of `hidden_layers` as well, detached and not copied: read them before the next pass.
        """
        if not with_hidden:
            return self.heads(self.hidden(x))
        outputs, features = self.hidden_outputs(x)
        return (*self.heads(features), [output.detach() for output in outputs])

    def heads(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[B, num_actions]` and value `[B]` of the features that `hidden` gave."""
        with torch.autocast(hidden.device.type, enabled=False):
            hidden = hidden.float()
            return _linear_in_float32(self.actor, hidden), _linear_in_float32(self.critic, hidden).squeeze(-1)

    def keep_in_float32(self) -> None:
        """Keep in float32, where the rest has another precision, what is read in it: the heads."""
        self.actor.float()
        self.critic.float()

    def get_value(self, x: Tensor) -> Tensor:
        """Value `[B]` of the observations `x`."""
        return self(x)[1]

    def get_action_and_value(
        self, x: Tensor, action: Tensor | None = None, *, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Action `[B]`, its log-probability `[B]`, the policy's entropy `[B]` in nats, value `[B]`.

        action: int64 `[B]`, returned as it is; None samples one.
        generator: for the sampling, on the same device as `x`; None means PyTorch's global generator.
        """
        logits, value = self(x)
        return (*read_policy(logits, action, generator), value)

    def get_action_value_and_hidden(
        self, x: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        """What `get_action_and_value` gives for these actions, and the hidden outputs of the same forward pass."""
        logits, value, outputs = self(x, True)
        return (*read_policy(logits, action), value, outputs)

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """What the agent says of `x`, by name, `[B, ...]`: what can be kept of it and compared, see `distances`."""
        logits, value = self(x)
        return {"logits": logits, "value": value}

    @staticmethod
    def distances(now: Mapping[str, Tensor], then: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """How far outputs are from earlier ones of the same rows, `[B]`: KL(then || now), and squared value error."""
        policies, before = (each["logits"].log_softmax(-1) for each in (now, then))
        return {"policy": divergence(before, policies), "value": (now["value"] - then["value"]).square()}

    def fisher_terms(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Numbers `[B]` whose squared gradients, added up, are the Fisher information of what the agent says of `x`.

        The log-probability of an action that the policy draws, and the value as the mean of a normal number of
        deviation 1.
        """
        logits, value = self(x)
        log_probs = logits.log_softmax(-1)
        uniform = torch.rand(len(x), 1, generator=generator).to(log_probs.device)  # a generator of the CPU
        drawn = choose_actions(log_probs.detach().exp(), uniform)
        return {"log_prob": log_probs.gather(-1, drawn.unsqueeze(-1)).squeeze(-1), "value": value}

    def act(self, x: Tensor, *, deterministic: bool = False, generator: torch.Generator | None = None) -> Tensor:
        """Action `[B]`: sampled, or with `deterministic` the most probable one (the lowest index among equals)."""
        logits, _ = self(x)
        return _choose(logits, deterministic, generator)

    def describe(self, x: Tensor) -> dict[str, Tensor]:
        """The policy's entropy `[B]` in nats and the value `[B]`: for evaluation."""
        return _described(*self(x))

    def act_and_describe(
        self, x: Tensor, *, deterministic: bool = False, generator: torch.Generator | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What `act` and `describe` give, from one pass."""
        logits, value = self(x)
        return _choose(logits, deterministic, generator), _described(logits, value)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator | None = None) -> None:
        """Draw all weights anew: orthogonal with the gains above, biases zero. `generator` is a CPU generator.

        What is frozen (`requires_grad` False) stays as it is, such as features that were trained elsewhere. A class
        with other layers than `DRAWN` draws theirs in an `initialise` of its own.
        """
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                gain = {id(self.actor): ACTOR_GAIN, id(self.critic): CRITIC_GAIN}.get(id(layer), HIDDEN_GAIN)
                draw(layer, gain, generator)
            elif isinstance(layer, (nn.GroupNorm, nn.LayerNorm)):
                for parameter, value in ((layer.weight, 1.0), (layer.bias, 0.0)):
                    if parameter is not None and parameter.requires_grad:
                        parameter.fill_(value)

    def fresh_copy(self: Self, generator: torch.Generator | None = None) -> Self:
        """A newly initialised agent of the same sizes, dtype and device; this one is left as it is."""
        fresh = copy.deepcopy(self)
        fresh.initialise(generator)
        return fresh


def initialises_itself(agent: nn.Module) -> bool:
    """Whether the agent's class draws its weights by another `initialise` than that of `ActorCritic`."""
    return getattr(type(agent), "initialise", None) is not ActorCritic.initialise


def not_drawn(agent: nn.Module) -> list[str]:
    """The trained weights that `ActorCritic.initialise` does not draw; none where the agent's class has another one."""
    if initialises_itself(agent):
        return []
    drawn = {id(p) for layer in agent.modules() if isinstance(layer, DRAWN) for p in layer.parameters(recurse=False)}
    return [
        name for name, parameter in agent.named_parameters() if parameter.requires_grad and id(parameter) not in drawn
    ]


def read_policy(
    logits: Tensor, action: Tensor | None, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Action `[B]` (sampled where it is None), its log-probability `[B]` and the policy's entropy `[B]`."""
    log_probs = F.log_softmax(logits, dim=-1)  # [B, num_actions]
    probs = log_probs.exp()
    if action is None:
        action = sample_actions(probs, generator)
    log_prob = log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    entropy = -(probs * log_probs).sum(-1)
    return action, log_prob, entropy


def divergence(before: Tensor, now: Tensor) -> Tensor:
    """KL(before || now) `[...]` in nats, of policies that are given as log-probabilities `[..., num_actions]`."""
    return (before.exp() * (before - now)).sum(-1)


def _choose(logits: Tensor, deterministic: bool, generator: torch.Generator | None) -> Tensor:
    return logits.argmax(-1) if deterministic else sample_actions(logits.softmax(-1), generator)


def _described(logits: Tensor, value: Tensor) -> dict[str, Tensor]:
    log_probs = F.log_softmax(logits, dim=-1)
    return {"entropy": -(log_probs.exp() * log_probs).sum(-1), "value": value}


def sample_actions(probs: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """One action `[B]` per row of `probs` `[B, num_actions]`, by inverting the cumulative distribution.

    A single uniform number per row: several times cheaper than `torch.distributions.Categorical` on the few rows of a
    rollout step, where its checks cost more than the policy head.
    """
    return choose_actions(probs, torch.rand(probs.shape[0], 1, generator=generator, device=probs.device))


def choose_actions(probs: Tensor, uniform: Tensor) -> Tensor:
    """The actions `[B]` that numbers `[B, 1]` between 0 and 1 stand for."""
    # The first action whose cumulative probability exceeds the number; one of probability zero is never that.
    action = torch.searchsorted(probs.cumsum(-1), uniform, right=True).squeeze(-1)
    return action.clamp_max(probs.shape[1] - 1)  # rounding can leave the last cumulative probability just below 1


@torch.no_grad()
def draw(layer: nn.Conv2d | nn.Linear, gain: float, generator: torch.Generator | None = None) -> None:
    """Draw a layer anew: orthogonal weights times `gain`, biases zero; not those of them that are frozen."""
    if layer.weight.requires_grad:
        layer.weight.copy_(gain * orthogonal(layer.weight.shape, generator))
    if layer.bias is not None and layer.bias.requires_grad:
        layer.bias.zero_()


def orthogonal(shape: torch.Size, generator: torch.Generator | None = None) -> Tensor:
    """A random matrix, uniform among those with orthonormal rows (or columns, where there are more rows than columns).

    Dimensions after the first count as one. It is drawn on the CPU in float32 so that one seed gives the same weights
    on every device.
    """
    rows, columns = shape[0], math.prod(shape[1:])
    normal = torch.randn(max(rows, columns), min(rows, columns), generator=generator, dtype=torch.float32)
    q, r = torch.linalg.qr(normal)
    q = q * r.diagonal().sign()  # without this the factorisation's sign convention would bias the draw
    return (q if rows >= columns else q.T).reshape(shape)


def _linear_in_float32(layer: nn.Linear, hidden: Tensor) -> Tensor:
    """The layer's output for float32 features, computed in float32 whatever the precision of the weights."""
    return F.linear(hidden, layer.weight.float(), layer.bias.float())
