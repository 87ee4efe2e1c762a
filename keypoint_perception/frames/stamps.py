"""
Which clock gives the stamps of a recording's images.

Headers tell when an image was captured, which is what matters, unless a driver leaves them at
zero or at whole seconds, or counts in another unit. Then the times of the bag, at which images
were recorded, are used, and if these are no use either, the number of the image over a rate. The
first images decide for the recording; after that, single stamps that do not fit are replaced.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
import logging

from keypoint_perception.errors import ConfigError, SourceError
from keypoint_perception.frames.frame import EncodedFrame
import numpy as np

SECOND_NS, HOUR_NS, DAY_NS = 10**9, 3600 * 10**9, 86400 * 10**9
HEAD_IMAGES, HEAD_BYTES = 32, 64_000_000  # that decide, whichever is less
QUESTIONED_IMAGES = 8  # or more, which have a rate
MIN_HZ, MAX_HZ, ASSUMED_HZ = 0.1, 1000.0, 30.0  # of cameras
END_NS = 2**31 * SECOND_NS  # of what a ROS 2 header can hold
FEW = 0.2  # of the stamps, which do not decide
# A simulation may run so many times faster than the clock of the bag.
FASTEST = 50
LONGEST_STILL_NS = SECOND_NS // 2
INT64 = np.iinfo(np.int64)

log = logging.getLogger('keypoint_perception')


def checked_stamps(text: str) -> str:
    """
    Return a choice of stamps in its normal form: ``''`` (automatic), ``'header'``, ``'index:30'``.

    :raises ConfigError: if it is none
    """
    kind, colon, rate = text.partition(':')
    try:
        hz = float(rate) if colon else ASSUMED_HZ
    except ValueError:
        hz = 0.0
    if kind == 'index' and 1e-6 <= hz <= 1e6:
        return f'index:{hz:g}'
    if text in ('', 'header', 'bag'):
        return text
    msg = (
        f'--stamps is {text!r}; expected header, bag, index or, with the number of images per '
        'second, index:15.'
    )
    raise ConfigError(msg)


def stamped_frames(
    name: str, frames: Iterator[EncodedFrame], stamps: str = ''
) -> Iterator[EncodedFrame]:
    """
    Yield the images of a recording with the stamps of one clock; what is odd is logged.

    :param name: the recording's in messages
    :param stamps: as for :func:`checked_stamps`
    :raises SourceError: if the source has no times of a bag, which were chosen
    """
    kind, _, rate = checked_stamps(stamps).partition(':')
    head, hz = _head(frames), float(rate or ASSUMED_HZ)
    timed = [frame for frame in head if frame.bag_ns is not None]
    if kind == 'bag' and len(timed) < len(head):
        msg = f'{name!r} has no times of a bag; leave out --stamps, or use index.'
        raise SourceError(msg)
    fitting = None
    if not kind and timed:
        kind, fitting = _choose(name, timed)
    watch, numbers = _Watch(name, bool(timed) and kind != 'bag'), defaultdict[str, int](int)
    while head or (head := _head(frames, most=1)):
        frame = head.pop(0)
        stamp_ns = frame.stamp_ns
        if kind == 'bag' and frame.bag_ns is not None:
            stamp_ns = frame.bag_ns
        elif kind == 'index':
            stamp_ns = round(numbers[frame.topic] * SECOND_NS / hz)
            numbers[frame.topic] += 1
        elif fitting is not None:
            stamp_ns = fitting.stamp(frame)
        stamp_ns = max(INT64.min, min(stamp_ns, INT64.max))
        watch.add(frame.topic, stamp_ns)
        yield frame._replace(stamp_ns=stamp_ns)
    watch.report()
    if fitting is not None:
        fitting.report(name)


def _head(frames: Iterator[EncodedFrame], most: int = HEAD_IMAGES) -> list[EncodedFrame]:
    """Return the next images; of a video only one, which must be decoded before the next."""
    head: list[EncodedFrame] = []
    for frame in frames:
        head.append(frame)
        size = sum(f.size for f in head)
        if frame.bag_ns is None or len(head) >= most or size > HEAD_BYTES:
            break
    return head


def _choose(name: str, head: list[EncodedFrame]) -> tuple[str, _Fitting | None]:
    """Return which clock is used; a fault of the others is logged."""
    header, bag = defaultdict[str, list[int]](list), defaultdict[str, list[int]](list)
    for frame in head:
        header[frame.topic].append(frame.stamp_ns)
        bag[frame.topic].append(frame.bag_ns or 0)
    fault, bag_fault, hz, bag_hz = _fault(header), _fault(bag), _hz(header), _hz(bag)
    if not (fault or bag_fault):
        offsets = [f.stamp_ns - (f.bag_ns or 0) for f in head]
        usual = float(np.median(offsets))
        near = [o for o in offsets if abs(o - usual) <= HOUR_NS]
        slow = hz < MIN_HZ or all(f.stamp_ns % SECOND_NS == 0 for f in head)
        if slow and 2 * hz < bag_hz:
            fault = f'tell of {hz:.3g} images per second where the bag has {bag_hz:.3g}'
        elif len(near) < (1 - FEW) * len(offsets):
            fault = 'are of several clocks'
        else:
            timed = (o for o, f in zip(offsets, head, strict=True) if o in near and f.stamp_ns)
            return 'header', _Fitting(next(timed, near[0]))
    if not fault or (bag_fault and hz > MAX_HZ):  # nothing is better
        return 'header', None
    kind = 'index' if bag_fault else 'bag'
    used = f'and the times of the bag {bag_fault}: {ASSUMED_HZ:g} images per second are assumed'
    log.warning(
        'The header stamps of %r %s%s; --stamps header, bag or index:RATE chooses.',
        *(name, fault, f' {used}' if bag_fault else ': the times of the bag are used instead'),
    )
    return kind, None


class _Fitting:
    """
    Header stamps, of which those that do not fit are replaced by what the bag's times tell.

    :param offset: what the headers' clock is usually ahead of the bag's, ns
    """

    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.count = 0
        # the times of the last header that fitted, by topic; stamps that were replaced
        self.last: dict[str, tuple[int, int]] = {}
        self.replaced: list[int] = []

    def stamp(self, frame: EncodedFrame) -> int:
        self.count += 1
        stamp_ns, bag_ns = frame.stamp_ns, frame.bag_ns or 0
        if (last := self.last.get(frame.topic)) is None:
            expected = bag_ns + self.offset
            fits = abs(stamp_ns - expected) < HOUR_NS
        else:
            step, passed = stamp_ns - last[0], bag_ns - last[1]
            expected = last[0] + passed
            # neighbours may be swapped
            first = FASTEST * min(passed, 0) - SECOND_NS
            fits = first <= step <= FASTEST * max(passed, 0) + HOUR_NS
            fits = fits and (step != 0 or passed <= LONGEST_STILL_NS)
        if not fits or (stamp_ns == 0 and abs(expected) > LONGEST_STILL_NS):
            self.replaced.append(stamp_ns)
            self.last.setdefault(frame.topic, (expected, bag_ns))
            return expected
        if last is None or stamp_ns != last[0]:  # not one that stands still
            self.last[frame.topic] = stamp_ns, bag_ns
        self.offset = stamp_ns - bag_ns
        return stamp_ns

    def report(self, name: str) -> None:
        if self.replaced:
            log.warning(
                '%d of %d header stamps of %r do not continue the others, as of another clock (the'
                " first: %s s): the bag's times, moved to the headers' clock, replace them; "
                '--stamps bag takes these times for all.',
                *(len(self.replaced), self.count, name, f'{self.replaced[0] / SECOND_NS:,.9f}'),
            )


class _Watch:
    """Questions the stamps that are given: rates that no camera has, and pauses of days."""

    def __init__(self, name: str, has_bag: bool) -> None:
        self.name = name
        self.has_bag = has_bag
        self.times: dict[str, list[int]] = {}
        self.last: dict[str, int] = {}
        self.pause = 0

    def add(self, topic: str, stamp_ns: int) -> None:
        times = self.times.setdefault(topic, [])
        if len(times) < HEAD_IMAGES:
            times.append(stamp_ns)
        self.pause = max(self.pause, stamp_ns - self.last.get(topic, stamp_ns))
        self.last[topic] = stamp_ns

    def report(self) -> None:
        clauses, hz = [], _hz(self.times)
        if any(len(times) >= QUESTIONED_IMAGES for times in self.times.values()):
            slow = f'tell of {hz:.3g} images per second' if 0 < hz < MIN_HZ else ''
            clauses = [_fault(self.times) or slow]
        if self.pause > DAY_NS:
            days = self.pause / DAY_NS
            clauses.append(f'pause for {days:,.1f} days, as when a clock is set')
        if text := ' and '.join(filter(None, clauses)):
            log.warning(
                'The stamps of %r %s; if that is wrong, use %s--stamps index:RATE with the rate '
                'of the camera.',
                *(self.name, text, '--stamps bag or ' if self.has_bag else ''),
            )


def _steps(times: Mapping[str, Sequence[int]]) -> list[int]:
    return [b - a for each in times.values() for a, b in pairwise(each)]


def _hz(times: Mapping[str, Sequence[int]]) -> float:
    """Return the usual images per second of a topic, 0 if no two have different times."""
    steps = [step for step in _steps(times) if step > 0]
    return SECOND_NS / float(np.median(steps)) if steps else 0.0


def _fault(times: Mapping[str, Sequence[int]]) -> str:
    """Return why the times of images by topic are no use, as a clause, or an empty text."""
    every, steps = [time for each in times.values() for time in each], _steps(times)
    different = sum(len(set(each)) for each in times.values())
    if not any(every):
        return 'are zero'
    if np.mean([time < 0 or time >= END_NS for time in every]) > FEW:
        return 'are negative or after 2038'
    if 2 * different <= len(every):
        return f'stand still ({len(every)} images, {different} stamp{"s" * (different > 1)})'
    few, most = FEW * len(steps), (1 - FEW) * len(steps)
    if sum(step < -SECOND_NS for step in steps) > few or sum(step < 0 for step in steps) > most:
        return 'go backwards'
    hz = _hz(times)
    return f'tell of {hz:,.0f} images per second' if hz > MAX_HZ else ''
