"""The moments of methods as a method of somebody's own sees them, and what of methods is copied and saved."""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, read_csv
from made_up_methods import copy_of
from test_methods import LEARNERS, NAMES, Learning, made_up_rollout, small
from test_ppo_cbp import scalars
from test_training import TWO_REGIMES, train_in

from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari import methods
from continual_hackatari.agents import AgentError
from continual_hackatari.methods.moments import MOMENTS, Learner, Method, moments_of
from continual_hackatari.methods.together import Methods
from continual_hackatari.training.ranks import ALONE, Ranks
from continual_hackatari.training.run import derive_seeds
from continual_hackatari.training.run_methods import FIRST_SEEDS, make_methods, played, seed_of

GRADIENT_NORM = training.OF_GRADIENT_STEP.index("gradient_norm")


@pytest.fixture
def half_rate(monkeypatch):
    """A method whose file is looked for beside those of `methods/`."""
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(ROOT / "tests" / "own_methods")])
    methods.all_methods.cache_clear()
    yield methods.all_methods()["half_rate"]
    methods.all_methods.cache_clear()


@pytest.mark.slow
def test_a_file_is_all_that_a_method_needs(half_rate, tmp_path, monkeypatch, capsys):
    """From `--methods` to three kinds of evaluation, where it chooses what plays a task: UP alone, or the policy."""
    assert set(moments_of(half_rate)) == set(MOMENTS) - {"build"}
    flags = ["--methods", "half_rate", "--half_rate.share", "0.25", "--time_limit", "2000"]
    flags += ["--eval_every", "0", "--eval_games", "1", "--eval_modifs", "all_black_cars", "all_white_cars"]
    run = train_in(tmp_path, monkeypatch, *flags, config=TWO_REGIMES)
    assert run.name.split("__")[2] == "PPO_half_rate"
    assert json.loads((run / "args.json").read_text())["half_rate.share"] == 0.25
    calls = {name.rpartition("/")[2]: values for name, values in scalars(run).items() if "half_rate" in name}
    assert {name: values[-1] for name, values in calls.items()} == {
        "rows": 128,
        "before_boundary": 1,
        "boundary": 1,
        **dict.fromkeys(("loss", "gradients", "weights"), 64),
    }
    sampled = [row for row in read_csv(run / "evals.csv") if row["deterministic"] == "0"]
    scores = {name: {float(r["score"]) for r in sampled if r["modification"] == name} for name in flags[-2:]}
    assert scores["all_white_cars"] == {0.0}, "who presses any button does not get across"
    assert min(scores["all_black_cars"]) > 0
    capsys.readouterr()
    shared = ["--agent_path", str(run), "--time_limit", "2000"]
    evaluation.main([*shared, "--modifs", "all_black_cars", "--eval_episodes", "1", "--num_workers", "0"])
    assert float(capsys.readouterr().out.splitlines()[-1].split()[0]) > 0
    evaluation.main([*shared, "--modifs", "all_black_cars", "--play", str(tmp_path / "game.mp4")])
    assert float(capsys.readouterr().out.rpartition("score ")[2]) > 0


def test_a_method_sees_the_rows_that_were_asked_for_and_of_hindsight_those_that_were_played():
    rollout, clock = made_up_rollout("PPO_OBJ", 1, her=True), object()
    run = SimpleNamespace(modification="a task", clock=lambda: clock, args=SimpleNamespace(num_envs=4))
    rows = played(run, rollout, 2, 5)
    assert (rows.task, rows.clock, rows.goals) == ("a task", clock, rollout.goals.shape[-1])
    assert rows.stride == 4, "of the games of all processes"
    assert torch.equal(rows.observations, rollout.observations[2:5])
    assert torch.equal(rows.actions, rollout.actions[2:5, :2])
    assert torch.equal(rows.outputs["log_prob"], rollout.log_probs[2:5, :2])
    assert torch.equal(rows.outputs["value"], rollout.values[2:5, :2])
    assert (rows.rewards.shape, rows.ends.shape) == ((3, 2), (3, 2))


def test_every_method_draws_from_a_generator_of_its_own():
    seeds = [seed_of(name, 7) for name in NAMES]
    assert len({*seeds, *derive_seeds(7, 3)}) == len(NAMES) + 3, "weights, actions and minibatches have the first three"
    assert [seed_of(name, 7) for name in FIRST_SEEDS] == derive_seeds(7, 5)[3:], "as before there was `--methods`"
    assert seed_of("redo", 7) != seed_of("redo", 8)


def test_what_is_logged_of_a_method_has_its_name_and_an_earlier_flag_its_own_prefix():
    for learner, names in (("PPO_OBJ", ["continual_backprop", "redo"]), ("PPO_CBP", ["redo"])):
        kind = LEARNERS[learner].kind
        numbers = Learning(small(*names, learner=learner), kind).methods.numbers()
        assert {name.rpartition("/")[0].rpartition("/")[0] for name in numbers} == {
            "methods/redo",
            "cbp" if learner == "PPO_CBP" else "methods/continual_backprop",
        }


def test_an_agent_without_hidden_layers_is_refused_to_what_looks_at_them():
    agent = Learning(small(), "PPO_OBJ").agent
    agent.hidden_layers = list
    with pytest.raises(AgentError, match="`methods`: redo looks at hidden layers, and this agent has none"):
        make_methods(small("redo"), agent, torch.optim.Adam(agent.parameters()), ALONE)


# ----------------------------------------------------------------------------------------------- within a gradient step


class Seeing(Method):
    """Notes the size of the gradients, and makes them `factor` times as large."""

    def gradients(self):
        every = [parameter.grad for parameter in self.learner.agent.parameters()]
        self.norm = float(torch.stack([each.norm() for each in every]).norm())
        for each in every:
            each.mul_(self.settings.factor)


class OwnStep(Method):
    """Makes a step of its own, whatever the optimizer does."""

    def gradients(self):
        self.kept = copy_of(self.learner.agent)
        self.wanted = {name: each.grad.clone() for name, each in self.learner.agent.named_parameters()}

    def weights(self, hidden):
        for name, parameter in self.learner.agent.named_parameters():
            parameter.copy_(self.kept[name] - 0.5 * self.wanted[name])


class TwiceAsLarge(Ranks):
    """As if the gradients of other ranks made their mean twice one's own."""

    def mean_gradients(self, agent, losses):
        for parameter in agent.parameters():
            parameter.grad.mul_(2)
        return losses


def one_step(method=None, ranks=ALONE, factor=1.0):
    """A step of gradient descent with rate 1: its method, the weights before and after it, and what it returned."""
    learning = Learning(small(), "PPO_OBJ")
    optimizer = torch.optim.SGD(learning.agent.parameters(), 1.0)
    acting = method and method(SimpleNamespace(factor=factor), Learner(learning.agent, optimizer, torch.Generator()))
    before = copy_of(learning.agent)
    rollout, autocast = made_up_rollout("PPO_OBJ", 1), torch.autocast("cpu", enabled=False)
    together = Methods({"own": acting} if acting else {})
    args = (learning.args, learning.agent, optimizer, autocast, rollout, torch.arange(8), together, ranks)
    numbers = training.minibatch_step(*args)
    return acting, before, copy_of(learning.agent), float(numbers[GRADIENT_NORM])


def distance(one, other):
    return float(torch.stack([(one[name] - other[name]).norm() for name in one]).norm())


def test_gradients_are_shown_as_they_are_and_clipped_as_the_method_leaves_them():
    *_, plain = one_step()
    method, before, after, norm = one_step(Seeing, factor=1000.0)
    assert method.norm == pytest.approx(plain, rel=1e-4)
    assert norm == pytest.approx(1000 * plain, rel=1e-4)
    assert distance(before, after) == pytest.approx(training.Args.max_grad_norm, rel=1e-3)


def test_gradients_are_shown_averaged_over_the_processes():
    *_, plain = one_step()
    method, *_ = one_step(Seeing, ranks=TwiceAsLarge())
    assert method.norm == pytest.approx(2 * plain, rel=1e-4)


def test_a_method_may_take_the_place_of_the_optimizers_step():
    method, before, after, _ = one_step(OwnStep)
    for name, gradient in method.wanted.items():
        torch.testing.assert_close(after[name], before[name] - 0.5 * gradient)


def test_a_method_costs_nothing_at_moments_that_it_leaves_alone():
    idle = Methods({"idle": Method(Method.Settings(), Learner(None, None, torch.Generator()))})
    used = ("needs_hidden", "adds_to_loss", "keeps_rows", "has_large_state", "acts_at_boundaries")
    assert not any(getattr(idle, name) for name in used)
    assert moments_of(Method) == []


# ----------------------------------------------------------------------------------------------------- copied and saved


def tensors(state):
    """All of them, but those that are nothing but zeros."""
    if isinstance(state, torch.Tensor):
        return [state] if bool(state.any()) else []
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return [tensor for part in parts for tensor in tensors(part)]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_large_stays_out_of_what_is_copied_before_every_update(name):
    """That is the weights and what checkpoints hold; and `resume.pt` grows neither with rows nor with tasks."""
    learning, sizes = Learning(small(name), LEARNERS["PPO_OBJ"].kind), []
    for seed in (1, 2, 4):
        learning.learn(seed)
        learning.see(made_up_rollout("PPO_OBJ", seed), seed)
        copied = tensors(training.besides_weights(learning.methods, learning.scalers[0]))
        saved = tensors(learning.methods.state_dict())
        large = tensors(learning.methods.large_state())
        assert not any(
            one.shape == other.shape and torch.equal(one, other) for one in large for other in copied + saved
        )
        sizes.append((len(copied), len(saved)))
        assert bool(large) == (name in ("ewc", "online_ewc"))
    assert sizes[1] == sizes[2]
