"""Ways to damage a file, or to write one that means harm. Each takes a random.Random and what to change."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Callable
from random import Random
from typing import Any

Path = tuple[Any, ...]  # to a value in JSON: keys and places

TOKENS = [
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",  # a byte order mark
    b"\xc3\x28",  # no UTF-8
    b"\xed\xa0\x80",  # half a pair of surrogates
    b'"',
    b'""',
    b"'",
    b"\\",
    b"\\u0000",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b",",
    b";",
    b"\t",
    b"|",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-0",
    b"9" * 400,
    b"1_000",
    b"0x10",
    b"null",
    b"true",
    b"2024-02-30",
    b"=1+1",
    b"'); SELECT 1; --",
    b"${HOME}",
    b"\xe2\x80\xae",  # turns the direction of writing
    "\U0001f600".encode(),
]
LENGTHS = [0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1]
NUMBERS = [0, 1, -1, 2, 3, 7, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 2**64, 10**30, 10**400]
NUMBERS += [0.5, -0.0, 1e-308, 1e308, float("inf"), float("-inf"), float("nan")]
TEXTS = [
    "",
    "\0",
    "x",
    "weight",
    "0.weight",
    "Linear",
    "he_normal",
    "custom",
    "../../etc/passwd",
    "__class__",
    "é\ud800",
]
TEXTS += ["F16", "I64", "BF16", "F64", "9" * 5000, "a" * 100_000, "{", "%s%n", "NaN"]
DEEP = 100_000


def bytes_of(draw: Random, seeds: list[bytes]) -> bytes:
    """One of the files, damaged in a few ways as bytes."""
    data = draw.choice(seeds)
    for _ in range(draw.choice([1, 1, 2, 3, 6])):
        data = draw.choice(BYTES)(draw, data, seeds)
    return data


def _place(draw: Random, data: bytes) -> int:
    """Anywhere, and often near the beginning or the end, where headers are."""
    return draw.choice([draw.randint(0, len(data)), draw.randint(0, min(len(data), 40)), len(data)])


def flip(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 4, 30])):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def overwrite(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    at, token = _place(draw, data), draw.choice([draw.choice(TOKENS), draw.randbytes(draw.randint(1, 8))])
    return data[:at] + token + data[at + len(token) :]


def insert(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    at = _place(draw, data)
    return data[:at] + draw.choice(TOKENS) * draw.choice([1, 1, 1, 3, 2000]) + data[at:]


def cut(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    start = _place(draw, data)
    return data[:start] + data[start + draw.randint(0, 64) :]


def truncate(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    return data[: _place(draw, data)]


def repeat(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    start = _place(draw, data)
    part = data[start : start + draw.randint(1, 64)]
    return data[:start] + part * draw.choice([2, 3, 500]) + data[start:]


def splice(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    other = draw.choice(seeds)
    return data[: _place(draw, data)] + other[_place(draw, other) :]


def swap(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    one, two, three = sorted(_place(draw, data) for _ in range(3))
    return data[:one] + data[two:three] + data[one:two] + data[three:]


def length(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    """A number of 4 or 8 bytes, as lengths are written, that says something else."""
    at, form = _place(draw, data), draw.choice(["<Q", ">Q", "<I"])
    size = struct.calcsize(form)
    return data[:at] + struct.pack(form, draw.choice(LENGTHS) % 2 ** (8 * size)) + data[at + size :]


def encode(draw: Random, data: bytes, seeds: list[bytes]) -> bytes:
    """In another encoding than it was."""
    other = draw.choice(["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-7"])
    return data.decode("utf-8", "replace").encode(other, "replace")


BYTES: list[Callable[[Random, bytes, list[bytes]], bytes]] = [flip, flip, overwrite, overwrite, insert, cut, truncate]
BYTES += [repeat, splice, swap, length, length, encode]


def paths(value: Any, path: Path = ()) -> list[Path]:
    """The way to each value in JSON."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(way for key, each in inner for way in paths(each, (*path, key)))]


def at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def json_of(draw: Random, value: Any) -> Any:
    """JSON's value with a few changes that respect its form; the value itself stays as it is."""
    value = copy.deepcopy(value)
    for _ in range(draw.choice([1, 1, 1, 2, 4])):
        ways = paths(value)
        path = draw.choice(ways[1:] or ways)
        if not path:
            return strange(draw, value, ways)
        holder, key, kind = at(value, path[:-1]), path[-1], draw.random()
        if kind < 0.6:
            holder[key] = strange(draw, value, ways, holder[key])
        elif kind < 0.75:
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw.choice([*TEXTS, *holder])] = holder.pop(key) if kind < 0.85 else copy.deepcopy(holder[key])
        else:
            holder.insert(draw.randint(0, len(holder)), copy.deepcopy(draw.choice(holder)))
    return value


def strange(draw: Random, value: Any, ways: list[Path], old: Any = None) -> Any:
    """Something else to stand in JSON: a number, a text, another part of it, the old value changed a little."""
    kind = draw.randrange(8)
    if kind == 0 and isinstance(old, int | float) and not isinstance(old, bool):
        return draw.choice([old + 1, old - 1, -old, old * 2, old * 10**9, str(old)])
    if kind == 1 and isinstance(old, str):
        return draw.choice([old.upper(), old[:-1], old + "\0", old * 50, [old], old.encode("utf-16", "replace").hex()])
    if kind <= 3:
        return draw.choice(NUMBERS)
    if kind == 4:
        return draw.choice(TEXTS)
    if kind == 5:
        return draw.choice([None, True, False, [], {}, [[]], [old], {"x": old}, [None] * 1000, list(range(3000))])
    return copy.deepcopy(at(value, draw.choice(ways)))


def text_of(draw: Random, value: Any) -> bytes:
    """The JSON written out, sometimes as no writer does: a key twice, brackets without end, a number of many digits."""
    text = json.dumps(value)
    kind = draw.randrange(12)
    if kind == 0:
        bracket = draw.choice(["[", '{"a":', "[[],"])
        start = draw.randint(0, len(text))
        return (text[:start] + bracket * DEEP + text[start:]).encode("utf-8", "surrogatepass")
    if kind == 1 and isinstance(value, dict) and value:
        key = json.dumps(draw.choice(list(value)))
        return f"{text[:-1]}, {key}: {json.dumps(draw.choice([*NUMBERS, *TEXTS]))}}}".encode("utf-8", "surrogatepass")
    if kind == 2:
        return text.replace("1", "1" * 6000, 1).encode("utf-8", "surrogatepass")
    if kind == 3:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return text.encode()


def json_texts(draw: Random, seeds: list[bytes]) -> bytes:
    """One of the JSON files: its values changed, or its text, or its bytes; of JSON lines, those of a few lines."""
    if draw.random() < 0.25:
        return bytes_of(draw, seeds)
    seed = draw.choice(seeds)
    try:
        return text_of(draw, json_of(draw, json.loads(seed)))
    except ValueError:
        lines = seed.splitlines()
        for i in draw.sample(range(len(lines)), draw.randint(1, min(3, len(lines)))):
            lines[i] = text_of(draw, json_of(draw, json.loads(lines[i])))
        return b"\n".join(lines)


def unpacked(data: bytes) -> tuple[dict[str, Any], bytes]:
    """(the header, the tensors) of a safetensors file."""
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def packed(header: bytes, tensors: bytes) -> bytes:
    """A safetensors file of that header, padded as it must be."""
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + tensors


def safetensors_of(
    draw: Random,
    seeds: list[bytes],
    key: str,
    sign: Callable[[Any, dict[str, Any], bytes], Any] = lambda said, *_: said,
) -> bytes:
    """One of the safetensors files: the JSON under that key of its metadata changed, its header, or its bytes.

    sign: gives the JSON again with what in it must fit the rest: it takes the JSON, the header and the tensors.
    """
    kind = draw.random()
    if kind < 0.25:
        return bytes_of(draw, seeds)
    header, tensors = unpacked(draw.choice(seeds))
    right = header
    if kind < 0.35:
        return packed(text_of(draw, json_of(draw, header)), tensors)
    if kind < 0.55:
        header = header_of(draw, header)
    if kind < 0.45:
        return packed(text_of(draw, header), tensors)
    if draw.random() < 0.3:
        tensors = flip(draw, tensors, seeds)
    content = json_of(draw, json.loads(header["__metadata__"][key]))
    header["__metadata__"][key] = text_of(draw, sign(content, right, tensors)).decode("utf-8", "surrogatepass")
    return packed(json.dumps(header).encode(), tensors)


def header_of(draw: Random, header: dict[str, Any]) -> dict[str, Any]:
    """A safetensors header that says something else of its tensors: types, shapes, places, names."""
    header = copy.deepcopy(header)
    for _ in range(draw.choice([1, 1, 2, 4])):
        names = [name for name in header if name != "__metadata__"]
        if not names:
            break
        name = draw.choice(names)
        entry, kind = header[name], draw.randrange(8)
        if not isinstance(entry, dict) or not {"dtype", "shape", "data_offsets"} <= entry.keys():
            continue
        if kind == 0:
            entry["dtype"] = draw.choice(["F16", "F32", "F64", "I64", "U8", "BOOL", "BF16", "F8_E4M3", "C64", "", 3])
        elif kind == 1 and isinstance(entry["shape"], list):
            entry["shape"] = [draw.choice([*LENGTHS, *entry["shape"]]) for _ in range(draw.randint(0, 5))]
        elif kind == 2 and isinstance(entry["shape"], list):
            entry["shape"] = draw.choice([entry["shape"][::-1], [*entry["shape"], 1], [0], [1] * 70, [[1]]])
        elif kind == 3:
            entry["data_offsets"] = draw.choice([header[draw.choice(names)], entry]).get("data_offsets")
        elif kind == 4:
            entry["data_offsets"] = sorted(draw.choice([*LENGTHS, 4, 8, 24, 100]) for _ in range(2))
        elif kind == 5:
            header[draw.choice([*TEXTS, *names])] = header.pop(name)
        elif kind == 6:
            header[draw.choice(TEXTS)] = copy.deepcopy(entry)
        else:
            del header[name]
    return header
