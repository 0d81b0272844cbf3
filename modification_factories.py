"""Schedules of modifications, under the name by which users know them; the code is in `schedules/`.

python modification_factories.py run_config.json                  # phases, switches, shares, timeline; no emulator
python modification_factories.py run_config.json --plot timeline.png
python modification_factories.py old.json --from_original         # convert a file of the original system
"""

import signal

from continual_hackatari.schedules.factories import *  # noqa: F403  (`from modification_factories import ...`)
from continual_hackatari.schedules.factories import main

if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # a reader that stops early, such as `| head`, ends this quietly
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    raise SystemExit(main())
