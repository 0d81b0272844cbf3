"""Whether two commits compute the same: small runs of twenty kinds with each, on one machine, compared bit for bit.

    python -m benchmarks.same_results da2de10 HEAD
    python -m benchmarks.same_results da2de10 . --kinds hindsight resume

For a change that moves code and should change nothing else. A folder stands for what it holds, committed or not; a
commit is checked out in a temporary folder. Compared are the weights of all checkpoints, `episodes.csv`, `switches.csv`
without seconds, `evals.csv` without the folder's name, what eval.py writes, and all logged numbers but those that tell
the time. One line per kind; exit code 1 where something differs.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from continual_hackatari.reporting.rows import FINAL, RESUME

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 900  # seconds after which a run takes what it waits for to hang
SECONDS = ("time/", "charts/SPS", "switch/seconds")  # logged numbers that tell the time
LEFT_OUT = {"seconds", "run", "agent_path"}  # columns that tell the time, or where the run lies

SMALL = "--num_envs 4 --num_steps 32 --total_timesteps 1152 --num_workers 2 --time_limit 480"
SMALL += " --worker_timeout 3600"  # busy machines are no difference
SCRIPT = "continual_training_example.py"
SCHEDULE = {
    "env_id": "ALE/Freeway-v5",
    "modification_factory": "SequentialModificationFactory",
    "modification_factory_kwargs": {
        "num_total_steps": 1152,
        "modifications": ["", "all_black_cars", "all_pink_cars stop_top_4"],
        "switching_thresholds": [300, 768],  # in the middle of a rollout, and between two
    },
}
OBJECTS = "--architecture PPO_OBJ --obs_mode obj --encoder_dims 32 32 --decoder_dims 16 --env_id ALE/Pong-v5"
PLASTICITY = "--plasticity_every 3"
UNITS = f"{PLASTICITY} --architecture PPO_CBP --replacement_rate 0.02 --maturity_threshold 3"
HINDSIGHT = f"{PLASTICITY} --her --her_importance_clip 2 --her_weight 0.5"
SHRINKING = "--shrink_and_perturb --shrink_factor 0.9 --save_agent_with_switch"
EVALUATION = "--eval_every 512 --eval_games 2 --held_out_modifs all_white_cars"
KEEPING = f"{PLASTICITY} --methods layer_norm redo reset_optimizer ewc --redo.every 3 --redo.threshold 0.5"
KEEPING += " --ewc.samples 64"
DRAWING = "--methods soft_shrink_perturb l2_init shrink_perturb --adam_betas 0.99 0.999 --weight_decay 0.0001"
OTHERS = "--no_anneal_lr --no_norm_adv --no_clip_vloss --target_kl 0.0001 --reward_scaling clip --game_start frames"


class Kind(NamedTuple):
    """One kind of run."""

    flags: str
    schedule: bool = True
    play: Callable[[Path, Path, list[str]], None] | None = None
    """(the training script, the current folder, flags); by default it is run to its end"""
    script: str = SCRIPT


class DifferentError(Exception):
    """A command failed; the text says which and how it ended."""


def environment(code: Path) -> dict[str, str]:
    """That of a command which takes all code from `code`."""
    return {**os.environ, "PYTHONPATH": str(code), "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}


def run(script: Path, folder: Path, flags: Sequence[str], launcher: Sequence[str] = ()) -> None:
    """A script of the code's folder, with its output in log.txt; raises DifferentError where it fails."""
    command = [sys.executable, *launcher, str(script), *flags]
    with (folder / "log.txt").open("a") as log:
        options: dict[str, Any] = {"env": environment(script.parent), "timeout": PATIENCE}
        done = subprocess.run(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, **options)
    if done.returncode:
        last = (folder / "log.txt").read_text().strip().splitlines()[-1:]
        raise DifferentError(f"exit code {done.returncode}: {' '.join(last)}")


def train_on_two_ranks(script: Path, folder: Path, flags: list[str]) -> None:
    """To its end, with two processes of torchrun."""
    run(script, folder, flags, ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"])


def train_and_kill(script: Path, folder: Path, flags: list[str]) -> None:
    """Kill the run without warning once it has saved itself a few times, then go on with it."""
    words, env = [sys.executable, str(script), *flags, "--checkpoint_every", "128"], environment(script.parent)
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(words, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
    deadline, files = time.monotonic() + PATIENCE, set[int]()
    while len(files) < 3 and process.poll() is None and time.monotonic() < deadline:
        files |= {path.stat().st_ino for path in folder.glob(f"runs/*/{RESUME}")}
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    if process.wait() != -signal.SIGKILL:
        raise DifferentError("the run ended before it could be killed")
    (stopped,) = (folder / "runs").iterdir()
    run(script, folder, ["--resume", str(stopped)])


def train_and_evaluate(script: Path, folder: Path, flags: list[str]) -> None:
    """Train, then evaluate the agent with eval.py."""
    run(script, folder, flags)
    (agent,) = folder.glob(f"runs/*/{FINAL}")
    words = ["--modifs", "no_modif, all_black_cars", "--eval_episodes", "3", "--output_dir", "evaluated"]
    run(script.with_name("eval.py"), folder, ["--agent_path", str(agent), *words])


KINDS = {
    "ppo": Kind("--env_id ALE/Pong-v5 --modifs lazy_enemy --new_rf half.py", schedule=False),
    "options": Kind(f"{PLASTICITY} {OTHERS}"),
    "per_regime": Kind("--anneal_lr_per_regime --save_agent_with_switch --test_modifs no_modif --eval_episodes 2"),
    "episode": Kind("--switch_mode episode"),
    "live": Kind("--switch_mode live"),
    "cbp": Kind(UNITS),
    "cbp_shrink": Kind(f"{UNITS} {SHRINKING}"),
    "obj": Kind(f"{PLASTICITY} {OBJECTS}", schedule=False),
    "hindsight": Kind(HINDSIGHT),
    "hindsight_goals": Kind(f"--her --game_specific_goals --her_rewards original {SHRINKING}"),
    "shrink": Kind(f"{SHRINKING} --perturb_noise initialiser --perturb_optimizer keep --switch_mode episode"),
    "resume": Kind(f"{UNITS} {HINDSIGHT}", play=train_and_kill),
    "resume_evaluated": Kind(f"{SHRINKING} {EVALUATION}", play=train_and_kill),
    "ranks": Kind(f"{HINDSIGHT} {SHRINKING}", play=train_on_two_ranks),
    "evaluation": Kind(f"{SHRINKING} {EVALUATION}"),
    "evaluate": Kind("", play=train_and_evaluate),
    "keeping": Kind(KEEPING, play=train_and_kill),
    "drawing": Kind(DRAWING),
    "clear": Kind(PLASTICITY, play=train_and_kill, script="continual_clear.py"),
    "progress_compress": Kind("--ewc_samples 64", play=train_and_kill, script="continual_progress_compress.py"),
}


def play(kind: Kind, code: Path, folder: Path) -> None:
    """One run of this kind with the code in `code`, all its files below `folder`."""
    folder.mkdir(parents=True)
    (folder / "half.py").write_text("def reward_function(env):\n    return env.org_reward / 2\n")
    (folder / "schedule.json").write_text(json.dumps(SCHEDULE))
    flags = [*SMALL.split(), *kind.flags.split()] + (["--config", "schedule.json"] if kind.schedule else [])
    (kind.play or run)(code / kind.script, folder, [*flags, "--no_cuda"])


# ----------------------------------------------------------------------------------------------------- what is compared


def contents(folder: Path) -> dict[str, Any]:
    """All that the runs below `folder` computed, by name."""
    found: dict[str, Any] = {}
    for run_folder in sorted(folder.glob("runs/*")):
        found |= {f"checkpoint {path.name}": weights(path) for path in run_folder.glob("*.cleanrl_model")}
        found |= {path.name: rows(path) for path in run_folder.glob("*.csv")}
        found |= {f"logged {name}": values for name, values in scalars(run_folder).items()}
    found |= {f"evaluated/{path.name}": rows(path) for path in folder.glob("evaluated/*.csv")}
    return found


def weights(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint, and the numbers beside them."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    return {name: value for name, value in content.items() if name not in ("args", "wandb_run_id")}


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file, without the columns that differ from run to run."""
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in LEFT_OUT} for row in csv.DictReader(file)]


def scalars(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """(step, number) of everything that was logged; as text, so that NaN equals NaN."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, repr(event.value)) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
        if not name.startswith(SECONDS)
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs, in words; nothing where all is the same. Nothing at all on a side is a difference too."""
    if not before or not after:
        return ["nothing was written"]
    found = [f"{name} is missing" for name in before if name not in after]
    found += [f"{name} is new" for name in after if name not in before]
    return found + [name for name in before if name in after and not same(before[name], after[name])]


def same(one: Any, other: Any) -> bool:
    """Whether two nested values are equal, tensors bit for bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and one.shape == other.shape and bytes_of(one) == bytes_of(other)
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and bool(one == other)


def bytes_of(tensor: torch.Tensor) -> bytes:
    """Its memory, so that NaN equals NaN and 0 is not -0."""
    return tensor.contiguous().numpy().tobytes()


# ------------------------------------------------------------------------------------------------------------- commands


@contextlib.contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """The folder that holds the code of `commit`, which may be a folder itself."""
    if Path(commit).is_dir():
        yield Path(commit).resolve()
        return
    git = ["git", "-C", str(ROOT)]
    done = subprocess.run([*git, "worktree", "add", "--detach", folder, commit], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {commit} cannot be checked out: {done.stderr.strip().splitlines()[-1]}")
    try:
        yield folder
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", folder], check=True)


def compare(kind: Kind, codes: Sequence[Path], folder: Path) -> list[str]:
    """Differences between a run of this kind with either code; none: they are the same."""
    found = []
    for number, code in enumerate(codes):
        try:
            play(kind, code, folder / str(number))
        except (DifferentError, subprocess.TimeoutExpired) as error:
            return [f"{('the first', 'the second')[number]} failed: {error}"]
        found.append(contents(folder / str(number)))
    return differences(*found)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", help="a commit, or a folder")
    parser.add_argument("after", help="a commit, or a folder")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    args = parser.parse_args(argv)
    different = 0
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        codes = [
            stack.enter_context(checked_out(commit, place / f"code{number}"))
            for number, commit in enumerate((args.before, args.after))
        ]
        for name in args.kinds:
            start = time.monotonic()
            found = compare(KINDS[name], codes, place / name)
            different += bool(found)
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            answer = f"DIFFERENT: {'; '.join(found[:5])}{more}" if found else "the same"
            print(f"{name:<17} {answer} ({time.monotonic() - start:.0f} s)", flush=True)
    raise SystemExit(1 if different else 0)


if __name__ == "__main__":
    main()
