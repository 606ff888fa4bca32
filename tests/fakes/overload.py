"""Models that take their time, or never end."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from pathlib import Path

from ml_base import MLModel
from pydantic import BaseModel


class Wish(BaseModel):
    """How the prediction shall end."""

    gate: str = ""
    """Not before there is a file of that name in the folder OVERLOAD_GATES."""
    never: bool = False


class Answer(BaseModel):
    """Who answers."""

    process: int


class PatientModel(MLModel):
    """Ends when it is told to, and not at all if it is told never to."""

    display_name = "Patient"
    qualified_name = "patient"
    description = "Takes its time."
    version = "1.0.0"
    input_schema = Wish
    output_schema = Answer

    def __init__(self) -> None:
        """Nothing to load."""

    def predict(self, data: Wish) -> Answer:
        """Wait, and name the process."""
        while data.gate and not Path(os.environ["OVERLOAD_GATES"], data.gate).exists():
            time.sleep(0.02)
        if data.never:
            threading.Event().wait()
        return Answer(process=os.getpid())


class HurriedModel(PatientModel):
    """The same, to be given a timeout."""

    display_name = "Hurried"
    qualified_name = "hurried"


class BusyModel(PatientModel):
    """Computes, half of the time in Python."""

    display_name = "Busy"
    qualified_name = "busy"

    def predict(self, data: Wish) -> Answer:
        """Compute for 10 ms."""
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            # Gives way to other threads while it hashes.
            hashlib.sha256(b"x" * 100_000)
            sum(range(2000))
        return Answer(process=os.getpid())


class WaitingModel(PatientModel):
    """Waits for something else, as for a database, and computes nothing."""

    display_name = "Waiting"
    qualified_name = "waiting"

    def predict(self, data: Wish) -> Answer:
        """Wait for 100 ms."""
        time.sleep(0.1)
        return Answer(process=os.getpid())
