"""A game without an emulator that trains in seconds, and all that happened in it, written down beside the training.

`play(monkeypatch, folder, *flags)` runs the real training script with `MadeUpGames` in place of `ModifiedVectorEnv` and
returns a `Recording`. The rules: a bright pixel in the first row of the frame says which action is right; it pays 1,
another one costs 0.25. A wrong action in every third step of a game costs one of three lives, which ends the episode,
and a time limit, another one in each game, ends it too. All other pixels are noise: no two observations are alike.

The games are as unkind as worker processes may be: between `step_async` and `step_wait` their arrays hold nonsense,
and rows of `final_observations` that mean nothing do so always.
"""

import json
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from continual_hackatari import continual_training_example as training
from continual_hackatari.agents.acceleration import ActingAgent
from continual_hackatari.agents.actor_critic import ActorCritic
from continual_hackatari.training import run as run_module
from continual_hackatari.training.rollouts import Rollout
from continual_hackatari.wrappers.interfaces import GameRecord

ACTIONS, LIVES = 3, 3
FLAGS = ["--num_envs", "4", "--num_steps", "16", "--num_workers", "0", "--no-cuda", "--env_id", "ALE/Freeway-v5"]
REGIMES = ("all_black_cars", "all_white_cars", "all_red_cars")


class Shared(set):
    """What copies of an agent have in common."""

    def __deepcopy__(self, memo):
        return self


class SmallAgent(ActorCritic):
    """One hidden layer on all pixels. It notes in which precision it was asked, and whether a gradient was wanted."""

    def __init__(self, planes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.layer = nn.Linear(planes * 9, 24)
        self.actor, self.critic = nn.Linear(24, ACTIONS), nn.Linear(24, 1)
        self.initialise(generator)
        with torch.no_grad():
            self.actor.weight.mul_(50)  # a start that prefers some actions: log-probabilities that tell rows apart
            self.critic.weight.mul_(3)
        self.computed = Shared()

    def hidden(self, x: Tensor) -> Tensor:
        features = torch.tanh(self.layer(x.flatten(1).to(self.layer.weight.dtype) / 255))
        self.computed.add((features.dtype, torch.is_grad_enabled()))
        return features


class Step(NamedTuple):
    """One vector step of N games, row by row."""

    seen: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    led_to: np.ndarray
    """the observation after the step, before any restart"""
    achieved: np.ndarray
    right: np.ndarray
    """whether the action was the one that the frame shows"""
    weights: list
    """per group: what the agent's parameters were when the actions were sent"""


class Switch(NamedTuple):
    """A switch before vector step `step`."""

    step: int
    to: str
    mode: str
    before: dict
    after: dict
    """the agent's parameters when the step before was collected, and when the games changed"""


class Update(NamedTuple):
    """One gradient step."""

    step: int
    """vector steps played before it"""
    rollout: Rollout
    """a copy, of the update's first gradient step"""
    rows: Tensor
    settings: dict
    before: dict
    after: dict
    state_before: list
    state_after: list
    """Adam's state per parameter, empty where it has none"""
    numbers: Tensor


class Recording:
    """What happened in a run of the training script."""

    def __init__(self) -> None:
        self.steps, self.switches, self.updates, self.games, self.videos = [], [], [], [], []
        self.drawn_from: list[bytes] = []  # state of the generator at every drawing of actions
        self.agent, self.args, self.regimes, self.folder = None, None, (), None

    def parameters(self) -> dict:
        """Copies of the agent's parameters; the same ones as long as nothing changes."""
        present = dict(self.agent.named_parameters())
        if not (last := getattr(self, "_last", None)) or any(not torch.equal(last[n], present[n]) for n in present):
            self._last = {name: parameter.detach().clone() for name, parameter in present.items()}
        return self._last


class MadeUpGames:
    """Other games behind the protocol `VectorGames`; see the module."""

    def __init__(self, recording, config, num_envs, *, num_groups, plane_shape=(3, 3), **_):
        self.config, self.num_envs, self.num_actions = config, num_envs, ACTIONS
        self.observation_shape = (2 + config.num_goals, *plane_shape)
        self.groups = [slice(part[0], part[-1] + 1) for part in np.array_split(np.arange(num_envs), num_groups)]
        self._recording, self._rng = recording, [np.random.default_rng([config.seed, i]) for i in range(num_envs)]
        frames = (num_envs, *self.observation_shape)
        self.arrays = SimpleNamespace(
            observations=np.zeros(frames, np.uint8),
            final_observations=np.zeros(frames, np.uint8),
            rewards=np.zeros(num_envs),
            terminated=np.zeros(num_envs, bool),
            truncated=np.zeros(num_envs, bool),
            achieved=np.zeros((num_envs, config.num_goals), np.float32),
        )
        self._games = [{} for _ in range(num_envs)]
        self._string, self._next_string = [""] * num_envs, [""] * num_envs
        self._in_flight, self._played = [None] * num_groups, [0] * num_groups
        self._nonsense = np.random.default_rng(0)

    # ------------------------------------------------------------------------------------------------------- the rules

    def _start_game(self, i):
        self._string[i] = self._next_string[i]
        self._games[i] = {"score": 0.0, "length": 0, "lives": 0, "live": 0}
        self._show(i)

    def _show(self, i):
        """A new observation of game i."""
        frame = self._rng[i].integers(0, 200, self.observation_shape).astype(np.uint8)
        frame[0].flat[:ACTIONS] = 0
        frame[0].flat[self._rng[i].integers(ACTIONS)] = 255
        frame[1].flat[0] = 1 + ([*REGIMES, ""].index(self._string[i]))  # a faint pixel: what is played, tiny gradients
        if self.config.goal is not None:
            frame[2:] = self.config.goal.grey(self.config.goal.target)[:, None, None]
        self.arrays.observations[i] = frame

    def _play(self, i, action):
        """One step of game i; returns whether the action was right, where it led, and the record of a game's end."""
        game, arrays = self._games[i], self.arrays
        right = int(arrays.observations[i][0].flat[:ACTIONS].argmax()) == action
        arrays.rewards[i] = 1.0 if right else -0.25
        game["score"] += arrays.rewards[i]
        game["length"] += 1
        lost = not right and game["length"] % 3 == 0
        game["lives"] += lost
        arrays.terminated[i] = lost
        arrays.truncated[i] = game["length"] == 11 + 2 * i
        arrays.achieved[i] = self._rng[i].integers(0, 179, self.config.num_goals)
        self._show(i)
        led_to, record = arrays.observations[i].copy(), None
        if arrays.truncated[i] or game["lives"] == LIVES:
            record = self._record(i, cut=False)
            self._start_game(i)
        elif lost:
            self._show(i)
        if arrays.terminated[i] or arrays.truncated[i]:
            arrays.final_observations[i] = led_to
        else:
            self._scramble(arrays.final_observations[i])
        return right, led_to, record

    def _record(self, i, cut):
        game = self._games[i]
        return GameRecord(
            i, self._string[i], game["score"], game["length"], game["lives"], cut, game["live"], 0, (0.0,), (0,)
        )

    def _scramble(self, array):
        array[...] = self._nonsense.integers(0, 2 if array.dtype == bool else 200, array.shape)

    # --------------------------------------------------------------------------------------------------- the interface

    def step_async(self, actions, group):
        games, recording = self.groups[group], self._recording
        assert self._in_flight[group] is None, "the last step of this group was not waited for"
        assert actions.dtype == np.int64
        assert actions.shape == (games.stop - games.start,)
        if len(recording.steps) == self._played[group]:
            n, shape = self.num_envs, (self.num_envs, *self.observation_shape)
            flags = [np.zeros(n, bool) for _ in range(3)]
            frames = [np.zeros(shape, np.uint8) for _ in range(2)]
            recording.steps.append(
                Step(
                    *(frames[0], np.zeros(n, int), np.zeros(n), flags[0], flags[1]),
                    *(frames[1], np.zeros((n, self.config.num_goals), np.float32), flags[2], []),
                )
            )
        step = recording.steps[self._played[group]]
        step.seen[games], step.action[games] = self.arrays.observations[games], actions
        step.weights.append(recording.parameters())
        self._in_flight[group] = actions.copy()
        for array in vars(self.arrays).values():
            self._scramble(array[games])

    def step_wait(self, group):
        games, arrays, records = self.groups[group], self.arrays, []
        actions, self._in_flight[group] = self._in_flight[group], None
        assert actions is not None, "no step of this group is played"
        step = self._recording.steps[self._played[group]]
        self._played[group] += 1
        arrays.observations[games] = step.seen[games]
        for i, action in zip(range(games.start, games.stop), actions, strict=True):
            step.right[i], step.led_to[i], record = self._play(i, int(action))
            if record is not None:
                records.append(record)
                self._recording.games.append((self.num_envs * self._played[group], record))
        step.reward[games], step.achieved[games] = arrays.rewards[games], arrays.achieved[games]
        step.terminated[games], step.truncated[games] = arrays.terminated[games], arrays.truncated[games]
        return records

    def set_modifications(self, string, mode):
        assert self._in_flight == [None] * len(self.groups), "a switch while games are played"
        recording, step = self._recording, len(self._recording.steps)
        if step or recording.switches:
            before = recording.steps[-1].weights[-1]
            recording.switches.append(Switch(step, string, mode, before, recording.parameters()))
        records = []
        self._next_string = [string] * self.num_envs
        for i in range(self.num_envs):
            if mode == "reset":
                if self._games[i].get("length"):
                    records.append(self._record(i, cut=True))
                self._start_game(i)
            elif mode == "live" and self._string[i] != string:
                self._string[i] = string
                self._games[i]["live"] += 1
        recording.games += [(self.num_envs * step, record) for record in records]
        return self.arrays.observations, {"games": records}

    def record_next_game(self, path, caption=False):
        self._recording.videos.append((len(self._recording.switches), path.name))

    def cut_games(self):
        records = [self._record(i, cut=True) for i in range(self.num_envs) if self._games[i]["length"]]
        self._recording.games += [(self.num_envs * len(self._recording.steps), record) for record in records]
        return records

    def get_state(self):
        return {}

    def set_state(self, state, videos=None):
        raise NotImplementedError("a recording is of a whole run")

    def close(self):
        assert self._in_flight == [None] * len(self.groups)


def play(monkeypatch, folder, *flags, regimes=(), make_agent=None, plane_shape=(3, 3)) -> Recording:
    """Train in `folder`; `regimes` are pairs (first global step, modification string) of a schedule."""
    recording = Recording()
    recording.regimes = list(regimes)
    make = make_agent or (lambda shape, generator: SmallAgent(shape[0], generator))
    minibatch_step, act = training.minibatch_step, ActingAgent.act

    def record_drawing(self, x, generator):
        recording.drawn_from.append(generator.get_state().numpy().tobytes())
        return act(self, x, generator)

    def record_agent(architecture, shape, num_actions, *, generator, **_):
        assert num_actions == ACTIONS
        recording.agent = make(shape, generator)
        return recording.agent

    def record_update(args, agent, optimizer, autocast, rollout, rows, **others):
        step = len(recording.steps)
        if not recording.updates or recording.updates[-1].step != step:
            copied = (None if part is None else torch.as_tensor(part).clone() for part in rollout)
            kept = Rollout(*copied)
        else:
            kept = recording.updates[-1].rollout
        group, before, state = dict(optimizer.param_groups[0]), recording.parameters(), adams_state(optimizer)
        del group["params"]
        numbers = minibatch_step(args, agent, optimizer, autocast, rollout, rows, **others)
        after = recording.parameters()
        recording.updates.append(
            Update(step, kept, rows.clone(), group, before, after, state, adams_state(optimizer), numbers.clone())
        )
        return numbers

    with monkeypatch.context() as patch:
        patch.chdir(folder)
        if regimes:
            schedule = {
                "num_total_steps": int(flags[flags.index("--total_timesteps") + 1]),
                "modifications": [string for _, string in regimes],
                "switching_thresholds": [step for step, _ in regimes[1:]],
            }
            config = {
                "modification_factory": "SequentialModificationFactory",
                "modification_factory_kwargs": schedule,
            }
            (folder / "config.json").write_text(json.dumps(config))
            flags = (*flags, "--config", "config.json")
        patch.setattr(
            run_module,
            "ModifiedVectorEnv",
            lambda *arguments, **named: MadeUpGames(recording, *arguments, **named, plane_shape=plane_shape),
        )
        patch.setattr(training, "make_agent", record_agent)
        patch.setattr(ActingAgent, "act", record_drawing)
        patch.setattr(training, "minibatch_step", record_update)
        setup = training.prepare([*FLAGS, *flags])
        recording.args = setup.args
        training.train(setup)
    (recording.folder,) = (folder / "runs").iterdir()
    return recording


def adams_state(optimizer):
    return [
        {name: value.clone() for name, value in optimizer.state.get(parameter, {}).items()}
        for parameter in optimizer.param_groups[0]["params"]
    ]
