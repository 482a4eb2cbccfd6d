"""Each lease of a verification works in a folder of its own, and goes on from what the last one left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from genesys.verification import attempts
from genesys.verification.attempts import attempt_folder, drop_attempt, open_attempt, reported_attempt


def leave_training(folder: Path, step: int = 100) -> None:
    checkpoint = folder / "training" / f"checkpoint-{step}"
    (checkpoint / "state").mkdir(parents=True)
    (checkpoint / "state.json").write_text("{}")
    (checkpoint / "state" / "model.pt").write_bytes(b"weights")
    (folder / "training" / "progress.jsonl").write_text("line\n")
    (folder / "training" / ".checkpoint-partial").mkdir()
    (folder / "training" / ".checkpoint-partial" / "half").touch()


def found(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_an_attempt_goes_on_from_the_last_one(tmp_path: Path) -> None:
    leave_training(open_attempt(tmp_path, 4))
    folder = open_attempt(tmp_path, 12)
    assert found(tmp_path) == {f"lease-12/training/checkpoint-100/{name}" for name in ("state.json", "state/model.pt")}
    (folder / "training" / "more").touch()
    assert open_attempt(tmp_path, 12) == folder and (folder / "training" / "more").exists(), "the same lease again"


def test_a_late_holder_reaches_nothing_of_the_next_ones(tmp_path: Path) -> None:
    """Its child is bound to the folder that it was given, as a mount is; a descriptor stands for that here."""
    late = open_attempt(tmp_path, 4)
    leave_training(late)
    descriptor = os.open(late / "training", os.O_RDONLY)
    folder = open_attempt(tmp_path, 12)
    before = found(folder)
    with pytest.raises(FileNotFoundError):
        os.close(os.open("weights.safetensors", os.O_CREAT | os.O_WRONLY, dir_fd=descriptor))
    with pytest.raises(FileNotFoundError):
        (late / "report.json").write_text("{}")
    late.mkdir()
    (late / "stage").write_text("train")  # it makes its folder anew
    assert open_attempt(tmp_path, 4) == late and found(folder) == before
    os.close(descriptor)


def test_links_that_a_training_left_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("key")
    training = open_attempt(tmp_path / "run", 1) / "training"
    training.mkdir()
    (training / "file").symlink_to(secret / "key")
    (training / "folder").symlink_to(secret)
    os.mkfifo(training / "pipe")
    folder = open_attempt(tmp_path / "run", 2)
    assert found(folder) == set() and (secret / "key").exists()
    (training.parent.parent / "lease-3").mkdir()
    (training.parent.parent / "lease-3" / "training").symlink_to(secret)
    assert found(open_attempt(tmp_path / "run", 4)) == set() and (secret / "key").exists()


def test_half_a_checkpoint_is_never_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last holder's child goes on: between two looks the checkpoint that was found has gone for a newer one."""
    leave_training(open_attempt(tmp_path, 1), step=100)
    link, moved = os.link, []

    def link_and_lose(*arguments: object, **options: object) -> None:
        link(*arguments, **options)  # type: ignore[arg-type]
        if not moved:
            moved.append(True)
            leave = attempt_folder(tmp_path, 1)
            shutil.rmtree(leave / "training" / "checkpoint-100")
            shutil.rmtree(leave / "training" / ".checkpoint-partial")
            leave_training(leave, step=200)

    monkeypatch.setattr(attempts.os, "link", link_and_lose)
    folder = open_attempt(tmp_path, 2)
    assert found(folder) == {f"training/checkpoint-200/{name}" for name in ("state.json", "state/model.pt")}


def test_the_last_report_is_found(tmp_path: Path) -> None:
    assert reported_attempt(tmp_path / "absent") is None
    for lease in (9, 10, 11):
        open_attempt(tmp_path, lease)
    assert reported_attempt(tmp_path) is None
    (tmp_path / "lease-9").mkdir()
    for lease in (9, 11):
        (tmp_path / f"lease-{lease}" / "report.json").touch()
    assert reported_attempt(tmp_path) == tmp_path / "lease-11"


def test_an_attempt_that_was_killed_at_once_hides_no_checkpoint(tmp_path: Path) -> None:
    leave_training(open_attempt(tmp_path, 4))
    attempt_folder(tmp_path, 5).mkdir()  # killed before it carried anything over
    assert "training/checkpoint-100/state.json" in found(open_attempt(tmp_path, 7))


def test_an_attempt_that_came_too_late_is_dropped_unless_the_next_one_goes_on_from_it(tmp_path: Path) -> None:
    late = open_attempt(tmp_path, 4)
    leave_training(late)
    drop_attempt(tmp_path, 4)
    assert "training/checkpoint-100/state.json" in found(late)
    folder = open_attempt(tmp_path, 5)
    late.mkdir()
    drop_attempt(tmp_path, 4)
    assert not late.exists() and found(folder)
