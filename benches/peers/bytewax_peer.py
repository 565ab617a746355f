"""The job of the benchmark `peers` on Bytewax: bytewax_peer.py FILE SAMPLES WARM_UP THRESHOLD."""

import itertools
import json
import mmap
import struct
import sys
import time

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.inputs import DynamicSource, StatelessSourcePartition
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main

FILE, SAMPLES, WARM_UP, THRESHOLD = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
# Samples that the source hands over at once.
BATCH = 1000
seen = 0
alerts = 0
half = end = None


class Reading(StatelessSourcePartition):
    """Series (u32), time in microseconds (i64), value (f64), little-endian; a key is text."""

    def __init__(self):
        with open(FILE, "rb") as opened:
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self.samples = struct.iter_unpack("<Iqd", data)

    def next_batch(self):
        batch = [(str(series), value) for series, _time, value in itertools.islice(self.samples, BATCH)]
        if not batch:
            raise StopIteration
        return batch


class Source(DynamicSource):
    def build(self, step_id, worker_index, worker_count):
        return Reading()


class Counting(StatelessSinkPartition):
    def write_batch(self, items):
        global alerts
        alerts += len(items)


class Sink(DynamicSink):
    def build(self, step_id, worker_index, worker_count):
        return Counting()


def judge(known, value):
    """Welford's running mean and variance; what lies too far from them is an alert."""
    global seen, half, end
    if known is None:
        known = [0, 0.0, 0.0]
    count, mean, squares = known
    deviation = value - mean
    out = ()
    if count >= WARM_UP and abs(deviation) > THRESHOLD * (squares / (count - 1)) ** 0.5:
        out = (value,)
    count += 1
    mean += deviation / count
    known[0], known[1], known[2] = count, mean, squares + deviation * (value - mean)
    seen += 1
    if seen == SAMPLES // 2:
        half = time.perf_counter()
    elif seen == SAMPLES:
        end = time.perf_counter()
    return known, out


flow = Dataflow("peer")
samples = op.input("samples", flow, Source())
alarms = op.stateful_flat_map("judge", samples, judge)
op.output("alerts", alarms, Sink())
run_main(flow)
print(json.dumps({"seconds": end - half, "alerts": alerts}))
