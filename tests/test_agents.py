"""The networks: names, shapes, initial weights, precision, sampling; compared with a plain second implementation."""

import copy
import math
import re

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor, nn
from torch.distributions import Categorical

from continual_hackatari.agents import PPO, AgentError, PPOObj, explain_mismatch, make_agent
from continual_hackatari.agents.actor_critic import sample_actions


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames(batch: int, planes: int = 4, seed: int = 1) -> Tensor:
    return torch.randint(0, 256, (batch, planes, 84, 84), dtype=torch.uint8, generator=seeded(seed))


def features(batch: int, seed: int = 1) -> Tensor:
    return torch.randint(-10, 211, (batch, 4, 12), generator=seeded(seed)).float()


class Reference(nn.Module):
    """The same network written the plain way, with the frames divided by 255."""

    def __init__(self, num_actions: int, planes: int) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(planes, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU(),
            nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(),
        )  # fmt: skip
        self.actor = nn.Linear(512, num_actions)
        self.critic = nn.Linear(512, 1)

    def forward(self, x: Tensor) -> tuple[Categorical, Tensor]:
        hidden = self.network(x / 255.0)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).flatten()


def sharp(agent: nn.Module, scale: float = 300.0) -> None:
    """Make the policy far from uniform and the biases matter, as after training."""
    with torch.no_grad():
        agent.actor.weight.mul_(scale)
        for name, parameter in agent.named_parameters():
            if name.endswith("bias"):
                parameter.normal_(0, 0.3, generator=seeded(7))


@pytest.fixture
def ppo() -> PPO:
    agent = make_agent("PPO", (4, 84, 84), 6, generator=seeded())
    sharp(agent)
    return agent


@pytest.fixture
def ppo_obj() -> PPOObj:
    agent = make_agent("PPO_OBJ", (4, 12), 6, generator=seeded())
    sharp(agent)
    return agent


def test_state_dict_names_are_those_of_cleanrl_style_checkpoints(ppo: PPO) -> None:
    assert {name: tuple(t.shape) for name, t in ppo.state_dict().items()} == {
        name: tuple(t.shape) for name, t in Reference(6, 4).state_dict().items()
    }


@pytest.mark.parametrize("planes", [1, 4, 6])
def test_outputs_equal_the_plain_network_and_torch_distributions(planes: int) -> None:
    agent = make_agent("PPO", (planes, 84, 84), 5, generator=seeded(3))
    sharp(agent)
    reference = Reference(5, planes)
    reference.load_state_dict(agent.state_dict())
    x, actions = frames(6, planes), torch.tensor([0, 1, 2, 3, 4, 0])
    policy, expected_value = reference(x)
    action, log_prob, entropy, value = agent.get_action_and_value(x, actions)
    assert torch.equal(action, actions)
    torch.testing.assert_close(log_prob, policy.log_prob(actions), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropy, policy.entropy(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(value, expected_value, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(agent.get_value(x), expected_value, rtol=1e-4, atol=1e-5)
    assert torch.equal(agent.act(x, deterministic=True), policy.probs.argmax(-1))
    assert float(entropy.detach().max()) < math.log(5) - 0.05, "a nearly uniform policy would prove little"


def test_gradients_equal_the_plain_network(ppo: PPO) -> None:
    reference = Reference(6, 4)
    reference.load_state_dict(ppo.state_dict())
    x, actions = frames(3), torch.tensor([1, 2, 5])
    _, log_prob, entropy, value = ppo.get_action_and_value(x, actions)
    (log_prob.sum() + entropy.sum() + value.square().sum()).backward()
    policy, expected_value = reference(x)
    (policy.log_prob(actions).sum() + policy.entropy().sum() + expected_value.square().sum()).backward()
    for (name, mine), expected in zip(ppo.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, expected.grad, rtol=1e-3, atol=1e-4, msg=lambda m, name=name: name + m)


def test_object_features_outputs_equal_a_plain_network(ppo_obj: PPOObj) -> None:
    weights, x = ppo_obj.state_dict(), features(5)
    per_frame = []
    for frame in range(4):
        h = x[:, frame] / 210
        for layer in ("encoder.0", "encoder.2"):
            h = torch.relu(h @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"])
        per_frame.append(h)
    h = torch.relu(torch.cat(per_frame, 1) @ weights["decoder.0.weight"].T + weights["decoder.0.bias"])
    policy = Categorical(logits=h @ weights["actor.weight"].T + weights["actor.bias"])
    expected_value = (h @ weights["critic.weight"].T + weights["critic.bias"]).flatten()
    action, log_prob, entropy, value = ppo_obj.get_action_and_value(x, generator=seeded(2))
    torch.testing.assert_close(log_prob, policy.log_prob(action), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(entropy, policy.entropy(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(value, expected_value, rtol=1e-4, atol=1e-5)


def test_object_features_layer_sizes() -> None:
    agent = make_agent("PPO_OBJ", (4, 12), 3, encoder_dims=[32, 16, 8], decoder_dims=[20, 10])
    shapes = {name: list(t.shape) for name, t in agent.state_dict().items() if name.endswith("weight")}
    assert shapes == {
        "encoder.0.weight": [32, 12], "encoder.2.weight": [16, 32], "encoder.4.weight": [8, 16],
        "decoder.0.weight": [20, 4 * 8], "decoder.2.weight": [10, 20],
        "actor.weight": [3, 10], "critic.weight": [1, 10],
    }  # fmt: skip
    without = make_agent("PPO_OBJ", (4, 12), 3, encoder_dims=(), decoder_dims=())
    assert list(without.actor.weight.shape) == [3, 4 * 12]
    assert without.get_value(features(2)).shape == (2,)


@pytest.mark.parametrize("name", ["ppo", "ppo_obj"])
def test_shapes_and_types(name: str, request: pytest.FixtureRequest) -> None:
    agent = request.getfixturevalue(name)
    x = frames(7) if name == "ppo" else features(7)
    action, log_prob, entropy, value = agent.get_action_and_value(x)
    assert {tuple(t.shape) for t in (action, log_prob, entropy, value, agent.get_value(x), agent.act(x))} == {(7,)}
    assert action.dtype == agent.act(x).dtype == torch.int64
    assert {t.dtype for t in (log_prob, entropy, value)} == {torch.float32}
    logits, _ = agent(x)
    assert logits.shape == (7, 6)


def test_uint8_and_float_frames_are_the_same_thing(ppo: PPO) -> None:
    x = frames(2)
    assert torch.equal(ppo.get_value(x), ppo.get_value(x.float()))


@pytest.mark.parametrize("name", ["ppo", "ppo_obj"])
def test_initial_weights_are_orthogonal_with_their_gains(name: str) -> None:
    shape = (4, 84, 84) if name == "ppo" else (4, 12)
    agent = make_agent(name.upper(), shape, 6, generator=seeded(5))
    for module_name, layer in agent.named_modules():
        if not isinstance(layer, (nn.Conv2d, nn.Linear)):
            continue
        gain = {"actor": 0.01, "critic": 1.0}.get(module_name, math.sqrt(2))
        matrix = layer.weight.detach().flatten(1)
        if matrix.shape[0] > matrix.shape[1]:
            matrix = matrix.T
        torch.testing.assert_close(matrix @ matrix.T, gain**2 * torch.eye(len(matrix)), rtol=1e-4, atol=1e-5 * gain)
        assert not layer.bias.any(), module_name


def test_orthogonal_draws_have_no_preferred_sign() -> None:
    """Without the sign correction the first entry of a QR factor is almost always negative."""
    generator = seeded(9)
    agent = make_agent("PPO_OBJ", (1, 3), 2, encoder_dims=(3,), decoder_dims=(), generator=generator)
    positive = 0
    for _ in range(400):
        agent.initialise(generator)
        positive += int(agent.encoder[0].weight[0, 0] > 0)
    assert 150 < positive < 250  # five standard deviations around 200


@pytest.mark.parametrize("architecture", ["PPO", "own_network:OwnNetwork", "own_network:Frozen"])
def test_initial_weights_follow_the_generator_alone(architecture: str) -> None:
    torch.manual_seed(1)
    first = make_agent(architecture, (4, 84, 84), 6, generator=seeded(2))
    following = torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), following), "building an agent with its own generator drew global numbers"
    second = make_agent(architecture, (4, 84, 84), 6, generator=seeded(2))
    other = make_agent(architecture, (4, 84, 84), 6, generator=seeded(3))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.actor.weight, other.actor.weight)


def test_what_a_class_freezes_stays_as_it_made_it() -> None:
    """Drawn ones follow the generator alone, which gives the trained ones the numbers that it always gives."""
    made = []
    for seed in (1, 1, 2):
        torch.rand(1)  # PyTorch's own generator has nothing to say
        generator = torch.Generator().manual_seed(seed)
        made.append(make_agent("own_network:Frozen", (2, 84, 84), 4, generator=generator))
    first, again, other = made
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())
    assert not torch.equal(first.layer.weight, other.layer.weight)
    assert not torch.equal(first.actor.weight, other.actor.weight)
    assert {*first.norm.weight.tolist(), *first.norm.bias.tolist()} == {3.0, 2.0}
    before = copy.deepcopy(first.state_dict())
    drawn = torch.Generator().manual_seed(1)
    again.initialise(drawn)
    for name in ("actor.weight", "critic.weight"):
        assert torch.equal(again.state_dict()[name], first.state_dict()[name]), "it takes nothing of the generator"
    first.initialise(torch.Generator().manual_seed(3))
    same = {name for name, value in first.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if not name.startswith(("actor", "critic"))} | {"actor.bias", "critic.bias"}
    plain = make_agent("own_network:OwnNetwork", (2, 84, 84), 4, generator=torch.Generator().manual_seed(1))
    assert torch.corrcoef(torch.stack([first.layer.weight.flatten(), plain.layer.weight.flatten()]))[0, 1].abs() < 0.1


def test_fresh_copy_is_another_agent_of_the_same_kind(ppo: PPO) -> None:
    before = {name: t.clone() for name, t in ppo.state_dict().items()}
    fresh = ppo.fresh_copy(seeded(4))
    expected = make_agent("PPO", (4, 84, 84), 6, generator=seeded(4))
    assert all(torch.equal(a, b) for a, b in zip(fresh.parameters(), expected.parameters(), strict=True))
    assert all(torch.equal(t, before[name]) for name, t in ppo.state_dict().items())


def test_sampling_follows_the_policy() -> None:
    probs = torch.tensor([[0.5, 0.25, 0.15, 0.0999, 0.0001], [0.0, 1.0, 0.0, 0.0, 0.0], [0.0, 0.3, 0.0, 0.7, 0.0]])
    rows = 200_000
    for row in probs:
        actions = sample_actions(row.expand(rows, 5), seeded(11))
        counts = torch.bincount(actions, minlength=5)
        possible = row > 0
        assert not counts[~possible].any(), "an action of probability zero was drawn"
        if possible.sum() > 1:
            expected = (row[possible] / row[possible].sum()).double().numpy() * rows
            assert chisquare(counts[possible].numpy(), expected).pvalue > 1e-3


def test_sampling_stays_in_range_at_both_ends_of_the_uniform_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    probs = torch.tensor([[0.0, 0.3, 0.3, 0.39999]])  # sums to a little less than 1, as rounded probabilities do
    for uniform, expected in ((0.0, 1), (1 - 2**-24, 3)):
        monkeypatch.setattr(torch, "rand", lambda *_, u=uniform, **__: torch.tensor([[u]]))
        assert sample_actions(probs).tolist() == [expected]


def test_sampled_actions_follow_the_generator_alone(ppo: PPO) -> None:
    x = frames(64)
    torch.manual_seed(1)
    first = ppo.get_action_and_value(x, generator=seeded(5))[0]
    following = torch.rand(1)
    second = ppo.get_action_and_value(x, generator=seeded(5))[0]
    assert torch.equal(first, second)
    assert torch.equal(first, ppo.act(x, generator=seeded(5)))
    assert not torch.equal(first, ppo.act(x, generator=seeded(6)))
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), following), "sampling with its own generator drew global numbers"


@pytest.mark.parametrize("name", ["ppo", "ppo_obj"])
@pytest.mark.parametrize("how", ["autocast", "bfloat16 weights", "channels_last"])
def test_low_precision_gives_float32_and_nearly_the_same(name: str, how: str, request: pytest.FixtureRequest) -> None:
    agent = request.getfixturevalue(name)
    x, actions = (frames(16), torch.arange(16) % 6) if name == "ppo" else (features(16), torch.arange(16) % 6)
    exact = agent.get_action_and_value(x, actions)[1:]
    if how == "bfloat16 weights":
        agent = agent.to(torch.bfloat16)
    if how == "channels_last":
        agent = agent.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how == "autocast"):
        rounded = agent.get_action_and_value(x, actions)[1:]
        value = agent.get_value(x)
    sum(t.sum() for t in rounded).backward()  # the training path works too
    assert {t.dtype for t in (*rounded, value)} == {torch.float32}
    tolerance = 1e-4 if how == "channels_last" else 0.05
    for a, b in zip(rounded, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
    # A log-probability of bfloat16 would keep 8 bits; these have more.
    assert not torch.equal(rounded[0], rounded[0].bfloat16().float())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("PPO_OJB", (4, 12), 6),
            r"`architecture`: 'PPO_OJB' is none of PPO, PPO_OBJ, PPO_CBP, .* Did you mean PPO_OBJ\?",
        ),
        (("ppo", (4, 84, 84), 6), r"Did you mean PPO\?"),
        (("/x/nets/own.py:Mine", (4, 84, 84), 6), r"write `own:Mine`, with PYTHONPATH=/x/nets\.$"),
        (("../nets/own.py:Mine", (4, 84, 84), 6), r"write `own:Mine`, with PYTHONPATH=\.\./nets\.$"),
        (
            ("transformer", (4, 84, 84), 6),
            r"'transformer' is none of PPO, PPO_OBJ, PPO_CBP, and no `package.module:Class`\.$",
        ),
        (("PPO_CBP", (4, 12), 6), r"`architecture` PPO_CBP reads frames.*\(4, 12\)"),
        (("PPO", (4, 12), 6), r"\(planes, 84, 84\).*\(4, 12\).*obs_mode dqn"),
        (("PPO", (4, 64, 64), 6), r"\(4, 64, 64\)"),
        (("PPO_OBJ", (4, 84, 84), 6), r"\(window, features\).*obs_mode obj"),
        (("PPO", (4, 84, 84), 0), r"`num_actions` is 0"),
        (
            ("own_network:OwnNetwrk", (4, 84, 84), 6),
            r"`own_network` holds no class `OwnNetwrk`; did you mean OwnNetwork\?",
        ),
        (("own_network:Q", (4, 84, 84), 6), r"holds no class `Q`; it holds OwnNetwork, OverTime, .*, DrawnRecurrent$"),
        (("own_network.py:OverTime", (4, 84, 84), 6), r"names a file, .*; write `own_network:OverTime`\.$"),
        (("./nets/own.py:Mine", (4, 84, 84), 6), r"; write `nets\.own:Mine`\.$"),
    ],
)
def test_impossible_agents_are_refused_in_one_sentence(arguments: tuple, message: str) -> None:
    with pytest.raises(AgentError, match=message) as caught:
        make_agent(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["encoder_dims", "decoder_dims"])
def test_empty_layers_are_refused(name: str) -> None:
    with pytest.raises(AgentError, match=re.escape(f"`{name}` is [64, 0]")):
        make_agent("PPO_OBJ", (4, 12), 6, **{name: [64, 0]})


def test_weights_that_fit_need_no_explanation(ppo: PPO, ppo_obj: PPOObj) -> None:
    assert explain_mismatch(ppo, Reference(6, 4).state_dict()) is None
    assert explain_mismatch(ppo_obj, ppo_obj.fresh_copy().state_dict()) is None


@pytest.mark.parametrize(
    ("architecture", "shape", "num_actions", "options", "expected"),
    [
        ("PPO_OBJ", (4, 12), 6, {}, "holds weights of PPO_OBJ, but the agent is PPO"),
        ("PPO", (4, 84, 84), 18, {}, "chooses among 18 actions, but this game has 6"),
        ("PPO", (6, 84, 84), 6, {}, "reads 6 input planes, but the observations have 4"),
    ],
)
def test_mismatch_with_ppo_is_explained(
    ppo: PPO, architecture: str, shape: tuple, num_actions: int, options: dict, expected: str
) -> None:
    sentence = explain_mismatch(ppo, make_agent(architecture, shape, num_actions, **options).state_dict())
    assert sentence is not None
    assert expected in sentence
    with pytest.raises(RuntimeError, match="loading state_dict"):  # what it spares the user
        ppo.load_state_dict(make_agent(architecture, shape, num_actions, **options).state_dict())


def test_other_mismatches_are_explained(ppo: PPO, ppo_obj: PPOObj) -> None:
    def explain(agent: nn.Module, weights: dict[str, Tensor]) -> str:
        return str(explain_mismatch(agent, weights))

    weights = ppo.state_dict()
    assert "original system's PPO_CBP" in explain(ppo, {**weights, "cbp1.util": torch.zeros(32)})
    assert "no architecture known here" in explain(ppo, {"layers.0.w": torch.zeros(2)})
    assert "`network.7.weight` is [256, 3136] in the checkpoint and [512, 3136] in the agent" in explain(
        ppo, {**weights, "network.7.weight": torch.zeros(256, 3136)}
    )
    assert "`critic.bias` is absent in the checkpoint" in explain(
        ppo, {name: t for name, t in weights.items() if name != "critic.bias"}
    )
    other_game = make_agent("PPO_OBJ", (4, 20), 6).state_dict()
    assert "reads 20 object features per frame, but the observations have 12" in explain(ppo_obj, other_game)
    wider = make_agent("PPO_OBJ", (4, 12), 6, encoder_dims=(64, 256)).state_dict()
    assert "`encoder.0.bias` is [64] in the checkpoint and [256] in the agent" in explain(ppo_obj, wider)
