"""One process of a job of several: a training script with a fault and with notes of what each rank has.

    rank_job.py <one of siblings.py> <folder of the notes> <fault> <flags of the training script>

Faults are `-` (none) or `<name>:<rank>:<number>`; they happen in a job's first start only.
"""

import hashlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import torch
from siblings import SIBLINGS

from continual_hackatari.training import run as run_module
from continual_hackatari.training.run import Run
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

RANK = int(os.environ.get("RANK", 0))


def digest(value):
    """One word for nested tensors, arrays and plain values; different for any other bit."""
    sha = hashlib.sha256()

    def take(part):
        if isinstance(part, torch.Tensor):
            sha.update(part.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(part, dict):
            for key, item in part.items():
                sha.update(str(key).encode())
                take(item)
        elif isinstance(part, (list, tuple)):
            for item in part:
                take(item)
        else:
            sha.update(repr(part).encode())

    take(value)
    return sha.hexdigest()[:16]


def take_notes(sibling, notes):
    """At every save: what every rank should have alike, and its generator, which it has for itself."""
    training = sibling.load()
    save, minibatch_step = Run.save, training.minibatch_step
    of_update = []

    def step(*args, **kwargs):
        of_update.append(minibatch_step(*args, **kwargs))
        return of_update[-1]

    def save_and_note(run):
        save(run)
        counters, methods = run.counters, run._parts["methods"]
        cbp = next((one.units for one in methods if hasattr(one, "units")), None)
        parts = {name: None if part is None else digest(part.state_dict()) for name, part in run._parts.items()}
        large = {name: dict(state) for name, state in methods.large_state().items()}
        rows = {name: state.pop("rows") for name, state in large.items()}
        parts.pop("plasticity", None)  # looks at the rank's own games, and the main one logs it
        line = {
            "pid": os.getpid(),
            "step": counters.global_step,
            "switches": counters.num_switches,
            "modification": counters.modification,
            "parts": parts,
            "replaced": None if cbp is None else sum(record.replaced for record in cbp.records),
            "remembered": digest(large),
            "rows": digest(rows),
            "actions": digest(run._generators[sibling.generator].get_state()),
        }
        if "old_approx_kl" in getattr(training, "LOSSES", ()):  # PPO's
            ratio = of_update[0][training.LOSSES.index("old_approx_kl")] if of_update else 0.0
            line["log_ratio"] = abs(float(ratio))
        of_update.clear()
        with open(notes / f"rank{RANK}.jsonl", "a") as file:
            file.write(json.dumps(line) + "\n")

    Run.save, training.minibatch_step = save_and_note, step


def install(training, fault):
    name, rank, number = fault.split(":")
    if int(rank) != RANK or os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":
        return
    calls = iter(range(1, 10**9))
    if name == "keep_states":
        run_module.forget_states = lambda *args, **kwargs: None
        return
    if name == "own_machine":  # on which the others' folders are not there
        os.chdir(tempfile.mkdtemp())
        return
    owner, method = {
        "die_in_update": (training, "minibatch_step"),
        "die_in_rollout": (ModifiedVectorEnv, "step_async"),
        "differ": (training, "minibatch_step"),
    }[name]
    original = getattr(owner, method)

    def replacement(*args, **kwargs):
        if next(calls) == int(number):
            if name == "differ":
                with torch.no_grad():
                    next(args[1].parameters()).add_(1e-6)
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, method, replacement)


if __name__ == "__main__":
    name, folder, fault, *flags = sys.argv[1:]
    script = SIBLINGS[name]
    take_notes(script, Path(folder))
    if fault != "-":
        install(script.load(), fault)
    sys.argv = [script.file.name, *flags]
    script.main(flags)
