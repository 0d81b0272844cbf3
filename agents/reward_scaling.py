"""Reward scaling: bring the rewards of any game to a size that one learning rate suits."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continual_hackatari.agents.errors import AgentError

MODES = ("normalize", "clip", "none")
CLIP = 10.0  # bound of a normalised reward
EPSILON = 1e-8  # added to the variance
INITIAL_COUNT = 1e-4  # weight of the initial guess (mean 0, variance 1), in samples


class RewardScaler:
    """Scales the rewards of `num_envs` games, one vector step after the other.

    | mode | scaled reward |
    |---|---|
    | `normalize` | reward / running standard deviation of the discounted return, clipped to -10..10 |
    | `clip` | the sign of the reward: -1, 0 or 1 (Mnih et al. 2015) |
    | `none` | the reward |

    `normalize` keeps one running discounted return per game, `R <- gamma * R + reward`, and the mean and variance of
    all values these ever took, as VecNormalize of Stable-Baselines3 does. The reward is not centred. The statistics
    belong to the agent, not to the game: keep the object through switches, and save it with the agent.
    """

    def __init__(self, num_envs: int, gamma: float, mode: str = "normalize") -> None:
        """gamma: the discount of the returns. Raises AgentError for an unknown mode or impossible numbers."""
        if mode not in MODES:
            raise AgentError(f"`reward_scaling` is {mode!r}; allowed is {', '.join(MODES)}.")
        if num_envs < 1:
            raise AgentError(f"`num_envs` is {num_envs}; reward scaling needs at least one game.")
        if not 0 <= gamma <= 1:
            raise AgentError(f"`gamma` is {gamma}; allowed is 0 to 1.")
        self.mode = mode
        self.gamma = gamma
        self.returns: NDArray[np.float64] = np.zeros(num_envs)  # discounted return so far, per game
        self.mean = 0.0
        self.variance = 1.0
        self.count = INITIAL_COUNT

    @property
    def divisor(self) -> float:
        """What a reward is divided by; 1 in the modes that know no deviation."""
        return math.sqrt(self.variance + EPSILON) if self.mode == "normalize" else 1.0

    def __call__(
        self, rewards: NDArray[Any], done: NDArray[Any], counted: NDArray[np.bool_] | None = None
    ) -> NDArray[np.float32]:
        """Take note of one vector step and return its scaled rewards, float32 `[N]`.

        rewards: `[N]`, as the games gave them. done: bool `[N]`, where an episode ended, so that a new return begins.
        counted: bool `[N]`, the games whose returns enter the statistics; None: all.
        Raises AgentError for a reward that is not a finite number.
        """
        if self.mode == "normalize":
            self.returns *= self.gamma
            self.returns += rewards
            if counted is None:
                self._update(self.returns)
            elif counted.any():
                self._update(self.returns[counted])
            scaled = self.scale(rewards)
            self.returns[done] = 0.0
            return scaled
        return self.scale(rewards)

    def scale(self, rewards: NDArray[Any]) -> NDArray[np.float32]:
        """Rewards of any shape scaled by the statistics as they are, which stay as they are."""
        if self.mode == "normalize":
            scaled = np.multiply(rewards, 1.0 / math.sqrt(self.variance + EPSILON), dtype=np.float64)
            return np.minimum(np.maximum(scaled, -CLIP), CLIP).astype(np.float32)
        if self.mode == "clip":
            return np.sign(rewards).astype(np.float32)
        return np.asarray(rewards, dtype=np.float32)

    def _update(self, returns: NDArray[np.float64]) -> None:
        """Merge the moments of one batch into the running ones (Chan, Golub and LeVeque's parallel formula)."""
        batch_count = len(returns)
        batch_mean = float(returns.sum()) / batch_count
        if not math.isfinite(batch_mean):
            # One NaN would stay in the variance for ever and turn every later reward, then every weight, into NaN.
            raise AgentError("A reward is not a finite number; look for a division by zero in the reward function.")
        centred = returns - batch_mean
        batch_sum_of_squares = float(centred.dot(centred))
        delta = batch_mean - self.mean
        total = self.count + batch_count
        sum_of_squares = (
            self.variance * self.count + batch_sum_of_squares + delta * delta * self.count * batch_count / total
        )
        self.mean += delta * batch_count / total
        self.variance = sum_of_squares / total
        self.count = total

    def state_dict(self) -> dict[str, Any]:
        """All that a continued run needs, as plain values."""
        return {
            "mode": self.mode,
            "gamma": self.gamma,
            "returns": self.returns.tolist(),
            "mean": self.mean,
            "variance": self.variance,
            "count": self.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; raises AgentError where it comes from other settings than this scaler's."""
        for name, mine, saved in (
            ("reward_scaling", self.mode, state["mode"]),
            ("gamma", self.gamma, state["gamma"]),
            ("num_envs", len(self.returns), len(state["returns"])),
        ):
            if mine != saved:
                raise AgentError(f"`{name}` is {mine}, but the saved reward statistics were made with {saved}.")
        self.returns = np.array(state["returns"], dtype=np.float64)
        self.mean = float(state["mean"])
        self.variance = float(state["variance"])
        self.count = float(state["count"])
