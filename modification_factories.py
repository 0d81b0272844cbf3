"""Schedules of modifications, under the name by which users know them; the code is in `schedules/`.

python modification_factories.py run_config.json                  # phases, switches, shares, timeline; no emulator
python modification_factories.py run_config.json --plot timeline.png
python modification_factories.py old.json --from_original         # convert a file of the original system
"""

import signal
from collections.abc import Mapping, Sequence
from typing import Any

from continual_hackatari.schedules import preview
from continual_hackatari.schedules.arguments import ScheduleError
from continual_hackatari.schedules.factories import *  # noqa: F403  (`from modification_factories import ...`)


def main(argv: Sequence[str] | None = None) -> int:
    """The preview, which refuses a file that training would refuse."""
    return preview.main(argv, check)


def check(path: str, flags: Mapping[str, Any]) -> preview.Checked:
    """See `preview.Check`; what training would refuse in the file is a ScheduleError.

    What knows them loads torch, and whoever imports a schedule from here needs none of it.
    """
    from continual_hackatari.training.script_files import script_with
    from continual_hackatari.training.setup import USER_ERRORS, check_file

    try:
        notes, form, foreign = check_file(path, flags)
    except USER_ERRORS as error:
        raise ScheduleError(str(error)) from None

    def written(string: str) -> str:
        try:
            return form(string)
        except USER_ERRORS:  # from a class of somebody's own that lists none: refused when a run meets it
            return string

    script = script_with(foreign) if foreign else None
    usual = None if script is None else script.settings()
    return notes, written, {name: getattr(usual, name) for name in ("num_envs", "num_steps") if usual is not None}


if __name__ == "__main__":
    if hasattr(signal, "SIGPIPE"):  # a reader that stops early, such as `| head`, ends this quietly
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    raise SystemExit(main())
