"""The error of this package."""


class AgentError(ValueError):
    """Something the user asked of an agent is impossible; the message is one sentence that says what and what to do."""
