"""The processors that this process may use; in a container not all that the machine has."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP_V2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_V1 = Path("/sys/fs/cgroup/cpu")


def available_cpus() -> int:
    """Count the processors that the affinity mask and the cgroup's quota leave, at least one."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota()
    return max(1, min(allowed or 1, math.ceil(quota) if quota else allowed or 1))


def _cgroup_quota() -> float | None:
    """Processors' worth of time that the cgroup grants; None if it grants any.

    https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files
    """
    try:
        if _CGROUP_V2.exists():
            quota, period = _CGROUP_V2.read_text().split()
        else:
            quota = (_CGROUP_V1 / "cpu.cfs_quota_us").read_text().strip()
            period = (_CGROUP_V1 / "cpu.cfs_period_us").read_text().strip()
        return None if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def keep_on_one_processor(index: int) -> None:
    """Pin this process, with all its threads, to one of the processors that it may use.

    Its threads then pass the GIL on without crossing to another processor. Right only where nothing
    else runs on these processors.
    """
    allowed = sorted(os.sched_getaffinity(0))
    chosen = {allowed[index % len(allowed)]}
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), chosen)
