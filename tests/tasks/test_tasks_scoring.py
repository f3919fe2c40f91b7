"""Scores against hand-computed numbers and an independent computation."""

from __future__ import annotations

import warnings
from dataclasses import asdict
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeprune.errors import EdgepruneError
from edgeprune.report.model import Quality
from edgeprune.tasks.scoring import Scores, decode, score


def test_binary_by_hand() -> None:
    # 3 true positives, 1 false positive, 2 false negatives, 4 true negatives.
    truth = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]
    answers = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    scores = score(answers, truth, 2)
    assert scores == Scores(
        n=10,
        accuracy=0.7,
        f1=pytest.approx(2 * 3 / (2 * 3 + 1 + 2)),
        f1_average="binary",
        matthews=pytest.approx((3 * 4 - 1 * 2) / sqrt((3 + 1) * (3 + 2) * (4 + 1) * (4 + 2))),
    )


def test_three_classes_by_hand() -> None:
    scores = score([0, 1, 1, 2, 2, 0], [0, 0, 1, 1, 2, 2], 3)
    assert scores.f1_average == "macro"
    # Each class: one true positive, one false positive, one false negative.
    assert scores.f1 == pytest.approx(0.5)
    assert scores.accuracy == pytest.approx(0.5)
    # R_K: (6·3 − 3·2·2) / (6² − 3·2²) with six examples, three right, two of each class on both sides.
    assert scores.matthews == pytest.approx(6 / 24)


def test_macro_f1_leaves_out_classes_that_do_not_occur() -> None:
    assert score([0, 1, 1], [0, 1, 1], 50).f1 == 1.0


@pytest.mark.parametrize(
    ("answers", "truth", "accuracy", "f1"),
    [
        ([0, 0], [0, 0], 1.0, 0.0),
        ([1, 1], [1, 1], 1.0, 1.0),
        ([1, 1], [0, 1], 0.5, 2 / 3),
        ([0], [1], 0.0, 0.0),
    ],
)
def test_one_sided_answers_score_without_warnings(
    answers: list[int], truth: list[int], accuracy: float, f1: float
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(answers, truth, 2)
    assert (scores.accuracy, scores.f1, scores.matthews) == (accuracy, pytest.approx(f1), 0.0)


def reference(answers: list[int], truth: list[int], classes: int) -> tuple[float, float, float]:
    """Accuracy, F1 and Matthews correlation from the confusion matrix alone."""
    table = np.zeros((classes, classes))
    np.add.at(table, (truth, answers), 1)
    right, true_counts, answer_counts = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    present = true_counts + answer_counts > 0
    f1 = np.divide(2 * right, true_counts + answer_counts, out=np.zeros(classes), where=present)
    n = len(truth)
    covariance = n * right.sum() - true_counts @ answer_counts
    spread = (n * n - true_counts @ true_counts) * (n * n - answer_counts @ answer_counts)
    matthews = covariance / sqrt(spread) if spread else 0.0
    return right.sum() / n, f1[1] if classes == 2 else f1[present].mean(), matthews


@given(st.data(), st.integers(2, 6), st.integers(1, 40))
def test_scores_match_the_confusion_matrix(data: st.DataObject, classes: int, n: int) -> None:
    ids = st.lists(st.integers(0, classes - 1), min_size=n, max_size=n)
    answers, truth = data.draw(ids), data.draw(ids)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = score(np.array(answers), truth, classes)
    assert (scores.accuracy, scores.f1, scores.matthews) == pytest.approx(
        reference(answers, truth, classes), abs=1e-12
    )


def test_scores_are_what_the_report_holds() -> None:
    scores = score([0, 1], [0, 1], 2)
    assert Quality(**asdict(scores)).model_dump() == asdict(scores)
    assert all(type(value) in (int, float, str) for value in asdict(scores).values())


@pytest.mark.parametrize(
    ("answers", "truth", "message"),
    [
        ([], [], r"predictions \[0\] and labels \[0\]"),
        ([0, 1], [0], r"predictions \[2\] and labels \[1\]"),
        ([[0, 1]], [[0, 1]], r"predictions \[1, 2\]"),
        ([0, 2], [0, 1], r"class ids 0\.\.2 are not all in 0\.\.1"),
        ([0, 1], [-1, 1], r"class ids -1\.\.1"),
    ],
)
def test_what_cannot_be_scored(answers: list[int], truth: list[int], message: str) -> None:
    with pytest.raises(EdgepruneError, match=message):
        score(answers, truth, 2)


def test_decode_by_hand() -> None:
    ids, probabilities = decode([[0.0, 0.0], [1000.0, 0.0], [0.0, np.log(3.0)]])
    assert ids.tolist() == [0, 0, 1]
    assert probabilities == pytest.approx(np.array([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]]))


@given(
    hnp.arrays(
        np.float32, st.tuples(st.integers(0, 5), st.integers(2, 5)), elements=st.floats(-1e4, 1e4, width=32)
    )
)
def test_probabilities_sum_to_one_and_agree_with_the_answer(logits: np.ndarray) -> None:
    ids, probabilities = decode(logits)
    assert probabilities.shape == logits.shape
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(logits)))
    rows = np.arange(len(logits))
    assert (logits[rows, ids] == logits.max(axis=1, initial=-np.inf)).all()
    assert (probabilities[rows, ids] == probabilities.max(axis=1, initial=0)).all()


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([[0.0, float("nan")], [0.0, 1.0]], "logits of 1 of 2 examples are not finite"),
        ([[0.0, float("inf")]], "not finite"),
        ([0.0, 1.0], r"shape \[2\] instead of"),
        ([[1.0]], r"shape \[1, 1\] instead of"),
    ],
)
def test_logits_that_are_no_answer(logits: list[object], message: str) -> None:
    with pytest.raises(EdgepruneError, match=message):
        decode(logits)
