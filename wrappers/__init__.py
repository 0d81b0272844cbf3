"""Environments: Atari games, their modifications, preprocessing and vectorisation.

games.py                        one game: emulator, modifications, observations, lives, scores
modifications.py                which modifications exist, checking strings, running them
supplementary_modifications.py  our own modifications, for names that the installed hackatari lacks
goals.py                        what a game's goals are, when they count as reached, how the agent sees them
objects.py                      object detection (OCAtari), used only where something needs objects
shrinking.py                    the screen as a frame of 84 x 84, only where it has changed
vector.py                       many games in worker processes, as a gymnasium VectorEnv
worker.py                       what runs inside a worker process
state.py                        what saved states of games consist of: plain data
video.py                        an mp4 of one game
look.py                         a gallery or a video of the modifications of a game, to look at before training
"""
