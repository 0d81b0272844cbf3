"""Agents that a run saves on its way, and which of them its folder stands for."""

import json
import shutil

import pytest
from siblings import EVERY_BUT_SLOWLY
from test_training import train_in

from continual_hackatari import continual_training_example as training
from continual_hackatari import eval as evaluation
from continual_hackatari.training.checkpoints import load_checkpoint
from continual_hackatari.training.run import Run
from continual_hackatari.training.run_folder import saved_agents
from continual_hackatari.training.start import last_agent


@EVERY_BUT_SLOWLY
def test_an_agent_is_saved_at_the_first_border_after_each_multiple(sibling, tmp_path, monkeypatch):
    """Rounds end at 32, 64, 96 and 100: the last two hold no multiple of 60 or 64."""
    done, save, save_agent = [], Run.save, Run.save_agent

    def note_agent(run, path):
        done.append((run.global_step, "agent"))
        save_agent(run, path)

    def note_state(run):
        done.append((run.global_step, "state"))
        save(run)

    monkeypatch.setattr(Run, "save_agent", note_agent)
    monkeypatch.setattr(Run, "save", note_state)
    flags = ["--env_id", "ALE/Freeway-v5", "--modifs", "all_black_cars", "--total_timesteps", "100"]
    flags += ["--checkpoint_every", "64", "--save_agent_every", "60"]
    run = train_in(tmp_path, monkeypatch, *flags, sibling=sibling)
    # A run that is killed between the two goes on from before, and saves its agent again.
    assert [name for step, name in done if step == 64] == ["agent", "state"]
    assert [step for step, name in done if name == "state"] == [0, 64, 100]
    (saved,) = saved_agents(run)
    assert saved == (64, 0, run / "agent_step64_all_black_cars.cleanrl_model")
    checkpoint = load_checkpoint(saved.path)
    assert (checkpoint.global_step, checkpoint.extra["modification"]) == (64, "all_black_cars")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that saved its agent at 32, 64 and at its end."""
    with pytest.MonkeyPatch.context() as patch:
        flags = ["--env_id", "ALE/Breakout-v5", "--frameskip", "40", "--total_timesteps", "64", "--no_anneal_lr"]
        return train_in(tmp_path_factory.mktemp("run"), patch, *flags, "--save_agent_every", "32")


def evaluate(*words):
    evaluation.main([*words, "--eval_episodes", "1", "--num_workers", "0", "--no_cuda"])


@pytest.mark.slow
def test_a_run_folder_stands_for_its_last_agent(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "copy")
    known = {path: path.read_bytes() for path in folder.glob("*.cleanrl_model")}
    final, last, first = (
        folder / f"{name}.cleanrl_model" for name in ("model", "agent_step64_no_modif", "agent_step32_no_modif")
    )
    assert last_agent(folder) == final, "of equal ones that of the end"
    final.write_bytes(known[first])  # it was made longer since, and has not come to its end again
    assert last_agent(folder) == last
    final.unlink()
    assert last_agent(folder) == last
    last.unlink()
    evaluate("--agent_path", str(folder), "--output_dir", str(tmp_path / "out"))
    assert f"the last agent of {folder} is {first.name}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["agent_path"] == str(first)
    setup = training.prepare(["--env_id", "ALE/Breakout-v5", "--no_cuda", "--start_from", str(folder)])
    assert setup.args.start_from == str(first)
    first.unlink()
    (tmp_path / "out" / "args.json").unlink(missing_ok=True)
    beside = folder.with_name(f"{folder.name}x")
    meant = f"did you mean `{folder}`?"
    for path, words in (
        (folder, "holds no agent yet: a run saves it"),
        (folder.parent, f"is not the folder of a run; give that, or the path of a .cleanrl_model file; {meant}"),
        ("Random", "`Random` does not exist; the random player is written `random`."),
        (beside, f"`{beside}` does not exist; give a .cleanrl_model file or a run folder; {meant}"),
        (beside / "model.cleanrl_model", f"does not exist; give a .cleanrl_model file or a run folder; {meant}"),
    ):
        with pytest.raises(SystemExit) as refused:
            evaluate("--agent_path", str(path))
        assert refused.value.code == 2
        assert words in capsys.readouterr().err


def test_a_run_folder_and_its_agent_are_one_agent(run, tmp_path, capsys):
    with pytest.raises(SystemExit):
        evaluate("--agent_path", str(run), str(run / "model.cleanrl_model"), "--output_dir", str(tmp_path / "out"))
    assert "twice; name every checkpoint once" in capsys.readouterr().err
