"""Modification strings that flags name: which of them are evaluated, and that the games can play them."""

from collections.abc import Sequence

from continual_hackatari.reporting.rows import UNMODIFIED
from continual_hackatari.training.config import ConfigError
from continual_hackatari.wrappers.config import GameConfig, check_string

MAX_EVALUATED = 8  # modification strings by default; more only when they are named


def choose_evaluated(
    strings: Sequence[str], held_out: Sequence[str], trained_on: Sequence[str], game: GameConfig
) -> tuple[dict[str, str], list[str]]:
    """Modification strings to evaluate, as the games take them, each `train` or `held_out`, and lines for the user.

    strings: none means `trained_on`, and the unmodified game; at most `MAX_EVALUATED` of them.

    Raises:
        ConfigError: a string twice, or one that is held out and trained on, in whatever order of its names.
        ModificationError: the game cannot play one of them.
    """
    notes = []
    trained_on = list(dict.fromkeys(trained_on))
    chosen, warnings = canonical_strings("eval_modifs", strings, game)
    withheld, more = canonical_strings("held_out_modifs", held_out, game)
    names = {tuple(sorted(string.split())): string for string in trained_on}
    for string in withheld:
        same = names.get(tuple(sorted(string.split())))
        if same is not None or string in chosen:
            where = "is trained on" if same is not None else "is in `eval_modifs` too"
            raise ConfigError(
                f"`held_out_modifs` names {string or UNMODIFIED!r}, which {where}; what is held out is evaluated only, "
                "so take it from one of the two"
            )
    if not chosen:
        unmodified = [] if "" in withheld or "" in trained_on else [""]
        number = MAX_EVALUATED - len(unmodified)
        chosen, left_out = [*trained_on[:number], *unmodified], trained_on[number:]
        if left_out:
            notes.append(
                f"note: evaluated are {len(chosen)} modification strings; `--eval_modifs` can name others than these. "
                f"Left out: {', '.join(string or UNMODIFIED for string in left_out)}"
            )
    splits = {**dict.fromkeys(chosen, "train"), **dict.fromkeys(withheld, "held_out")}
    return splits, notes + warnings + more


def canonical_strings(argument: str, words: Sequence[str], game: GameConfig) -> tuple[list[str], list[str]]:
    """The modification strings of a flag, one or several with commas in each word, as the games take them; warnings.

    Raises:
        ConfigError: one of them twice.
        ModificationError: the game cannot play one of them.
    """
    checked = [check_string(game, string, argument) for word in words for string in word.split(",")]
    canonical = [string for string, _ in checked]
    for string in canonical:
        if canonical.count(string) > 1:
            raise ConfigError(f"`{argument}` names {string or UNMODIFIED!r} twice; name every modification string once")
    return canonical, [warning for _, warnings in checked for warning in warnings]
