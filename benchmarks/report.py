"""The results as tables, for a terminal and for a page; and where a peer is the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.bench import CONNECTIONS
from benchmarks.isolation import has_bars, misses, neighbour_bar_ms
from benchmarks.results import (
    Isolation,
    Measurement,
    Overload,
    Results,
    Weighing,
    by_server,
    summaries,
)
from benchmarks.servers import BARS, REST_MODEL_SERVICE, SERVERS

_LOAD_HEADER = ("server", "right/s", "ratio", "p50 ms", "p99 ms", "errors", "wrong", "health p99")
_START_HEADER = ("server", "seconds to first prediction", "memory MB")
_BAR_HEADER = ("server / reference", "model", "ratio", "wanted", "holds")
_COMPARISON_HEADER = ("comparison", "ratio", "wanted", "medians")
_ISOLATION_HEADER = (
    *("server, slow model", "p99 alone", "p50 beside", "p99 beside", "wanted", "health p99"),
    *("metrics p99", "in hand", "first 503, s", "503 p99", "idle after, s", "holds"),
)
_OVERLOAD_HEADER = (
    *("server", "offered/s", "answered/s", "p50 ms", "p99 ms", "refused/s", "503 p99"),
    *("health p99", "other", "memory MB"),
)
_WEIGHING_HEADER = (
    *("Model holds", "Preloaded", "Workers", "Total, fresh", "Total, used"),
    *("Private to a worker, fresh", "Private to a worker, used"),
)

Figures = Mapping[str, float]
"""A figure of each server, by its name."""


@dataclass(frozen=True)
class Table:
    """A table under a title."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def text_report(results: Results) -> str:
    """Return what a person reads in a terminal."""
    sections = [_facts(results, "")]
    sections += [f"{table.title}\n{_text_table(table)}" for table in tables(results)]
    sections += [_listed(f"{title}:", lines) for title, lines in _lists(results)]
    if results.left_out:
        reasons = [f"{name}: {reason}" for name, reason in results.left_out.items()]
        sections.append(_listed("Without all their figures:", reasons))
    return "\n\n".join(sections) + "\n"


def markdown_report(results: Results) -> str:
    """Return what a page of the documentation shows."""
    sections = [_facts(results, "* ")]
    sections += [f"### {table.title}\n\n{_markdown_table(table)}" for table in tables(results)]
    for title, lines in _lists(results):
        sections.append("\n".join([f"### {title}", "", *(f"* {line}" for line in lines)]))
    if results.left_out:
        sections.append(f"Without all their figures: {', '.join(results.left_out)}.")
    return "\n\n".join(sections) + "\n"


def _lists(results: Results) -> Iterator[tuple[str, list[str]]]:
    if results.isolations:
        missed = [
            f"{one.server}, {one.scenario}: {'; '.join(misses(one))}"
            for one in results.isolations
            if misses(one)
        ]
        yield "What is promised of isolation and does not hold", missed or ["nothing"]
    if results.measurements:
        yield "Where a peer wins", list(peer_wins(results)) or ["nowhere"]


def tables(results: Results) -> Iterator[Table]:
    """Yield a table for each load, and one of each other kind of figures."""
    if bar_rows := _bar_rows(results):
        yield Table("Throughput beside others", _BAR_HEADER, bar_rows)
    for (model, connections), group in loads(results).items():
        noun = "connection" if connections == 1 else "connections"
        title = f"{model.replace('_', ' ').capitalize()}, {connections} {noun}"
        yield Table(title, _LOAD_HEADER, _load_rows(group))
    if results.starts:
        yield Table("Start and memory", _START_HEADER, _start_rows(results))
    if results.comparisons:
        rows = [
            (one.name, f"{one.ratio:.3f}", one.wanted, one.detail) for one in results.comparisons
        ]
        yield Table("One thing two ways", _COMPARISON_HEADER, rows)
    if results.isolations:
        isolation_rows = [_isolation_row(one) for one in results.isolations]
        yield Table("Isolation, ms where no unit is said", _ISOLATION_HEADER, isolation_rows)
    if results.overloads:
        overload_rows = [_overload_row(one) for one in results.overloads]
        yield Table("Overload", _OVERLOAD_HEADER, overload_rows)
    if results.weighings:
        weighing_rows = [_weighing_row(one) for one in results.weighings]
        yield Table("What workers share, MB", _WEIGHING_HEADER, weighing_rows)


def loads(results: Results) -> dict[tuple[str, int], list[Measurement]]:
    """Group the medians by model and connections, each group in the order of the servers."""
    places = {name: place for place, name in enumerate(SERVERS)}
    groups: dict[tuple[str, int], list[Measurement]] = {}
    for one in sorted(summaries(results.measurements), key=lambda one: places[one.server]):
        groups.setdefault((one.model, one.connections), []).append(one)
    models = list(results.options["models"])
    return dict(sorted(groups.items(), key=lambda item: (models.index(item[0][0]), item[0][1])))


def peer_wins(results: Results) -> Iterator[str]:
    """Say each figure by which a peer is better than this service in any configuration."""
    for (model, connections), group in loads(results).items():
        where = f"{model}, {connections} connections"
        rates = {one.server: one.per_second for one in group}
        yield from _win(f"{where}, right/s", rates, max)
        yield from _win(f"{where}, p50 ms", {one.server: one.p50_ms for one in group}, min)
        yield from _win(f"{where}, p99 ms", {one.server: one.p99_ms for one in group}, min)
        health = {one.server: one.health_p99_ms for one in group if one.health_p99_ms is not None}
        yield from _win(f"{where}, health p99 ms", health, min)
    seconds, megabytes = _starts(results)
    yield from _win("seconds to first prediction", seconds, min)
    yield from _win("memory MB", megabytes, min)


def _win(what: str, figures: Figures, best: Callable[[list[float]], float]) -> Iterator[str]:
    own = [value for name, value in figures.items() if SERVERS[name].is_own]
    for name, value in figures.items():
        if SERVERS[name].is_peer and own and best([value, best(own)]) != best(own):
            yield f"{what}: {name} {value:.4g}, this service at best {best(own):.4g}"


def _bar_rows(results: Results) -> list[tuple[str, ...]]:
    """Return what is wanted of throughput, as far as it was measured."""
    rates = {
        (one.server, one.model): one.per_second
        for one in summaries(results.measurements)
        if one.connections == CONNECTIONS
    }
    measured = [
        (bar, rates[bar.server.name, bar.model] / rates[bar.reference.name, bar.model])
        for bar in BARS
        if {(bar.server.name, bar.model), (bar.reference.name, bar.model)} <= rates.keys()
    ]
    return [
        (
            f"{bar.server.name} / {bar.reference.name}",
            bar.model,
            f"{ratio:.2f}",
            f"at least {bar.at_least:g}",
            "yes" if ratio >= bar.at_least else "no",
        )
        for bar, ratio in measured
    ]


def _isolation_row(one: Isolation) -> tuple[str, ...]:
    figures = [
        *(one.alone_p99_ms, one.beside_p50_ms, one.beside_p99_ms, neighbour_bar_ms(one)),
        *(one.health_p99_ms, one.metrics_p99_ms, float(one.held)),
    ]
    return (
        f"{one.server}, {one.scenario}",
        *(_known(figure, ".0f") for figure in figures),
        _known(one.first_refusal_seconds, ".1f"),
        _known(one.refusal_p99_ms, ".0f"),
        _known(one.idle_seconds, ".1f"),
        "no" if misses(one) else "yes" if has_bars(one) else "",
    )


def _overload_row(one: Overload) -> tuple[str, ...]:
    return (
        f"{one.server}, {one.multiple:g} times its capacity",
        f"{one.offered_per_second:.0f}",
        f"{one.accepted_per_second:.0f}",
        f"{one.accepted_p50_ms:.0f}",
        f"{one.accepted_p99_ms:.0f}",
        f"{one.refused_per_second:.0f}",
        f"{one.refused_p99_ms:.0f}",
        f"{one.health_p99_ms:.0f}",
        str(one.others),
        f"{one.megabytes_before:.0f} to {one.megabytes_after:.0f}",
    )


def _weighing_row(one: Weighing) -> tuple[str, ...]:
    figures = (one.fresh_total, one.used_total, one.fresh_private, one.used_private)
    cells = (one.held, "yes" if one.preload else "no", str(one.workers))
    return (*cells, *(f"{figure:.0f}" for figure in figures))


def _known(figure: float | None, form: str) -> str:
    return "" if figure is None else format(figure, form)


def _load_rows(group: Sequence[Measurement]) -> list[tuple[str, ...]]:
    rates = {one.server: one.per_second for one in group}
    reference = rates.get(REST_MODEL_SERVICE.name)
    return [
        (
            one.server,
            f"{one.per_second:.0f}",
            f"{one.per_second / reference:.2f}" if reference else "",
            f"{one.p50_ms:.2f}",
            f"{one.p99_ms:.2f}",
            str(one.errors),
            str(one.wrong),
            _known(one.health_p99_ms, ".2f"),
        )
        for one in group
    ]


def _start_rows(results: Results) -> list[tuple[str, ...]]:
    seconds, megabytes = _starts(results)
    return [
        (name, f"{seconds[name]:.2f}", f"{megabytes[name]:.0f}")
        for name in SERVERS
        if name in seconds
    ]


def _starts(results: Results) -> tuple[Figures, Figures]:
    seconds = by_server(results.starts, lambda start: start.seconds)
    megabytes = by_server(results.starts, lambda start: start.memory_mb)
    return seconds, megabytes


def _facts(results: Results, bullet: str) -> str:
    options = results.options
    rounds = max((one.round for one in results.measurements), default=0)
    medians = (
        f"; medians of {rounds} rounds of {options['seconds']} s; ratio: to"
        f" {REST_MODEL_SERVICE.name}"
    )
    lines = [
        ", ".join(f"{name} {value}" for name, value in results.machine.items()),
        f"{options['workers']} workers each{medians if rounds else ''}",
        *(
            f"{name}: {', '.join(f'{package} {version}' for package, version in found.items())}"
            for name, found in results.versions.items()
        ),
    ]
    return "\n".join(bullet + line for line in lines)


def _listed(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _text_table(table: Table) -> str:
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(_aligned(cell, width, place) for place, (cell, width) in cells).rstrip()
        for cells in (enumerate(zip(line, widths, strict=True)) for line in lines)
    )


def _aligned(cell: str, width: int, place: int) -> str:
    return cell.ljust(width) if place == 0 else cell.rjust(width)


def _markdown_table(table: Table) -> str:
    rules = ["---", *("---:" for _ in table.header[1:])]
    lines = [table.header, rules, *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
