#!/usr/bin/env python3
"""events.py FILE: checks the records of a TensorBoard event file and prints "step tag value", one scalar a line."""
import struct
import sys


def checksum(data):
    rest = 0xFFFFFFFF
    for byte in data:
        rest ^= byte
        for _ in range(8):
            rest = rest >> 1 ^ (0x82F63B78 if rest & 1 else 0)
    rest ^= 0xFFFFFFFF
    return ((rest >> 15 | rest << 17) + 0xA282EAD8) & 0xFFFFFFFF


def fields(data):
    """Yields (number, value) of a message of Protocol Buffers."""

    def varint(at):
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value, at

    at = 0
    while at < len(data):
        key, at = varint(at)
        kind = key & 7
        if kind == 0:
            value, at = varint(at)
        elif kind == 1:
            value, at = struct.unpack_from("<d", data, at)[0], at + 8
        elif kind == 5:
            value, at = struct.unpack_from("<f", data, at)[0], at + 4
        else:
            size, at = varint(at)
            value, at = data[at : at + size], at + size
        yield key >> 3, value


def main():
    data = open(sys.argv[1], "rb").read()
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        assert checksum(data[at : at + 8]) == struct.unpack_from("<I", data, at + 8)[0], "checksum of a length"
        event = data[at + 12 : at + 12 + size]
        assert checksum(event) == struct.unpack_from("<I", data, at + 12 + size)[0], "checksum of an event"
        members = dict(fields(event))
        if at == 0:
            assert members[3] == b"brain.Event:2", "the version"
        for number, value in fields(members.get(5, b"")):
            assert number == 1
            scalar = dict(fields(value))
            print(members[2], scalar[1].decode(), scalar[2])
        at += 16 + size
    assert at == len(data), "cut short"


main()
