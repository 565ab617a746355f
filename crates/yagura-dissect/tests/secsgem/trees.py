"""Writes random SECS-II trees: `trees.py COUNT SEED`.

One line a tree: the bytes that secsgem makes of it, in hexadecimal, and the tree in words that are made
here, without secsgem. The words are those of `main.rs`: a list is `L` and the number of its elements,
which follow; everything else is its format, a colon and its values.
"""

import random
import struct
import sys

from secsgem.secs import variables

INTEGERS = {
    "I1": (variables.I1, -(2**7), 2**7 - 1),
    "I2": (variables.I2, -(2**15), 2**15 - 1),
    "I4": (variables.I4, -(2**31), 2**31 - 1),
    "I8": (variables.I8, -(2**63), 2**63 - 1),
    "U1": (variables.U1, 0, 2**8 - 1),
    "U2": (variables.U2, 0, 2**16 - 1),
    "U4": (variables.U4, 0, 2**32 - 1),
    "U8": (variables.U8, 0, 2**64 - 1),
}
# The numbers are a little less than the largest that secsgem takes.
FLOATS = {"F4": (variables.F4, ">f", 3.4028e38), "F8": (variables.F8, ">d", 1.79769e308)}
LEAVES = [*INTEGERS, *FLOATS, "B", "BOOLEAN", "A", "J"]
# JIS X 0201: two signs of ASCII are others, and the katakana of half width come after them.
JIS = [chr(c) for c in range(128) if c not in (0x5C, 0x7E)] + ["\u00a5", "\u203e"]
JIS += [chr(c) for c in range(0xFF61, 0xFFA0)]
DEPTH_MAX = 31


def length(rng):
    """How many values: mostly few, at times so many that the length takes two or three bytes."""
    kind = rng.random()
    if kind < 0.15:
        return 0
    if kind < 0.6:
        return 1
    if kind < 0.98:
        return rng.randrange(2, 9)
    if kind < 0.99999:
        return rng.choice([127, 128, 255, 256, 257, rng.randrange(9, 600)])
    return rng.choice([65535, 65536, rng.randrange(600, 70000)])


def integer(rng, low, high):
    kind = rng.random()
    if kind < 0.2:
        return rng.choice([low, high, low + 1, high - 1, 0, 1])
    if kind < 0.6:
        return rng.randint(max(low, -200), min(high, 200))
    return rng.randint(low, high)


def floating(rng, form, most):
    """A number that the format holds exactly, by its bits."""
    if rng.random() < 0.2:
        value = rng.choice([0.0, -0.0, 1.0, -1.5, most, -most, struct.unpack(form, bytes(struct.calcsize(form) - 1) + b"\1")[0]])
    else:
        while True:
            value = struct.unpack(form, rng.randbytes(struct.calcsize(form)))[0]
            if -most <= value <= most:
                break
    return struct.unpack(form, struct.pack(form, value))[0]


def leaf(rng, words):
    name = rng.choice(LEAVES)
    count = length(rng)
    if name in INTEGERS:
        kind, low, high = INTEGERS[name]
        values = [integer(rng, low, high) for _ in range(count)]
        words.append(f"{name}:" + ",".join(map(str, values)))
        return kind(values)
    if name in FLOATS:
        kind, form, most = FLOATS[name]
        values = [floating(rng, form, most) for _ in range(count)]
        words.append(f"{name}:" + ",".join(struct.pack(form, v).hex() for v in values))
        return kind(values)
    if name == "BOOLEAN":
        values = [rng.random() < 0.5 for _ in range(count)]
        words.append("BOOLEAN:" + ",".join("1" if v else "0" for v in values))
        return variables.Boolean(values)
    if name == "B":
        data = rng.randbytes(count)
        words.append("B:" + data.hex())
        return variables.Binary(data)
    if name == "J":
        text = "".join(rng.choice(JIS) for _ in range(count))
        words.append("J:" + text.encode("utf-8").hex())
        return variables.JIS8(text)
    text = "".join(chr(rng.randrange(128)) for _ in range(count))
    words.append("A:" + text.encode("ascii").hex())
    return variables.String(text)


def tree(rng, depth, words):
    # The outermost is a list mostly, and a deep tree is one list in another.
    if depth == DEPTH_MAX or rng.random() < (0.1 if depth == 0 else 0.7):
        return leaf(rng, words)
    count = rng.randrange(0, 7)
    if rng.random() < 0.0005:
        count = rng.randrange(250, 300)
    words.append(f"L{count}")
    item = variables.Array(variables.Dynamic)
    item.data = [tree(rng, depth + 1, words) for _ in range(count)]
    return item


def deep(rng, depth, words):
    """Lists as deep as they are read."""
    if depth == DEPTH_MAX:
        return leaf(rng, words)
    words.append("L1")
    item = variables.Array(variables.Dynamic)
    item.data = [deep(rng, depth + 1, words)]
    return item


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    out = sys.stdout
    for number in range(count):
        words = []
        item = deep(rng, 0, words) if number % 1000 == 7 else tree(rng, 0, words)
        out.write(item.encode().hex() + " " + " ".join(words) + "\n")


main()
