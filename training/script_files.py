"""A training script as a file: whether it is one, and what it says of itself, without a start of it.

The first needs no torch; the second loads the file, and torch with it.
"""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Collection
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from continual_hackatari.training.config import ConfigError, sentence

if TYPE_CHECKING:
    from continual_hackatari.training.setup import Script

HERE = Path(__file__).parent.parent  # beside the scripts, in a clone and installed
SCRIPT = "SCRIPT"
"""The name by which a training script says what it is."""
PPO = "continual_training_example"


def is_training_script(path: str | Path) -> bool:
    """Whether this Python file says what it is; others must not be loaded, as they may begin at once what they do."""
    try:
        body = ast.parse(Path(path).read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return False
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    return any(isinstance(target, ast.Name) and target.id == SCRIPT for target in targets)


def load_script(path: str | Path) -> Script[Any]:
    """What the training script in this file says of itself.

    Raises:
        ConfigError: the file cannot be loaded.
    """
    file = Path(path).resolve()
    name = f"{file.stem} of {file.parent}"  # nobody's module, so that it takes the place of none
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses look there for their types
    sys.path.insert(0, str(file.parent))  # as when it is started
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"`program` {path} cannot be loaded: {type(error).__name__}: {sentence(error)}") from None
    finally:
        sys.path.remove(str(file.parent))
    script: Script[Any] = module.SCRIPT
    return script


def script_with(names: Collection[str]) -> Script[Any] | None:
    """The first training script of this project, PPO's before the others, that has all these settings."""
    for file in sorted(HERE.glob("continual_*.py"), key=lambda file: (file.stem != PPO, file.stem)):
        script = load_script(file)
        if set(names) <= {field.name for field in fields(script.settings)}:
            return script
    return None
