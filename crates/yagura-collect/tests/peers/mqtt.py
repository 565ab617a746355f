"""A Sparkplug B edge node (pysparkplug) and publishers (paho) for the tests of the MQTT source.

Commands come on stdin, one a line; each is answered with `ok` and what is to be known.
"""
import collections
import sys
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
import pysparkplug as spb


def stamp():
    return spb.get_current_timestamp()


def metric(name, datatype, value, alias, **more):
    return spb.Metric(timestamp=stamp(), name=name, datatype=datatype, value=value, alias=alias, **more)


class Node:
    """An edge node with a device: metrics of every scalar type."""

    TYPES = [
        ("int8", spb.DataType.INT8, -5),
        ("int16", spb.DataType.INT16, -500),
        ("int32", spb.DataType.INT32, -50000),
        ("int64", spb.DataType.INT64, -5000000000),
        ("uint8", spb.DataType.UINT8, 250),
        ("uint16", spb.DataType.UINT16, 65000),
        ("uint32", spb.DataType.UINT32, 4000000000),
        ("uint64", spb.DataType.UINT64, 5000000000),
        ("float", spb.DataType.FLOAT, 0.5),
        ("double", spb.DataType.DOUBLE, 2.25),
        ("boolean", spb.DataType.BOOLEAN, True),
        ("text", spb.DataType.STRING, "R7"),
    ]

    def __init__(self, port):
        self.port = port
        metrics = [
            metric("Properties/Hardware Make", spb.DataType.STRING, "Maker", None),
            metric("Properties/FW", spb.DataType.STRING, "1.2", None),
            metric("load", spb.DataType.DOUBLE, 0.0, 1),
        ]
        self.node = spb.EdgeNode("fab", "edge", metrics)
        device = [metric(n, t, v, 100 + i) for i, (n, t, v) in enumerate(self.TYPES)]
        self.node.register(spb.Device("etcher", device))

    def connect(self):
        self.node.connect("127.0.0.1", port=self.port)
        until = time.monotonic() + 10
        while not self.node._connected and time.monotonic() < until:
            time.sleep(0.01)
        assert self.node._connected

    def load(self, value):
        self.node.update([metric("load", spb.DataType.DOUBLE, float(value), 1)])

    def double(self, value):
        self.node.update_device("etcher", [metric("double", spb.DataType.DOUBLE, float(value), 109)])


def sparkplug(port):
    node = Node(port)
    for line in sys.stdin:
        command, *rest = line.split()
        getattr(node, command)(*rest) if hasattr(node, command) else getattr(node.node, command)(*rest)
        print("ok", flush=True)


def numbers(port, version, qos, begin, end, rate):
    """Publishes numbers with QoS, each again until the broker has taken it; says which ones it took."""
    client = paho.Client(
        client_id=f"numbers-{begin}",
        protocol=paho.MQTTv5 if version == 5 else paho.MQTTv311,
        **({} if version == 5 else {"clean_session": False}),
    )
    more = {}
    if version == 5:
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        more = {"clean_start": False, "properties": properties}
    # Told by paho's own thread, which holds locks of its own.
    told, waiting = collections.deque(), {}
    client.on_publish = lambda _client, _userdata, mid: told.append(mid)

    def report():
        for _ in range(len(told)):
            mid = told.popleft()
            if mid in waiting:
                print(waiting.pop(mid), flush=True)
            else:
                told.append(mid)

    client.reconnect_delay_set(min_delay=1, max_delay=1)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port, keepalive=5, **more)
    client.loop_start()
    for number in range(begin, end):
        waiting[client.publish("plant/numbers", str(number), qos=qos).mid] = number
        report()
        time.sleep(1 / rate)
    until = time.monotonic() + 20
    while waiting and time.monotonic() < until:
        report()
        time.sleep(0.05)
    print("done", flush=True)
    client.disconnect()
    client.loop_stop()


def publish(port, version, topic, payload, retain):
    client = paho.Client(protocol=paho.MQTTv5 if version == 5 else paho.MQTTv311)
    client.connect("127.0.0.1", port)
    client.loop_start()
    client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
    print("ok", flush=True)


if __name__ == "__main__":
    what, port, *arguments = sys.argv[1:]
    if what == "sparkplug":
        sparkplug(int(port))
    elif what == "numbers":
        numbers(int(port), *map(int, arguments))
    else:
        version, topic, payload, retain = arguments
        publish(int(port), int(version), topic, payload, retain == "retain")
