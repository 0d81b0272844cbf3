"""Games alone, with random actions: how many agent steps per second all of them make together.

python -m benchmarks.environment [--num_envs 8] [--seconds 4] [--rounds 5]
    [--env_id ALE/Freeway-v5] [--modification all_black_cars]
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from benchmarks.harness import MissingPeerError, in_turn, report, spread
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

REFERENCE = "SubprocVecEnv of HackAtari"


def timed(step: Callable[[np.ndarray], Any], num_envs: int, num_actions: int, seconds: float) -> float:
    """Agent steps per second of `step`, which plays one vector step; its processes and threads have started."""
    spread()
    actions = np.random.default_rng(0).integers(num_actions, size=(1000, num_envs))
    for i in range(20):
        step(actions[i])
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step(actions[steps % 1000])
        steps += 1
    return steps * num_envs / (time.perf_counter() - start)


def ours(args: argparse.Namespace, modification: str, num_workers: int | None = None) -> float:
    config, _ = game_config(args.env_id, game_start="frames", fire_reset=False)
    envs = ModifiedVectorEnv(config, args.num_envs, num_workers=num_workers, copy=False)
    try:
        envs.set_modifications(modification, "reset")
        return timed(envs.step, args.num_envs, envs.num_actions, args.seconds)
    finally:
        envs.close()


def ours_by_halves(args: argparse.Namespace) -> float:
    """As training plays: one half of the games is played while the other half's actions are chosen."""
    config, _ = game_config(args.env_id, game_start="frames", fire_reset=False)
    envs = ModifiedVectorEnv(config, args.num_envs, num_groups=2, copy=False)

    def step(actions: np.ndarray) -> None:
        for group in range(2):
            envs.step_wait(group)
            envs.step_async(actions[envs.groups[group]], group)

    try:
        envs.set_modifications(args.modification, "reset")
        for group in range(2):
            envs.step_async(np.zeros(args.num_envs // 2, int), group)
        speed = timed(step, args.num_envs, envs.num_actions, args.seconds)
        for group in range(2):
            envs.step_wait(group)
        return speed
    finally:
        envs.close()


@contextmanager
def on_cores(number: int) -> Iterator[None]:
    """This process and those that it starts use the first `number` cores only (on Linux)."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(allowed)[:number])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def ours_on_cores(args: argparse.Namespace, cores: int) -> float:
    with on_cores(cores):
        return ours(args, args.modification, num_workers=cores)


def powers_of_two() -> list[int]:
    """1, 2, 4, ... cores, fewer than there are."""
    cores = len(os.sched_getaffinity(0))
    return [2**k for k in range(cores.bit_length()) if 2**k < cores]


def hackatari_environment(env_id: str, modification: str) -> Any:
    with warnings.catch_warnings():
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        from hackatari.core import HackAtari
    return HackAtari(env_id, modifs=[modification], obs_mode="dqn", create_buffer_stacks=[], frameskip=4)


def subprocess_hackatari(args: argparse.Namespace) -> float:
    try:
        from stable_baselines3.common.vec_env import SubprocVecEnv
    except ImportError:
        raise MissingPeerError("not installed: pip install stable-baselines3") from None
    envs: Any = SubprocVecEnv([partial(hackatari_environment, args.env_id, args.modification)] * args.num_envs)
    try:
        envs.reset()
        return timed(envs.step, args.num_envs, int(envs.action_space.n), args.seconds)
    finally:
        envs.close()


def async_hackatari(args: argparse.Namespace) -> float:
    from gymnasium.vector import AsyncVectorEnv

    envs: Any = AsyncVectorEnv(
        [partial(hackatari_environment, args.env_id, args.modification)] * args.num_envs, shared_memory=True
    )
    try:
        envs.reset()
        return timed(envs.step, args.num_envs, int(envs.single_action_space.n), args.seconds)
    finally:
        envs.close()


def native_ale(args: argparse.Namespace) -> float:
    from ale_py.vector_env import AtariVectorEnv

    game = game_config(args.env_id)[0].rom
    envs: Any = AtariVectorEnv(game, num_envs=args.num_envs, repeat_action_probability=0.25, use_fire_reset=False)
    try:
        envs.reset()
        return timed(envs.step, args.num_envs, int(envs.single_action_space.n), args.seconds)
    finally:
        envs.close()


def native_ale_by_halves(args: argparse.Namespace) -> float:
    """Whichever half of the games is ready first."""
    from ale_py.vector_env import AtariVectorEnv

    game, half = game_config(args.env_id)[0].rom, args.num_envs // 2
    envs: Any = AtariVectorEnv(
        game, num_envs=args.num_envs, batch_size=half, repeat_action_probability=0.25, use_fire_reset=False
    )

    def step(actions: np.ndarray) -> None:
        for part in (actions[:half], actions[half:]):
            envs.send(part)
            envs.recv()

    try:
        envs.reset()
        return timed(step, args.num_envs, int(envs.single_action_space.n), args.seconds)
    finally:
        envs.close()


def envpool(args: argparse.Namespace) -> float:
    try:
        import envpool as library
    except ImportError:
        raise MissingPeerError("not installed: pip install envpool") from None
    game = args.env_id.removeprefix("ALE/")
    envs = library.make(game, env_type="gymnasium", num_envs=args.num_envs, repeat_action_probability=0.25)
    try:
        envs.reset()
        return timed(envs.step, args.num_envs, int(envs.action_space.n), args.seconds)
    finally:
        envs.close()


def emulator_alone(args: argparse.Namespace) -> float:
    """One process, frames played and nothing drawn."""
    import ale_py
    from ale_py import roms

    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.25)
    rom: Any = roms.get_rom_path(game_config(args.env_id)[0].rom)
    ale.loadROM(rom)
    legal = ale.getMinimalActionSet()

    def step(actions: np.ndarray) -> None:
        for _ in range(4):
            ale.act(legal[actions[0]])
        if ale.game_over():
            ale.reset_game()

    return timed(step, 1, len(legal), args.seconds)


def emulators_alone(args: argparse.Namespace) -> float:
    """As many processes as cores, nothing drawn and nobody waiting: no environment can be faster than this."""
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(time.sleep, [0.5] * cores))  # all have started
        spread()
        return sum(pool.map(emulator_alone, [args] * cores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env_id", default="ALE/Freeway-v5")
    parser.add_argument("--modification", default="all_black_cars", help="of the game")
    parser.add_argument("--num_envs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0, help="per contestant and round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    if args.num_envs % 2:
        parser.error(f"`--num_envs` {args.num_envs}: give an even number, for contestants that play by halves")
    rows = in_turn(
        {
            f"this project, {args.modification}": lambda: ours(args, args.modification),
            f"this project, {args.modification}, by halves": lambda: ours_by_halves(args),
            **{f"this project, {n} core{'s' * (n > 1)}": partial(ours_on_cores, args, n) for n in powers_of_two()},
            "this project, no modification": lambda: ours(args, ""),
            REFERENCE: lambda: subprocess_hackatari(args),
            "AsyncVectorEnv of HackAtari": lambda: async_hackatari(args),
            "ale-py AtariVectorEnv, no modification": lambda: native_ale(args),
            "ale-py AtariVectorEnv, no modification, by halves": lambda: native_ale_by_halves(args),
            "EnvPool, no modification": lambda: envpool(args),
            "emulator alone, one process": lambda: emulator_alone(args),
            "emulators alone, one per core": lambda: emulators_alone(args),
        },
        args.rounds,
    )
    game = game_config(args.env_id)[0].game
    title = "environment" if game == "Freeway" else f"environment_{game.lower()}"
    report(title, rows, REFERENCE, "steps/s", vars(args))


if __name__ == "__main__":
    main()
