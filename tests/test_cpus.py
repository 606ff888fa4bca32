from __future__ import annotations

import os
from pathlib import Path

import pytest

from models_api import cpus


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cgroup file system to write to, on a machine of eight processors."""
    monkeypatch.setattr(cpus, "_CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(cpus, "_CGROUP_V1", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("6400000 100000", 8),
        ("nonsense", 8),
    ],
)
def test_the_quota_of_cgroup_2_counts(cgroup: Path, quota: str, expected: int) -> None:
    (cgroup / "cpu.max").write_text(f"{quota}\n", encoding="ascii")
    assert cpus.available_cpus() == expected


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("300000", 3), ("1", 1)])
def test_the_quota_of_cgroup_1_counts(cgroup: Path, quota: str, expected: int) -> None:
    (cgroup / "cpu.cfs_quota_us").write_text(f"{quota}\n", encoding="ascii")
    (cgroup / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert cpus.available_cpus() == expected


@pytest.mark.usefixtures("cgroup")
def test_without_a_cgroup_the_affinity_counts() -> None:
    assert cpus.available_cpus() == 8


@pytest.mark.usefixtures("cgroup")
def test_where_there_is_no_affinity_all_processors_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cpus.available_cpus() == 1
