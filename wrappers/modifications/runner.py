"""Running the modifications of one game."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np

from continual_hackatari.wrappers.modifications import installed
from continual_hackatari.wrappers.modifications.console import CONSOLE
from continual_hackatari.wrappers.modifications.modification import MOMENTS, Hook
from continual_hackatari.wrappers.modifications.names import known_names, require_playable
from continual_hackatari.wrappers.modifications.rule_file import load_rules, rules_of
from continual_hackatari.wrappers.modifications.supplementary import SUPPLEMENT
from continual_hackatari.wrappers.state import mersenne_state, set_mersenne_state
from continual_hackatari.wrappers.user_files import NO_FILE, UserFile


class ModificationRunner:
    """Runs the modifications of one game.

    The four tuples hold what to call, in the order of the modification string: `before_frame` before every emulated
    frame, `after_last_frame` after the last frame of an agent step, `after_detection` at the end of an agent step and
    of a reset, `after_reset` once after a reset.

    Args:
        game: name as in the environment id, for example ``"Freeway"``.
        view: the game to change, with ``set_ram``, ``get_ram`` (an array of Python integers) and ``objects``.
        seed: of this runner's own generators.
        file: somebody's own modifications.
    """

    def __init__(self, game: str, view: Any, seed: int, file: UserFile = NO_FILE) -> None:
        self._game, self._file = game, file
        self._view = view
        self._python = random.Random(seed)
        self._numpy = np.random.RandomState(seed)
        self._set_hooks({})
        self.needs_objects = False

    def start_game(self, names: Sequence[str]) -> None:
        """Take these modifications, each in its initial state: for a new game, or in mid-game.

        Raises:
            ModificationError: a name that `check_modifications` does not accept.
        """
        for name in names:
            require_playable(self._game, name, file=self._file)
        known = known_names(self._game, names, self._file)
        environment = installed.HandlerEnvironment(self._view)
        own = SUPPLEMENT.get(self._game, {})
        if any(name in rules_of(self._file, self._game) for name in names):
            # A new run of the file: what it keeps in its globals must not outlive a game, nor reach another one.
            own = {**own, **load_rules(self._file, self._python, self._numpy)[self._game]}
        hooks = self._handler_hooks([name for name in names if known[name].origin == "hackatari"], environment, names)
        for position, name in enumerate(names):
            if known[name].origin not in ("hackatari", CONSOLE):
                hooks_of_rule = own[name].start(environment, self._python, self._numpy)
                for moment, hook in zip(MOMENTS, hooks_of_rule, strict=True):
                    if hook is not None:
                        hooks[moment].append(((position, 0), hook))
        ordered = {moment: [hook for _, hook in sorted(hooks[moment], key=lambda item: item[0])] for moment in MOMENTS}
        theirs = installed.selections(self._game)
        if any("step_modifs" in theirs[name].uses for name in names if name in theirs):
            ordered["frame"].append(environment.run_added)
        self._set_hooks(ordered)
        self.needs_objects = any(
            known[name].objects_only or (name in theirs and "objects" in theirs[name].uses) for name in names
        )

    def random_state(self) -> dict[str, Any]:
        """State of the generators: plain data."""
        return mersenne_state(self._python, self._numpy)

    def set_random_state(self, state: dict[str, Any]) -> None:
        """Continue from a state that `random_state` returned."""
        set_mersenne_state(state, self._python, self._numpy)

    def _handler_hooks(
        self, installed_names: list[str], environment: installed.HandlerEnvironment, names: Sequence[str]
    ) -> dict[str, list[tuple[tuple[int, int], Hook]]]:
        """The functions of one new handler for all names that are hackatari's, with their places in the order.

        One handler, because names share state in it. It hands out its functions in an order that differs from process
        to process; ours is the string's, and the source's for several functions of one name.
        """
        hooks: dict[str, list[tuple[tuple[int, int], Hook]]] = {moment: [] for moment in MOMENTS}
        if not installed_names:
            return hooks
        # A new module as well (0.1 ms): what a release keeps in its globals must not outlive a game either.
        module = installed.load_module(self._game, self._python, self._numpy)
        frame, reset, post = module.modif_funcs(environment, installed_names)[:3]
        theirs = installed.selections(self._game)
        for moment, functions in zip(MOMENTS, (reset, frame, post), strict=True):
            for function in functions:
                code = installed.code_of(function)
                position = next(names.index(name) for name in installed_names if code in theirs[name].functions)
                hooks[moment].append(((position, code.co_firstlineno), function))
        return hooks

    def _set_hooks(self, hooks: dict[str, list[Hook]]) -> None:
        self.after_reset: tuple[Hook, ...] = tuple(hooks.get("reset", ()))
        self.before_frame: tuple[Hook, ...] = tuple(hooks.get("frame", ()))
        self.after_last_frame: tuple[Hook, ...] = self.before_frame if installed.runs_after_last_frame() else ()
        self.after_detection: tuple[Hook, ...] = tuple(hooks.get("post", ()))
