"""Run folders with known numbers, written by the code that real runs are written by."""

import csv
import json

from continual_hackatari.reporting.rows import EVALUATION_COLUMNS
from continual_hackatari.training.tracking import Tracker


def make_run(
    root,
    *,
    seed=1,
    strings=("", "a", ""),
    regime=1000,
    exp_name="made_up",
    games_every=100,
    score=lambda step, string: float(step % 7),
    scalars=("losses/value_loss", "plasticity/effective_rank", "time/update", "time/emulation", "charts/SPS"),
    evaluated=None,
    held_out=(),
    finished=True,
    **settings,
):
    """A folder of a run through `strings`, each for `regime` steps; returns its path.

    A whole game ends every `games_every` steps and scores `score(step, string)`; at every switch one game is cut, with
    a return of 1,000,000 that must not count anywhere. Scalars are logged every 50 steps with the step as their value.
    `evaluated(string, phase, step)` is the score of both games of every evaluation (None: no evals.csv).
    """
    folder = root / f"ALE-Freeway-v5_s{seed}__{exp_name.replace('/', '-')[:30]}__PPO__{1_700_000_000 + seed}"
    folder.mkdir(parents=True)
    args = {"env_id": "ALE/Freeway-v5", "seed": seed, "exp_name": exp_name, "architecture": "PPO", "modifs": ""}
    (folder / "args.json").write_text(json.dumps({**args, **settings}))
    with Tracker(folder) as tracker:
        row = {"env": 0, "length": 10, "lives": 0, "live_switches": 0}
        for phase, string in enumerate(strings):
            begin = phase * regime
            if phase:
                named = {"switch": phase, "global_step": begin, "from": strings[phase - 1], "to": string}
                tracker.switch({**named, "mode": "reset", "seconds": 0.1, "shrink_and_perturb": 0, "checkpoint": ""})
            for step in range(begin + games_every, begin + regime + 1, games_every):
                own = {"global_step": step, "modification": string, "return": score(step, string), "cut": False}
                tracker.episode({**row, **own})
            tracker.episode({**row, "global_step": begin + regime, "modification": string, "return": 1e6, "cut": True})
        for step in range(50, regime * len(strings) + 1, 50):
            for name in scalars:
                tracker.scalar(name, step, step)
    if evaluated is not None:
        write_evaluations(folder, seed, strings, regime, evaluated, held_out)
    if finished:
        (folder / "model.cleanrl_model").write_bytes(b"a model")
    return folder


def write_evaluations(folder, seed, strings, regime, evaluated, held_out):
    """evals.csv: two sampled games at the beginning, in the middle and at the end of every phase."""
    with (folder / "evals.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(EVALUATION_COLUMNS)
        for phase, trained in enumerate(strings):
            for step in (phase * regime, phase * regime + regime // 2, (phase + 1) * regime):
                for string in (*dict.fromkeys(strings), *held_out):
                    split = "held_out" if string in held_out else "train"
                    for episode, offset in ((0, -1), (1, 1)):
                        game = (episode, 7 + episode, 0, evaluated(string, phase, step) + offset, 10, 0)
                        writer.writerow((folder.name, seed, phase, step, string, split, *game, trained))
