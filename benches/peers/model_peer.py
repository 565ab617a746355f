"""Times one model of river or PyOD on one core: model_peer.py MODEL FILE.

FILE holds little-endian numbers. For `ewm` and `ewm-keys`: samples of a key (u32) and a value (f64). For the others: rows
of 50 signals (f64), the first 2,000 to learn from. What is read is made into what the model takes before the clock starts.
Prints how many seconds it took and how many samples or rows were judged in them.
"""

import json
import sys
import time

import numpy

SIGNALS = 50
LEARNED = 2_000


def ewm(file):
    """river: the running mean and variance of one stream."""
    from river import stats

    values = samples(file)["value"].tolist()
    mean, variance = stats.EWMean(0.01), stats.EWVar(0.01)
    began = time.perf_counter()
    for value in values:
        mean.update(value)
        variance.update(value)
    return time.perf_counter() - began, len(values)


def ewm_keys(file):
    """river: the running mean and variance of each key, out of a dictionary; all keys are known when the clock starts."""
    from river import stats

    read = samples(file)
    keys, values = read["key"].tolist(), read["value"].tolist()
    known = {key: (stats.EWMean(0.01), stats.EWVar(0.01)) for key in set(keys)}
    began = time.perf_counter()
    for key, value in zip(keys, values):
        mean, variance = known[key]
        mean.update(value)
        variance.update(value)
    return time.perf_counter() - began, len(values)


def trees(file):
    """river: half-space trees as they come, on values scaled to 0..1 beforehand, as they demand."""
    from river import anomaly

    read = rows(file)
    read = (read - read.min(axis=0)) / (read.max(axis=0) - read.min(axis=0))
    made = [dict(enumerate(row)) for row in read.tolist()]
    model = anomaly.HalfSpaceTrees(seed=1)
    for row in made[:LEARNED]:
        model.learn_one(row)
    began = time.perf_counter()
    for row in made[LEARNED:]:
        model.score_one(row)
        model.learn_one(row)
    return time.perf_counter() - began, len(made) - LEARNED


def pyod(name, file):
    """PyOD: fitted on the rows to learn from, then the others in one call."""
    import importlib

    read = rows(file)
    model = getattr(importlib.import_module(f"pyod.models.{name.lower()}"), name)()
    model.fit(read[:LEARNED])
    began = time.perf_counter()
    model.decision_function(read[LEARNED:])
    return time.perf_counter() - began, len(read) - LEARNED


def samples(file):
    return numpy.fromfile(file, dtype=[("key", "<u4"), ("value", "<f8")])


def rows(file):
    return numpy.fromfile(file, dtype="<f8").reshape(-1, SIGNALS)


models = {
    "ewm": ewm,
    "ewm-keys": ewm_keys,
    "trees": trees,
    "pca": lambda file: pyod("PCA", file),
    "ecod": lambda file: pyod("ECOD", file),
}
seconds, judged = models[sys.argv[1]](sys.argv[2])
print(json.dumps({"seconds": seconds, "judged": judged}))
