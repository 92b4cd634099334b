"""The picture of a circuit: layers from below upwards, a column for each kind of part and each head."""

from collections.abc import Sequence
from typing import NamedTuple

from proxyaudit.reporting.svg import Drawing, Style
from proxyaudit.reporting.text import percent

_LEFT, _TOP, _RIGHT, _WIDEST, _NARROWEST = 92, 84, 48, 24, 9
_MARK = Style("ki", "diamond")


class PartCell(NamedTuple):
    """One part of the picture: where it stands, its share of the whole effect, whether it is confirmed and in the circuit."""

    layer: str
    column: str
    share: float
    confirmed: bool = False
    member: bool = False


def circuit_chart(
    layers: Sequence[str], columns: Sequence[str], cells: Sequence[PartCell], *, ident: str, title: str, room: int = 620
) -> str:
    """Draw layers against parts: the darker, the larger the effect; a diamond where it is confirmed, a frame where it is in the circuit.

    ``layers`` go from the input upwards. Empty where there is nothing to draw.
    """
    if not layers or not columns or not cells:
        return ""
    side = max(_NARROWEST, min(_WIDEST, (room - _LEFT - _RIGHT) // len(columns)))
    height = _TOP + side * len(layers) + 8
    drawing = Drawing(_LEFT + side * len(columns) + _RIGHT, height)
    for number, column in enumerate(columns):
        drawing.text(_LEFT + side * (number + 0.5) + 4, _TOP - 6, column, colour="km", size=min(12, side), turn=-60)
    for number, layer in enumerate(layers):
        drawing.text(_LEFT - 6, _bottom(height, side, number) - side / 2 + 4, layer, anchor="end", colour="km")
    known = {(cell.layer, cell.column): cell for cell in cells}
    for up, layer in enumerate(layers):
        for across, column in enumerate(columns):
            if (cell := known.get((layer, column))) is not None:
                _cell(drawing, cell, _LEFT + side * across, _bottom(height, side, up) - side, side)
    return drawing.render(ident=ident, title=title, description=_described(cells))


def _bottom(height: int, side: int, number: int) -> float:
    return height - 8 - side * number


def _cell(drawing: Drawing, cell: PartCell, x: float, y: float, side: float) -> None:
    corners = ((x + 1, y + 1), (x + side - 1, y + 1), (x + side - 1, y + side - 1), (x + 1, y + side - 1))
    drawing.area(corners, "k0" if cell.share >= 0 else "k1", opacity=round(0.06 + 0.7 * min(abs(cell.share), 1.0), 2))
    drawing.path((*corners, corners[0]), "ki" if cell.member else "kl", width=2.0 if cell.member else 0.7)
    if cell.confirmed:
        drawing.mark(x + side / 2, y + side / 2, _MARK, size=side / 5)


def _described(cells: Sequence[PartCell]) -> str:
    """The confirmed parts in words."""
    told = [f"{cell.layer}, {cell.column}: {percent(cell.share)} of the effect" for cell in cells if cell.confirmed]
    return ("Confirmed: " + "; ".join(told) if told else "No part is confirmed") + "."
