"""A latency histogram that merges: sub-bucketed powers of two, exact counts, at most 1.6 % error per value.

Every octave is cut into 32 buckets of equal width, so a bucket is never wider than 1/32 of its lower end and its
middle is off by half of that at most.  Values below 64 have a bucket each.  Counts, sum and maximum are exact, and
merging two histograms gives what recording all their values in one would have given.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

__all__ = ["Histogram", "bucket_of", "check_list", "middle_of"]

_BITS: Final = 5
_PER_OCTAVE: Final = 1 << _BITS
_LARGEST: Final = (1 << 62) - 1
"""About 146 years in nanoseconds: what is larger counts as this."""


def bucket_of(value: int) -> int:
    """The bucket that *value* falls into; negative values count as 0 (a clock may step back between two cores)."""
    if value < _PER_OCTAVE:
        return max(value, 0)
    value = min(value, _LARGEST)
    octave = value.bit_length() - _BITS - 1
    return (octave << _BITS) + (value >> octave)


def middle_of(bucket: int) -> float:
    """The middle of the values that fall into *bucket*."""
    if bucket < 2 * _PER_OCTAVE:
        return float(bucket)
    octave = (bucket >> _BITS) - 1
    lowest = (bucket - (octave << _BITS)) << octave
    return lowest + ((1 << octave) - 1) / 2


_BUCKETS: Final = bucket_of(_LARGEST) + 1


def check_list(numbers: Sequence[int]) -> None:
    """Raise ValueError for what is no histogram's compact form (`Histogram.to_list`)."""
    if len(numbers) < 2 or len(numbers) % 2 or min(numbers) < 0:
        raise ValueError("not a histogram: an odd length or a negative number")
    if (highest := max(numbers[2::2], default=0)) >= _BUCKETS:
        raise ValueError(f"not a histogram: there is no bucket {highest}")


class Histogram:
    """How often values (nanoseconds, as integers) came, in buckets; not thread-safe.

    >>> h = Histogram()
    >>> h.add(1_000)
    >>> h.add(5_000, 3)
    >>> h.count, h.quantile(0.5) / 5_000 > 0.97
    (4, True)
    """

    __slots__ = ("buckets", "count", "largest", "total")

    def __init__(self) -> None:
        self.buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0
        self.largest = 0

    def add(self, value: int, times: int = 1) -> None:
        """Record *value*, *times* times."""
        bucket = bucket_of(value)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + times
        self.count += times
        self.total += max(value, 0) * times
        self.largest = max(self.largest, value)

    def add_all(self, values: Mapping[int, int]) -> None:
        """Record many values at once, given how often each came."""
        for value, times in values.items():
            self.add(value, times)

    def merge(self, other: Histogram) -> None:
        """Take in everything that *other* recorded."""
        self._count(other.buckets.keys(), other.buckets.values())
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)

    def take(self, numbers: Sequence[int]) -> None:
        """Take in what the compact form of another says, one that `check_list` lets through."""
        times = numbers[3::2]
        self._count(numbers[2::2], times)
        self.count += sum(times)
        self.total += numbers[0]
        self.largest = max(self.largest, numbers[1])

    def _count(self, buckets: Collection[int], times: Collection[int]) -> None:
        found = self.buckets
        if not found:
            found.update(zip(buckets, times, strict=True))
            if len(found) == len(buckets):
                return
            found.clear()  # some came twice
        known = found.get
        for bucket, count in zip(buckets, times, strict=True):
            found[bucket] = known(bucket, 0) + count

    def quantile(self, q: float) -> float | None:
        """The smallest recorded value with a share *q* (0-1) of all at or below it; None when nothing was recorded."""
        if not self.count:
            return None
        rank, seen = q * self.count, 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= rank:
                return min(middle_of(bucket), float(self.largest))
        return float(self.largest)

    @property
    def mean(self) -> float | None:
        """The exact mean, None when nothing was recorded."""
        return self.total / self.count if self.count else None

    def to_list(self) -> list[int]:
        """The compact form: sum, maximum, then each bucket and its count."""
        out = [self.total, self.largest]
        for bucket in sorted(self.buckets):
            out += (bucket, self.buckets[bucket])
        return out

    @classmethod
    def from_list(cls, numbers: Sequence[int]) -> Histogram:
        """Read the compact form.  Raises ValueError for what no histogram can have written."""
        check_list(numbers)
        found = cls()
        found.take(numbers)
        return found

    @classmethod
    def merged(cls, histograms: Iterable[Histogram]) -> Histogram:
        """One histogram of all that *histograms* recorded."""
        found = cls()
        for histogram in histograms:
            found.merge(histogram)
        return found
