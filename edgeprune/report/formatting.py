"""How numbers, times and foreign text look: the one place, so that all renderers agree.

Units: 1 MB is 10^6 bytes; differences are in points (percent of examples) and always carry a sign;
shares come in as 0..1 and go out as percent. The minus sign is U+2212, so that signed columns line up.
`to_ascii` turns everything that these functions emit into plain ASCII.
"""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from edgeprune.report.model import Interval

__all__ = [
    "MISSING",
    "confidence",
    "count",
    "difference",
    "milliseconds",
    "minutes",
    "moment",
    "percent",
    "plain",
    "points",
    "rate",
    "score",
    "short_hash",
    "size",
    "speedup",
    "times",
    "to_ascii",
]

MISSING = "–"
"""What stands where there is no value: not measured, or not meant to be."""

_MINUS = "−"
_DIRECTIONS = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_SIZES = ((10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
_ASCII = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "×": "x", "…": "...", "·": "|", "→": "->", "±": "+/-", "\u00a0": " "}
)


def milliseconds(value: float) -> str:
    """Milliseconds without the unit, two decimals, fewer or more only where two would mislead.

    >>> milliseconds(1.333), milliseconds(0.0123), milliseconds(123.456)
    ('1.33', '0.012', '123.5')
    """
    if 0 < value < 0.1:
        return f"{value:.3f}"
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"


def rate(value: float) -> str:
    """How many a second, three digits at least from 1 on.

    >>> rate(1834.4), rate(152.0), rate(47.31), rate(3.456)
    ('1,834', '152', '47.3', '3.46')
    """
    decimals = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:,.{decimals}f}"


def times(ratio: float) -> str:
    """A ratio as a number of times.

    >>> times(2.345), times(12.34), times(0.5)
    ('2.35×', '12.3×', '0.50×')
    """
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.1f}×"


def speedup(ratio: Interval | None) -> str:
    """A ratio of medians with its interval, e.g. ``5.83× [5.71, 5.96]``; `MISSING` for None."""
    if ratio is None:
        return MISSING
    return f"{times(ratio.estimate)} [{times(ratio.low)[:-1]}, {times(ratio.high)[:-1]}]"


def points(value: float) -> str:
    """Points with sign, two decimals; what rounds to nothing has no sign.

    >>> points(0.344), points(-1.2), points(-0.001)
    ('+0.34', '−1.20', '0.00')
    """
    text = f"{abs(value):.2f}"
    if float(text) == 0:
        return text
    return f"{'+' if value > 0 else _MINUS}{text}"


def difference(value: Interval | None) -> str:
    """A difference in points with its interval, e.g. ``+0.34 [−0.46, +1.15]``; `MISSING` for None."""
    if value is None:
        return MISSING
    return f"{points(value.estimate)} [{points(value.low)}, {points(value.high)}]"


def score(value: float) -> str:
    """A metric (0..1, or -1..1) times 100, two decimals, so that differences in points add up.

    >>> score(0.89335), score(-0.25)
    ('89.33', '−25.00')
    """
    text = f"{abs(value) * 100:.2f}"
    return f"{_MINUS}{text}" if value < 0 and float(text) else text


def percent(share: float) -> str:
    """A share (0..1) in percent, one decimal. Never says all, or none, where it is not.

    >>> percent(0.9725), percent(1.0), percent(0.9999), percent(0.00001)
    ('97.2 %', '100 %', '>99.9 %', '<0.1 %')
    """
    if share in (0.0, 1.0):
        return f"{share * 100:.0f} %"
    text = f"{share * 100:.1f}"
    if text == "100.0" and share < 1:
        return ">99.9 %"
    if text in ("0.0", "-0.0") and share > 0:
        return "<0.1 %"
    return f"{text} %"


def confidence(share: float) -> str:
    """A confidence level in percent, without decimals that say nothing.

    >>> confidence(0.95), confidence(0.975)
    ('95 %', '97.5 %')
    """
    return f"{share * 100:.6g} %"


def size(n_bytes: int | None) -> str:
    """Bytes in decimal units: 1 MB is 10^6 bytes. `MISSING` for None.

    >>> size(23_100_000), size(532), size(148_400_000), size(999_999)
    ('23.1 MB', '532 B', '148 MB', '1.0 MB')
    """
    if n_bytes is None:
        return MISSING
    for unit, name in _SIZES:
        # From half of the smaller unit below on, that one would be rounded up to 1000.
        if n_bytes >= unit * 0.9995:
            value = n_bytes / unit
            return f"{value:.1f} {name}" if value < 99.95 else f"{value:.0f} {name}"
    return f"{n_bytes} B"


def minutes(seconds: float | None) -> str:
    """A duration as people say it. `MISSING` for None.

    >>> minutes(0.0423), minutes(12.34), minutes(185), minutes(4000)
    ('0.04 s', '12.3 s', '3 min 05 s', '1 h 06 min')
    """
    if seconds is None:
        return MISSING
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def count(number: int) -> str:
    """A whole number with thousands set apart: ``22,713,216``."""
    return f"{number:,}"


def moment(iso: str) -> str:
    """An ISO 8601 time as ``2026-11-22 15:04 UTC``; text that is no such time stays as it is."""
    try:
        parsed = datetime.fromisoformat(iso)
    except ValueError:
        return plain(iso)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return f"{parsed.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def short_hash(digest: str) -> str:
    """The first twelve digits of a hash: enough to compare by eye."""
    return plain(digest)[:12]


def plain(text: str) -> str:
    r"""Foreign text on one line, safe to show: control and direction-changing characters become ``�``.

    A label from a data file may hold a terminal escape or a right-to-left override; neither may act.

    >>> plain("a\nb\x1b[31m")
    'a b�[31m'
    """
    return "".join("�" if _acts(char) else char for char in " ".join(text.split()))


def _acts(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cs") or char in _DIRECTIONS


def to_ascii(text: str) -> str:
    """The same text for a terminal without Unicode: signs become their ASCII cousins, the rest ``?``."""
    return text.translate(_ASCII).encode("ascii", "replace").decode("ascii")
