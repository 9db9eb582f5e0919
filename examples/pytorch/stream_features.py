"""What the default model knows of the bytes themselves: n-grams, words, matches and recency of one stream.

The same functions of the bytes as include/qllk/nn/contexts/ and nn/recency.hpp, written plainly, for whole streams.
"""
import numpy

from safetensors_file import mix64

MASK64 = (1 << 64) - 1
NONE = -1  # a row that is not there


def ngrams(data, orders, bits):
    """Rows and signs of the last 2 … `orders` bytes. data: uint8 [n]; returns two arrays [n, orders - 1]."""
    def shift(count):
        return numpy.uint64(count)

    rows, signs = [], []
    code = data.astype(numpy.uint64)
    for i in range(orders - 1):
        before = numpy.zeros(len(data), numpy.uint64)
        before[i + 1:] = data[:max(0, len(data) - i - 1)]
        code = code << shift(8) | before
        if i >= 6:
            code = mix64(code)
        mixed = mix64(code ^ numpy.uint64(i << 56))
        exact = i == 0 and bits >= 16
        rows.append((i << bits) + ((code if exact else mixed) & numpy.uint64((1 << bits) - 1)).astype(numpy.int64))
        signs.append(numpy.where((mixed >> shift(63) != 0) & (not exact), -1, 1))
    return columns(rows, len(data)), columns(signs, len(data))


def columns(arrays, length):
    return numpy.stack(arrays, axis=1) if arrays else numpy.zeros((length, 0), numpy.int64)


def letter(byte):
    """The lower-case form of a byte that belongs to words, or None."""
    if 0x41 <= byte <= 0x5A:
        return byte + 0x20
    return byte if 0x61 <= byte <= 0x7A or 0x30 <= byte <= 0x39 or byte == 0x5F or byte >= 0x80 else None


def words(data, orders, bits):
    """Rows and signs of the word so far, alone and with 1, 2, … words before it. Returns two arrays [n, orders]."""
    rows = numpy.zeros((len(data), orders), numpy.int64)
    signs = numpy.ones((len(data), orders), numpy.int64)
    prefix, before = 0, [0, 0, 0]
    for t, byte in enumerate(data.tolist()):
        lower = letter(byte)
        if lower is not None:
            prefix = mix64((prefix << 1 & MASK64) ^ lower) | 1
        elif prefix != 0:
            before = [prefix, *before[:2]]
            prefix = 0
        code = prefix or byte
        for i in range(orders):
            if i > 0:
                code = mix64((code + before[i - 1]) & MASK64)
            mixed = mix64(code ^ (i + 1) << 56)
            rows[t, i] = (i << bits) + (mixed & (1 << bits) - 1)
            signs[t, i] = -1 if mixed >> 63 else 1
    return rows, signs


class Matches:
    """What followed the same bytes before, in the last 2^window_bits bytes."""

    COMPARED = 48
    MOST = 1 << 20
    BUCKETS_FROM = numpy.array([9, 11, 13, 16, 20, 28, 48, 96])

    def __init__(self, lengths, window_bits):
        self.lengths, self.window, self.table_bits = lengths, 1 << window_bits, window_bits + 1

    def slot(self, length, recent, older):
        """Where a table has the place of the last occurrence of these bytes."""
        odd = 0x9E3779B97F4A7C15
        key = (recent << 64 - 8 * min(length, 8)) * odd & MASK64
        if length > 8:
            key = (key ^ key >> 32 ^ (older << 64 - 8 * (length - 8) & MASK64)) * 0xD6E8FEB86659FD93 & MASK64
        return ((key ^ key >> 29) * odd & MASK64) >> 64 - self.table_bits

    def agreement(self, data, place, now):
        """How many bytes before two places are the same."""
        count, most = 0, min(self.COMPARED, place)
        while count < most and data[place - 1 - count] == data[now - 1 - count]:
            count += 1
        return count

    def candidate(self, data, place, now, length):
        """The place of an earlier occurrence and its agreement, which is 0 where there is none of `length` bytes."""
        distance = (now - place) % self.window
        if distance == 0 or distance >= now or distance > self.window - self.COMPARED:
            return 0, 0
        agreed = self.agreement(data, now - distance, now)
        return now - distance, agreed if agreed >= length else 0

    def bucket(self, agreement):
        if agreement <= 8:
            return agreement - 1
        return 7 + int(numpy.searchsorted(self.BUCKETS_FROM, agreement, side="right"))

    def rows(self, data):
        """Returns an array [n, orders] of rows i · 4096 + bucket · 256 + predicted byte, NONE where nothing agrees."""
        rows = numpy.full((len(data), len(self.lengths)), NONE, numpy.int64)
        tables = [{} for _ in self.lengths]
        data = data.tolist()
        recent = older = agreed = pointer = 0
        for t, byte in enumerate(data if self.lengths else []):
            if agreed > 0:
                agreed = min(agreed + 1, self.MOST) if data[pointer] == byte else 0
                pointer += 1
            older = (older << 8 | recent >> 56) & MASK64
            recent = (recent << 8 | byte) & MASK64
            now, found = t + 1, []
            for length, table in zip(self.lengths, tables):
                slot = self.slot(length, recent, older)
                found.append(self.candidate(data, table.get(slot, 0), now, length))
                table[slot] = now % self.window
            for place, agreement in found:
                if agreed == 0:
                    pointer, agreed = place, agreement
            found[0] = pointer, agreed
            for i, (place, agreement) in enumerate(found):
                if agreement > 0:
                    rows[t, i] = i * 4096 + self.bucket(agreement) * 256 + data[place]
        return rows


class Recency:
    """How long ago each byte came last, anywhere and in three contexts: the last byte, the last two, the word."""

    AGES, RANKS, BYTES, PLACES = 16, 3, 12, 32
    LETTERS, REACH = 32, 128
    ODD = 0x9E3779B97F4A7C15

    def __init__(self, bits):
        self.bits, self.window = bits, 1 << bits

    def ages(self, data):
        """floor(log2 distance) of each byte's last occurrence, 16 where it has none in the window: [n, 256]."""
        ages = numpy.full((len(data), 256), self.AGES, numpy.int64)
        last = numpy.full(256, -self.window)
        for t, byte in enumerate(data.tolist()):
            last[byte] = t
            distance = t + 1 - last
            known = distance < self.window
            ages[t, known] = numpy.frexp(distance[known].astype(numpy.float64))[1] - 1
        return ages

    def spell(self, data):
        """A hash of the word context after each byte, 0 where there is none."""
        def scatter(value):
            return ((value ^ value >> 29) * self.ODD & MASK64) >> 32 & 0xFFFFFFFF | 1

        hashes, word, before, letters, gap = [], 0, 0, self.LETTERS + 1, 0
        for byte in data.tolist():
            lower = letter(byte)
            if lower is not None:
                word = (word + lower + 1) * self.ODD & MASK64
                letters = min(letters + 1, self.LETTERS + 1)
                hashes.append(scatter(word) if letters <= self.LETTERS else 0)
                continue
            if word != 0:
                before, word, gap = word if letters <= self.LETTERS else 0, 0, 0
            else:
                gap += 1
                before = 0 if gap == self.LETTERS else before
            letters = 0
            hashes.append(scatter(before + byte & MASK64) if before != 0 else 0)
        return hashes

    def entries(self, data):
        """Triples (position, byte, weight) of what the three contexts add: an array [3, entries]."""
        spelled, data = self.spell(data), data.tolist()
        pairs = [byte | (data[t - 1] if t > 0 else 0) << 8 for t, byte in enumerate(data)]
        keys = [data, pairs, spelled]
        word_bits = self.bits - 1
        slots = [data, [(pair * 40503 & 0xFFFF) >> 16 - self.bits for pair in pairs],
                 [word >> 32 - word_bits for word in spelled]]
        found = []
        for context in range(3):
            newest, before = {}, []  # the place before with the same slot, for each place
            for t, slot in enumerate(slots[context]):
                chained = keys[context][t] != 0 or context < 2
                before.append(newest.get(slot) if chained else None)
                if chained:
                    newest[slot] = t
                self.look_back(context, t, before, keys[context], data, found)
        return numpy.array(found, numpy.int64).reshape(-1, 3).T

    def look_back(self, context, t, before, keys, data, found):
        """Appends the bytes that followed the last occurrences of the context of position t."""
        farthest = min(self.window - (2 if context < 2 else self.REACH), t + 1 - (2 if context < 2 else 1))
        seen, place = [], t
        for _ in range(self.PLACES):
            place = before[place]
            if place is None or t - place > farthest:
                return
            byte = data[place + 1]
            if keys[place] != keys[t] or byte in seen:
                continue
            rank, age = min(len(seen), self.RANKS - 1), (t - place).bit_length() - 1
            found.append((t, byte, (context * self.RANKS + rank) * self.AGES + age))
            seen.append(byte)
            if len(seen) == self.BYTES:
                return
