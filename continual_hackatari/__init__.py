"""Continual reinforcement learning on Atari games that change while the agent learns.

The rooms lie beside this folder, where users look for them, and links in it make them one package: `agents` and
`wrappers` are common names, and somebody else's folders of these names must not take their place.
"""
