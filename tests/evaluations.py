"""Made-up rows of evals.csv."""

import json

import pandas as pd

from continual_hackatari.reporting.rows import EVALUATION_COLUMNS


def make_rows(plan, score, *, strings=None, held_out=(), steps=(0, 50, 100), run="run", seed=1, games=2, modes=(0, 1)):
    """A run that trains on `plan[k]` in phase k, each phase evaluated at `steps` since its beginning.

    `score(string, phase, step)`, with the global step, is the mean of the games; None leaves an evaluation out. The
    games of one evaluation differ, and greedy ones are 1000 higher, so that a mix-up shows.
    """
    strings = list(dict.fromkeys(plan)) if strings is None else strings
    rows = []
    for phase, trained_on in enumerate(plan):
        for step in steps:
            now = phase * steps[-1] + step
            for string in (*strings, *held_out):
                mean = score(string, phase, now)
                if mean is None:
                    continue
                split = "held_out" if string in held_out else "train"
                for mode in modes:
                    for game in range(games):
                        points = mean + 1000 * mode + (game - (games - 1) / 2)
                        start = [run, seed, phase, now, string, split, game, 7 + game, mode]
                        rows.append([*start, points, 100, 0, trained_on])
    return pd.DataFrame(rows, columns=list(EVALUATION_COLUMNS))


def by_matrix(matrix, before=None):
    """A score function: `matrix[string][phase]` at the end of a phase, and what came before it earlier in the phase."""

    def score(string, phase, step):
        if step == 100 * (phase + 1):
            return matrix[string][phase]
        return matrix[string][phase - 1] if phase else (before or {}).get(string, 0.0)

    return score


def make_run(folder, rows, **settings):
    """A run folder with `rows` as its evals.csv."""
    folder.mkdir(parents=True)
    seed = int(rows["seed"].iloc[0]) if len(rows) else 1
    args = {"env_id": "ALE/Freeway-v5", "architecture": "PPO", "seed": seed, "learning_rate": 1e-3, **settings}
    (folder / "args.json").write_text(json.dumps(args))
    rows.to_csv(folder / "evals.csv", index=False)
    return folder
