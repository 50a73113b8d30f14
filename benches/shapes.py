#!/usr/bin/env python3
"""shapes.py DIR [--shapes escapes,…] [--files 100]

Makes data sets of shapes that `millwork generate` does not have, of 3.5 MB a file, each in a folder of DIR as run.py wants them:
`run.py --data DIR --shapes escapes --files 100 …`. Lines are drawn from 42 MB of different ones; the same each time."""

import argparse
import itertools
import json
import os
import random
import string
import uuid

random_ = random.Random(77)
WORDS = ["".join(random_.choices(string.ascii_lowercase, k=random_.randint(2, 11))) for _ in range(5000)]
HAN = [chr(code) for code in range(0x4E00, 0x5200)]
ATTRIBUTES = [f"attr_{word}" for word in WORDS[:300]]
KINDS = [random_.sample(WORDS, random_.randint(8, 25)) for _ in range(6)]
PRODUCERS = [[f"{word}_{number}" for word in random_.sample(WORDS, 25)] for number in range(20)]
turns = itertools.cycle(PRODUCERS)
FILE_BYTES, POOL_BYTES = 3_500_000, 42_000_000


def compact(value):
    return json.dumps(value, separators=(",", ":"))


def id_():
    return str(uuid.UUID(int=random_.getrandbits(128)))


def words(count):
    return " ".join(random_.choices(WORDS, k=count))


def event():
    return {
        "id": id_(),
        "user": random_.randrange(10**7),
        "country": random_.choice(["DE", "FR", "US", "PL"]),
        "price": round(random_.random() * 100, 2),
        "agent": random_.choice(WORDS),
        "url": f"https://{random_.choice(WORDS)}.example/{random_.randrange(10**6)}",
        "ok": random_.random() < 0.9,
        "n": None if random_.random() < 0.3 else random_.randrange(100),
        "tags": random_.sample(WORDS[:50], 3),
        "ts": 1766448000000 + random_.randrange(86400000),
    }


def escapes():
    """Text with line breaks, quotes, tabs and backslashes."""
    lines = "\n".join(f'"{random_.choice(WORDS)}"\t\\{random_.choice(WORDS)}' for _ in range(25))
    return {"id": random_.randrange(10**9), "text": lines, "html": f'<a href="{random_.choice(WORDS)}">{random_.choice(WORDS)}</a>'}


def unicode_escapes():
    """What is not ASCII as four hexadecimal digits, as Python's json writes it."""
    return {"id": id_(), "text": "".join(random_.choices(HAN, k=100)), "name": "".join(random_.choices(HAN[:40], k=3))}


def shuffled():
    """Ten keys in random order."""
    fields = list(event().items())
    random_.shuffle(fields)
    return dict(fields)


def sparse():
    """Twelve of 300 attributes, in random order."""
    return {"id": random_.randrange(10**9), **{key: random_.choice(WORDS) for key in random_.sample(ATTRIBUTES, 12)}}


def some_of(keys):
    """Numbers, words and short texts, in turns, for most of these keys."""

    def value(at):
        return (random_.randrange(1000), random_.choice(WORDS[:200]), words(3))[at % 3]

    return {key: value(at) for at, key in enumerate(keys) if random_.random() < 0.8}


def kinds():
    """Six kinds of events with keys of their own, some of them left out."""
    kind = random_.randrange(6)
    return {"kind": f"kind_{kind}", "id": id_(), **some_of(KINDS[kind])}


def producers():
    """Twenty producers, each with files of its own and 25 keys of its own, some of them left out: 500 columns, of which a file has 25."""
    return some_of(next(turns))


def dense():
    """400 numbers a line."""
    return {f"c{at:03}": random_.randrange(1000) if at % 2 else round(random_.random(), 3) for at in range(400)}


def numbers():
    """Telemetry: 21 numbers a line."""
    return {"ts": 1766448000000 + random_.randrange(86400000), **{f"m{at}": random_.gauss(0, 1) if at % 2 else random_.randrange(10**6) for at in range(20)}}


def arrays():
    """Arrays of 200 numbers."""
    return {"series": random_.choice(WORDS), "values": [round(random_.gauss(0, 1), 4) for _ in range(200)]}


def late():
    """Events; every tenth file has a key of its own, in its last line."""
    return event()


SHAPES = {shape.__name__: shape for shape in (escapes, unicode_escapes, shuffled, sparse, kinds, producers, dense, numbers, arrays, late)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("--shapes", default=",".join(SHAPES), help="which ones: %(default)s")
    parser.add_argument("--files", type=int, default=100)
    options = parser.parse_args()
    for name in options.shapes.split(","):
        if name not in SHAPES:
            parser.error(f"no shape `{name}`: there are {', '.join(SHAPES)}")
        random_.seed(name)
        folder, pool, size = os.path.join(options.directory, name), [], 0
        os.makedirs(folder, exist_ok=True)
        while size < POOL_BYTES:
            pool.append(compact(SHAPES[name]()) + "\n")
            size += len(pool[-1])
        for number in range(options.files):
            with open(os.path.join(folder, f"2025-12-23-part-{number:05}.ndjson"), "w") as file:
                lines = FILE_BYTES * len(pool) // size
                if name == "producers":
                    # Every twentieth line is of one producer.
                    file.writelines(random_.choices(pool[number % len(PRODUCERS) :: len(PRODUCERS)], k=lines))
                else:
                    file.writelines(random_.sample(pool, lines))
                if name == "late" and number % 10 == 5:
                    file.write(compact({**event(), f"late_{number}": words(2)}) + "\n")
        print(f"{folder}: {options.files} files, lines of {size // len(pool)} bytes")


if __name__ == "__main__":
    main()
