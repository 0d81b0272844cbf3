"""Playing whole games with an agent, to see what it can do."""

import copy
import math
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from continual_hackatari.agents import make_agent
from continual_hackatari.agents.mismatch import explain_mismatch
from continual_hackatari.agents.own import imported_class, is_own
from continual_hackatari.agents.player import Player, act_and_describe, playing, require_player
from continual_hackatari.training.checkpoints import Checkpoint, CheckpointError, trained_with
from continual_hackatari.training.game_report import Life, Trace, lives_of
from continual_hackatari.training.method_settings import changes_in_checkpoint
from continual_hackatari.training.run_folder import slug
from continual_hackatari.wrappers.backends import action_names, observation_layout
from continual_hackatari.wrappers.config import GameConfig
from continual_hackatari.wrappers.interfaces import GameRecord
from continual_hackatari.wrappers.processes import available_cores
from continual_hackatari.wrappers.vector import WORKER_TIMEOUT, ModifiedVectorEnv

Key = TypeVar("Key")

SECONDS_OF_WAITING = 0.05
"""for a job to end, until somebody looks whether it is time for something else"""
MOST_SETS = 16
"""of games at once: each holds its games in memory, and Python lets about ten threads think beside each other"""


class PlayedGame(NamedTuple):
    """One whole game: what the emulator recorded, and its steps."""

    record: GameRecord
    trace: Trace

    @property
    def lives(self) -> list[Life]:
        """Its lives, in order; a game without lives is one life."""
        return lives_of(self.trace, self.record.life_scores, self.record.life_lengths)


Games = Generator[int, None, list[PlayedGame]]
"""games in progress: numbers of those that ended in each step, and at the end all of them"""


def evaluate(agent: Player, game: GameConfig, strings: Sequence[str], **settings: Any) -> dict[str, list[GameRecord]]:
    """The records of the games that `play` plays with these settings."""
    games = play(agent, game, strings, **settings)
    return {string: [played.record for played in games[string]] for string in games}


def play(
    agent: Player,
    game: GameConfig,
    strings: Sequence[str],
    *,
    episodes: int,
    seed: int,
    deterministic: bool,
    num_envs: int,
    num_workers: int | None,
    device: torch.device,
    worker_timeout: float = WORKER_TIMEOUT,
    video_folder: Path | None = None,
    caption: bool = False,
) -> dict[str, list[PlayedGame]]:
    """Play the first `episodes` games under each string; game k is seeded by (seed, k) and the same under every string.

    Environment i plays games i, i + num_envs, ... whatever their lengths, so that short games are not favoured.
    Returns the games per string, in their order.
    """
    num_workers = available_cores() if num_workers is None else num_workers
    sets = sets_of_games(len(strings), num_workers)
    processes = {"num_workers": num_workers // sets, "worker_timeout": worker_timeout}
    played: dict[str, list[PlayedGame]] = {}

    def begin(string: str, envs: ModifiedVectorEnv) -> Games:
        if video_folder is not None:
            envs.record_next_game(video_folder / slug(string), caption)
        own = with_same_weights(agent)
        return play_one(own, envs, string, episodes=episodes, seed=seed, deterministic=deterministic, device=device)

    with ExitStack() as stack:
        progress = stack.enter_context(tqdm(total=episodes * len(strings), unit="game", disable=None))
        opened = [
            stack.enter_context(closing(evaluation_games(game, min(num_envs, episodes), seed=seed, **processes)))
            for _ in range(sets)
        ]
        jobs = ((string, partial(begin, string)) for string in strings)
        ended: deque[int] = deque()  # filled by the threads, while the bar is this one's alone
        for done in stack.enter_context(closing(at_once(opened, jobs, ended.append))):
            if done is not None:
                played[done[0]] = done[1]
            progress.update(sum(ended.popleft() for _ in range(len(ended))))
    return {string: played[string] for string in strings}


def sets_of_games(jobs: int, num_workers: int) -> int:
    """How many sets of games play so many jobs: as many as there are workers for, where these are needed."""
    rounds = math.ceil(jobs / min(max(1, num_workers), MOST_SETS))
    return math.ceil(jobs / rounds)


def evaluation_games(game: GameConfig, num_envs: int, *, seed: int, **processes: Any) -> ModifiedVectorEnv:
    """Whole games, as an agent is evaluated on them: each has its own seed, the same under every string.

    processes: how many there are and how long they may be silent, as in `ModifiedVectorEnv`.
    """
    config = replace(game, episodic_life=False, reward_file="", seed=seed, reseed_every_game=True)
    return ModifiedVectorEnv(config, num_envs, copy=False, **processes)


def at_once(
    sets: Sequence[ModifiedVectorEnv],
    jobs: Iterable[tuple[Key, Callable[[ModifiedVectorEnv], Games]]],
    count: Callable[[int], object] = lambda _: None,
) -> Generator[tuple[Key, list[PlayedGame]] | None, None, None]:
    """Do each job with a set of games of its own and in a thread of its own, as many at once as there are sets.

    An agent's thought leaves Python for PyTorch, so threads think beside each other, and while the games of one are
    emulated. What comes of a job does not depend on how many there are.

    Args:
        sets: of games, which no job shares with another at that time.
        jobs: pairs of a key and what begins the job with a set. They are asked for in this thread, one by one.
        count: told, in the threads, what a job yields.

    Yields often, and each job's key and what it returned once it has. Left early, it ends the jobs after their next
    step. Raises what a job raises.
    """
    free, waiting, more = list(sets), iter(jobs), True
    under_way: dict[Future[list[PlayedGame]], tuple[Key, ModifiedVectorEnv]] = {}
    left = threading.Event()

    def do(begin: Callable[[ModifiedVectorEnv], Games], envs: ModifiedVectorEnv) -> list[PlayedGame]:
        games = begin(envs)
        while not left.is_set():
            try:
                count(next(games))
            except StopIteration as end:
                return end.value
        raise CancelledError

    num_threads = torch.get_num_threads()
    # PyTorch's own threads make a few frames no faster, and the emulators need the cores.
    threads = ThreadPoolExecutor(len(free), "evaluation", torch.set_num_threads, (1,))
    try:
        while more or under_way:
            while more and free:
                job = next(waiting, None)
                more = job is not None
                if job is not None:
                    envs = free.pop()
                    under_way[threads.submit(do, job[1], envs)] = job[0], envs
            ended, _ = wait(under_way, SECONDS_OF_WAITING, FIRST_COMPLETED)
            for future in ended:
                key, envs = under_way.pop(future)
                free.append(envs)
                yield key, future.result()
            yield None
    finally:
        left.set()
        threads.shutdown()
        torch.set_num_threads(num_threads)  # theirs is this thread's too


def with_same_weights(agent: Any) -> Any:
    """A copy for a thread of its own: attributes and buffers that an agent sets while it plays are not another's."""
    own = copy.copy(agent)
    if isinstance(agent, nn.Module):
        own._modules = {name: with_same_weights(module) for name, module in agent._modules.items()}
        own._buffers = {name: None if held is None else held.clone() for name, held in agent._buffers.items()}
    return own


def play_one(
    agent: Player,
    envs: ModifiedVectorEnv,
    string: str,
    *,
    episodes: int,
    seed: int,
    deterministic: bool,
    device: torch.device,
) -> Games:
    """Play the first `episodes` games under one string; see `play`.

    Yields the number of games that have just ended, after every step.
    """
    agent = playing(agent, string)  # what of it plays this string, where methods say so
    num_envs = envs.num_envs
    fire = {number for number, name in enumerate(action_names(envs.config)) if "FIRE" in name}
    unsaid = [math.nan] * num_envs
    generator = torch.Generator(device).manual_seed(seed)
    finished: dict[int, PlayedGame] = {}
    envs.restart_numbering(episodes)
    envs.set_modifications(string, "reset")
    steps: list[list[tuple[float, ...]]] = [[] for _ in range(num_envs)]  # of the games in progress
    while len(finished) < episodes:
        seen = torch.from_numpy(envs.arrays.observations).to(device)
        with torch.no_grad():
            action, said = act_and_describe(agent, seen, deterministic=deterministic, generator=generator)
        value, entropy = (said[name].tolist() if name in said else unsaid for name in ("value", "entropy"))
        chosen = action.cpu().numpy()
        envs.step_async(chosen)
        records = envs.step_wait()
        pressed = [number in fire for number in chosen.tolist()]
        new = zip(envs.arrays.rewards.tolist(), pressed, value, entropy, strict=True)
        for own, step in zip(steps, new, strict=True):
            own.append(step)
        ended = 0
        for record in records:
            number = record.env + record.number * num_envs
            own, steps[record.env] = steps[record.env], []
            cut_short = not envs.arrays.terminated[record.env]
            finished[number] = PlayedGame(record, as_trace(own, cut_short))
            ended += 1
        yield ended
    return [finished[number] for number in range(episodes)]


def as_trace(steps: Sequence[tuple[float, ...]], cut_short: bool) -> Trace:
    """Steps of (reward, FIRE pressed, value, entropy) as arrays."""
    rewards, fires, values, entropies = np.array(steps, dtype=np.float64).T
    return Trace(rewards, fires > 0, values, entropies, cut_short)


def load_agent(path: str, checkpoint: Checkpoint, architecture: str, game: GameConfig) -> Any:
    """The checkpoint's agent, a `Player`, ready to play `game`.

    architecture: one that `make_agent` builds, or `package.module:Class` of an agent that is not this project's, built
    from the shape of an observation and the number of actions.

    Raises:
        AgentError, CheckpointError, ConfigError: the weights do not fit the game or the architecture.
    """
    layers = {
        name: trained_with(checkpoint, name, [])
        for name in ("encoder_dims", "decoder_dims")
        if architecture == "PPO_OBJ" and name in checkpoint.args
    }

    changes = changes_in_checkpoint(checkpoint.args)

    def build(shape: tuple[int, ...], num_actions: int) -> Any:
        if is_own(architecture):
            return require_player(architecture, imported_class(architecture)(shape, num_actions))
        return make_agent(architecture, shape, num_actions, **layers, changes=changes)

    return with_weights(path, checkpoint, game, build)


def with_weights(
    path: str, checkpoint: Checkpoint, game: GameConfig, build: Callable[[tuple[int, ...], int], Any]
) -> Any:
    """The agent that `build` makes for this game (shape of an observation, number of actions), with these weights.

    Raises:
        CheckpointError: they do not fit.
    """
    agent = build(observation_layout(game)[0], len(action_names(game)))
    problem = explain_mismatch(agent, checkpoint.model_weights)
    if problem:
        raise CheckpointError(f"{path} does not fit {game.env_id}: {problem}")
    agent.load_state_dict(checkpoint.model_weights)
    return agent.eval()
