from __future__ import annotations

import doctest
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.report import formatting, markdown_pieces
from edgeprune.report.model import Interval


@pytest.mark.parametrize("module", [formatting, markdown_pieces])
def test_the_examples_in_the_docstrings_hold(module):
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def interval(estimate: float, low: float, high: float) -> Interval:
    return Interval(estimate=estimate, low=low, high=high, confidence=0.95, method="m")


def test_intervals_show_sign_and_bounds():
    assert formatting.difference(interval(0.344, -0.459, 1.15)) == "+0.34 [−0.46, +1.15]"
    assert formatting.speedup(interval(5.834, 5.71, 12.3)) == "5.83× [5.71, 12.3]"
    assert formatting.difference(None) == formatting.speedup(None) == formatting.MISSING


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.0 kB"),
        (99_960, "100 kB"),
        (999_499, "999 kB"),
        (999_500, "1.0 MB"),
        (1_000_000, "1.0 MB"),
        (1_048_576, "1.0 MB"),
        (612_000_000, "612 MB"),
        (1_250_000_000, "1.2 GB"),
        (None, "–"),
    ],
)
def test_a_megabyte_is_a_million_bytes(n_bytes, text):
    assert formatting.size(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (9.996, "10.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (7322, "2 h 02 min"),
    ],
)
def test_durations_never_show_sixty(seconds, text):
    assert formatting.minutes(seconds) == text


def test_time_is_shown_in_utc_and_foreign_text_stays():
    assert formatting.moment("2026-11-22T16:04:11+01:00") == "2026-11-22 15:04 UTC"
    assert formatting.moment("2026-11-22T15:04:11") == "2026-11-22 15:04 UTC"
    assert formatting.moment("2026-11-22T15:04:11Z") == "2026-11-22 15:04 UTC"
    assert formatting.moment("yesterday") == "yesterday"


def test_direction_and_control_characters_cannot_act():
    assert formatting.plain("a\u202eb\x00c\td\ud800") == "a�b�c d�"
    assert formatting.plain("می\u200cخواهم") == "می\u200cخواهم"  # a joiner is part of the word


@given(st.floats(0, 1))
def test_percent_says_all_or_none_only_where_it_is_so(share):
    text = formatting.percent(share)
    assert (text == "100 %") == (share == 1.0)
    assert (text == "0 %") == (share == 0.0)


@given(st.floats(-100, 100))
def test_points_read_back_within_half_a_hundredth(value):
    text = formatting.points(value)
    assert abs(float(text.replace("−", "-")) - value) <= 0.005 + 1e-9
    assert text[0] in "+−" or float(text) == 0


@given(st.text())
def test_plain_text_is_one_line_and_ascii_is_ascii(text):
    shown = formatting.plain(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)
    assert formatting.to_ascii(shown).isascii()
