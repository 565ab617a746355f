"""The job of the benchmark `peers` with river: river_peer.py FILE SAMPLES WARM_UP THRESHOLD."""

import json
import mmap
import struct
import sys
import time

from river import stats

file, samples, warm_up, threshold = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
known = {}
alerts = 0
half = None
with open(file, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
    # Series (u32), time in microseconds (i64), value (f64), little-endian.
    for number, (series, _time, value) in enumerate(struct.iter_unpack("<Iqd", data)):
        if number == samples // 2:
            half = time.perf_counter()
        variance = known.get(series)
        if variance is None:
            variance = known[series] = stats.Var()
        mean = variance.mean
        if mean.n >= warm_up and abs(value - mean.get()) > threshold * variance.get() ** 0.5:
            alerts += 1
        variance.update(value)
print(json.dumps({"seconds": time.perf_counter() - half, "alerts": alerts}))
