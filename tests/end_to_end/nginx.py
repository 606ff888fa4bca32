"""Debian's nginx in a subprocess, with the configuration of deploy/nginx in front of servers."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.end_to_end.server import REPOSITORY, client_of, free_port

CONFIGURATION = REPOSITORY / "deploy/nginx/nginx.conf"
PAGE = REPOSITORY / "docs/behind-a-proxy.md"
_PROGRAM = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
_SERVERS = re.compile(r"( +server )modelhost-\d+:8000( .+\n)(?: +server .+\n)*")


def nginx_program() -> str:
    """Return the path of nginx; skip the test where there is none, but fail it in CI."""
    if _PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("there is no nginx, and CI tests what stands in front of the service")
        pytest.skip("there is no nginx")
    return _PROGRAM


def with_example(name: str) -> str:
    """Return the configuration with an example of the page in place of what that stands for."""
    page, text = (path.read_text(encoding="utf-8") for path in (PAGE, CONFIGURATION))
    [example] = re.findall(rf"(?ms)^```nginx {re.escape(name)}\n(.*?)^```$", page)
    before, after = re.split(r"(?m)^ *# the rest as in .*\n", example)
    opening = "server" if example.startswith("server") else "location /"
    replaced = re.search(rf"(?ms)^( *){opening} {{\n(.*?)^\1}}\n", text)
    assert replaced is not None
    given = set(map(_directive, before.rpartition("{\n")[2].splitlines()))
    rest = [line for line in replaced[2].splitlines() if _directive(line) not in given]
    return text.replace(replaced[0], "\n".join([before, *rest, after]))


def _directive(line: str) -> str:
    words = line.split()
    return " ".join(words[: 2 if words[:1] == ["proxy_set_header"] else 1])


def rendered(folder: Path, port: int, upstreams: Sequence[int], text: str | None = None) -> str:
    """Return a configuration with these ports, and with what it writes in `folder`."""
    text = text or CONFIGURATION.read_text(encoding="utf-8")
    text = text.replace("/tmp/", f"{folder}/").replace("listen 8000;", f"listen 127.0.0.1:{port};")
    return _SERVERS.sub(
        lambda match: "".join(f"{match[1]}127.0.0.1:{each}{match[2]}" for each in upstreams), text
    )


class Nginx:
    """Runs nginx in front of servers on these ports while the `with` block lasts.

    `text` is another configuration than that of deploy/. `replacements` are made in it, for
    timeouts that a test cannot wait for; each must be there.
    """

    def __init__(
        self,
        *upstreams: int,
        text: str | None = None,
        replacements: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._program = nginx_program()
        self._scratch = tempfile.TemporaryDirectory(prefix="modelhost-nginx-")
        folder = Path(self._scratch.name)
        folder.chmod(0o755)  # root's nginx has workers that are somebody else
        self.port = free_port()
        text = rendered(folder, self.port, upstreams, text)
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        self._configuration = folder / "nginx.conf"
        self._configuration.write_text(text, encoding="utf-8")
        self._log_path = folder / "log"

    def __enter__(self) -> Self:
        command = [self._program, "-c", str(self._configuration), "-g", "daemon off;"]
        with self._log_path.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._wait_until_listening()
        except BaseException:
            self._stop()
            raise
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = client_of(self.url, timeout=60)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.client.close()
        self._stop()

    @property
    def log(self) -> str:
        """All that nginx has printed."""
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.02)
        raise AssertionError(f"nginx does not listen:\n{self.log}")

    def _stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self._scratch.cleanup()
