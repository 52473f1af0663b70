"""What every detector promises, whatever its source: it never fails, and what it gives it can resume from."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from oombot import catalog
from oombot.model import Entry, Gap, Live

BOOT = b"@@boot 84631588-8d8e-4e1f-9bfd-c816cfa999c8 1000 5000 +0000"
DETECTORS = sorted(catalog.detectors().values(), key=lambda one: one.name)
SAMPLES = {
    "dmesg": [BOOT, b"@@poll", b"|<3>[   12.345678] a", b"|<3>[   13.000000] b", b"@@live"],
    "journald": [
        BOOT,
        *(
            b'{"__CURSOR":"s=0123456789abcdef;i=%d;b=fedcba","__REALTIME_TIMESTAMP":"4800000000",'
            b'"_TRANSPORT":"kernel","SYSLOG_FACILITY":"0","MESSAGE":"%s"}' % (at, text)
            for at, text in ((1, b"a"), (2, b"b"))
        ),
        b"@@live",
    ],
    "kmsg": [BOOT, b"3,5,1000000,-;a", b"3,6,2000000,-;b", b"@@live"],
    "syslog": [
        BOOT,
        b"@@files",
        b"@@from /var/log/kern.log 12.34 0",
        b"|Nov 23 01:43:08 vm kernel: a",
        b"|Nov 23 01:43:09 vm kernel: b",
        b"@@live",
    ],
}


def run(detector, cursor, lines):
    """Everything that a reader gives for these lines."""
    reader = detector.reader(cursor)
    return [item for line in lines for item in reader.feed(line)]


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.name)
def test_cursor_goes_back_into_the_command(detector):
    """The cursor of an entry has the form that the command's words must have, on the host too."""
    items = run(detector, None, SAMPLES[detector.name])
    entries = [item for item in items if isinstance(item, Entry)]
    assert [entry.text for entry in entries] == ["a", "b"]
    assert isinstance(items[-1], Live)
    for cursor in (None, entries[0].cursor, entries[1].cursor):
        words = detector.follow(cursor).argv[3:]
        assert len(words) == len(detector.words)
        assert all(re.fullmatch(form, word) for form, word in zip(detector.words, words, strict=True))


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.name)
@given(cursor=st.text(max_size=60))
@example(cursor="$(reboot)")
@example(cursor="x'; reboot; '")
@settings(max_examples=30, deadline=None)
def test_no_other_text_reaches_the_host(detector, cursor):
    """Whatever a store holds as cursor, the words of the command have their form."""
    words = detector.follow(cursor).argv[3:]
    assert all(re.fullmatch(form, word) for form, word in zip(detector.words, words, strict=True))


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda one: one.name)
@given(data=st.lists(st.binary(max_size=80), max_size=8), at=st.integers(0, 6), cut=st.integers(0, 60))
@settings(max_examples=40, deadline=None)
def test_no_bytes_make_it_fail(detector, data, at, cut):
    """Rubbish between the lines, and lines that are cut, give entries, gaps and marks, or nothing."""
    sample = list(SAMPLES[detector.name])
    sample[at : at + 1] = [*data, *(line[:cut] for line in sample[at : at + 1])]
    assert all(isinstance(item, Entry | Gap | Live) for item in run(detector, None, sample))
