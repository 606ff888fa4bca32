"""The results as tables, for a terminal and for a page; and where a peer is the best."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.results import Results, Summary, by_server, summaries
from benchmarks.servers import REST_MODEL_SERVICE, SERVERS

_LOAD_HEADER = ("server", "right/s", "ratio", "p50 ms", "p99 ms", "errors", "wrong", "health p99")
_START_HEADER = ("server", "seconds to first prediction", "memory MB")
_COMPARISON_HEADER = ("comparison", "ratio", "wanted", "medians")

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
    sections.append(_listed("Where a peer wins:", list(peer_wins(results)) or ["nowhere"]))
    if results.left_out:
        reasons = [f"{name}: {reason}" for name, reason in results.left_out.items()]
        sections.append(_listed("Without all their figures:", reasons))
    return "\n\n".join(sections) + "\n"


def markdown_report(results: Results) -> str:
    """Return what a page of the documentation shows."""
    sections = [_facts(results, "* ")]
    sections += [f"### {table.title}\n\n{_markdown_table(table)}" for table in tables(results)]
    wins = list(peer_wins(results)) or ["Nowhere in this run."]
    sections.append("\n".join(["### Where a peer wins", "", *(f"* {win}" for win in wins)]))
    if results.left_out:
        sections.append(f"Without all their figures: {', '.join(results.left_out)}.")
    return "\n\n".join(sections) + "\n"


def tables(results: Results) -> Iterator[Table]:
    """Yield a table for each load, one of the starts and one of the comparisons."""
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


def loads(results: Results) -> dict[tuple[str, int], list[Summary]]:
    """Group the medians by model and connections, each group in the order of the servers."""
    places = {name: place for place, name in enumerate(SERVERS)}
    groups: dict[tuple[str, int], list[Summary]] = {}
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
    own = [value for name, value in figures.items() if not SERVERS[name].is_peer]
    for name, value in figures.items():
        if SERVERS[name].is_peer and own and best([value, best(own)]) != best(own):
            yield f"{what}: {name} {value:.4g}, this service at best {best(own):.4g}"


def _load_rows(group: Sequence[Summary]) -> list[tuple[str, ...]]:
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
            "" if one.health_p99_ms is None else f"{one.health_p99_ms:.2f}",
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
    lines = [
        ", ".join(f"{name} {value}" for name, value in results.machine.items()),
        f"{options['workers']} workers each; medians of {rounds} rounds of"
        f" {options['seconds']} s; ratio: to {REST_MODEL_SERVICE.name}",
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
