"""Scorers in processes of their own: what comes of those that fail, die and are interrupted."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from models_api.scoring.errors import JobRefused, JobStopped
from models_api.scoring.processes import ProcessScorer, started
from models_api.scoring.rows import Batch
from models_api.scoring.scorers import Scorer
from tests.fakes.scorers import end, fail, make_scorer, refuse


def batch(payload: bytes) -> Batch:
    return Batch(payload, len(payload))


@pytest.fixture
def scorer() -> Iterator[ProcessScorer]:
    (scorer,) = started([make_scorer])
    yield scorer
    scorer.stop()


def test_a_process_scores_batches_and_says_when_it_cannot(
    scorer: ProcessScorer,
) -> None:
    scored, seconds = scorer.score([batch(b"a"), batch(b"b")])
    assert ([each.written for each in scored], seconds) == ([b"a", b"b"], 0.5)
    with pytest.raises(JobStopped, match=r"^ZeroDivisionError: by zero$"):
        scorer.score([batch(b"raise")])
    with pytest.raises(JobStopped, match=r"^Nobody answers\.$"):
        scorer.score([batch(b"stop")])
    # Neither that nor an interruption, which comes to it from the keyboard, too, has ended it.
    pid = scorer._process.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    assert scorer.score([batch(b"c")])[0][0].written == b"c"
    for what in (b"kill", b"a"):  # and whoever asks it next
        with pytest.raises(JobStopped, match=r"^A process that predicts was ended by SIGKILL\.$"):
            scorer.score([batch(what)])


@pytest.mark.long
def test_a_process_that_ends_as_it_scores_stops_the_job(scorer: ProcessScorer) -> None:
    with pytest.raises(JobStopped, match=r"^A process that predicts has ended, with status 7\.$"):
        scorer.score([batch(b"exit")])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (refuse, r"^The weights are not there\.$"),
        pytest.param(fail, "^KeyboardInterrupt$", marks=pytest.mark.long),
        pytest.param(
            end, r"^A process that predicts has ended, with status 3\.$", marks=pytest.mark.long
        ),
    ],
)
def test_a_scorer_that_cannot_be_made_is_refused_and_leaves_no_process(
    make: Callable[[], Scorer], message: str, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    with pytest.raises(JobRefused, match=message):
        started([partial(make_scorer, str(note)), make])
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text(encoding="ascii")), 0)
