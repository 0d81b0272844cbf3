"""The games under the names that `gymnasium.make` and `gymnasium.make_vec` take: ``continual_hackatari/Freeway-v5``.

`import continual_hackatari` is enough, before or after `import gymnasium`, installed or from a clone. It must not load
gymnasium by itself, because that loads numpy, and much of this project sets the process up before it does.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

FOR_TWO = {"combat", "joust", "maze_craze", "warlords"}
"""ROMs of ale-py that one player cannot play"""


def register_with_gymnasium() -> None:
    """Register all games now, or as soon as gymnasium has been loaded."""
    if "gymnasium" in sys.modules:
        register_games()
    else:
        sys.meta_path.insert(0, _AfterGymnasium())


def register_games() -> None:
    """Register all games; the emulator is loaded with the first of them that is played."""
    import gymnasium

    for rom in _roms():
        game = rom.title().replace("_", "")
        gymnasium.register(
            id=f"continual_hackatari/{game}-v5",
            entry_point="continual_hackatari.wrappers.standalone:ContinualAtariEnv",
            vector_entry_point="continual_hackatari.wrappers.standalone:ContinualAtariVectorEnv",
            kwargs={"ale_id": f"ALE/{game}-v5"},
        )


def _roms() -> list[str]:
    """The ROMs that ale-py has for one player, found without loading it: that may be under way when gymnasium is."""
    spec = importlib.util.find_spec("ale_py")
    folders = spec.submodule_search_locations if spec is not None else None
    roms = {path.stem for folder in folders or () for path in Path(folder, "roms").glob("*.bin")}
    return sorted(roms - FOR_TWO)


class _AfterGymnasium:
    """Finds gymnasium where it would be found anyway, and registers the games when it has been loaded."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        if name != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            execute(module)
            register_games()

        spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
