"""Which versions made the runs of a group, from what their args.json say."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

MADE_BY = ("versions", "processor", "command", "resumed")
"""Keys of args.json that say what made a run; they are no settings."""


def differing_versions(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What was not made by one version throughout: name -> its versions, the most frequent first.

    runs: the args.json of each run. A run that was gone on with counts under every version that it had; runs that do
    not say, as those of earlier versions of this project do not, are left out.
    """
    counts: dict[str, Counter[str]] = {}
    for args in runs:
        parts = [args, *args.get("resumed", [])]
        made = [part["versions"] for part in parts if isinstance(part.get("versions"), dict)]
        for name, version in {(name, version) for versions in made for name, version in versions.items()}:
            counts.setdefault(name, Counter())[version] += 1
    return {name: [version for version, _ in counts[name].most_common()] for name in counts if len(counts[name]) > 1}


def mixed_versions(runs: Sequence[Mapping[str, Any]]) -> str:
    """A sentence that names what differs, see `differing_versions`; empty where nothing does."""
    differing = differing_versions(runs)
    named = [f"{name} {' and '.join(sorted(v[:12] for v in versions))}" for name, versions in sorted(differing.items())]
    return f"the runs were made by different versions: {', '.join(named)}" if named else ""
