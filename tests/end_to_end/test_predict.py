"""Files of rows, predicted by the command itself: interrupted, killed, resumed, over HTTP."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.server import REPOSITORY, Server

pytestmark = pytest.mark.long

FAKES = "tests.fakes.scoring"
ROWS = 40_000
_MODELS = ("SlowModel", "DeadlyRowModel", "RatingModel")
CONFIGURATION = {
    "models": [
        *({"class_path": f"{FAKES}.{name}"} for name in _MODELS),
        {"class_path": f"{FAKES}.UnloadableModel", "required": False},
    ]
}


def expected(rows: int) -> str:
    """What the slow model makes of 0, 1, …; it fails for 13."""
    return "".join(f'{{"x":{2.0 * x}}}\n' if x != 13 else "null\n" for x in range(rows))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rest_config.yaml").write_text(yaml.safe_dump(CONFIGURATION), encoding="utf-8")
    write(tmp_path / "rows.csv", ROWS)
    return tmp_path


def write(path: Path, rows: int) -> None:
    path.write_text("x\n" + "".join(f"{x}\n" for x in range(rows)), encoding="utf-8")


def write_customers(folder: Path) -> None:
    """Rows for the rating model, of which 43 fail."""
    rows = [
        "age,income,member,fullName,tier,address.street,visits",
        *(f'{x % 50 - 1},{x}.5,true,"n, {x}",gold,High Street,"[{x}]"' for x in range(2000)),
        "1,1,true,raises,,,",
        "1,1,true,refused,,,",
        "1,1,1",
    ]
    (folder / "rows.csv").write_text("\n".join(rows), encoding="utf-8")


class Predicting:
    """The command while it runs, as the leader of a group of processes."""

    def __init__(self, folder: Path, *arguments: str, model: str = "slow") -> None:
        self._folder = folder
        files = ["--input", "rows.csv", "--output", "out.jsonl"]
        self.process = subprocess.Popen(
            [sys.executable, str(REPOSITORY / "manage.py"), "predict", model, *files, *arguments],
            cwd=folder,
            env={
                **os.environ,
                "REST_CONFIG": str(folder / "rest_config.yaml"),
                "PYTHONPATH": str(REPOSITORY),
                "SPARED": str(folder / "spared"),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for_rows(self, rows: int) -> int:
        """Return how many rows are committed, once there are more than these."""
        while self.process.poll() is None:
            done = committed(self._folder)
            if done > rows:
                return done
            time.sleep(0.01)
        raise AssertionError(self.end()[1])

    def processes(self) -> list[int]:
        """The processes of the group that there are."""
        listed = subprocess.run(
            ["pgrep", "-g", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(pid) for pid in listed.stdout.split()]

    def end(self) -> tuple[int, str]:
        """Return the exit status, and what was said."""
        said, _ = self.process.communicate(timeout=300)
        return self.process.returncode, said


def committed(folder: Path) -> int:
    try:
        state = json.loads((folder / "out.jsonl.state.json").read_bytes())
    except FileNotFoundError:
        return -1
    rows: int = state["checkpoint"]["rows"]
    return rows


def assert_complete(folder: Path, rows: int = ROWS) -> None:
    """Nothing is lost, and nothing there twice."""
    assert (folder / "out.jsonl").read_text(encoding="utf-8") == expected(rows)
    (error,) = (folder / "out.jsonl.errors.jsonl").read_text(encoding="utf-8").splitlines()
    assert (json.loads(error)["row"], json.loads(error)["line"]) == (14, 15)
    assert not (folder / "out.jsonl.state.json").exists()


# Ten starts take a busy machine a while.
@pytest.mark.timeout(600)
def test_a_job_that_is_killed_ten_times_gives_what_an_undisturbed_one_does(folder: Path) -> None:
    chance = random.Random()  # noqa: S311
    done = -1
    for number in range(10):
        # How many processes there are makes no difference to what is written.
        predicting = Predicting(folder, "--processes", "2" if number % 3 == 0 else "1")
        done = predicting.wait_for_rows(done)
        time.sleep(chance.uniform(0, 0.3))
        predicting.process.kill()
        predicting.end()
    status, said = Predicting(folder, "--processes", "2").end()
    assert status == 1
    assert f"{ROWS:,} rows: {ROWS - 1:,} predicted, 1 failed" in said
    assert_complete(folder)


def assert_gone(predicting: Predicting) -> None:
    """No process of the command is left, soon at least."""
    deadline = time.monotonic() + 30
    while predicting.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert predicting.processes() == []


def test_an_interruption_from_the_keyboard_says_how_to_go_on(folder: Path) -> None:
    predicting = Predicting(folder, "--processes", "2")
    predicting.wait_for_rows(0)
    os.killpg(predicting.process.pid, signal.SIGINT)
    status, said = predicting.end()
    assert status == 130
    assert "The same command goes on from there, or --restart begins anew." in said
    assert "Traceback" not in said
    assert_gone(predicting)
    write(folder / "other.csv", 3)
    status, said = Predicting(folder, "--input", "other.csv").end()
    assert (status, "whose input was" in said) == (2, True)
    assert Predicting(folder).end()[0] == 1
    assert_complete(folder)


def test_a_termination_does_too(folder: Path) -> None:
    predicting = Predicting(folder, "--processes", "1")
    predicting.wait_for_rows(0)
    predicting.process.terminate()
    assert predicting.end()[0] == 143
    assert committed(folder) > 0


def test_no_process_is_left_where_the_command_is_killed(folder: Path) -> None:
    predicting = Predicting(folder, "--processes", "2")
    predicting.wait_for_rows(0)
    assert len(predicting.processes()) > 2
    predicting.process.kill()
    predicting.end()
    assert_gone(predicting)


@pytest.mark.measured
def test_a_process_that_dies_stops_the_job_which_goes_on_later(folder: Path) -> None:
    assert_goes_on_after_a_death(folder, "A process that predicts was ended by SIGKILL.")


def assert_goes_on_after_a_death(folder: Path, reason: str) -> None:
    """Have a job stop for this reason at the row that kills a process, and go on later."""
    write(folder / "rows.csv", 3000)
    status, said = Predicting(folder, "--processes", "2", model="deadly_row").end()
    assert status == 3
    assert reason in said
    assert "The same command goes on from there" in said
    (folder / "spared").touch()
    assert Predicting(folder, "--processes", "2", model="deadly_row").end()[0] == 0
    lines = (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines == [f'{{"x":{2.0 * x}}}' for x in range(3000)]


@pytest.mark.measured
def test_a_model_that_cannot_be_loaded_leaves_the_output_as_it_was(folder: Path) -> None:
    (folder / "out.jsonl").write_text("before\n", encoding="utf-8")
    status, said = Predicting(folder, "--processes", "2", model="unloadable").end()
    assert status == 2
    assert "The model unloadable cannot be loaded: " in said
    assert said.count("Traceback") == 1  # in the log of the first process
    assert (folder / "out.jsonl").read_text(encoding="utf-8") == "before\n"
    assert not (folder / "out.jsonl.state.json").exists()


def test_a_full_disk_stops_the_job_which_goes_on_later(folder: Path) -> None:
    limited = f"ulimit -f 100; exec {sys.executable} {REPOSITORY}/manage.py predict slow"
    done = subprocess.run(
        ["bash", "-c", f"trap '' XFSZ; {limited} -i rows.csv -o out.jsonl --processes 1"],
        cwd=folder,
        env={**os.environ, "REST_CONFIG": "rest_config.yaml", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 3
    assert "File too large" in done.stderr
    assert "The same command goes on from there" in done.stderr
    assert Predicting(folder).end()[0] == 1
    assert_complete(folder)


def pipe(folder: Path, given: bytes, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, str(REPOSITORY / "manage.py"), "predict", "slow", *arguments],
        cwd=folder,
        env={**os.environ, "REST_CONFIG": "rest_config.yaml", "PYTHONPATH": str(REPOSITORY)},
        input=given,
        capture_output=True,
        timeout=100,
        check=False,
    )


@pytest.mark.measured
@pytest.mark.parametrize("processes", ["1", "2"])
def test_pipes_are_read_and_written(folder: Path, processes: str) -> None:
    given = b"".join(b'{"x":%d}\n' % x for x in range(2000))
    options = ("--input", "-", "--format", "jsonl", "--output", "-", "--processes", processes)
    done = pipe(folder, given, *options)
    assert done.returncode == 1
    assert done.stdout.decode() == expected(2000)
    (error,) = [line for line in done.stderr.decode().splitlines() if line.startswith("{")]
    assert json.loads(error)["row"] == 14
    assert "a word of the model" in done.stderr.decode()
    assert "2,000 rows: 1,999 predicted, 1 failed (see standard error)" in done.stderr.decode()


def test_a_reader_that_goes_away_ends_the_command(folder: Path) -> None:
    command = (
        f"{sys.executable} {REPOSITORY}/manage.py predict slow -i rows.csv -o - | head -n 1;"
        " echo ${PIPESTATUS[0]}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "REST_CONFIG": "rest_config.yaml", "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == '{"x":0.0}\n3\n'
    assert "Traceback" not in done.stderr


# Over HTTP


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(CONFIGURATION) as server:
        yield server


def test_a_service_predicts_what_the_model_does_here(server: Server, folder: Path) -> None:
    write_customers(folder)
    found = []
    for options in ((), ("--url", server.url)):
        status, said = Predicting(folder, "--batch-size", "70", *options, model="rating").end()
        assert status == 1, said
        output, errors = written(folder)
        found.append((output, [told(error) for error in errors]))
    assert found[0] == found[1]
    assert len(found[0][1]) == 43


def written(folder: Path) -> tuple[str, list[dict[str, object]]]:
    """The output, and the errors."""
    errors = (folder / "out.jsonl.errors.jsonl").read_text(encoding="utf-8").splitlines()
    return (folder / "out.jsonl").read_text(encoding="utf-8"), [*map(json.loads, errors)]


def told(error: dict[str, object]) -> Sequence[object]:
    """An error without what a service keeps to itself."""
    hides = error["type"] == "ServiceError"
    return [error["row"], error["line"], error["type"], None if hides else error["messages"]]


def test_a_service_that_is_stopped_for_a_while_is_waited_for(folder: Path) -> None:
    write(folder / "rows.csv", 20_000)
    with Server(CONFIGURATION) as first:
        url, port = first.url, first.port
        predicting = Predicting(folder, "--url", url, "--concurrency", "2")
        predicting.wait_for_rows(0)
    with Server(CONFIGURATION, bind=f"--bind 127.0.0.1:{port}"):
        assert predicting.end()[0] == 1
    assert_complete(folder, 20_000)


def test_a_service_that_stays_away_stops_the_job(folder: Path) -> None:
    with Server(CONFIGURATION) as server:
        predicting = Predicting(folder, "--url", server.url, "--give-up-after", "1")
        predicting.wait_for_rows(0)
    status, said = predicting.end()
    assert status == 3
    assert "the service did not answer" in said
    assert "The same command goes on from there" in said


@pytest.mark.parametrize(
    ("model", "said"),
    [("slo", "404"), ("slow", "0 rows: 0 predicted")],
)
def test_a_service_needs_no_configuration_here(
    server: Server, tmp_path: Path, model: str, said: str
) -> None:
    write(tmp_path / "rows.csv", 0)
    status, output = Predicting(tmp_path, "--url", server.url, model=model).end()
    assert said in output
    assert status == (2 if model == "slo" else 0)


# By the configuration, elsewhere


def use(folder: Path, name: str, execution: dict[str, object], **more: object) -> None:
    """Have the configuration say where a model computes."""
    entry = {"class_path": f"{FAKES}.{name}", "execution": execution, **more}
    if execution["kind"] == "remote":
        del entry["class_path"]
    (folder / "rest_config.yaml").write_text(yaml.safe_dump({"models": [entry]}), encoding="utf-8")


@pytest.fixture
def apart() -> dict[str, object]:
    """The execution of a model in a Python that the configuration names."""
    return {"kind": "process", "python": sys.executable}


def there(url: str, **more: object) -> dict[str, object]:
    """The execution of a model in another service."""
    return {"kind": "remote", "url": url, **more}


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_python_of_its_own_predicts_what_the_model_does_here(
    folder: Path, apart: dict[str, object], processes: str
) -> None:
    write_customers(folder)
    options = ("--processes", processes, "--batch-size", "70")
    assert Predicting(folder, *options, model="rating").end()[0] == 1
    here = written(folder)
    use(folder, "RatingModel", apart, timeout_seconds=0.001)
    status, said = Predicting(folder, *options, model="rating").end()
    assert (status, "2,003 rows: 1,960 predicted, 43 failed" in said) == (1, True), said
    assert written(folder) == here


def test_so_does_a_service_that_the_configuration_names(server: Server, folder: Path) -> None:
    write_customers(folder)
    assert Predicting(folder, "--batch-size", "70", model="rating").end()[0] == 1
    output, errors = written(folder)
    # The limits are for requests: a job waits for its turn.
    limits = {"concurrency": {"max_concurrency": 1, "max_queue_size": 0}}
    use(folder, "", there(server.url, model="rating"), qualified_name="far", **limits)
    status, said = Predicting(folder, "--batch-size", "70", model="far").end()
    assert (status, "2,003 rows: 1,960 predicted, 43 failed" in said) == (1, True), said
    assert written(folder)[0] == output
    assert [told(each) for each in written(folder)[1]] == [told(each) for each in errors]


@pytest.mark.parametrize("where", ["process", "service"])
def test_rows_that_are_no_json_fail_alone_elsewhere_too(
    server: Server, folder: Path, apart: dict[str, object], where: str
) -> None:
    lines = ['{"x":1}', '{"x":1}]', "nothing", '{"x":"a"}', "[", '{"x":2}', '{"x":13}']
    (folder / "rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    options = ("--input", "rows.jsonl")
    assert Predicting(folder, *options).end()[0] == 1
    here = written(folder)
    use(
        folder,
        "SlowModel",
        apart if where == "process" else there(server.url),
        qualified_name="slow",
    )
    assert Predicting(folder, *options).end()[0] == 1
    assert written(folder) == here


@pytest.mark.timeout(300)
@pytest.mark.parametrize("where", ["process", "service"])
def test_a_job_elsewhere_that_is_killed_goes_on(
    server: Server, folder: Path, apart: dict[str, object], where: str
) -> None:
    use(
        folder,
        "SlowModel",
        apart if where == "process" else there(server.url),
        qualified_name="slow",
    )
    write(folder / "rows.csv", 6_000)
    done = -1
    for processes in ("1", "2"):
        predicting = Predicting(folder, "--processes", processes, "--concurrency", processes)
        done = predicting.wait_for_rows(done)
        predicting.process.kill()
        predicting.end()
    status, said = Predicting(folder).end()
    assert (status, "Going on behind row " in said) == (1, True)
    assert "6,000 rows: 5,999 predicted, 1 failed" in said
    assert_complete(folder, 6_000)


def supervisors_of(folder: Path) -> list[int]:
    """The processes of models that were started from a folder and are there still."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            is_supervisor = b"models_api.model_processes" in (path / "cmdline").read_bytes()
            if is_supervisor and (path / "cwd").readlink() == folder:
                found.append(int(path.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_processes_of_a_python_of_its_own_end_with_the_job(
    folder: Path, apart: dict[str, object], number: signal.Signals
) -> None:
    use(folder, "SlowModel", apart)
    predicting = Predicting(folder)
    predicting.wait_for_rows(0)
    assert supervisors_of(folder)
    predicting.process.send_signal(number)
    status, said = predicting.end()
    assert status == (-9 if number == signal.SIGKILL else 128 + number)
    assert "Traceback" not in said
    deadline = time.monotonic() + 30
    while supervisors_of(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert supervisors_of(folder) == []


def test_a_model_process_that_dies_stops_the_job_which_goes_on_later(
    folder: Path, apart: dict[str, object]
) -> None:
    use(folder, "DeadlyRowModel", apart)
    reason = "The process of the model deadly_row ended under this request."
    assert_goes_on_after_a_death(folder, reason)


def test_a_model_that_its_own_python_cannot_load_is_refused(
    folder: Path, apart: dict[str, object]
) -> None:
    use(folder, "UnloadableModel", apart)
    status, said = Predicting(folder, model="unloadable").end()
    assert (status, "The model unloadable cannot be loaded: " in said) == (2, True)
    assert "the weights are not there" in said
    assert not (folder / "out.jsonl").exists()


def test_what_a_python_of_its_own_prints_is_none_of_the_predictions(
    folder: Path, apart: dict[str, object]
) -> None:
    use(folder, "SlowModel", apart)
    given = b"".join(b'{"x":%d}\n' % x for x in range(300))
    done = pipe(folder, given, "--input", "-", "--format", "jsonl", "--output", "-")
    assert (done.returncode, done.stdout.decode()) == (1, expected(300))
    assert "a word of the model" in done.stderr.decode()


def test_a_service_of_the_configuration_that_stops_is_waited_for(folder: Path) -> None:
    write(folder / "rows.csv", 6_000)
    with Server(CONFIGURATION) as first:
        use(folder, "", there(first.url), qualified_name="slow")
        port = first.port
        predicting = Predicting(folder, "--concurrency", "2")
        predicting.wait_for_rows(0)
    with Server(CONFIGURATION, bind=f"--bind 127.0.0.1:{port}"):
        assert predicting.end()[0] == 1
    assert_complete(folder, 6_000)


def test_a_service_of_the_configuration_that_stays_away_stops_the_job(folder: Path) -> None:
    with Server(CONFIGURATION) as service:
        use(folder, "", there(service.url), qualified_name="slow")
        predicting = Predicting(folder, "--give-up-after", "1")
        predicting.wait_for_rows(0)
    status, said = predicting.end()
    assert (status, "again and again for 1 s." in said) == (3, True), said
    assert "The same command goes on from there" in said


def test_a_service_that_speaks_open_inference_predicts_for_files(
    folder: Path,
) -> None:
    configuration = {**CONFIGURATION, "open_inference": {"enabled": True}}
    write(folder / "rows.csv", 500)
    with Server(configuration) as service:
        execution = there(service.url, protocol="open_inference")
        use(folder, "", execution, qualified_name="slow")
        status, said = Predicting(folder).end()
    assert status == 1, said
    output, errors = written(folder)
    assert (output, [each["row"] for each in errors]) == (expected(500), [14])
