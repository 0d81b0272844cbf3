"""What evaluated games come to: mean, spread, interval and human-normalised score per modification string."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from continual_hackatari.names import UNMODIFIED, parse
from continual_hackatari.reporting.statistics import human_normalised, mean_std_interval, without_nan
from continual_hackatari.reporting.tables import format_table
from continual_hackatari.wrappers.interfaces import GameRecord


class Result(NamedTuple):
    """Scores under one modification string; of several agents, of the means that each of them reached."""

    modification: str
    episodes: int
    mean: float
    std: float
    low: float
    high: float
    human_normalised: float | None
    agents: int = 1


def summarise(games: Mapping[str, Sequence[GameRecord]], env_id: str, seed: int) -> list[Result]:
    """Mean, standard deviation, 95 % bootstrap interval and human-normalised score per string."""
    results = []
    for string, records in games.items():
        mean, std, low, high = mean_std_interval([record.score for record in records], seed)
        normalised = human_normalised(parse(string).game or env_id, mean)
        results.append(Result(string, len(records), mean, std, low, high, normalised))
    return results


def table(results: Sequence[Result], style: str = "text") -> str:
    """The results as a table; `-` stands for what is not known (the spread of one game, a human's score).

    style: as for `reporting.tables.format_table`. CSV has all digits, both ends of the interval, and holes for `-`.
    """
    several, exact = any(result.agents > 1 for result in results), style == "csv"
    heading = ["modification", "agents", "games", "mean", "std"]
    heading += ["low", "high", "human_normalised"] if exact else ["95 % interval", "human-normalised"]
    rows = [heading]
    for result in results:
        mean, std, low, high, normalised = (
            ("" if exact else "-") if number is None else str(number) if exact else f"{number:.{digits}f}"
            for number, digits in zip(without_nan(result[2:7]), (2, 2, 2, 2, 3), strict=True)
        )
        interval = [low, high] if exact else ["-" if low == "-" else f"[{low}, {high}]"]
        name = result.modification or UNMODIFIED
        rows.append([name, str(result.agents), str(result.episodes), mean, std, *interval, normalised])
    return format_table(rows if several else [[row[0], *row[2:]] for row in rows], style)
