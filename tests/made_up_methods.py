"""Small agents on which methods are tested, each against its closed form."""

import torch

from continual_hackatari.agents import make_agent
from continual_hackatari.agents.restartable_adam import RestartableAdam
from continual_hackatari.methods import all_methods
from continual_hackatari.methods.moments import Boundary, Clock, Learner

BOUNDARY = Boundary("a", "b", Clock(10, 0, None))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def small_agent(architecture="PPO_OBJ", seed=1, changes=(), **sizes):
    """Four actions; PPO_OBJ sees 2 frames of 3 features."""
    shape = (2, 3) if architecture == "PPO_OBJ" else (2, 84, 84)
    sizes = {"encoder_dims": (6,), "decoder_dims": (5,), **sizes}
    return make_agent(architecture, shape, 4, **sizes, changes=dict(changes), generator=seeded(seed))


def method_on(agent, name, optimizer=None, beside=(), **settings):
    """The method of this name, with its optimizer (by default a RestartableAdam of rate 0.01)."""
    method = all_methods()[name]
    optimizer = optimizer or RestartableAdam(agent.parameters(), lr=0.01, eps=1e-5)
    learner = Learner(agent, optimizer, seeded(7), beside=beside)
    return method(method.Settings(**settings), learner)


def copy_of(agent):
    return {name: tensor.detach().clone() for name, tensor in agent.named_parameters()}


def step(agent, optimizer, seed=1, rows=6):
    """One step of the optimizer towards something; returns what was seen."""
    shape = (rows, 2, 3) if hasattr(agent, "encoder") else (rows, 2, 84, 84)
    seen = torch.rand(shape, generator=seeded(seed)) * 255
    logits, value = agent(seen)
    optimizer.zero_grad()
    (logits.square().sum() + (value - 1).square().sum()).backward()
    optimizer.step()
    return seen
