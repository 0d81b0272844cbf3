"""Modification strings that flags name: which of them are evaluated, and that the games can play them."""

from collections.abc import Sequence

from continual_hackatari.names import UNMODIFIED, parse
from continual_hackatari.training.config import ConfigError, shown
from continual_hackatari.wrappers.config import GameConfig, check_string

MAX_EVALUATED = 8  # modification strings by default; more only when they are named


def choose_evaluated(
    strings: Sequence[str], held_out: Sequence[str], trained_on: Sequence[str], game: GameConfig
) -> tuple[dict[str, str], list[str]]:
    """Modification strings to evaluate, as the games take them, each `train` or `held_out`, and lines for the user.

    strings: none means `trained_on`, and the unmodified games of these; at most `MAX_EVALUATED` of them.

    Raises:
        ConfigError: a string twice, or one that is held out and trained on, in whatever order of its names.
        ModificationError: the game cannot play one of them.
    """
    notes = []
    trained_on = list(dict.fromkeys(trained_on))
    chosen, warnings = canonical_strings("eval_modifs", strings, game)
    withheld, more = canonical_strings("held_out_modifs", held_out, game)
    of_training, of_evaluation = ({frozenset(string.split()) for string in some} for some in (trained_on, chosen))
    for string in withheld:
        names = frozenset(string.split())
        if names in of_training | of_evaluation:
            where = "is trained on" if names in of_training else "is in `eval_modifs` too"
            raise ConfigError(
                f"`held_out_modifs` names {string or UNMODIFIED!r}, which {where}; what is held out is evaluated only, "
                "so take it from one of the two"
            )
    if not chosen:
        games = dict.fromkeys([parse(string).game for string in trained_on] or [""])
        unmodified = [check_string(game, f"{one}:" if one else "")[0] for one in games]
        unmodified = [string for string in unmodified if string not in (*withheld, *trained_on)]
        number = MAX_EVALUATED - (len(games) == 1 and len(unmodified))  # of several games what is trained on goes first
        chosen, left_out = trained_on[:number], trained_on[number:]
        chosen = [*chosen, *unmodified[: MAX_EVALUATED - len(chosen)]]
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
        ConfigError: one of them twice, or a word that is no list.
        ModificationError: the game cannot play one of them.
    """
    strings = [string for word in words for string in _strings_of(argument, word)]
    checked = [check_string(game, string, argument) for string in strings]
    canonical = [string for string, _ in checked]
    for string in canonical:
        if canonical.count(string) > 1:
            raise ConfigError(f"`{argument}` names {string or UNMODIFIED!r} twice; name every modification string once")
    return canonical, [warning for _, warnings in checked for warning in warnings]


def _strings_of(argument: str, word: str) -> list[str]:
    """The strings of one word, which has commas between them."""
    if word.lstrip().startswith(("[", "(")):  # a whole list is read with the command line
        raise ConfigError(
            f"`{argument}` has {shown(word)}, which is no list that can be read; write one string after another, or "
            f'one list in JSON, such as ["{UNMODIFIED}", "..."]'
        )
    strings = word.split(",")
    if len(strings) > 1 and not all(string.strip() for string in strings):
        raise ConfigError(
            f"`{argument}` has {shown(word)}, where nothing stands beside a comma; leave the comma out, or write "
            f"{UNMODIFIED} for the unmodified game"
        )
    return strings
