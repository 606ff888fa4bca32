"""What was decided of versions, as all workers of a server and those after a restart read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_api.observability.taken_back import TakenBack


def store(*folders: Path) -> TakenBack:
    return TakenBack([lambda folder=folder: folder for folder in folders], "decisions")  # type: ignore[misc]


def test_a_decision_is_known_to_others_until_the_configuration_changes(tmp_path: Path) -> None:
    one, other = store(tmp_path), store(tmp_path)
    assert other.read("iris", "a") == {}
    assert one.add("iris", "a", "2", "too slow")
    assert other.read("iris", "a") == {"2": "too slow"}
    assert not other.add("iris", "a", "2", "too slow, says another worker")
    assert other.add("iris", "a", "3", "fails")
    assert other.add("digits", "b", "2", "fails")
    assert one.read("iris", "a") == {"2": "too slow", "3": "fails"}
    assert one.read("digits", "b") == {"2": "fails"}
    assert one.read("iris", "changed") == {}
    assert one.add("iris", "changed", "2", "fails again")
    assert store(tmp_path).read("iris", "changed") == {"2": "fails again"}
    assert other.read("iris", "a") == {}
    assert other.read("digits", "b") == {"2": "fails"}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"iris": 1}', '{"iris": {"reasons": {}}}'])
def test_a_file_that_nobody_can_read_decides_nothing(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "decisions.json").write_text(content, encoding="utf-8")
    kept = store(tmp_path)
    assert kept.read("iris", "a") == {}
    assert "versions that were taken back is not known" in caplog.text
    assert kept.add("iris", "a", "2", "fails")
    assert kept.read("iris", "a") == {"2": "fails"}


def test_the_first_folder_that_can_be_made_is_taken(tmp_path: Path) -> None:
    def none_at_all() -> Path:
        raise OSError("read-only")

    kept = TakenBack([none_at_all, lambda: tmp_path / "made"], "decisions")
    assert kept.add("iris", "a", "2", "fails")
    assert store(tmp_path / "made").read("iris", "a") == {"2": "fails"}
    nowhere = TakenBack([none_at_all], "decisions")
    assert nowhere.read("iris", "a") == {}
    assert nowhere.add("iris", "a", "2", "fails")
    assert not nowhere.add("iris", "a", "2", "fails")
    assert nowhere.read("iris", "a") == {"2": "fails"}


def test_who_removes_the_file_gives_all_versions_another_chance(tmp_path: Path) -> None:
    one, other = store(tmp_path), store(tmp_path)
    assert one.add("iris", "a", "2", "fails")
    assert other.read("iris", "a")
    (tmp_path / "decisions.json").unlink()
    assert one.read("iris", "a") == other.read("iris", "a") == {}


TOO_LONG = "x" * 300
"""No file system has such a name, and none can be asked for it without an error."""


def test_a_folder_that_cannot_be_used_is_told_of_and_what_is_decided_holds_until_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a file").write_text("")
    for number, folder in enumerate((tmp_path / "a file" / "below", tmp_path / TOO_LONG)):
        caplog.clear()
        shared = tmp_path / f"shared {number}"
        one, other = store(folder, shared), store(folder, shared)
        assert one.read("iris", "a") == {}
        assert one.add("iris", "a", "2", "fails")
        assert other.read("iris", "a") == {"2": "fails"}
        assert other.add("iris", "a", "3", "fails")
        assert f"cannot be written to {folder}: " in caplog.text
        assert "MODELHOST_STATE_DIRECTORY" in caplog.text


@pytest.mark.parametrize("name", ["decisions.json", "decisions.lock"])
def test_a_decision_that_cannot_be_written_holds_all_the_same(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, shared = tmp_path / "state", tmp_path / "shared"
    (state / name / "in its place").mkdir(parents=True)
    one, other = store(state, shared), store(state, shared)
    assert one.add("iris", "a", "2", "fails")
    assert not one.add("iris", "a", "2", "fails")
    assert one.read("iris", "a") == other.read("iris", "a") == {"2": "fails"}
    assert f"cannot be written to {state}" in caplog.text
    assert not [*state.glob(".*")], "nothing half-written is left"


def test_a_file_that_is_damaged_while_it_is_known_changes_no_decision(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = store(tmp_path)
    assert one.add("iris", "a", "2", "fails")
    path = tmp_path / "decisions.json"
    for content in (path.read_bytes()[:-9], b"\xff\xfe", b'{"iris": {"fingerprint": "a"}}'):
        caplog.clear()
        path.write_bytes(content)
        assert one.read("iris", "a") == one.read("iris", "a") == {"2": "fails"}
        assert caplog.text.count(f"{path} cannot be read") == 1
    assert one.add("iris", "a", "3", "fails")
    assert store(tmp_path).read("iris", "a") == {"2": "fails", "3": "fails"}
