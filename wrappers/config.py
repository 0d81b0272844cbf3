"""The description of a game: everything that somebody may choose about it, checked before anything is started."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from continual_hackatari.names import Task, full_id, game_of, id_in_game, parse
from continual_hackatari.wrappers.emulator import ale_games, registered_games
from continual_hackatari.wrappers.errors import GameError, ModificationError
from continual_hackatari.wrappers.goals import GOALS, Goal
from continual_hackatari.wrappers.modifications import (
    Switches,
    catalogue,
    check_modifications,
    games_of,
    rule_file,
    switches_of,
    wait_for_start,
)
from continual_hackatari.wrappers.objects import supports_object_features, supports_objects, why_missing
from continual_hackatari.wrappers.rewards import RewardFile, reads_objects
from continual_hackatari.wrappers.user_files import NO_FILE, UserFile, find_file

BACKENDS = ("HackAtari", "OCAtari", "Gym")
OBS_MODES = ("dqn", "obj")
GAME_STARTS = ("frames", "steps", "original", "none")
NOOP_MAX = 30
BLINKING = ("Asteroids", "ChopperCommand", "DoubleDunk", "MsPacman", "Venture", "YarsRevenge")


@dataclass(frozen=True)
class GameConfig:
    """Everything a worker needs to build a game; plain values only, so that it travels to a worker process."""

    env_id: str
    game: str
    """name as in the environment id: ``Freeway``"""
    rom: str
    """name of the ROM: ``freeway``"""
    repeat_action_probability: float
    """sticky actions: chance that the emulator repeats the last action, drawn per emulated frame"""
    full_action_space: bool
    """the agent has all 18 actions of the console, with which it can play several games; task strings then say which"""
    max_num_frames_per_episode: int
    """a game is truncated after this many emulated frames"""
    backend: str = "HackAtari"
    obs_mode: str = "dqn"
    frameskip: int = 4
    window: int = 4
    """number of past frames (or feature vectors) in an observation"""
    episodic_life: bool = True
    """end the training episode, not the game, at a lost life"""
    game_start: str = "steps"
    """before the agent acts: 1 to `noop_max` no-op ``frames`` or no-op agent ``steps``, then FIRE; ``none``: only FIRE;
    ``original``: see `AgentGame.start_game`"""
    noop_max: int = NOOP_MAX
    """another number stands in checkpoints of earlier versions only"""
    fire_reset: bool = True
    """press FIRE once at the start of a game and after a lost life, in games that have the button"""
    max_pool: bool = False
    """frames are the maximum of a step's last two (backend Gym: always)"""
    reward_file: str = ""
    reward_digest: str = ""
    """of the contents of `reward_file`: who plays checks it"""
    modification_file: str = ""
    modification_digest: str = ""
    """of `modification_file`, likewise"""
    seed: int = 0
    reseed_every_game: bool = False
    """evaluation: game number k of the run is seeded by (seed, k) alone, whoever plays it"""
    num_envs: int = 1
    """how many environments share the run's game numbers (environment i plays games i, i + num_envs, ...)"""
    goal_kind: str = ""
    """kind of goal that follows the frames as grey planes, a key of `wrappers.goals.GOALS`; empty: none"""

    @property
    def chosen(self) -> dict[str, Any]:
        """What `game_config` chooses where it is not told, under the names of the flags."""
        return {
            "game_start": self.game_start,
            "max_pool": self.max_pool,
            "sticky": self.repeat_action_probability,
            "time_limit": self.max_num_frames_per_episode,
        }

    @property
    def rules(self) -> UserFile:
        """Somebody's own modifications."""
        return UserFile(self.modification_file, self.modification_digest)

    @property
    def rewards(self) -> UserFile:
        """Somebody's own reward."""
        return UserFile(self.reward_file, self.reward_digest)

    @property
    def goal(self) -> Goal | None:
        """The goals of this game, where goals are asked for."""
        return GOALS[self.goal_kind][self.game] if self.goal_kind else None

    @property
    def num_goals(self) -> int:
        """Numbers per goal, and planes behind the frames."""
        return len(self.goal.axes) if self.goal else 0


def game_config(
    env_id: str,
    *,
    backend: str = "HackAtari",
    obs_mode: str = "dqn",
    frameskip: int = 4,
    window: int = 4,
    episodic_life: bool = True,
    game_start: str = "auto",
    noop_max: int = NOOP_MAX,
    fire_reset: bool = True,
    max_pool: bool | None = None,
    sticky: float | None = None,
    time_limit: int | None = None,
    full_action_space: bool = False,
    reward_file: str | UserFile = "",
    modification_file: str | UserFile = "",
    goal_kind: str = "",
    seed: int = 0,
) -> tuple[GameConfig, list[str]]:
    """The checked description of a game, and lines that a user should see.

    Without pooling, an agent that skips an even number of frames sees one phase of the emulator's frames, so by default
    no-ops are counted in its steps there (`game_start` steps), and in frames where frames are pooled.

    Args:
        game_start: ``auto`` or one of `GAME_STARTS`.
        max_pool: by default only backend Gym pools.
        sticky: chance that a frame repeats the last action; default: the id's own.
        time_limit: emulated frames after which a game is cut; default: the id's own.
        full_action_space: all 18 actions instead of the game's own.
        reward_file: Python file with a reward of one's own, or what `find_file` returned of a recorded one.
        modification_file: likewise with modifications of one's own, or what `rule_file` returned.

    Raises:
        GameError: unknown game, backend or observation mode, a number out of its range, or a combination that cannot
            work.
    """
    check_choice("backend", backend, BACKENDS)
    check_choice("obs_mode", obs_mode, OBS_MODES)
    resolved, game, rom, kwargs, notes = _resolve(env_id)
    check_whole("frameskip", frameskip, 1, 1000)
    check_whole("window", window, 1, 1000)
    check_whole("noop_max", noop_max, 1, 2**31 - 1, "; without no-ops a game starts with `game_start` none")
    check_whole("seed", seed, 0, 2**63 - 1)
    if time_limit is not None:
        check_whole("time_limit", time_limit, 1, 2**31 - 1)
    if sticky is not None and (isinstance(sticky, bool) or not isinstance(sticky, Real) or not 0 <= sticky <= 1):
        raise GameError(f"`sticky` must be a probability, from 0 to 1, but it is {sticky!r}")
    max_pool = _pooled(max_pool, backend, obs_mode, frameskip)
    check_choice("game_start", game_start, ("auto", *GAME_STARTS))
    if game_start == "auto":
        game_start = "frames" if max_pool else "steps"
    if obs_mode == "obj" and (why := why_missing("ocatari")):
        raise GameError(f"`obs_mode` obj needs OCAtari's object detection, and {why}, or `--obs_mode dqn`")
    if backend == "Gym" and obs_mode == "obj":
        raise GameError(
            "`obs_mode` obj needs object detection, which backend Gym does not have; use `--backend OCAtari`"
        )
    if backend != "Gym" and obs_mode == "obj" and not supports_object_features(game):
        raise GameError(f"`obs_mode` obj: OCAtari has no usable object features for {game}; use `--obs_mode dqn`")
    rewards = NO_FILE
    if reward_file not in ("", NO_FILE):
        rewards, lines = _check_reward_file(reward_file, game, backend)
        notes += lines
    rules = rule_file(modification_file) if isinstance(modification_file, str) else modification_file
    if rules.path:
        _check_rules(rules, game, backend, several_games=full_action_space)
    if goal_kind:
        _check_goal(goal_kind, game, backend, obs_mode)
    config = GameConfig(
        env_id=resolved,
        game=game,
        rom=rom,
        repeat_action_probability=kwargs.get("repeat_action_probability", 0.25) if sticky is None else sticky,
        full_action_space=full_action_space or kwargs.get("full_action_space", False),
        max_num_frames_per_episode=time_limit or kwargs.get("max_num_frames_per_episode") or 108_000,
        backend=backend,
        obs_mode=obs_mode,
        frameskip=frameskip,
        window=window,
        episodic_life=episodic_life,
        game_start=game_start,
        noop_max=noop_max,
        fire_reset=fire_reset,
        max_pool=max_pool,
        reward_file=rewards.path,
        reward_digest=rewards.digest,
        modification_file=rules.path,
        modification_digest=rules.digest,
        goal_kind=goal_kind,
        seed=seed,
    )
    _check_time_limit(config)
    return config, notes + _blinking(config)


def same_game(env_id: str, other: str) -> bool:
    """Whether two environment ids mean the same one (``Freeway`` is ``ALE/Freeway-v5``).

    Raises:
        GameError: one of them is unknown.
    """
    return _resolve(env_id)[0] == _resolve(other)[0]


def check_string(config: GameConfig, string: str, argument: str = "modifs") -> tuple[str, list[str]]:
    """The canonical form of a task string for games of this description, and warnings.

    It names the game where the agent has all actions, and nowhere else: one task has one string.

    argument: the flag or the key of a file from which it comes, for errors.

    Raises:
        ModificationError: a game or name is unknown or refused, or the backend has no modifications.
    """
    task = parse(string)
    notes: tuple[str, ...] = ()
    if task.game not in ("", config.game):
        config, notes = _other_game(config, task.game, f"`{argument}` {string!r}")
    names, warnings = " ".join(task.names), list[str]()
    if config.backend == "HackAtari":
        names, warnings = check_modifications(
            config.game, names, obs_mode=config.obs_mode, argument=argument, file=config.rules
        )
    elif task.names:
        raise ModificationError(
            f"`{argument}` {string!r}: backend {config.backend} plays unmodified games only; use `--backend HackAtari`"
        )
    return str(Task(config.game if config.full_action_space else "", tuple(names.split()))), [*notes, *warnings]


def in_game(config: GameConfig, game: str) -> GameConfig:
    """The same description of a game that `check_string` has let pass."""
    return config if game in ("", config.game) else _other_game(config, game, f"`modifs` {game!r}")[0]


@lru_cache(maxsize=1024)
def _other_game(config: GameConfig, game: str, start: str) -> tuple[GameConfig, tuple[str, ...]]:
    """The same description of another game, and lines for the user; start: of errors."""
    if game not in (games := ale_games()):
        near = difflib.get_close_matches(game, games, n=3, cutoff=0.5)
        advice = f"did you mean {' or '.join(near)}?" if near else "games are named as in Freeway and SpaceInvaders"
        raise ModificationError(f"{start}: {game!r} is no Atari game of ale-py; {advice}")
    if not config.full_action_space:
        raise ModificationError(
            f"{start}: an agent plays {game} besides {config.game} only with all 18 actions of the console, so add "
            "`--full_action_space`, or choose the game with `--env_id`"
        )
    env_id = id_in_game(config.env_id, game)
    if env_id not in registered_games():
        raise ModificationError(f"{start}: ale-py has no {env_id}; choose an `--env_id` such as ALE/{config.game}-v5")
    if config.obs_mode == "obj":
        raise ModificationError(
            f"{start}: with `obs_mode` obj an agent plays one game, because others have other objects; "
            "use `--obs_mode dqn`"
        )
    if config.goal_kind:
        raise ModificationError(f"{start}: `her` knows goals of one game, here {config.game}; leave one of the two out")
    if config.reward_file:
        _check_reward_file(config.rewards, game, config.backend)
    other = replace(config, env_id=env_id, game=game, rom=registered_games()[env_id]["game"])
    return other, tuple(_blinking(other))


def waiting_note(config: GameConfig, strings: Sequence[str]) -> str | None:
    """A line that says which of these canonical strings' names have to wait under ``live``; None where none has."""
    tasks = map(parse, strings)
    found = (wait_for_start(task.game or config.game, list(task.names), config.rules) for task in tasks)
    waiting = [*dict.fromkeys(name for names in found for name in names)]
    if len(strings) < 2 or not waiting:
        return None
    leaving = "; so it does to leave a mode or a difficulty" if switches_of(waiting) != Switches() else ""
    return (
        f"note: {', '.join(f'`{name}`' for name in waiting)} act{'s' * (len(waiting) == 1)} at the start of a game "
        "only: with `switch_mode` live each game takes a string with such a name at its own next start, and plays on "
        f"under the old one until then{leaving}"
    )


def _resolve(env_id: str) -> tuple[str, str, str, dict[str, Any], list[str]]:
    """Environment id -> (full id, game, ROM name, keyword arguments of its registration, lines for the user)."""
    registry, notes = registered_games(), []
    if env_id not in registry and full_id(env_id) in registry:
        notes.append(f"`env_id` {env_id} means {full_id(env_id)} (sticky actions with probability 0.25)")
        env_id = full_id(env_id)
    if env_id not in registry:
        games = sorted(name for name in registry if name.startswith("ALE/"))
        near = difflib.get_close_matches(full_id(env_id), games, n=3, cutoff=0.5)
        raise GameError(
            f"`env_id` {env_id!r} is not an Atari game of ale-py; "
            + (f"did you mean {' or '.join(near)}?" if near else f"it has {len(games)} games such as {games[0]}")
        )
    kwargs = registry[env_id]
    if kwargs.get("obs_type", "rgb") != "rgb":
        raise GameError(f"`env_id` {env_id} observes RAM; use the game's plain id and `--obs_mode dqn` or `obj`")
    return env_id, game_of(env_id), kwargs["game"], kwargs, notes


def _blinking(config: GameConfig) -> list[str]:
    """A line about what the agent will never see of this game."""
    if config.game not in BLINKING or config.obs_mode != "dqn" or config.max_pool or config.frameskip % 2:
        return []
    return [
        f"note: {config.game} draws some objects in every other frame only, and of {config.frameskip} frames the agent "
        "sees the last: what blinks in the others is never seen (hackatari does the same); `--max_pool` shows it"
    ]


def _check_reward_file(reward_file: str | UserFile, game: str, backend: str) -> tuple[UserFile, list[str]]:
    """The file, and lines for the user; GameError unless it can be run and this game gives what it reads."""
    if backend == "Gym":
        raise GameError("`new_rf` reads objects and RAM, which backend Gym does not give; use `--backend HackAtari`")
    why = why_missing("ocatari")
    if not why and not supports_objects(game):
        raise GameError(f"`new_rf` needs OCAtari's objects, and OCAtari does not know {game}")
    file = find_file("new_rf", reward_file) if isinstance(reward_file, str) else reward_file
    not_saved = RewardFile(file, 0).not_saved()
    if why and reads_objects(file):
        raise GameError(f"`new_rf`: {file.path} reads `objects`, which OCAtari detects, and {why}")
    if not not_saved:
        return file, []
    listed = ", ".join(f"`{name}` (a {kind})" for name, kind in not_saved.items())
    return file, [
        f"note: `new_rf`: what {file.name} keeps in {listed} is not saved with a game, so a run that goes on forgets "
        "it; numbers, strings, arrays, and lists, sets and dicts of such are saved"
    ]


def _pooled(max_pool: bool | None, backend: str, obs_mode: str, frameskip: int) -> bool:
    """Whether frames are pooled; raises GameError where that cannot be as asked."""
    if backend == "Gym":
        if max_pool is False:
            raise GameError(
                "`max_pool` is off, but backend Gym always pools, as gymnasium's AtariPreprocessing does; leave out "
                "`--no_max_pool`, or use `--backend OCAtari`"
            )
        return True
    if max_pool and obs_mode == "obj":
        raise GameError("`max_pool` pools frames, and with `obs_mode` obj there are none; leave it out")
    if max_pool and frameskip == 1:
        raise GameError("`max_pool` pools a step's last two frames, and with `frameskip` 1 it has one; leave it out")
    return bool(max_pool)


def _check_time_limit(config: GameConfig) -> None:
    """Raise GameError if a game could be over before the agent acts."""
    noops = {"frames": config.noop_max, "none": 0}.get(config.game_start, config.noop_max * config.frameskip)
    start = noops + 2 * config.frameskip
    if config.max_num_frames_per_episode <= start:
        raise GameError(
            f"`time_limit` {config.max_num_frames_per_episode:,} frames are over before the agent acts: the start of a "
            f"game alone may take {start:,}, with `game_start` {config.game_start} and `frameskip` {config.frameskip}"
        )


def _check_rules(rules: UserFile, game: str, backend: str, *, several_games: bool) -> None:
    """Raise GameError or ModificationError unless the file has modifications that this game can be played with.

    several_games: they may be those of another one.
    """
    if backend != "HackAtari":
        raise GameError(
            f"`modification_file`: backend {backend} plays unmodified games only; use `--backend HackAtari`"
        )
    games = games_of(rules)
    if game not in games and not several_games:
        raise ModificationError(
            f"`modification_file`: {rules.name} has no modifications of {game}, but of {', '.join(games)}"
        )
    catalogue(game, rules)  # no name exists already


def _check_goal(kind: str, game: str, backend: str, obs_mode: str) -> None:
    """Raise GameError unless this game has goals of `kind` and they can be shown."""
    check_choice("goal_kind", kind, tuple(GOALS))
    if backend == "Gym":
        raise GameError("`her` reads the game's memory, which backend Gym does not give; use `--backend HackAtari`")
    if obs_mode == "obj":
        raise GameError("`her` shows its goals as planes behind the frames; use `--obs_mode dqn`")
    if game not in GOALS[kind]:
        flags = {"position": "`her`", "game_specific": "`her` with `game_specific_goals`"}
        other = next(name for name in GOALS if name != kind)
        hint = f"; {game} has goals for {flags[other]}" if game in GOALS[other] else ""
        raise GameError(f"{flags[kind]}: {game} has no such goals; the games that do: {', '.join(GOALS[kind])}{hint}")


def check_whole(argument: str, value: Any, low: int, high: int, advice: str = "") -> None:
    """Raise GameError unless `value` is a whole number in this range."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise GameError(f"`{argument}` must be a whole number from {low} to {high:,}, but it is {value!r}{advice}")


def check_choice(argument: str, value: Any, allowed: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.3)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise GameError(f"`{argument}` {value!r} is not one of {', '.join(allowed)}{hint}")
