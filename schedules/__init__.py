"""Schedules of modifications: which modification string is played at which step."""
