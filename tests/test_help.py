"""`--help` shows every flag once, in groups, each with its text and its default."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
import tyro

from continual_hackatari import (
    continual_clear,
    continual_progress_compress,
    continual_training_example,
    metrics,
    report,
    sweep,
)
from continual_hackatari import eval as evaluation
from continual_hackatari.training.command_line import parse_command_line
from continual_hackatari.training.help import groups_of, help_text


@dataclass
class Base:
    files: tyro.conf.Positional[list[str]]
    """what to read"""

    # run
    seed: int = 42
    """of everything random"""
    architecture: str = ""
    """what the agent is"""

    # tracking. This sentence is for readers of the source
    track: bool = False
    """log to W&B as well"""

    # config file only
    notes: Annotated[str, tyro.conf.Suppress] = ""
    """free text"""


@dataclass
class Script(Base):
    seed: int = 43

    # PPO
    anneal: bool = True
    """lower the rate"""
    rate: float | None = None
    """of what (default: that of the game)"""
    sizes: tuple[int, ...] = (2, 3)
    """of the layers"""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = "out"
    """where it goes"""
    kwargs: dict[str, Any] = field(default_factory=dict)

    # agent
    architecture: Literal["PPO", "CBP"] = "PPO"

    @property
    def unrelated(self) -> int:
        return self.seed


def lines():
    return {line.split()[0].rstrip(","): line.strip() for line in help_text(Script).splitlines() if line[:2] == "  "}


def test_groups_begin_with_comments_and_those_of_a_subclass_come_before_tracking():
    names = {title: [flag.name for flag in flags] for title, flags in groups_of(Script).items()}
    assert names == {
        "": ["files"],
        "run": ["seed"],
        "PPO": ["anneal", "rate", "sizes", "output", "kwargs"],
        "agent": ["architecture"],
        "tracking": ["track"],
        "config file only": ["notes"],
    }
    assert list(names) == ["", "run", "PPO", "agent", "tracking", "config file only"]


def test_each_default_is_shown_once():
    shown = lines()
    assert shown["--seed"].endswith("of everything random (default: 43)")
    assert "--anneal, --no_anneal" in shown["--anneal"]
    assert shown["--anneal"].endswith("(default: on)")
    assert shown["--rate"].endswith("of what (default: that of the game)")
    assert shown["--sizes"].endswith("(default: 2 3)")
    assert shown["--track"].split() == ["--track", "log", "to", "W&B", "as", "well"]
    assert "default" not in shown["FILES"]


def test_a_subclass_says_more_of_a_field_of_its_base():
    assert lines()["--architecture"].split("  ")[0] == "--architecture {PPO,CBP}"
    assert lines()["--architecture"].endswith("what the agent is (default: PPO)")


def test_what_only_a_file_may_set_is_not_shown_and_short_names_are():
    assert "notes" not in help_text(Script)
    assert "config file only" not in help_text(Script)
    assert "  -o, --output TEXT" in help_text(Script)


def test_lines_are_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    assert max(map(len, help_text(continual_training_example.Args).splitlines())) <= 80  # a name and its choices
    texts = [line for line in help_text(continual_training_example.Args).splitlines() if line.startswith(" " * 28)]
    assert 50 < max(map(len, texts)) <= 70


@pytest.mark.parametrize(
    "script",
    [continual_clear, continual_progress_compress, continual_training_example, evaluation, metrics, report, sweep],
)
def test_each_script_shows_every_flag_once_with_a_text(script, capsys):
    with pytest.raises(SystemExit) as stop:
        parse_command_line(script.Args, ["--help"], description=script.__doc__)
    assert stop.value.code == 0
    printed = capsys.readouterr().out.split(script.__doc__.strip())[1]
    flags = [flag for group in groups_of(script.Args).values() for flag in group]
    assert all(flag.text for flag in flags)
    shown = re.findall(r"^  (?:-\w, |--resume_id, )?(?:--)?(\w+)", printed, re.M)
    assert sorted(name.lower() for name in shown) == sorted(flag.name for flag in flags if not flag.hidden)
