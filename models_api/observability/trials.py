"""Trials of versions: what their requests show in all workers, and the worse taken back."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

from models_api.error_table import FAILURE
from models_api.fork import call_after_fork
from models_api.hosting.canary import STAKES, Evidence, reason_to_abort, slowness
from models_api.hosting.generation import Generation
from models_api.hosting.hosted_model import HostedModel
from models_api.hosting.release import Release
from models_api.hosting.traffic import SUCCESS, Traffic
from models_api.logs import SafeLogger
from models_api.observability.metric_types import HistogramValues
from models_api.observability.shared_memory import SharedMemoryMetrics, Totals
from models_api.observability.taken_back import TakenBack

logger = SafeLogger(__name__)

_INTERVAL_SECONDS = 1.0
_KIND = "trial"
_COMPARED = 32
"""Requests of the others, at most, that one of a version is compared with."""
_FAILED = frozenset([FAILURE, "deadline_exceeded"])
_ENDED = frozenset([SUCCESS, *_FAILED])
"""Outcomes that say something of a version: the others are the client's, or for want of a place."""


class Trials:
    """Looks at the versions with `abort`, in a thread of each worker, and takes the worse back."""

    def __init__(
        self,
        generation: Callable[[], Generation],
        shared: SharedMemoryMetrics,
        taken_back: TakenBack,
    ) -> None:
        """Make them.

        Args:
            generation: Returns what is hosted now.
            shared: What all workers of the server count.
            taken_back: What any of them has decided.
        """
        self._generation = generation
        self._shared = shared
        self._taken_back = taken_back
        self._trials: WeakKeyDictionary[Release, Trial] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._serves = self._is_watching = False
        # The thread is not in a forked child.
        call_after_fork(self._begin)

    def start(self) -> None:
        """Look from now on, where there are such versions; quick if that was done before."""
        if not self._serves:
            self._serves = True
            self.look()

    def look(self) -> None:
        """Follow what was decided by any worker, and decide."""
        with self._lock:
            trials = [self._trial(each) for each in self._generation().releases()]
            totals: Totals | None = None
            for trial in filter(None, trials):
                trial.traffic.take_back(self._taken_back.read(trial.name, trial.fingerprint))
                if not trial.is_over:
                    totals = totals or self._shared.read()
                    self._judge(trial, totals)
            if self._trials and self._serves and not self._is_watching:
                self._is_watching = True
                threading.Thread(target=self._watch, name="trials", daemon=True).start()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._serves = self._is_watching = False

    def _watch(self) -> None:
        while True:
            time.sleep(_INTERVAL_SECONDS)
            try:
                self.look()
            except Exception:
                logger.exception("The versions that are on trial cannot be looked at")

    def _trial(self, release: Release) -> Trial | None:
        traffic = release.traffic
        if traffic is None or not _on_trial(traffic):
            return None
        known = self._trials.get(release)
        # What a version is made from may be known only once it is loaded.
        if known is None or known.fingerprint != _fingerprint(traffic):
            known = Trial(release.qualified_name, traffic, self._shared)
            self._trials[release] = known
        return known

    def _judge(self, trial: Trial, totals: Totals) -> None:
        for version, reason in trial.verdicts(totals).items():
            if self._taken_back.add(trial.name, trial.fingerprint, version, reason):
                logger.error("%s %s is taken back: %s", trial.name, version, reason)
            trial.traffic.take_back({**trial.traffic.reasons, version: reason})


class Trial:
    """What the requests for one name show of its versions. Safe to use from many threads."""

    def __init__(self, name: str, traffic: Traffic, shared: SharedMemoryMetrics) -> None:
        self.name = name
        self.fingerprint = _fingerprint(traffic)
        """Of what the configuration says of the versions: with another one all begins anew."""
        self.traffic = traffic
        self._series = {
            share.model: shared.histogram(
                _KIND,
                (self.fingerprint, name, share.model.version or ""),
                (),
                more=1 + len(STAKES),
            )
            for share in traffic.shares
        }
        self._fresh = {model: _window() for model in _on_trial(traffic)}
        """How long the latest requests of the others took, for each version on trial."""
        traffic.observe = self.observe

    @property
    def is_over(self) -> bool:
        """Whether all of them were."""
        return all((model.version or "") in self.traffic.reasons for model in self._fresh)

    def verdicts(self, totals: Totals) -> dict[str, str]:
        """Return which versions are to be taken back, and why, by what all workers counted."""
        evidence = self._evidence(totals)
        references = [each for each in self._series if each.configuration.abort is None]
        others = sum((evidence[model] for model in references), Evidence())
        found = {}
        for model in self._fresh:
            abort, version = model.configuration.abort, model.version or ""
            if abort is None or version in self.traffic.reasons:
                continue
            reason = reason_to_abort(evidence[model], others, abort)
            if reason is not None:
                found[version] = reason
        return found

    def observe(self, model: HostedModel, outcome: str, seconds: float, rows: int) -> None:
        """Note how a prediction ended."""
        if outcome not in _ENDED:
            return
        # How long many rows take says little of one, and a quick failure nothing.
        compares = rows == 1 and outcome != FAILURE
        abort = model.configuration.abort
        winnings: tuple[float, ...] = ()
        if compares and abort is None:
            for window in self._fresh.values():
                window.append(seconds)
        elif compares and abort is not None and abort.max_latency_ratio is not None:
            others, self._fresh[model] = self._fresh[model], _window()
            if others:
                winnings = slowness(seconds, [*others], abort.max_latency_ratio)
            else:
                self._fresh[model] = others
        self._series[model].observe(seconds, outcome in _FAILED, *winnings)

    def _evidence(self, totals: Totals) -> dict[HostedModel, Evidence]:
        found = {model: Evidence() for model in self._series}
        records = totals.of_kind(_KIND)
        for model in found:
            record = records.get((self.fingerprint, self.name, model.version or ""))
            if record is not None:
                values = HistogramValues.read((), record)
                errors, *winnings = values.more
                found[model] = Evidence(values.count, errors, tuple(winnings))
        return found


def _fingerprint(traffic: Traffic) -> str:
    said = [
        (share.model.version, share.model.edition, share.model.configuration.model_dump())
        for share in traffic.shares
    ]
    return hashlib.sha256(repr(said).encode(errors="surrogatepass")).hexdigest()[:16]


def _window() -> deque[float]:
    return deque(maxlen=_COMPARED)


def _on_trial(traffic: Traffic) -> Sequence[HostedModel]:
    return [each.model for each in traffic.shares if each.model.configuration.abort is not None]
