"""Modifications of Atari games: which exist, whether a string can be played, and running them.

    python -m wrappers.modifications                     # games with modifications
    python -m wrappers.modifications ALE/Freeway-v5      # those of one game: origin, when each runs, what it does
    python -m wrappers.modifications ALE/Freeway-v5 --gallery gallery.png
    python -m wrappers.modifications ALE/Freeway-v5 --play out.mp4 --modifs "all_black_cars stop_top_2"

modification.py    what a modification is, and the names of a string
installed.py       what the installed hackatari offers
supplementary.py   our own, for names that the installed hackatari lacks
console.py         the console's own switches, its game modes and difficulties
rule_file.py       somebody's own, from a file outside this project
names.py           all modifications of a game, and the check of a string
runner.py          running them
__main__.py        the command

Names come from the installed hackatari first, then from our own collection; where hackatari is not installed, from the
latter alone. `mode_<n>` and `difficulty_<n>` are the console's.
"""

from continual_hackatari.wrappers.modifications.console import (
    Switches,
    console_modifications,
    first_numbers,
    switches_of,
)
from continual_hackatari.wrappers.modifications.modification import Modification, split_modifications
from continual_hackatari.wrappers.modifications.names import (
    catalogue,
    check_modifications,
    hackatari_is_missing,
    wait_for_start,
    waits,
)
from continual_hackatari.wrappers.modifications.rule_file import games_of, rule_file
from continual_hackatari.wrappers.modifications.runner import ModificationRunner
from continual_hackatari.wrappers.modifications.supplementary import ConstantWrites, Hooks, Rule

__all__ = [
    "ConstantWrites",
    "Hooks",
    "Modification",
    "ModificationRunner",
    "Rule",
    "Switches",
    "catalogue",
    "check_modifications",
    "console_modifications",
    "first_numbers",
    "games_of",
    "hackatari_is_missing",
    "rule_file",
    "split_modifications",
    "switches_of",
    "wait_for_start",
    "waits",
]
