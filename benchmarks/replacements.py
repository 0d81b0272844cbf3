"""Which units continual backpropagation replaces again: by the initialiser of new units and by how long they are safe.

    python -m benchmarks.replacements --inits kaiming orthogonal --maturities 100 --steps 3072
    python -m benchmarks.replacements --maturities 100 1000 --steps 12288

Each command adds its rows to the results, in place of earlier ones of the same initialiser and maturity.

A new unit that gives nothing has the lowest utility there is, and is the first in line again as soon as it is old
enough. For each combination a run is trained with many gradient steps, each on few rows, so that units grow old within
minutes. Of the replacements that had the time to grow old before the run's end, the share that was replaced again says
how many of them were made for nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.harness import RESULTS, machine
from benchmarks.training import run_training

LAYERS = ("conv1", "conv2", "conv3", "fc")
STEPS_PER_ROUND = 64
"""agent steps, 8 games"""
GRADIENT_STEPS_PER_ROUND = 16
PREFIX = "methods/continual_backprop/"


def flags_of(rate: float, init: str, maturity: int, seed: int) -> list[str]:
    """Of a run of PPO: 16 gradient steps of 16 rows in a round of 64 steps."""
    method = {"replacement_rate": rate, "init": init, "maturity_threshold": maturity}
    words = ["--methods", "continual_backprop", "--num_steps", "8", "--no_anneal_lr", "--seed", str(seed)]
    words += ["--plasticity_every", "0", "--num_workers", "0", "--checkpoint_every", "0"]
    return words + [word for name, value in method.items() for word in (f"--continual_backprop.{name}", str(value))]


def counts(events: EventAccumulator, maturity: int) -> dict[str, dict[str, float]]:
    """By layer: units that were replaced, how many of them were old enough to be so again, and how many were."""
    found = {}
    for layer in LAYERS:
        replaced = {e.step: e.value for e in events.Scalars(f"{PREFIX}replaced/{layer}")}
        last = max(replaced)
        late = last - -(-maturity // GRADIENT_STEPS_PER_ROUND) * STEPS_PER_ROUND
        shares = {}
        for name in ("replaced_again", "replaced_dormant"):
            known = f"{PREFIX}{name}/{layer}" in events.Tags()["scalars"]
            shares[name] = round(replaced[last] * events.Scalars(f"{PREFIX}{name}/{layer}")[-1].value) if known else 0
        grown_old = max((value for step, value in replaced.items() if step <= late), default=0.0)
        found[layer] = {"replaced": replaced[last], "grown_old": grown_old, **shares}
    return found


def measured(args: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each initialiser and maturity: the counts of all seeds together, by layer."""
    settings = {name: getattr(args, name) for name in ("game", "rate", "steps", "seeds")}
    rows = []
    for init, maturity in itertools.product(args.inits, args.maturities):
        total: dict[str, dict[str, float]] = {}
        for seed in args.seeds:
            begin = time.perf_counter()
            flags = flags_of(args.rate, init, maturity, seed)
            found = counts(run_training(f"ALE/{args.game}-v5", args.steps, flags), maturity)
            for layer, numbers in found.items():
                for name, number in numbers.items():
                    total.setdefault(layer, {}).setdefault(name, 0.0)
                    total[layer][name] += number
            print(f"{init}, {maturity}, seed {seed}: {time.perf_counter() - begin:.0f} s, {found}", flush=True)
        rows.append({"init": init, "maturity_threshold": maturity, **settings, "layers": total})
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """As Markdown: of each layer, which share was replaced again, of how many replacements that had grown old."""
    lines = [
        f"| `init` | `maturity_threshold` | gradient steps | {' | '.join(f'`{layer}`' for layer in LAYERS)} | all |"
    ]
    lines.append("|---|---:|---:|" + "---:|" * (len(LAYERS) + 1))
    for row in rows:
        layers = [row["layers"][layer] for layer in LAYERS]
        whole = {name: sum(each[name] for each in layers) for name in layers[0]}
        cells = [f"{share(each)} of {each['grown_old']:.0f}" for each in (*layers, whole)]
        gradient_steps = row["steps"] // STEPS_PER_ROUND * GRADIENT_STEPS_PER_ROUND
        lines.append(f"| `{row['init']}` | {row['maturity_threshold']} | {gradient_steps:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def share(numbers: Mapping[str, float]) -> str:
    """Of the units that had grown old, those that were replaced again."""
    return f"{100 * numbers['replaced_again'] / numbers['grown_old']:.0f} %" if numbers["grown_old"] else "-"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--game", default="Freeway")
    parser.add_argument("--steps", type=int, default=3072, help="agent steps; a quarter of it are gradient steps")
    parser.add_argument("--rate", type=float, default=2e-4, help="replacement rate")
    parser.add_argument("--inits", nargs="+", default=["kaiming", "orthogonal"])
    parser.add_argument("--maturities", nargs="+", type=int, default=[100])
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    args = parser.parse_args(argv)
    path = RESULTS / "replacements.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    by_choice = {(row["init"], row["maturity_threshold"]): row for row in [*before, *measured(args)]}
    rows = [by_choice[choice] for choice in sorted(by_choice)]
    content = {"title": "replacements", "machine": machine(), "rows": rows}
    path.write_text(json.dumps(content, indent=2) + "\n")
    print(table(rows))
    print(f"file: {path}")


if __name__ == "__main__":
    main()
