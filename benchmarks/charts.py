"""The results as bars in SVG, drawn by hand so that nothing has to be installed for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from benchmarks.bench import CONNECTIONS
from benchmarks.report import loads
from benchmarks.results import Measurement, Results, by_server
from benchmarks.servers import SERVERS

_WIDTH = 760
_LABEL_WIDTH = 210
_VALUE_WIDTH = 80
_BAR, _STEP, _TITLE = 16, 22, 34
_MARGIN = 16
_OWN, _PEER = "#0b6e4f", "#8a8f98"
_STYLE = "font-family: system-ui, sans-serif; font-size: 13px; fill: #1f2328"


@dataclass(frozen=True)
class Panel:
    """Bars of the servers under a title."""

    title: str
    values: Mapping[str, float]

    @property
    def height(self) -> int:
        """Return the pixels that it takes."""
        return _TITLE + _STEP * len(self.values)


def charts(results: Results) -> dict[str, str]:
    """Draw the results; return the documents by name of file."""
    connections = _connections(results)
    rates, tails = [], []
    for (model, many), group in loads(results).items():
        if many == connections:
            where = f"{_words(model)}, {connections} connections"
            rates.append(_panel_of(group, "per_second", f"{where}: right predictions per second"))
            tails.append(_panel_of(group, "p99_ms", f"{where}: 99th percentile, ms"))
    seconds = by_server(results.starts, lambda start: start.seconds)
    megabytes = by_server(results.starts, lambda start: start.memory_mb)
    starts = [
        Panel("From start to first prediction, s", _in_order(seconds)),
        Panel("Memory of all processes, MB", _in_order(megabytes)),
    ]
    return {
        "throughput.svg": draw(rates),
        "latency.svg": draw(tails),
        "start-and-memory.svg": draw(starts),
    }


def _connections(results: Results) -> int:
    """Return the usual number if that was measured, else the most there were."""
    measured = {one.connections for one in results.measurements}
    return CONNECTIONS if CONNECTIONS in measured else max(measured, default=0)


def _panel_of(group: Sequence[Measurement], figure: str, title: str) -> Panel:
    return Panel(title, {one.server: getattr(one, figure) for one in group})


def draw(panels: list[Panel]) -> str:
    """Draw panels below each other, each to its own scale."""
    height = 2 * _MARGIN + sum(panel.height for panel in panels)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
        f' viewBox="0 0 {_WIDTH} {height}" role="img" style="{_STYLE}">',
        f"<title>{escape('; '.join(panel.title for panel in panels))}</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
    ]
    top = _MARGIN
    for panel in panels:
        lines += _panel(panel, top)
        top += panel.height
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(panel: Panel, top: int) -> list[str]:
    lines = [f'<text x="{_MARGIN}" y="{top + 16}" font-weight="bold">{escape(panel.title)}</text>']
    longest = max(panel.values.values(), default=0) or 1
    room = _WIDTH - 2 * _MARGIN - _LABEL_WIDTH - _VALUE_WIDTH
    left = _MARGIN + _LABEL_WIDTH
    for place, (name, value) in enumerate(panel.values.items()):
        y = top + _TITLE - 8 + place * _STEP
        width = max(1.0, value / longest * room)
        colour = _OWN if SERVERS[name].is_own else _PEER
        lines += [
            f'<text x="{left - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>',
            f'<text x="{left + width + 6:.1f}" y="{y + 13}">{_number(value)}</text>',
        ]
    return lines


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _words(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _in_order(values: Mapping[str, float]) -> dict[str, float]:
    return {name: values[name] for name in SERVERS if name in values}
