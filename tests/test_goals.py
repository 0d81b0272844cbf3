"""Goals of games, checked on the running emulator, and how the environments hand them on."""

from dataclasses import replace

import ale_py
import numpy as np
import pytest
from conftest import NEEDS_OCATARI, mostly_slow

from continual_hackatari.wrappers.agent_game import AgentGame
from continual_hackatari.wrappers.config import game_config
from continual_hackatari.wrappers.errors import GameError
from continual_hackatari.wrappers.goals import GAME_SPECIFIC, GOALS, POSITIONS, goal_kind
from continual_hackatari.wrappers.modified_game import ModifiedGame
from continual_hackatari.wrappers.objects import ObjectDetector
from continual_hackatari.wrappers.vector import ModifiedVectorEnv

A = ale_py.Action


def emulator(env_id, *names):
    """A game without sticky actions, a little after its start."""
    config, _ = game_config(f"ALE/{env_id}-v5")
    game = ModifiedGame(replace(config, repeat_action_probability=0.0), seed=0, modification_seed=0)
    game.start(names, lambda: None)
    return game


def play(game, action, frames):
    """Frames of one action; returns what the game gave."""
    return sum(game.ale.act(action) for _ in range(frames))


def steps_of(goal, game, action, number):
    """What `number` steps of four frames achieve, [number, G]."""
    achieved = []
    for _ in range(number):
        score = play(game, action, 4)
        achieved.append(goal.achieved(game.ale.getRAM(), score))
    return np.array(achieved)


def at_target(goal, achieved):
    return goal.reached(achieved, goal.target)


def make_envs(env_id, num_envs=2, kind="position", **settings):
    config, _ = game_config(env_id, goal_kind=kind, **settings)
    return ModifiedVectorEnv(config, num_envs, num_workers=0)


# ------------------------------------------------------------------------------------------------- each game's cells


@NEEDS_OCATARI
@pytest.mark.parametrize("name", sorted(POSITIONS))
def test_positions_are_those_of_ocataris_player(name):
    game, goal, rng = emulator(name), POSITIONS[name], np.random.default_rng(0)
    detector = ObjectDetector(name, game.ale.getRAM)
    detector.restart()
    compared, seen = 0, set()
    for _ in range(400):
        if game.ale.game_over():
            game.start((), lambda: None)
        score = play(game, game.actions[rng.integers(len(game.actions))], 4)
        ram = game.ale.getRAM()
        detector.detect()
        player = detector.objects[0]
        if not player or score > 0 or (name == "Frostbite" and ram[107]):  # drowning: OCAtari lowers the player
            continue
        achieved = goal.achieved(ram, score)
        seen.add(achieved)
        compared += 1
        if name == "Freeway":
            assert 193 - achieved[0] == player.xy[1]
        else:
            assert achieved[:2] == tuple(player.xy)
    assert compared > 200
    assert len(seen) > 8, "the player moved"


@pytest.mark.parametrize(("goal", "top"), [(POSITIONS["Freeway"], 178), (GAME_SPECIFIC["Freeway"], 10)])
def test_freeway_counts_a_crossing_and_not_a_chicken_that_waits_at_the_far_side(goal, top):
    game = emulator("Freeway", "disable_cars")
    scores, achieved = [], []
    for _ in range(60):
        score = game.step(game.actions.index(A.UP))
        scores.append(score)
        achieved.append(goal.achieved(game.ale.getRAM(), score)[0])
    scored = np.array(scores) > 0
    assert scored.sum() == 1
    assert np.array_equal(at_target(goal, np.array(achieved)[:, None]), scored), "in the very step that scores"
    first = int(scored.argmax())
    assert achieved[first] == top
    assert np.all(np.diff(achieved[: first + 1]) >= 0), "rises all the way"
    assert achieved[0] < top / 8

    while game.ale.getRAM()[14] < 177:
        play(game, A.UP, 1)
    assert not at_target(goal, steps_of(goal, game, A.NOOP, 5)).any(), "one step short of it"


@NEEDS_OCATARI
def test_freeway_lanes_lie_below_the_chicken():
    """By OCAtari's boxes: a lane is crossed when the chicken's bottom edge is above the car's top."""
    game, goal = emulator("Freeway"), GAME_SPECIFIC["Freeway"]
    detector = ObjectDetector("Freeway", game.ale.getRAM)
    for row in range(6, 178):
        game.ale.setRAM(14, row)
        detector.restart()
        chicken, _, *cars = detector.objects
        crossed = sum(chicken.y + chicken.h <= car.y for car in cars)
        assert goal.achieved(game.ale.getRAM(), 0.0) == (min(crossed, 9),)


def test_kangaroo_finds_the_joey_on_the_top_floor():
    game = emulator("Kangaroo", "no_danger")
    position, floor = POSITIONS["Kangaroo"], GAME_SPECIFIC["Kangaroo"]
    play(game, A.NOOP, 180)
    achieved, floors, score = [], [], 0.0
    game.ale.setRAM(17, 114)  # the foot of the last ladder, on the second floor
    game.ale.setRAM(16, 6)
    for _ in range(60):
        score += game.step(game.actions.index(A.UP))
        achieved.append(position.achieved(game.ale.getRAM(), 0.0))
        floors.append(floor.achieved(game.ale.getRAM(), 0.0)[0])
    reached = at_target(position, np.array(achieved))
    assert reached.any()
    assert not reached[:5].any()
    assert np.array_equal(reached, at_target(floor, np.array(floors)[:, None])), "arriving there is finding the joey"
    assert sorted(set(floors)) == [2, 3]
    for _ in range(60):
        score += game.step(0)
    assert score > 1000, "the level is won"


@pytest.mark.parametrize(("cell", "floor"), [(18, 0), (16, 0), (22, 0), (12, 1), (10, 1), (6, 2), (0, 3)])
def test_kangaroo_floors_survive_a_jump(cell, floor):
    ram = np.zeros(128, np.uint8)
    ram[16] = cell
    assert GAME_SPECIFIC["Kangaroo"].achieved(ram, 0.0) == (floor,)


def test_frostbite_igloo_is_built_by_jumping_and_then_entered():
    game, igloo, position = emulator("Frostbite"), GAME_SPECIFIC["Frostbite"], POSITIONS["Frostbite"]
    play(game, A.NOOP, 20)
    blocks, highest = [igloo.achieved(game.ale.getRAM(), 0.0)], 255
    for frame in range(6 * 16):
        play(game, (A.DOWN, A.UP)[frame // 16 % 2], 1)
        highest = min(highest, game.ale.getRAM()[100])
        blocks.append(igloo.achieved(game.ale.getRAM(), 0.0))
    assert highest == 22, "as high as a jump leads"
    assert not any(inside for _, inside in blocks)
    assert blocks[0] == (0, 0)
    assert blocks[-1] == (1, 0), "the first floe gave one block"

    game.ale.setRAM(77, 15)
    while game.ale.getRAM()[102] < 122:
        play(game, A.RIGHT, 1)
    ram = game.ale.getRAM()
    assert (igloo.achieved(ram, 0.0), position.achieved(ram, 0.0)) == ((16, 0), (122, 56)), "before its door"
    play(game, A.UP, 16)
    ram = game.ale.getRAM()
    assert igloo.achieved(ram, 0.0) == (16, 1)
    assert at_target(position, np.array(position.achieved(ram, 0.0)))
    assert at_target(igloo, steps_of(igloo, game, A.UP, 60)).all(), "until the next level, whatever the game pays out"


def test_montezumas_key_is_taken_where_the_target_is():
    game, goal = emulator("MontezumaRevenge"), POSITIONS["MontezumaRevenge"]
    play(game, A.NOOP, 100)
    assert not at_target(goal, steps_of(goal, game, A.NOOP, 1)).any()
    game.ale.setRAM(42, 13)  # on the platform below the key
    game.ale.setRAM(43, 192)
    play(game, A.NOOP, 20)
    assert not at_target(goal, steps_of(goal, game, A.NOOP, 1)).any()
    score, reached = 0.0, []
    while not score:
        score += play(game, A.UPFIRE, 4)
        reached.append(bool(at_target(goal, np.array(goal.achieved(game.ale.getRAM(), 0.0)))))
    assert reached[-1]
    game.ale.setRAM(3, 2)
    assert not at_target(goal, np.array(goal.achieved(game.ale.getRAM(), 0.0))), "the same place in another room"


def test_seaquest_divers_are_paid_at_the_surface():
    game, goal = emulator("Seaquest"), GAME_SPECIFIC["Seaquest"]
    play(game, A.NOOP, 200)
    game.ale.setRAM(62, 6)
    down, up = steps_of(goal, game, A.DOWN, 8), steps_of(goal, game, A.UP, 11)
    assert set(map(tuple, down)) == {(6, 0)}
    assert tuple(up[-1]) == (6, 1)
    assert at_target(goal, up)[-1]
    later = steps_of(goal, game, A.NOOP, 80)
    assert not at_target(goal, later)[-1], "they go ashore one by one"


# ------------------------------------------------------------------------------------------- goals without a game


@pytest.mark.parametrize("kind", GOALS)
def test_targets_are_reached_by_themselves_and_shown(kind):
    for name, goal in GOALS[kind].items():
        assert goal.reached(goal.target, goal.target), name
        for axis in goal.axes:
            assert axis.low <= axis.target <= axis.high
        grey = goal.grey(goal.target)
        assert (grey.dtype, grey.shape) == (np.uint8, (len(goal.axes),))


def test_tolerance_threshold_and_grey():
    kangaroo, freeway = POSITIONS["Kangaroo"], POSITIONS["Freeway"]
    goal = np.array([50.0, 100.0])
    near = np.array([[50, 100], [54, 107], [46, 93], [55, 100], [50, 108]], np.float32)
    assert kangaroo.reached(near, goal).tolist() == [True, True, True, False, False]
    assert kangaroo.reached(near[:, None], np.stack([goal, near[3]])).shape == (5, 2)
    rows = np.array([[99.0], [100.0], [177.0]])
    assert freeway.reached(rows, np.array([100.0])).tolist() == [False, True, True], "at the row or above"
    assert freeway.grey(np.array([[0.0], [89.0], [178.0], [500.0], [-3.0]])).ravel().tolist() == [0, 128, 255, 255, 0]


# ------------------------------------------------------------------------------------------------- environments


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", mostly_slow([2, 0], 2))
def test_goal_planes_are_constant_and_the_frames_are_those_without_goals(num_workers):
    plain, _ = game_config("ALE/Kangaroo-v5", seed=3)
    shapes, recorded = [], []
    for config in (plain, replace(plain, goal_kind="position")):
        envs = ModifiedVectorEnv(config, 2, num_workers=num_workers)
        rng, rows = np.random.default_rng(0), []
        envs.set_modifications("", "reset")
        for _ in range(120):
            observation, *results, info = envs.step(rng.integers(envs.num_actions, size=2))
            rows.append((observation, *results, info.get("final_obs", np.zeros(0))))
        shapes.append(envs.single_observation_space.shape)
        recorded.append(rows)
        if config.goal is not None:
            expected = config.goal.grey(config.goal.target)
            for observation, *_, final in rows:
                assert (observation[:, 4:] == expected[:, None, None]).all()
                if final.size:
                    ended = rows[-1][2] | rows[-1][3]
                    assert (final[ended, 4:] == expected[:, None, None]).all()
        envs.close()
    assert shapes == [(4, 84, 84), (6, 84, 84)]
    for without, with_goals in zip(*recorded, strict=True):
        assert np.array_equal(without[0], with_goals[0][:, :4])
        for one, other in zip(without[1:4], with_goals[1:4], strict=True):
            assert np.array_equal(one, other)


def test_achieved_is_read_before_a_lost_life_or_a_new_game(monkeypatch):
    """Against the RAM at the moment the step itself ends; Frostbite loses lives, and then puts the player elsewhere."""
    config, _ = game_config("ALE/Frostbite-v5", goal_kind="position")
    observation, achieved = np.zeros((6, 84, 84), np.uint8), np.zeros(2, np.float32)
    game = AgentGame(config, 0, observation, observation.copy(), achieved)
    game.set_modifications((), "reset")
    at_step_end = []
    played = game.game.play

    def play(action, frames):
        reward = played(action, frames)
        ram = game.game.ale.getRAM()
        at_step_end.append((float(ram[102]), float(ram[100]) + 29))
        return reward

    monkeypatch.setattr(game.game, "play", play)
    rng, ends, differs = np.random.default_rng(1), 0, 0
    for _ in range(600):
        at_step_end.clear()
        _, terminated, truncated, _ = game.step(int(rng.integers(18)))
        assert tuple(achieved) == at_step_end[0]
        if terminated or truncated:
            ends += 1
            ram = game.game.ale.getRAM()
            differs += tuple(achieved) != (float(ram[102]), float(ram[100]) + 29)
    assert ends > 3
    assert differs, "a game that was over has begun again"


def test_without_goals_nothing_is_kept():
    config, _ = game_config("ALE/Freeway-v5")
    envs = ModifiedVectorEnv(config, 3, num_workers=0)
    assert envs.arrays.achieved.shape == (3, 0)
    assert (config.goal, config.num_goals) == (None, 0)
    envs.close()


def test_flags_choose_the_kind():
    kinds = [goal_kind(her, own) for her, own in ((False, False), (True, False), (True, True))]
    assert kinds == ["", "position", "game_specific"]


@pytest.mark.parametrize(
    ("env_id", "settings", "words"),
    [
        ("Pong", {}, ["`her`", "Pong", *POSITIONS]),
        ("Pong", {"goal_kind": "game_specific"}, ["game_specific_goals", *GAME_SPECIFIC]),
        ("Seaquest", {}, ["Seaquest has goals for `her` with `game_specific_goals`"]),
        ("MontezumaRevenge", {"goal_kind": "game_specific"}, ["MontezumaRevenge has goals for `her`"]),
        ("Freeway", {"backend": "Gym"}, ["`her`", "Gym", "--backend HackAtari"]),
        pytest.param("Freeway", {"obs_mode": "obj"}, ["`her`", "--obs_mode dqn"], marks=NEEDS_OCATARI),
        ("Freeway", {"goal_kind": "positions"}, ["goal_kind", "did you mean position?"]),
    ],
)
def test_impossible_goals_are_one_sentence(env_id, settings, words):
    with pytest.raises(GameError) as error:
        game_config(f"ALE/{env_id}-v5", **{"goal_kind": "position", **settings})
    for word in words:
        assert word in str(error.value)


def test_backend_ocatari_has_goals():
    envs = make_envs("ALE/Freeway-v5", backend="OCAtari", kind="game_specific")
    envs.set_modifications("", "reset")
    envs.step(np.ones(2, int))
    assert (envs.arrays.achieved >= 0).all()
    assert envs.observation_shape == (5, 84, 84)
    envs.close()
