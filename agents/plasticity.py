"""How much of a network is still in use: numbers that tell whether it keeps the ability to learn.

All are of the same *probe batch* of observations throughout a run, so that they change because the network does, not
because it sees something else. The functions are pure; `PlasticityProbe` keeps the batch and what the last measurement
must remember. Nothing here draws from a generator of training or leaves a trace in the agent.

Everything is computed from the agent's own float32 weights, one operation after the other: outside autocast, not from
the bfloat16 copy that acts, and neither compiled nor recorded in a CUDA graph.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from continual_hackatari.agents.acceleration import has_float64
from continual_hackatari.agents.actor_critic import ActorCritic, divergence
from continual_hackatari.agents.continual_backprop import DORMANT
from continual_hackatari.agents.errors import AgentError

PROBE_ROWS = 512
"""At least as many as the last hidden layer of `PPO` has units: fewer rows would bound the ranks."""
CHUNK = 256  # rows per forward pass: bounds the memory


def dormant_units(magnitude: Tensor, tau: float = DORMANT) -> Tensor:
    """Which units `[units]` of a layer are dormant, from their mean abs(output) `[units]`.

    One whose mean output is at most `tau` times the mean over its layer's units (Sokar et al. 2023, "The dormant neuron
    phenomenon in deep reinforcement learning", https://arxiv.org/abs/2302.12902). In a layer of nothing but zeros all
    are dormant.
    """
    return magnitude <= tau * magnitude.mean()


def singular_values(features: Tensor) -> Tensor:
    """Singular values `[min(n, d)]`, float64, of `features` `[n, d]`, largest first.

    They are the roots of the eigenvalues of the smaller Gram matrix, on which they take a hundredth of the time. In
    float64 that loses only values below about 1e-7 of the largest, which no number here feels.
    """
    a = features.double()
    gram = a @ a.T if len(a) < a.shape[1] else a.T @ a
    return torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().flip(0)


def effective_rank(sigma: Tensor) -> Tensor:
    """Exponential of the entropy of the normalised singular values (Roy & Vetterli 2007, "The effective rank").

    From 1 (one direction) to the number of values (all alike); 0 for a matrix of zeros, as its rank is.
    """
    total = sigma.sum()
    if total == 0:
        return total
    return torch.special.entr(sigma / total).sum().exp()


def stable_rank(sigma: Tensor) -> Tensor:
    """Squared Frobenius norm over squared spectral norm: the sum of the squared singular values over the largest one's.

    The textbook definition (Rudelson & Vershynin 2007, https://arxiv.org/abs/math/0503442). Some libraries call the
    number of singular values that make up 99 % of their sum by this name; that is another quantity. 0 for zeros.
    """
    largest = sigma.max()
    if largest == 0:
        return largest
    return ((sigma / largest) ** 2).sum()


def policy_churn(before: Tensor, after: Tensor) -> Tensor:
    """Share of the states in which the most probable action is another one (Schaul et al. 2022, "The phenomenon of
    policy churn", https://arxiv.org/abs/2206.00730), from log-probabilities `[n, actions]`."""
    return (before.argmax(1) != after.argmax(1)).double().mean()


def mean_kl(before: Tensor, after: Tensor) -> Tensor:
    """Mean KL(before || after) over states in nats, from log-probabilities `[n, actions]`."""
    return divergence(before, after).mean()


class PlasticityProbe:
    """Measures an agent on a fixed probe batch after every so many rollouts, beginning with the first.

    Call `due` once per rollout, and where it says so `measure` after the update. Set `observations` before that.
    """

    def __init__(self, every: int) -> None:
        """every: rollouts from one measurement to the next; 0: never."""
        self._every = every
        self._rollouts = 0
        self._log_probs: Tensor | None = None  # of the last measurement
        self.observations: Tensor | None = None
        """The probe batch `[n, *observation_shape]`, n at least 1; None until it is set."""

    def due(self) -> bool:
        """Whether the rollout that has just been learned from is one to measure after."""
        if self._every == 0:
            return False
        self._rollouts += 1
        return (self._rollouts - 1) % self._every == 0

    @torch.no_grad()
    def measure(self, agent: ActorCritic) -> dict[str, float]:
        """Numbers to log, by name.

        | name | meaning |
        |---|---|
        | `dormant/<layer>` | share of the units of a hidden layer that are dormant, see `dormant_units` |
        | `dormant/all` | the same of all hidden layers together, every unit counting alike |
        | `effective_rank`, `stable_rank` | of the features `[n, d]` that the heads read, not centred |
        | `feature_norm` | mean Euclidean norm of a row of these |
        | `weight_norm` | Euclidean norm of all weights and biases together |
        | `policy_churn`, `policy_kl` | since the last measurement; absent in the first one |
        """
        if self.observations is None:
            raise AgentError("`observations` of the plasticity probe are not set; they come before any measurement.")
        if not has_float64(next(agent.parameters()).device):
            agent = copy.deepcopy(agent).cpu()
        device = next(agent.parameters()).device
        self.observations = self.observations.to(device)  # a run may go on on another one
        magnitudes, features, log_probs = look_at(agent, self.observations)
        numbers = dormant_shares(magnitudes)
        sigma = singular_values(features)
        weights = torch.stack([torch.linalg.vector_norm(weight, dtype=torch.float64) for weight in agent.parameters()])
        numbers["effective_rank"] = effective_rank(sigma).item()
        numbers["stable_rank"] = stable_rank(sigma).item()
        numbers["feature_norm"] = features.norm(dim=1).mean().item()
        numbers["weight_norm"] = weights.norm().item()
        if self._log_probs is not None:
            self._log_probs = self._log_probs.to(device)
            numbers["policy_churn"] = policy_churn(self._log_probs, log_probs).item()
            numbers["policy_kl"] = mean_kl(self._log_probs, log_probs).item()
        self._log_probs = log_probs
        return numbers

    def state_dict(self) -> dict[str, Any]:
        """Everything that a continued run needs to log the same numbers."""
        return {"rollouts": self._rollouts, "observations": self.observations, "log_probs": self._log_probs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self._rollouts, self.observations, self._log_probs = (
            state[name] for name in ("rollouts", "observations", "log_probs")
        )


def choose_rows(total: int, number: int = PROBE_ROWS) -> Tensor:
    """Up to `number` of the rows 0 to `total` - 1 in rising order, spread over all of them; int64.

    The same ones every time, from a generator of its own: at equal distances they could all be of one game.
    """
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:number].sort().values


def look_at(agent: ActorCritic, observations: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """What `agent` makes of `observations` `[n, ...]`.

    Returns each hidden layer's mean abs(output) per unit `[units]`, over rows and positions, the features `[n, d]` that
    the heads read and the policy's log-probabilities `[n, actions]`.
    """
    sums: dict[str, Tensor] = {}
    features, log_probs = [], []
    for rows in observations.split(CHUNK):
        outputs, hidden = agent.inspect(rows)
        for name, output in outputs.items():
            positions = output.numel() // (output.shape[-1] * len(rows))
            per_unit = output.flatten(0, -2).abs().sum(0).double() / (positions * len(observations))
            sums[name] = sums[name] + per_unit if name in sums else per_unit
        features.append(hidden)
        log_probs.append(agent.heads(hidden)[0].log_softmax(-1))
    return sums, torch.cat(features), torch.cat(log_probs)


def dormant_shares(magnitudes: dict[str, Tensor]) -> dict[str, float]:
    """`dormant/<layer>` for every layer, and `dormant/all`; nothing for an agent without hidden layers."""
    dormant = {name: dormant_units(magnitude) for name, magnitude in magnitudes.items()}
    shares = {f"dormant/{name}": units.double().mean().item() for name, units in dormant.items()}
    return {**shares, "dormant/all": torch.cat(list(dormant.values())).double().mean().item()} if dormant else {}
