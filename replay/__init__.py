"""Memories of past steps: blocks of consecutive steps of one game, each frame once, compressed; numpy only."""

from continual_hackatari.replay.blocks import Layout
from continual_hackatari.replay.errors import ReplayError
from continual_hackatari.replay.keepers import KEEP, Keep
from continual_hackatari.replay.memory import Blocks, Ends, Replay, Steps

__all__ = ["KEEP", "Blocks", "Ends", "Keep", "Layout", "Replay", "ReplayError", "Steps"]
