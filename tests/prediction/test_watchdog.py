"""The end of a process in which a prediction never ends: a real one, because it does end."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass

PRELUDE = """
import logging, signal, sys, threading, time
from models_api.prediction import watchdog
from models_api.prediction.deadline import DeadlineThreads
from models_api.prediction.instruments import Instruments
from models_api.prediction.limiter import Bounds, WorkerLimiter
from models_api.exceptions import DeadlineExceeded

logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stdout)
watchdog._LINGER_SECONDS = 0.05
worker = WorkerLimiter()
watched = []

def watch(patience_seconds):
    watched.append(watchdog.Watchdog(worker, patience_seconds))

class Admitted:
    # Predicts as Predictor.admit does.

    def __init__(self, predict, model, timeout_seconds=None, has_thread=False):
        bounds = Bounds(timeout_seconds=timeout_seconds)
        self.limiter = worker.add_model(model, bounds, Instruments())
        self.predict = predict
        self.threads = DeadlineThreads(timeout_seconds) if has_thread else None

    def __call__(self, *arguments, **named):
        for each in watched:
            each.start()
        slot = self.limiter.acquire()
        if self.threads is not None:
            return self.threads.call(self.threads.timeout_seconds, slot, self.predict, *arguments)
        with slot:
            return self.predict(*arguments, **named)

signal.signal(signal.SIGTERM, lambda *_: print("told to stop", flush=True))

def begin(predict, *arguments):
    thread = threading.Thread(target=predict, args=arguments, daemon=True)
    thread.start()
    return thread

def never_end(body):
    threading.Event().wait()

def wait_for_the_end():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.01)
"""


@dataclass
class Ended:
    """How a process ended."""

    status: int
    output: str


def run(script: str, *, is_measured: bool = True) -> Ended:
    """Run a script after the prelude.

    Under coverage a process that ends by os._exit saves its data first. Its trace function in C may
    then crash what another thread computes meanwhile: so such a process is not to be measured.
    """
    measuring = () if is_measured else ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        env={name: value for name, value in os.environ.items() if name not in measuring},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    return Ended(done.returncode, done.stdout)


def test_a_prediction_that_never_ends_is_shown_and_ends_its_process() -> None:
    ended = run("""
watch(0.2)
begin(Admitted(never_end, "iris"), b"")
wait_for_the_end()
""")
    first, *rest = ended.output.splitlines()
    assert ended.status == 1, ended.output
    assert first.startswith(
        "CRITICAL models_api.prediction.watchdog: A prediction of iris has not ended after"
    )
    assert any(line.endswith("in never_end") for line in rest)
    assert rest[-1] == "told to stop"


def test_other_predictions_end_first() -> None:
    ended = run("""
watch(0.2)

def take_time(body):
    while not worker.is_hung:
        time.sleep(0.01)
    time.sleep(0.15)
    print("ended well", flush=True)

begin(Admitted(take_time, "other", 60), b"")
begin(Admitted(never_end, "iris"), b"")
wait_for_the_end()
""")
    assert ended.status == 1, ended.output
    assert ended.output.splitlines()[-1] == "ended well"


def test_the_process_ends_even_if_the_others_do_not() -> None:
    script = """
watchdog._DRAIN_SECONDS = 0.3
watch(0.2)

def go_on():
    other = Admitted(time.sleep, "other")
    while True:
        begin(other, 0.15)
        time.sleep(0.05)

begin(Admitted(never_end, "iris"), b"")
go_on()
"""
    ended = run(script, is_measured=False)
    assert ended.status == 1, ended.output


def test_the_process_ends_even_if_the_log_is_blocked() -> None:
    ended = run("""
watchdog._DRAIN_SECONDS = 0.3

def hold_the_log(body):
    logging.root.handlers[0].acquire()
    threading.Event().wait()

watch(0.2)
begin(Admitted(hold_the_log, "iris"), b"")
wait_for_the_end()
""")
    assert (ended.status, ended.output) == (1, "")


def test_a_prediction_may_go_on_for_some_time_after_its_timeout() -> None:
    ended = run("""
watch(0.2)
begin(Admitted(never_end, "iris", 60), b"")
time.sleep(0.6)
print("healthy" if not worker.is_hung else "hung")
""")
    assert (ended.status, ended.output) == (0, "healthy\n")


def test_a_prediction_that_nobody_waits_for_is_found_on_its_own_thread() -> None:
    ended = run("""
watch(0.2)
try:
    Admitted(never_end, "iris", 0.1, has_thread=True)(b"")
except DeadlineExceeded as error:
    print(error, flush=True)
wait_for_the_end()
""")
    first, *rest = ended.output.splitlines()
    assert (ended.status, first) == (1, "The model was busy for more than 0.1 s."), ended.output
    assert any(line.endswith("in never_end") for line in rest)


def test_predictions_that_end_are_left_in_peace() -> None:
    ended = run("""
watch(2)
predict = Admitted(lambda body: time.sleep(0.1), "iris")
for _ in range(25):
    predict(b"")
print("healthy" if not worker.is_hung else "hung")
""")
    assert (ended.status, ended.output) == (0, "healthy\n")


def test_a_forked_child_has_a_watchdog_of_its_own() -> None:
    ended = run("""
import os

watch(0.2)
Admitted(print, "parent")("parent", flush=True)
child = os.fork()
if child == 0:
    begin(Admitted(never_end, "child"), b"")
    wait_for_the_end()
print("child ended with", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
""")
    assert ended.status == 0, ended.output
    assert "A prediction of child has not ended" in ended.output
    assert ended.output.splitlines()[-1] == "child ended with 1"


def test_nothing_is_watched_before_the_first_prediction() -> None:
    ended = run("""
watch(0.2)
print(threading.active_count())
Admitted(len, "model")(b"")
print(threading.active_count())
""")
    assert ended.output == "1\n2\n"
