"""The act helper's verbs of swappiness, on a tree of files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot.data.oombot_kernel import KERNEL_VERBS, swappiness_text
from oombot.data.oombot_site import RefusedError, Site, UntouchedError
from oombot.remediations.swappiness import OURS


@pytest.fixture
def site(tmp_path):
    """A host of files with vm.swappiness 60."""
    (tmp_path / "proc/sys/vm").mkdir(parents=True)
    (tmp_path / "proc/sys/vm/swappiness").write_text("60")
    (tmp_path / "etc").mkdir()
    return Site(root=str(tmp_path))


@pytest.fixture
def ours(tmp_path):
    """Our file."""
    return tmp_path / "etc/sysctl.d/60-oombot.conf"


def do(site, line):
    """Run one verb as the helper does."""
    name, *words = line.split()
    verb = KERNEL_VERBS[name]
    arguments = verb.words(words, "")
    verb.allowed(None, site, **arguments)
    return verb.act(None, site, **arguments)


def test_live_and_back(site, tmp_path):
    """Written where it is as it was seen, and read back."""
    live = tmp_path / "proc/sys/vm/swappiness"
    assert do(site, "set-swappiness --was 60 --value 10") == ("60", "10")
    with pytest.raises(UntouchedError, match="is now 10, not 60"):
        do(site, "set-swappiness --was 60 --value 20")
    assert live.read_text().strip("\0") == "10"


def test_kept_and_dropped(site, ours):
    """Our file holds one line and its tag, is replaced only as it was seen, and goes."""
    assert do(site, "keep-swappiness --value 10 --tag r1") == ("no file", "# oombot:r1; vm.swappiness = 10")
    assert ours.read_text() == swappiness_text(10, "r1")
    do(site, "keep-swappiness --was-value 10 --was-tag r1 --value 20 --tag r2")
    do(site, "keep-swappiness --was-value 20 --was-tag r2 --value 10 --tag r1")
    assert ours.read_text() == "# oombot:r1\nvm.swappiness = 10\n"
    assert do(site, "drop-swappiness --value 10 --tag r1") == ("# oombot:r1; vm.swappiness = 10", "no file")
    assert not ours.exists()


@pytest.mark.parametrize(
    "line",
    [
        "keep-swappiness --value 10 --tag r1",
        "keep-swappiness --was-value 9 --was-tag r0 --value 10 --tag r1",
        "drop-swappiness --value 9 --tag r0",
    ],
)
def test_what_others_wrote_stays(site, ours, line):
    """A file that is not as it was seen is not touched, a link neither."""
    ours.parent.mkdir()
    ours.write_text("vm.swappiness = 5\nvm.overcommit_memory = 2\n")
    with pytest.raises(UntouchedError, match="not as it was seen"):
        do(site, line)
    assert ours.read_text() == "vm.swappiness = 5\nvm.overcommit_memory = 2\n"
    ours.rename(ours.with_name("other"))
    ours.symlink_to("other")
    with pytest.raises(UntouchedError, match="can not be read"):
        do(site, line)


@given(value=st.integers(0, 200), tag=st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True))
def test_bot_and_helper_agree_on_the_file(value, tag):
    """What the helper writes the remedy knows as ours, with its value and tag."""
    found = OURS.fullmatch(swappiness_text(value, tag))
    assert found is not None
    assert (int(found["value"]), found["tag"]) == (value, tag)


@pytest.mark.parametrize(
    "line",
    [
        "set-swappiness --was 60 --value 201",
        "set-swappiness --was 60 --value -1",
        "set-swappiness --value 10",
        "set-swappiness --was 60 --value 010",
        "keep-swappiness --value 999999999 --tag r1",
        "keep-swappiness --value 10 --tag ../x",
        "keep-swappiness --was-value 10 --value 10 --tag r1",
        "keep-swappiness --value 10",
        "drop-swappiness --tag r1 --value 10",
    ],
)
def test_other_words_are_refused(site, ours, line):
    """Odd numbers, tags that are paths, and half a guard."""
    with pytest.raises(RefusedError):
        do(site, line)
    assert not ours.exists()


@given(words=st.lists(st.text() | st.sampled_from(["--was", "--value", "--tag", "10", "r1"]), max_size=8))
@pytest.mark.parametrize("verb", sorted(KERNEL_VERBS))
def test_any_words_are_read_or_refused(verb, words):
    """Nothing but RefusedError."""
    try:
        found = KERNEL_VERBS[verb].words(words, "")
    except RefusedError:
        return
    assert all(0 <= value <= 200 for value in found.values() if isinstance(value, int))
