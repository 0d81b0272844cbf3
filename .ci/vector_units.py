"""Vector units that numpy and torch choose when they run, beyond what they were compiled for.

python .ci/vector_units.py            names for NPY_DISABLE_CPU_FEATURES: of this numpy, on this processor
python .ci/vector_units.py --refuse   fails if numpy or torch use any in this environment
"""

import sys

import numpy as np


def used_by_numpy() -> list[str]:
    """Their names differ between releases of numpy, so it is asked for them."""
    core = np._core if hasattr(np, "_core") else np.core  # renamed in numpy 2
    umath = core._multiarray_umath
    return [name for name in umath.__cpu_dispatch__ if umath.__cpu_features__.get(name)]


def refuse() -> None:
    """Exit with one sentence if numpy or torch use any."""
    import torch

    if used_by_numpy():
        sys.exit(f"error: numpy still uses {' '.join(used_by_numpy())}")
    capability = torch.backends.cpu.get_cpu_capability()
    if capability != "DEFAULT":
        sys.exit(f"error: torch still uses {capability}")
    print("numpy and torch use no vector units beyond their baseline")


if __name__ == "__main__":
    if sys.argv[1:] == ["--refuse"]:
        refuse()
    else:
        print(*used_by_numpy())
