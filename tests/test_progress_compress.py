"""Progress & Compress: which column learns when, from what, and what a switch leaves alone."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import NEEDS_HACKATARI, only_run, read_csv, write_config
from made_up_methods import seeded
from scipy.stats import entropy as relative_entropy

from continual_hackatari import continual_clear
from continual_hackatari import continual_progress_compress as training
from continual_hackatari import eval as evaluation
from continual_hackatari.agents import PPO
from continual_hackatari.methods import online_ewc
from continual_hackatari.methods.moments import Rows
from continual_hackatari.methods.together import NO_METHODS
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.ranks import ALONE
from continual_hackatari.training.run_methods import make_methods
from continual_hackatari.training.unrolls import Unrolls, played_unrolls

STEPS, GAMES, PLANES, ACTIONS = 4, 2, 2, 4
NO_AUTOCAST = torch.autocast("cpu", torch.bfloat16, enabled=False)
PROGRESS, COMPRESS = training.Phase(0, 8, True), training.Phase(8, 16, False)
SMALL = {"num_envs": GAMES, "num_steps": STEPS, "ewc_samples": 3, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def drawn():
    return training.build(training.Args(), (PLANES, 84, 84), ACTIONS, seeded(1))


@pytest.fixture
def agent(drawn):
    return copy.deepcopy(drawn)


@pytest.fixture(scope="module")
def unrolls(drawn):
    """As the active column plays them, with an end in a game."""
    frames = torch.randint(0, 256, (STEPS + 1, GAMES, PLANES, 84, 84), generator=seeded(2), dtype=torch.uint8)
    with torch.no_grad():
        logits, values = drawn(frames[:STEPS].flatten(0, 1))
    terminated = torch.zeros(STEPS, GAMES, dtype=torch.bool)
    terminated[1, 0] = True
    return Unrolls(
        frames[:STEPS],
        torch.randint(0, ACTIONS, (STEPS, GAMES), generator=seeded(3)),
        logits.log_softmax(-1).unflatten(0, (STEPS, GAMES)),
        values.unflatten(0, (STEPS, GAMES)),
        torch.randn(STEPS, GAMES, generator=seeded(4)),
        terminated,
        terminated,
        torch.ones_like(terminated),
        frames[STEPS],
        (torch.full((GAMES,), STEPS - 1), torch.arange(GAMES)),
    )


def step(args, agent, optimizers, unrolls, phase, methods=NO_METHODS):
    """One gradient step of the column that learns; what it returns by name."""
    optimizer = optimizers[1 if phase.progress else 0]
    names = training.OF_PROGRESS if phase.progress else training.OF_COMPRESS
    numbers = training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, unrolls, phase, methods, ALONE)
    return dict(zip(names, numbers.tolist(), strict=True))


def changed(agent, before):
    return {name for name, weight in agent.state_dict().items() if not torch.equal(weight, before[name])}


def names_of(agent, *, known):
    names = {name for name in agent.state_dict() if not name.startswith("earlier.")}
    return {name for name in names if name.startswith("knowledge_base.") == known}


def test_one_column_learns_and_the_other_stays(agent, unrolls):
    """Whatever the optimizer of the other has seen before."""
    args = training.Args(**SMALL | {"learning_rate": 1e-5})  # so small that no policy becomes certain
    optimizers = training.make_optimizers(args, agent)
    methods = make_methods(args, agent.knowledge_base, optimizers[0], ALONE)
    for _ in range(2):
        for phase, known in ((PROGRESS, False), (COMPRESS, True)):
            before = copy.deepcopy(agent.state_dict())
            step(args, agent, optimizers, unrolls, phase, methods)
            assert changed(agent, before) == names_of(agent, known=known)


def test_the_active_column_plays_on_as_it_did_while_it_teaches(agent, unrolls):
    """And is given what the knowledge base says from the next regime on."""
    frames = unrolls.observations.flatten(0, 1)
    optimizers = training.make_optimizers(training.Args(**SMALL), agent)
    with torch.no_grad():
        before, pupil = agent(frames), agent.knowledge_base(frames)
    step(training.Args(**SMALL), agent, optimizers, unrolls, COMPRESS)
    with torch.no_grad():
        torch.testing.assert_close(agent(frames), before, rtol=0, atol=0)
        assert not torch.equal(agent.knowledge_base(frames)[0], pupil[0])
        agent.initialise(seeded(5))
        begun = agent(frames)
        agent.knowledge_base.network[2].weight.mul_(2.0)
        torch.testing.assert_close(agent(frames), begun, rtol=0, atol=0)
        agent.initialise(seeded(5))
        assert not torch.equal(agent(frames)[0], begun[0])


def test_each_optimizer_has_the_parameters_of_its_column_once(agent):
    optimizers = training.make_optimizers(training.Args(), agent)
    columns = [[id(p) for group in one.param_groups for p in group["params"]] for one in optimizers]
    assert set(columns[0]) == {id(p) for p in agent.knowledge_base.parameters()}
    learning = [id(p) for p in agent.parameters() if p.requires_grad]
    assert sorted(columns[0] + columns[1]) == sorted(learning), "each of them once"


def test_the_divergence_is_from_the_active_column_to_the_knowledge_base(agent, unrolls):
    with torch.no_grad():
        for base in (agent.knowledge_base, agent.earlier):  # in the progress phase they are the same
            base.actor.bias.copy_(torch.tensor([1.0, 0.0, -1.0, 0.5]))
        agent.actor.bias.copy_(torch.tensor([-1.0, 1.0, 0.0, 2.0]))
        frames = unrolls.observations.flatten(0, 1)
        columns = [column(frames) for column in (agent, agent.knowledge_base)]
    log_policies, values = columns[0][0].log_softmax(-1), columns[0][1]
    unrolls = unrolls._replace(
        log_policies=log_policies.unflatten(0, (STEPS, GAMES)), values=values.unflatten(0, (STEPS, GAMES))
    )
    policies = [logits.double().softmax(-1).numpy() for logits, _ in columns]
    expected = np.mean([relative_entropy(active, known) for active, known in zip(*policies, strict=True)])
    other = np.mean([relative_entropy(known, active) for active, known in zip(*policies, strict=True)])
    args = training.Args(**SMALL)
    optimizers = [
        torch.optim.SGD(each.param_groups[0]["params"], 0.0) for each in training.make_optimizers(args, agent)
    ]
    for phase in (PROGRESS, COMPRESS):  # where it is only measured, and where it is learned
        found = step(args, agent, optimizers, unrolls, phase)
        assert found["distillation"] == pytest.approx(expected, rel=1e-4)
        assert found["distillation"] != pytest.approx(other, rel=0.01)
    assert found["value_distillation"] == pytest.approx(
        float((columns[0][1] - columns[1][1]).square().mean()), rel=1e-3
    )


def test_compressing_makes_the_knowledge_base_play_as_the_active_column_does(agent, unrolls):
    """From the loss alone: divergence and half of nothing, so its gradient is that of the divergence."""
    args = training.Args(
        **SMALL, distill_policy=2.0, distill_value=0.5, max_grad_norm=1e9, reference_rows=STEPS * GAMES
    )
    optimizers = [
        torch.optim.SGD(each.param_groups[0]["params"], 0.0) for each in training.make_optimizers(args, agent)
    ]
    step(args, agent, optimizers, unrolls, COMPRESS)
    found = agent.knowledge_base.actor.bias.grad.clone(), agent.knowledge_base.critic.bias.grad.clone()
    with torch.no_grad():
        logits, values = agent.knowledge_base(unrolls.observations.flatten(0, 1))
    towards = logits.softmax(-1) - unrolls.log_policies.flatten(0, 1).exp()  # of sum KL(active || known) by the logits
    torch.testing.assert_close(found[0], 2.0 * towards.sum(0), rtol=1e-4, atol=1e-6)
    apart = values - unrolls.values.flatten()
    torch.testing.assert_close(found[1], 0.5 * 2 * apart.sum().reshape(1), rtol=1e-4, atol=1e-6)


def test_progress_is_the_v_trace_learner_of_the_other_script(agent, unrolls):
    """Without gates both have the same network."""
    with torch.no_grad():
        for lateral in agent.lateral.values():
            lateral.gate.zero_()
    plain = PPO(ACTIONS, PLANES)
    plain.load_state_dict({name: agent.state_dict()[name] for name in plain.state_dict()})
    shared = {**SMALL, "max_grad_norm": 1e9, "ent_coef": 0.3}
    shared.pop("ewc_samples")
    args, others = training.Args(**shared), continual_clear.Args(**shared, replay_ratio=0.0)
    optimizers = [
        torch.optim.SGD(each.param_groups[0]["params"], 0.0) for each in training.make_optimizers(args, agent)
    ]
    found = step(args, agent, optimizers, unrolls, PROGRESS)
    optimizer = torch.optim.SGD(plain.parameters(), 0.0)
    numbers, *_ = continual_clear.minibatch_step(others, plain, optimizer, NO_AUTOCAST, [unrolls])
    expected = dict(zip(continual_clear.OF_GRADIENT_STEP, numbers.tolist(), strict=True))
    for name in ("value_loss", "policy_loss", "entropy"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), name
    grads = dict(agent.named_parameters())
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(grads[name].grad, parameter.grad, rtol=1e-3, atol=1e-4)


def test_the_penalty_is_that_of_online_ewc_on_the_knowledge_base(agent, unrolls):
    """A strength means what it means beside a loss that is a mean over rows; its shares of a gradient add up."""
    args = training.Args(**SMALL, max_grad_norm=1e9, ewc_strength=3.0)
    knowledge, active = training.make_optimizers(args, agent)
    knowledge = torch.optim.SGD(knowledge.param_groups[0]["params"], 0.0)
    methods = make_methods(args, agent.knowledge_base, knowledge, ALONE)
    clock = SimpleNamespace(step=8, began=0, ends=8)
    shown = {"actions": unrolls.actions, "outputs": {}, "rewards": None, "ends": None, "task": "a", "clock": clock}
    methods.rows(Rows(observations=unrolls.observations, **shown))
    methods.boundary("a", "b", clock)
    (held,) = methods
    bias = agent.knowledge_base.actor.bias
    with torch.no_grad():
        bias.add_(torch.tensor([0.5, -0.5, 0.25, 0.0]))
    gradients = []
    for each in (methods, NO_METHODS):
        step(args, agent, [knowledge, active], unrolls, COMPRESS, each)
        gradients.append(bias.grad.clone())
    information = held._information["actor.bias"]
    assert float(information.min()) > 0
    expected = args.reference_rows * 3.0 * information * torch.tensor([0.5, -0.5, 0.25, 0.0])
    torch.testing.assert_close(gradients[0] - gradients[1], expected, rtol=1e-3, atol=1e-4)


def test_methods_act_in_gradient_steps_of_the_knowledge_base_alone(agent, unrolls):
    moments = []

    class Noting(type(NO_METHODS)):
        def loss(self, *args):
            moments.append("loss")
            return super().loss(*args)

        def gradients(self):
            moments.append("gradients")

        def weights(self, hidden):
            moments.append("weights")

    optimizers = training.make_optimizers(training.Args(**SMALL), agent)
    for phase, expected in ((PROGRESS, []), (COMPRESS, ["loss", "gradients", "weights"])):
        step(training.Args(**SMALL), agent, optimizers, unrolls, phase, Noting())
        assert moments == expected


def test_what_followed_is_found_in_a_part_of_a_round_too():
    """Game 1 is cut in step 4 of 6; a phase ends before step 3."""
    seen = torch.arange(6 * 2, dtype=torch.float32).view(6, 2, 1)
    done = np.zeros((6, 2), bool)
    done[[1, 4], [0, 1]] = True
    zeros = torch.zeros(6, 2)
    rollout = SimpleNamespace(
        observations=seen, actions=zeros.long(), log_policies=zeros[..., None], values=zeros, done=done
    )
    rollout.terminated = np.zeros_like(done)
    cuts = [(t, np.array([n]), torch.tensor([[100.0 + t]]), torch.zeros(1)) for t, n in ((1, 0), (4, 1))]
    found = played_unrolls(rollout, np.zeros((6, 2), np.float32), cuts, torch.tensor([[200.0], [201.0]]), 3, 6)
    assert found.observations.flatten().tolist() == [6, 7, 8, 9, 10, 11]
    following = found.next_values(found.observations[..., 0], found.after[:, 0])
    assert following.tolist() == [[8, 9], [10, 104], [200, 201]]


# -------------------------------------------------------------------------------------------------------------- phases

CASES = [
    ({"progress_share": 0.5}, [0, 100, 200], 2, [(0, 50), (100, 150)]),
    ({"progress_share": 0.1}, [0, 30], 1, [(0, 3)]),
    ({"progress_share": 0.5}, [0, 104, 130], 8, [(0, 56), (104, 120)]),  # borders at whole steps of all games
    ({"progress_steps": 30}, [0, 100, 120, 200], 2, [(0, 30), (100, 120), (120, 150)]),  # a regime shorter than that
    ({"progress_steps": 31}, [0, 100], 4, [(0, 32)]),
    ({"progress_share": 1.0}, [0, 64], 4, [(0, 64)]),
    ({"progress_share": 0.001}, [0, 40, 96], 4, [(0, 4), (40, 44)]),  # however small, there is something to compress
]


@pytest.mark.parametrize(("settings", "borders", "games", "expected"), CASES, ids=[str(i) for i in range(len(CASES))])
def test_phases_are_exact_in_steps(settings, borders, games, expected):
    args = training.Args(num_envs=games, **settings)
    steps = [step for step in range(0, borders[-1], games) if training.phase_at(args, borders, step).progress]
    assert steps == [step for begin, end in expected for step in range(begin, end, games)]
    for step in range(0, borders[-1], games):
        phase = training.phase_at(args, borders, step)
        assert phase.begin <= step < phase.end
        assert training.phase_at(args, borders, phase.begin) == phase


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--progress_share", "0"], "`progress_share` is 0.0"),
        (["--progress_share", "1"], "`progress_share` 1 leaves no step in which the knowledge base learns"),
        (["--progress_steps", "640"], "`progress_steps` 640 leaves no step in which the knowledge base learns: the"),
        (["--progress_steps", "64", "--progress_share", "0.3"], "`progress_share` 0.3 is a part of each regime, and"),
        (["--architecture", "PPO"], "TWO_COLUMNS"),
        (["--boundary", "none"], "`boundary` none says when a task ends, which is at every switch here; leave it out"),
        (["--boundary", "every:64"], "`boundary` every:64 says when a task ends"),
        (["--replay_ratio", "1"], "--replay_ratio"),
        (["--methods", "online_ewc"], "`methods`: online_ewc is built in here (see `ewc_strength`); leave it out."),
    ],
)
def test_what_cannot_be_is_one_sentence(words, sentence, workdir, capsys):
    with pytest.raises(SystemExit) as stopped:
        training.main(["--env_id", "ALE/Freeway-v5", "--total_timesteps", "640", "--no_cuda", *words])
    assert stopped.value.code == 2
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not (workdir / "runs").exists()


def test_a_regime_that_is_too_short_for_both_phases_is_said(workdir, capsys):
    training.prepare(
        ["--config", write_config(workdir, **two_regimes(30)), "--num_envs", "2", "--progress_steps", "40"]
    )
    assert "the knowledge base learns nothing from 1 regime, too short for it" in capsys.readouterr().out


# ----------------------------------------------------------------------------------------------------------- whole runs


def two_regimes(switch, length=96):
    kwargs = {"num_total_steps": length, "modifications": ["all_black_cars", "all_white_cars"]}
    return {
        "env_id": "ALE/Freeway-v5",
        "modification_factory": "SequentialModificationFactory",
        "modification_factory_kwargs": {**kwargs, "switching_thresholds": [switch]},
    }


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A run of 96 steps in rounds of 16, with a switch at 44: what was learned from, and weights before and after."""
    folder, updates, boundaries, measured, rates = tmp_path_factory.mktemp("pnc"), [], [], [], []
    step, measure, draw = training.minibatch_step, online_ewc.information_of, training.TwoColumns.initialise

    def learn(args, agent, optimizer, autocast, unrolls, phase, *rest):
        updates.append((phase, unrolls.observations.clone(), len(optimizer.state)))
        rates.append(optimizer.param_groups[0]["lr"])
        assert [type(method) for method in rest[0]] == [online_ewc.OnlineEWC]
        return step(args, agent, optimizer, autocast, unrolls, phase, *rest)

    def begin_anew(agent, generator=None):
        before = copy.deepcopy(agent.state_dict())
        draw(agent, generator)
        boundaries.append((before, copy.deepcopy(agent.state_dict())))

    def information_of(learner, observations, normalise):
        measured.append(observations.clone())
        return measure(learner, observations, normalise)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(training, "minibatch_step", learn)
        patch.setattr(training.TwoColumns, "initialise", begin_anew)
        patch.setattr(online_ewc, "information_of", information_of)
        flags = ["--num_envs", "2", "--num_steps", "8", "--num_workers", "0", "--no_cuda", "--ewc_samples", "12"]
        flags += ["--eval_every", "0", "--eval_games", "1", "--time_limit", "400", "--eval_modifs", "no_modif"]
        flags += ["--anneal_lr", "--save_agent_with_switch"]
        training.main(["--config", write_config(folder, **two_regimes(44)), *flags])
    boundaries = [pair for pair in boundaries if "knowledge_base.actor.bias" in pair[0]]
    return updates, boundaries, measured, rates, only_run(folder)


@pytest.mark.slow
@NEEDS_HACKATARI
def test_every_step_is_learned_from_in_its_own_phase(seen):
    """Of 44 steps 22 are progress, of 52 then 26; rounds of 16 steps are parted there."""
    updates, *_ = seen
    lengths = [2 * len(observations) for _, observations, _ in updates]
    assert lengths == [16, 6, 10, 12, 4, 16, 6, 10, 16]
    assert [phase.progress for phase, _, _ in updates] == [True] * 2 + [False] * 2 + [True] * 3 + [False] * 2
    borders = {(phase.begin, phase.end, phase.progress) for phase, _, _ in updates}
    assert borders == {(0, 22, True), (22, 44, False), (44, 70, True), (70, 96, False)}


@pytest.mark.slow
@NEEDS_HACKATARI
def test_the_learning_rate_falls_from_the_start_of_a_phase_to_its_end(seen):
    *_, rates, _ = seen
    left = [22 / 22, 6 / 22, 22 / 22, 12 / 22, 26 / 26, 22 / 26, 6 / 26, 26 / 26, 16 / 26]
    assert rates == pytest.approx([4e-4 * share for share in left])


@pytest.mark.slow
@NEEDS_HACKATARI
def test_at_a_switch_all_of_the_active_column_begins_anew_and_nothing_else(seen):
    updates, boundaries, *_ = seen
    (before, after) = boundaries[-1]
    assert len(boundaries) == 1
    assert {name for name in after if not torch.equal(before[name], after[name])} == {
        name for name in after if not name.startswith("knowledge_base.")
    }
    known = {name.removeprefix("earlier."): weight for name, weight in after.items() if name.startswith("earlier.")}
    assert all(torch.equal(weight, after[f"knowledge_base.{name}"]) for name, weight in known.items())
    assert len(known) == 12
    states = [state for phase, _, state in updates if phase.progress]
    assert states[0] == states[2] == 0, "its optimizer begins anew"
    assert states[1] == states[3] > 0
    assert [state > 0 for phase, _, state in updates if not phase.progress] == [False, True, True, True]


@pytest.mark.slow
@NEEDS_HACKATARI
def test_the_fisher_information_is_of_the_last_rows_of_the_regime_that_ends(seen):
    updates, _, measured, *_ = seen
    (observations,) = measured
    regime = torch.cat([rows.flatten(0, 1) for phase, rows, _ in updates if phase.end <= 44])
    assert len(regime) == 44
    assert torch.equal(observations, regime[-12:])


@pytest.mark.slow
@NEEDS_HACKATARI
def test_both_columns_are_evaluated_every_time(seen):
    *_, run = seen
    rows = read_csv(run / "evals.csv")
    places = [("0", "0"), ("44", "0"), ("44", "1"), ("96", "1")]
    for deterministic in ("0", "1"):
        for agent in ("kb", "ac"):
            found = [row for row in rows if (row["deterministic"], row["agent"]) == (deterministic, agent)]
            assert [(row["global_step"], row["phase"]) for row in found] == places
    scores = {
        (row["global_step"], row["phase"], row["agent"]): row["score"] for row in rows if row["deterministic"] == "1"
    }
    assert scores["44", "0", "kb"] == scores["44", "1", "kb"], "a switch leaves the knowledge base as it is"


@pytest.mark.slow
@NEEDS_HACKATARI
def test_eval_plays_either_column(seen, capsys):
    """The knowledge base unless the other one is asked for: as the run itself has done at its end."""
    *_, run = seen
    rows = [row for row in read_csv(run / "evals.csv") if (row["global_step"], row["deterministic"]) == ("96", "1")]
    words = ["--agent_path", str(run), "--eval_episodes", "1", "--num_workers", "0", "--deterministic", "--no_cuda"]
    for agent in ("", "kb", "ac"):
        evaluation.main([*words, *(["--agent", agent] if agent else [])])
        out = capsys.readouterr().out
        (score,) = (float(row["score"]) for row in rows if row["agent"] == (agent or "kb"))
        assert out.splitlines()[-1] == f"{score:.2f} (one game: no deviation)"
        assert f"of the two columns {agent or 'kb'} plays" in out
    with pytest.raises(SystemExit):
        evaluation.main([*words, "--agent", "both"])
    assert "`agent` both is none of the players of this checkpoint; kb or ac" in capsys.readouterr().err
    evaluation.main(["--run", str(run)])
    assert f"results: {run / 'evals.csv'}, {len(read_csv(run / 'evals.csv'))} games" in capsys.readouterr().out


def test_optimizer_settings_reach_both_columns(agent):
    args = training.Args(learning_rate=0.3, rms_alpha=0.9, rms_eps=0.2)
    for optimizer in training.make_optimizers(args, agent):
        (group,) = optimizer.param_groups
        assert (group["lr"], group["alpha"], group["eps"], group["momentum"]) == (0.3, 0.9, 0.2, 0)


@pytest.mark.parametrize("phase", [PROGRESS, COMPRESS])
def test_gradients_of_a_column_are_clipped_to_their_norm(phase, agent, unrolls):
    args = training.Args(**SMALL, max_grad_norm=1e-4)
    found = step(args, agent, training.make_optimizers(args, agent), unrolls, phase)
    norms = [float(p.grad.norm()) for p in agent.parameters() if p.grad is not None]
    assert found["gradient_norm"] > 1e-3
    assert float(np.linalg.norm(norms)) == pytest.approx(1e-4, rel=0.02)


@pytest.mark.parametrize("phase", [PROGRESS, COMPRESS])
def test_two_processes_make_the_step_of_one(phase, drawn, unrolls):
    """Each has one of the two games; `mean_gradients` makes the mean of theirs."""
    ranks, found = SimpleNamespace(size=2, mean_gradients=lambda agent, numbers: numbers), []
    args = training.Args(**SMALL, max_grad_norm=1e9)
    for games, those in (([0, 1], ALONE), ([0], ranks), ([1], ranks)):
        part = Unrolls(
            *(each[:, games] for each in unrolls[:8]),
            unrolls.after[games],
            (unrolls.places[0][games], torch.arange(len(games))),
        )
        agent = copy.deepcopy(drawn)
        optimizers = [
            torch.optim.SGD(each.param_groups[0]["params"], 0.0) for each in training.make_optimizers(args, agent)
        ]
        optimizer = optimizers[1 if phase.progress else 0]
        training.minibatch_step(args, agent, optimizer, NO_AUTOCAST, part, phase, NO_METHODS, those)
        found.append(torch.cat([p.grad.flatten() for p in agent.parameters() if p.grad is not None]))
    torch.testing.assert_close((found[1] + found[2]) / 2, found[0], rtol=1e-3, atol=1e-4)


def test_online_ewc_has_the_scripts_settings():
    args = training.Args(ewc_strength=3.0, ewc_decay=0.5, ewc_samples=7)
    assert args.chosen_methods["online_ewc"] == online_ewc.OnlineEWC.Settings(strength=3.0, decay=0.5, samples=7)


@pytest.mark.slow
@NEEDS_HACKATARI
def test_what_is_saved_at_a_switch_is_the_agent_of_the_old_regime(seen):
    _, ((before, _),), *_, run = seen
    (path,) = run.glob("switch_1_*.cleanrl_model")
    saved = load_checkpoint(path).model_weights
    assert all(torch.equal(saved[name], weight) for name, weight in before.items())
