"""Why a checkpoint's weights do not fit an agent, in words."""

from collections.abc import Mapping

from torch import Tensor, nn

Shapes = dict[str, tuple[int, ...]]


def explain_mismatch(agent: nn.Module, model_weights: Mapping[str, Tensor]) -> str | None:
    """One sentence that says why `agent` cannot load `model_weights`, or None where it can."""
    needed: Shapes = {name: tuple(tensor.shape) for name, tensor in agent.state_dict().items()}
    given: Shapes = {name: tuple(tensor.shape) for name, tensor in model_weights.items()}
    if needed == given:
        return None
    for explain in (_other_architecture, _other_actions, _other_planes, _other_features):
        sentence = explain(needed, given)
        if sentence is not None:
            return sentence
    name = min(name for name in needed.keys() | given.keys() if needed.get(name) != given.get(name))
    return (
        f"The checkpoint's weights do not fit this agent: `{name}` is {_shape(given, name)} in the checkpoint and "
        f"{_shape(needed, name)} in the agent."
    )


def architecture_of(shapes: Shapes) -> str | None:
    """The architecture that weights of these names and shapes belong to, None where they belong to none we know."""
    if any(name.startswith("cbp") for name in shapes):
        return "the original system's PPO_CBP"
    if any(name.startswith(("encoder.", "decoder.")) for name in shapes):
        return "PPO_OBJ"
    if "network.0.weight" in shapes:
        return "PPO" if len(shapes["network.0.weight"]) == 4 else "the original system's PPO_OBJ"
    return None


def _other_architecture(needed: Shapes, given: Shapes) -> str | None:
    wanted, found = architecture_of(needed), architecture_of(given)
    if wanted == found:
        return None
    whose = f"weights of {found}" if found else "weights of no architecture known here"
    return f"The checkpoint holds {whose}, but the agent is {wanted}; use the architecture it was trained with."


def _other_actions(needed: Shapes, given: Shapes) -> str | None:
    mine, saved = needed.get("actor.weight"), given.get("actor.weight")
    if mine is None or saved is None or mine[0] == saved[0]:
        return None
    return (
        f"The checkpoint chooses among {saved[0]} actions, but this game has {mine[0]}; use it on the game it was "
        "trained on, or on one with the same number of actions."
    )


def _other_planes(needed: Shapes, given: Shapes) -> str | None:
    mine, saved = needed.get("network.0.weight"), given.get("network.0.weight")
    if mine is None or saved is None or mine[1] == saved[1] or mine[2:] != saved[2:]:
        return None
    return (
        f"The checkpoint reads {saved[1]} input planes, but the observations have {mine[1]}; "
        "use the `buffer_window_size` and `her` it was trained with."
    )


def _other_features(needed: Shapes, given: Shapes) -> str | None:
    mine, saved = needed.get("encoder.0.weight"), given.get("encoder.0.weight")
    if mine is None or saved is None or mine[1] == saved[1]:
        return None
    return (
        f"The checkpoint reads {saved[1]} object features per frame, but the observations have {mine[1]}; "
        "use it on the game it was trained on."
    )


def _shape(shapes: Shapes, name: str) -> str:
    return str(list(shapes[name])) if name in shapes else "absent"
