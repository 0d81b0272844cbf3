"""List modifications, or look at them; see the package's own text.

`python -m wrappers.modifications` comes in through the folder's own name: nothing but this file is run under it.
"""

from __future__ import annotations

import argparse
import difflib
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace

from continual_hackatari.commands import modifications_command
from continual_hackatari.names import UNMODIFIED
from continual_hackatari.wrappers import look
from continual_hackatari.wrappers.config import check_string, game_config
from continual_hackatari.wrappers.emulator import ale_games
from continual_hackatari.wrappers.errors import GameError, ModificationError, OutputError
from continual_hackatari.wrappers.modifications import catalogue, hackatari_is_missing
from continual_hackatari.wrappers.modifications.console import CONSOLE, console_rows
from continual_hackatari.wrappers.modifications.installed import package_folder
from continual_hackatari.wrappers.user_files import UserFile


def _table(game: str, file: UserFile, width: int) -> str:
    """The modifications of one game, one per row, the text wrapped to `width` characters."""
    rows = [("name", "origin", "runs", "what it does")]
    for modification in catalogue(game, file).values():
        text = modification.description or "(not described)"
        if modification.refused:
            text = f"Cannot be played: {modification.refused}."
        elif modification.no_effect:
            text += f" No visible effect: {modification.no_effect}."
        elif modification.objects_only:
            text += " Shows with obs_mode obj only."
        rows.append((modification.name, modification.origin, modification.runs, text))
    rows += [(name, CONSOLE, "reset", text) for name, text in console_rows(game)]
    widths = [max(len(row[i]) for row in rows) + 2 for i in range(3)]
    indent = " " * sum(widths)
    lines = []
    for row in rows:
        start = "".join(row[i].ljust(widths[i]) for i in range(3))
        lines += textwrap.wrap(start + row[3], max(width, len(indent) + 30), subsequent_indent=indent)
    return "\n".join(lines)


def _list(game: str, file: UserFile) -> list[str]:
    """Lines that describe all modifications of a game."""
    own = "" if package_folder() else " of this project's own"
    nothing = f"{game} has no modifications{own} but the console's modes and difficulties."
    return [
        *([] if catalogue(game, file) else [nothing, ""]),
        _table(game, file, shutil.get_terminal_size((120, 24)).columns),
        "",
        "runs: frame = before every emulated frame, reset = once after a reset, post = after each agent step",
        'Several at once: --modifs "name name"; where two write the same cell, the later one wins.',
    ]


def _overview(games: Sequence[str]) -> str:
    """All games that have modifications, with how many."""
    counts = {game: sum(not modification.refused for modification in catalogue(game).values()) for game in games}
    lines = [f"{game:<18}{count:>3}" for game, count in counts.items() if count]
    others = "the other games have none" if package_folder() else "this project has none of other games"
    lines.append(f"{sum(counts.values())} modifications in {len(lines)} games; {others}.")
    lines += hackatari_is_missing()
    lines.append("Every game also has the console's own modes and difficulties, mode_<n> and difficulty_<n>.")
    return "\n".join([*lines, f"One game: {modifications_command('ALE/Freeway-v5')}"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=modifications_command(), allow_abbrev=False, description="List modifications, or look at them."
    )
    parser.add_argument("game", nargs="?", help="a game, as ALE/Freeway-v5 or Freeway; without it: all games")
    parser.add_argument("--modification_file", metavar="FILE", help="with a game: your own modifications too (.py)")
    parser.add_argument("--gallery", metavar="FILE", help="draw all modifications of the game (.png, .pdf or .svg)")
    parser.add_argument("--play", metavar="FILE", help="record a random agent (.mp4)")
    parser.add_argument("--modifs", metavar="STRING", help="with --play: the modification string (default: no_modif)")
    parser.add_argument("--seconds", type=float, help="with --play: length of the video (default 20)")
    parser.add_argument("--step", type=int, help="with --gallery: the moment (default: when most modifications show)")
    parser.add_argument("--seed", type=int, help="with either: of the game and of the random agent (default 1)")
    return parser


def _check_options(options: argparse.Namespace) -> None:
    """Raise ModificationError for options that do not belong together, or numbers that cannot be used."""
    needs = {"modifs": "play", "seconds": "play", "step": "gallery"}
    for name, needed in needs.items():
        if getattr(options, name) is not None and getattr(options, needed) is None:
            raise ModificationError(f"`{name}` goes with `--{needed} FILE`, which is not given")
    if options.gallery is not None and options.play is not None:
        raise ModificationError("`gallery` draws a picture and `play` records a video: give one of them")
    if options.seed is not None and options.gallery is None and options.play is None:
        raise ModificationError("`seed` goes with `--gallery FILE` or `--play FILE`, and neither is given")
    if options.game is None and options.modification_file is not None:
        raise ModificationError("`modification_file` goes with a game, and none is given")
    if options.game is None and (options.gallery is not None or options.play is not None):
        raise ModificationError("`game` is missing: say whose modifications to show, such as ALE/Freeway-v5")
    for name, highest in (("seed", 2**63 - 1), ("step", 100_000)):
        value = getattr(options, name)
        if value is not None and not 0 <= value <= highest:
            raise ModificationError(f"`{name}` must be from 0 to {highest}, got {value}")


def _known_game(given: str) -> str:
    """The name of a game, from ``ALE/Freeway-v5`` or ``Freeway``; an unknown one is a ModificationError."""
    game, games = given.removeprefix("ALE/").removesuffix("-v5"), ale_games()
    if game in games:
        return game
    near = difflib.get_close_matches(game.lower(), [other.lower() for other in games], n=3)
    names = [f"ALE/{other}-v5" for other in games if other.lower() in near]
    advice = f"did you mean {' or '.join(names)}?" if names else "without a game, this command lists them."
    raise ModificationError(f"`game` {given!r} is no Atari game that ale-py knows; {advice}")


def _show_gallery(game: str, options: argparse.Namespace) -> None:
    look.check_output("gallery", options.gallery, look.PICTURE_ENDINGS)  # before minutes of play
    gallery = look.make_gallery(
        game, 1 if options.seed is None else options.seed, options.step, options.modification_file or ""
    )
    look.draw_gallery(options.gallery, gallery)
    for name, reason in gallery.left_out.items():
        print(f"`{name}` is left out, it cannot be played: {reason}")
    print(f"{options.gallery}: {len(gallery.tiles) - 1} modifications of {game} at step {gallery.step}")


def _record_play(game: str, options: argparse.Namespace) -> None:
    config, _ = game_config(f"ALE/{game}-v5", modification_file=options.modification_file or "")
    config = replace(config, seed=1 if options.seed is None else options.seed)
    string, warnings = check_string(config, options.modifs or "")
    for line in warnings:
        print(line)
    seconds = 20.0 if options.seconds is None else options.seconds
    frames = look.record_random_play(options.play, config, string, seconds)
    print(f"{options.play}: {frames} steps of a random agent in {game}, {string or UNMODIFIED}")


def _run_command(options: argparse.Namespace) -> None:
    _check_options(options)
    if options.game is None:
        print(_overview(ale_games()))
        return
    game = _known_game(options.game)
    if options.gallery is not None:
        _show_gallery(game, options)
    elif options.play is not None:
        _record_play(game, options)
    else:
        config, _ = game_config(f"ALE/{game}-v5", modification_file=options.modification_file or "")
        print("\n".join([*_list(game, config.rules), *hackatari_is_missing()]))


def main(arguments: Sequence[str] | None = None) -> int:
    """List modifications, draw their gallery or record one of them; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        _run_command(options)
    except (GameError, ModificationError, OutputError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def command() -> int:
    """`main` as a process of its own, which is also the console command continual-hackatari-modifications."""
    if hasattr(signal, "SIGPIPE"):  # a reader that stops early, such as `| head`, ends this quietly
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return main()


if __name__ == "__main__":
    sys.exit(command())
