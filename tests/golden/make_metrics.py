"""Writes metrics.json: confusion matrices and their scores by scikit-learn 1.9.

Run: python make_metrics.py (needs numpy and scikit-learn). All classes are scored, present or
not (`labels=range(n)`), and a zero denominator gives 0 (`zero_division=0`).
"""

import json
import pathlib

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support


def case(name, n, truth, predicted):
    labels = list(range(n))
    scores = {}
    for average in [None, "macro", "micro", "weighted"]:
        p, r, f, s = precision_recall_fscore_support(
            truth, predicted, labels=labels, average=average, zero_division=0
        )
        if average is None:
            scores["classes"] = [
                dict(precision=a, recall=b, f1=c, support=int(d))
                for a, b, c, d in zip(p.tolist(), r.tolist(), f.tolist(), s)
            ]
        else:
            scores[average] = dict(precision=float(p), recall=float(r), f1=float(f))
    return dict(
        name=name,
        truth=[int(t) for t in truth],
        predicted=[int(t) for t in predicted],
        accuracy=float(accuracy_score(truth, predicted)),
        confusion_matrix=confusion_matrix(truth, predicted, labels=labels).tolist(),
        **scores,
    )


rng = np.random.default_rng(7)
skewed = rng.choice(10, size=400, p=np.arange(1, 11) / 55)
noisy = np.where(rng.random(400) < 0.6, skewed, rng.integers(0, 10, 400))
absent = rng.choice([0, 1, 3], size=60)  # class 2 has no samples, but is predicted
cases = [
    case("ten classes, skewed", 10, skewed, noisy),
    case("a class without samples", 4, absent, rng.integers(0, 4, 60)),
    case("a class never predicted", 3, rng.integers(0, 3, 50), rng.integers(0, 2, 50)),
    case("all right", 3, [0, 1, 2, 2], [0, 1, 2, 2]),
    case("all wrong", 2, [0, 0, 1], [1, 1, 0]),
    case("one class", 1, [0, 0], [0, 0]),
]
path = pathlib.Path(__file__).with_name("metrics.json")
path.write_text(json.dumps(cases) + "\n")
