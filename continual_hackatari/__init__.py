"""Continual reinforcement learning on Atari games that change while the agent learns.

The rooms lie beside this folder, where users look for them, and links in it make them one package: `agents` and
`wrappers` are common names, and somebody else's folders of these names must not take their place.

With this import gymnasium knows all games: ``gymnasium.make("continual_hackatari/Freeway-v5")``.
"""

from continual_hackatari.registration import register_with_gymnasium

register_with_gymnasium()
