"""What can be wrong with a replay."""


class ReplayError(ValueError):
    """A replay cannot be as asked for, or is given something else than it was made for; one sentence."""
