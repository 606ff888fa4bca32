"""Locks on files, by which the processes of a server know of each other.

Windows has none of this kind. There a single process serves, which shares nothing.
"""

from __future__ import annotations

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

__all__ = ["HAS_FILE_LOCKS", "fcntl"]

HAS_FILE_LOCKS = fcntl is not None
"""Whether this system has them; `fcntl` is None if it has not."""
