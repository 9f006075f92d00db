#!/usr/bin/env python3
"""Writes tests/data/golden_metrics/metrics.pt: what scikit-learn and SciPy give.

    pip install torch scikit-learn scipy
    python tests/tools/make_golden_metrics.py

SPDX-License-Identifier: Apache-2.0
"""
import pathlib

import numpy
import scipy.stats
import torch
from sklearn import metrics

OUT = pathlib.Path(__file__).parents[1] / "data" / "golden_metrics"


def main():
    random = numpy.random.default_rng(6)
    classes, images = 4, 90
    target = random.choice(classes, images, p=[0.6, 0.25, 0.1, 0.05])
    logits = random.normal(size=(images, classes)) + 1.2 * numpy.eye(classes)[target]
    # Rounded, so that many scores are equal; rows still sum to 1.
    scores = numpy.exp(logits) / numpy.exp(logits).sum(1, keepdims=True)
    scores = numpy.round(scores, 1)
    scores[:, 0] += 1 - scores.sum(1)
    truth = numpy.eye(classes)[target]
    predicted = scores.argmax(1)
    matrix = metrics.multilabel_confusion_matrix(target, predicted)
    degrees = [1, 2, 3, 4, 5, 9, 10, 19, 30, 99]
    golden = {
        "target": target,
        "scores": scores,
        "predicted": predicted,
        "auc": [
            metrics.roc_auc_score(truth[:, k], scores[:, k]) for k in range(classes)
        ],
        "macro_auc": metrics.roc_auc_score(
            target, scores, multi_class="ovr", average="macro"
        ),
        "average_precision": metrics.average_precision_score(
            truth, scores, average=None
        ),
        "macro_average_precision": metrics.average_precision_score(
            truth, scores, average="macro"
        ),
        "recall": metrics.recall_score(target, predicted, average=None),
        "precision": metrics.precision_score(target, predicted, average=None),
        "f1": metrics.f1_score(target, predicted, average=None),
        "specificity": matrix[:, 0, 0] / matrix[:, 0].sum(1),
        "balanced_accuracy": metrics.balanced_accuracy_score(target, predicted),
        "degrees": degrees,
        "student_0.95": scipy.stats.t.ppf(0.975, degrees),
        "student_0.5": scipy.stats.t.ppf(0.75, degrees),
    }
    tensors = {k: torch.from_numpy(numpy.asarray(v)) for k, v in golden.items()}
    OUT.mkdir(parents=True, exist_ok=True)
    torch.save(tensors, OUT / "metrics.pt")
    for name, value in tensors.items():
        print(name, value.dtype, tuple(value.shape))


if __name__ == "__main__":
    main()
