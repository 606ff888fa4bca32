"""A server of the benchmark while it runs."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks import wrk
from benchmarks.kit.processes import ServerProcess, free_port
from benchmarks.rows import ROWS, expected_text
from benchmarks.servers import REPOSITORY, Server

START_SECONDS = 120


class RunningServer:
    """A server that runs while the `with` block lasts.

    The block begins when each of the models has answered rightly, through every worker as far as
    can be told.
    """

    def __init__(
        self,
        server: Server,
        environment: Path,
        log: Path,
        *,
        models: Sequence[str],
        workers: int,
    ) -> None:
        self.server = server
        self.port = free_port()
        self.seconds_to_first_prediction = 0.0
        self._models = models
        self._workers = workers
        values = {"port": self.port, "workers": workers, "models": ",".join(models)}
        self.process = ServerProcess(
            server.arguments(**values),
            log,
            folder=server.folder,
            environment={
                **os.environ,
                "PATH": os.pathsep.join([str(environment / "bin"), os.environ["PATH"]]),
                "PYTHONPATH": str(REPOSITORY),
                **server.environment_variables(**values),
            },
        )

    def __enter__(self) -> Self:
        begun = time.perf_counter()
        self.process.start()
        try:
            for model in self._models:
                self._wait_for_answers(model, 1)
            self.seconds_to_first_prediction = time.perf_counter() - begun
            for model in self._models:
                self.wait_until_calm(model)
        except BaseException:
            self.process.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.stop()

    def wait_until_calm(self, model: str) -> None:
        """Return once the server answers, whatever a load has left in its queues.

        Raises:
            ServerFailed: it does not.
        """
        self._wait_for_answers(model, 10 * self._workers)

    def path(self, model: str) -> str:
        """Return where predictions of a model are asked for."""
        return self.server.path.format(model=model)

    def url(self, path: str) -> str:
        """Return the whole address."""
        return f"http://127.0.0.1:{self.port}{path}"

    def load(
        self, model: str, connections: int, seconds: int, *, with_probe: bool = False
    ) -> tuple[wrk.Throughput, wrk.Throughput | None]:
        """Ask for rows of a model, and after the health beside it if there shall be a probe."""
        return self._load(model, connections, seconds, with_probe=with_probe, checks=False)

    def wrong_answers(self, model: str, connections: int, seconds: int) -> int:
        """Ask for rows of a model, look at each answer, and return how many are wrong."""
        return self._load(model, connections, seconds, with_probe=False, checks=True)[0].wrong

    def _load(
        self, model: str, connections: int, seconds: int, *, with_probe: bool, checks: bool
    ) -> tuple[wrk.Throughput, wrk.Throughput | None]:
        self.process.give_way()
        bodies = [
            wrk.Body(
                _compact(self.server.body_for(model, row)),
                expected_text(model, row) if checks else "",
            )
            for row in ROWS
        ]
        health_url = self.url(self.server.health_path) if with_probe else ""
        return wrk.post(self.url(self.path(model)), bodies, connections, seconds, health_url)

    def _wait_for_answers(self, model: str, times: int) -> None:
        """Return once that many answers in a row are right, each on a connection of its own."""
        right = 0

        def is_enough() -> bool | None:
            nonlocal right
            while right < times and self._answers(model):
                right += 1
            if right == times:
                return True
            right = 0
            return None

        self.process.wait_until(is_enough, f"one that predicts {model}", START_SECONDS)

    def _answers(self, model: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        body = _compact(self.server.body_for(model, ROWS[0]))
        try:
            connection.request("POST", self.path(model), body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
            return response.status == 200 and expected_text(model, ROWS[0]) in text
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def configured(
    server: Server, folder: Path, name: str, models: Sequence[Mapping[str, object]], **keys: object
) -> Server:
    """Return a server with a YAML file of its own: these models, and these further keys."""
    path = folder / f"{server.name}-{name}.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    # JSON is YAML too.
    path.write_text(json.dumps({"models": list(models), **keys}), encoding="utf-8")
    return replace(server, variables={**server.variables, "REST_CONFIG": str(path)})


def entry(class_name: str, **options: object) -> dict[str, object]:
    """Return the entry of one of the benchmark's models in the YAML file."""
    return {"class_path": f"benchmarks.models.{class_name}", **options}


def _compact(body: Mapping[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
