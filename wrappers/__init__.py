"""Environments: Atari games, their modifications, preprocessing and vectorisation; each file needs those above it only.

errors.py         what can go wrong, in sentences for the user
user_files.py     finding and running the Python files of users: reward files, modifications
emulator.py       ale-py, which no other file knows
state.py          what saved states of games consist of: plain data
goals.py          what a game's goals are, when they count as reached, how the agent sees them
interfaces.py     what training asks of a vector of games, and this of one game: where another emulator fits in
objects.py        object detection (OCAtari), used only where something needs objects
modifications/    which modifications exist, checking strings, running them, and the command that shows them
rewards.py        reward files
config.py         the description of a game, checked
modified_game.py  one game in the emulator, with its modifications
shrinking.py      the screen as a frame of 84 x 84, only where it has changed
observations.py   what the agent sees of it
backends.py       which emulator plays a description, and how it is seen
agent_game.py     what the agent plays: the start of games, lives, scores
video.py          an mp4 of one game
worker.py         what runs inside a worker process
processes.py      the training process' end of it
vector.py         many games in worker processes, as a gymnasium VectorEnv
standalone.py     the same games for agents that are not this project's: gymnasium.make, gymnasium.make_vec
look.py           a gallery or a video of the modifications of a game, to look at before training
"""
