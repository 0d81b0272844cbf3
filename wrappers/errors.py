"""What can go wrong with games; every text is one sentence for the user."""


class GameError(ValueError):
    """A game, backend or setting that cannot be played."""


class ModificationError(ValueError):
    """A modification string that cannot be played."""


class OutputError(ValueError):
    """A picture or video that cannot be written."""


class WorkerError(RuntimeError):
    """A worker process died, hung or failed; the text says how and names its games and their modifications."""
