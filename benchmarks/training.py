"""Whole training, PPO with the usual Atari settings: steps per second from the first to the last update.

python -m benchmarks.training [--steps 20480] [--rounds 5] [--env_id ALE/Freeway-v5]

8 games, 128 steps, 4 epochs, 4 minibatches; the unmodified game, because the peers know no other.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.harness import MissingPeerError, in_turn, report

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = "Stable-Baselines3, SubprocVecEnv"
CONTINUAL_BACKPROP = ["--architecture", "PPO_CBP"]


def run_training(env_id: str, steps: int, flags: Sequence[str]) -> EventAccumulator:
    """What a run of the training script logged."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "continual_training_example.py"), "--env_id", env_id]
        command += ["--total_timesteps", str(steps), *flags]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        (run,) = (Path(folder) / "runs").iterdir()
        return EventAccumulator(str(run)).Reload()


def speed(events: EventAccumulator) -> float:
    """Steps per second from the first to the last update: the start is not counted, as it is not for the peers."""
    first, *_, last = events.Scalars("charts/SPS")
    return (last.step - first.step) / (last.wall_time - first.wall_time)


def ours(args: argparse.Namespace, flags: Sequence[str]) -> float:
    return speed(run_training(args.env_id, args.steps, flags))


def stable_baselines(args: argparse.Namespace, in_processes: bool) -> float:
    try:
        from stable_baselines3 import PPO
        from stable_baselines3.common.callbacks import BaseCallback
        from stable_baselines3.common.env_util import make_atari_env
        from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecFrameStack
    except ImportError:
        raise MissingPeerError("not installed: pip install stable-baselines3") from None

    def game(**settings: Any) -> Any:
        """Registers the games first: in a new process nobody has."""
        import ale_py
        import gymnasium

        gymnasium.register_envs(ale_py)
        return gymnasium.make(args.env_id, frameskip=1, **settings)

    class Clock(BaseCallback):
        """When each rollout began."""

        def __init__(self) -> None:
            super().__init__()
            self.starts: list[float] = []

        def _on_rollout_start(self) -> None:
            self.starts.append(time.perf_counter())

        def _on_step(self) -> bool:
            return True

    games = make_atari_env(game, n_envs=8, seed=1, vec_env_cls=SubprocVecEnv if in_processes else DummyVecEnv)
    envs = VecFrameStack(games, n_stack=4)
    try:
        model: Any = PPO(
            "CnnPolicy",
            envs,
            n_steps=128,
            batch_size=256,
            n_epochs=4,
            learning_rate=2.5e-4,
            clip_range=0.1,
            ent_coef=0.01,
            vf_coef=0.5,
        )
        clock = Clock()
        model.learn(args.steps, callback=clock)
        updates = len(clock.starts) - 1
        return updates * 8 * 128 / (clock.starts[-1] - clock.starts[0])
    finally:
        envs.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env_id", default="ALE/Freeway-v5")
    parser.add_argument("--steps", type=int, default=20_480, help="per contestant and round")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rows = in_turn(
        {
            "this project, float32": lambda: ours(args, ["--amp", "off"]),
            "this project, bfloat16": lambda: ours(args, ["--amp", "bf16"]),
            "this project, PPO_CBP, float32": lambda: ours(args, ["--amp", "off", *CONTINUAL_BACKPROP]),
            "this project, PPO_CBP, bfloat16": lambda: ours(args, ["--amp", "bf16", *CONTINUAL_BACKPROP]),
            "this project, hindsight, bfloat16": lambda: ours(args, ["--amp", "bf16", "--her"]),
            REFERENCE: lambda: stable_baselines(args, True),
            "Stable-Baselines3, DummyVecEnv": lambda: stable_baselines(args, False),
        },
        args.rounds,
    )
    report("training", rows, REFERENCE, "steps/s", vars(args))


if __name__ == "__main__":
    main()
