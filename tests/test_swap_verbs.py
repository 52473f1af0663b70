"""The act helper's verbs of swap files and fstab, on a tree of files with small programs in the place of the kernel."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oombot import swapping
from oombot.data import oombot_fstab as fstab
from oombot.data import oombot_swap as swap
from oombot.data.oombot_eyes_swap import look_swap
from oombot.data.oombot_policy import Policy
from oombot.data.oombot_shape import Verb
from oombot.data.oombot_site import MIB, RefusedError, Site, StepError, UntouchedError
from oombot.data.oombot_swaps import line_for

PATH = "/oombot-r1.swap"
MOUNT = "22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n"
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n"
MEMINFO = "MemTotal: 4000000 kB\nMemAvailable: 2000000 kB\n"
PROGRAMS = {
    "mkswap": 'echo made >>"{root}/made"',
    "swapon": 'test "$1" = --show || echo "$1 file 1020 0 -2" >>"{root}/proc/swaps"',
    "swapoff": 'sed -i "\\|^$1 |d" "{root}/proc/swaps"',
}
VERBS: dict[str, Verb] = {**swap.SWAP_VERBS, **fstab.FSTAB_VERBS}
FSTAB = "# <file system>\n\nUUID=1\t/ ext4  errors=remount-ro 0 1\n"


@pytest.fixture
def site(tmp_path):
    """A host of files: one ext4, no swap, cgroup v2."""
    root = tmp_path / "root"
    for name, text in {
        "proc/swaps": SWAPS,
        "proc/meminfo": MEMINFO,
        "proc/self/mountinfo": MOUNT,
        "proc/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
        "etc/fstab": FSTAB,
        "sys/fs/cgroup/cgroup.procs": "",
        "sys/class/block/vda/queue/rotational": "1\n",
        "sys/class/block/vda/vda1/size": "1\n",
        "dev/vda1": "",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "sys/class/block/vda1").symlink_to("vda/vda1")
    (tmp_path / "bin").mkdir()
    made = Site(root=str(root), programs=f"{tmp_path}/bin:/usr/bin:/bin")
    for name, script in PROGRAMS.items():
        program(made, name, script.format(root=root))
    return made


def program(site, name, script):
    """Put a small program in the place of the host's."""
    path = Path(site.programs.split(":")[0]) / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def do(site, *argv, policy=None):
    """Run one verb as the helper does."""
    verb = VERBS[argv[0]]
    arguments = verb.words(list(argv[1:]), "")
    verb.allowed(policy, site, **arguments)
    return verb.act(policy, site, **arguments)


def make(site, mib=3, leave=0, path=PATH, policy=None):
    """Make a swap file."""
    return do(site, "make-swap", "--path", path, "--mib", str(mib), "--leave", str(leave), policy=policy)


def file(site, path=PATH):
    """Where a file of the host is."""
    return Path(site.path(path))


def cgroup(site, name, **files):
    """A memory cgroup with these files."""
    folder = file(site, f"/sys/fs/cgroup/{name}")
    folder.mkdir(parents=True, exist_ok=True)
    for key, value in files.items():
        (folder / key.replace("_", ".")).write_text(f"{value}\n")


def use(site, used_kb):
    """Let so much be in the file that is on."""
    swaps = file(site, "/proc/swaps")
    swaps.write_text(swaps.read_text().replace(" 1020 0 ", f" 1020 {used_kb} "))


def test_full_circle(site):
    """Made, kept, on, off, forgotten, deleted: then every byte is as it was."""
    assert make(site) == ("not there", "3 MiB, off")
    found = file(site).stat()
    assert (found.st_size, stat.S_IMODE(found.st_mode)) == (3 * MIB, 0o600)
    assert found.st_blocks * 512 >= found.st_size
    assert do(site, "add-fstab", "--path", PATH) == ("no line", line_for(PATH))
    assert file(site, "/etc/fstab").read_text() == FSTAB + line_for(PATH) + "\n"
    assert do(site, "swap-on", "--path", PATH) == ("3 MiB, off", "3 MiB, on")
    [area] = look_swap(site, {"folder": "/"})["areas"]
    assert area == {
        "path": PATH,
        "size_b": 3 * MIB,
        "on": True,
        "used_b": 0,
        "fstab_line": line_for(PATH),
        "tag": "r1",
    }
    assert do(site, "swap-off", "--path", PATH) == ("on, 0 MiB used", "off")
    do(site, "remove-fstab", "--path", PATH)
    assert do(site, "remove-swap", "--path", PATH, "--bytes", str(3 * MIB)) == ("3 MiB, off", "not there")
    assert file(site, "/etc/fstab").read_text() == FSTAB
    assert file(site, "/proc/swaps").read_text() == SWAPS
    assert not file(site).exists()


def test_look_says_the_disk(site):
    """File system, device, mount, room, and whether the disk of the partition turns."""
    said = look_swap(site, {"folder": "/etc/"})
    assert (said["folder"], said["filesystem"], said["source"]) == ("/etc", "ext4", "/dev/vda1")
    assert (said["rotational"], said["read_only"], said["links"], said["missing"]) == (True, False, False, [])
    assert said["size_b"] > said["free_b"] > 0
    assert (said["holders"], said["fstab_wrong"], said["kubelet"]) == ([], "", False)


def test_look_takes_the_nearest_mount(site):
    """The mount that holds the folder is the longest; of two at one place the later."""
    mounts = MOUNT + "23 22 0:40 / /data rw - tmpfs tmpfs rw\n24 23 7:0 / /data ro - xfs /dev/loop0 rw\n"
    file(site, "/proc/self/mountinfo").write_text(mounts + "25 22 7:1 / /database rw - btrfs /dev/loop1 rw\n")
    file(site, "/data/swap").mkdir(parents=True)
    said = look_swap(site, {"folder": "/data/swap"})
    assert (said["filesystem"], said["mount_point"], said["read_only"]) == ("xfs", "/data", True)


def test_look_sees_links_and_what_is_missing(site):
    """A link in the path, an fstab that is a link, a program that is not there, a kubelet."""
    file(site, "/data").symlink_to("etc")
    file(site, "/etc/fstab").rename(file(site, "/etc/other"))
    file(site, "/etc/fstab").symlink_to("other")
    Path(site.programs.split(":")[0], "mkswap").unlink()
    file(site, "/var/lib/kubelet").mkdir(parents=True)
    said = look_swap(site._replace(programs=site.programs.split(":")[0]), {"folder": "/data"})
    assert (said["links"], said["missing"], said["kubelet"]) == (True, ["mkswap"], True)
    assert "/etc/fstab can not be read" in said["fstab_wrong"]


def test_look_finds_left_overs(site):
    """A file of a cut run is seen although nothing names it; a folder or a stranger's file of the name is not ours."""
    file(site).write_bytes(b"x" * 5000)
    file(site, "/oombot-r2.swap").mkdir()
    [area] = look_swap(site, {"folder": ""})["areas"]
    assert (area["path"], area["size_b"], area["on"], area["fstab_line"]) == (PATH, 5000, False, "")


@pytest.mark.parametrize("kind", ["overlay", "tmpfs", "nfs4", "zfs", "fuse.sshfs", "cifs"])
def test_no_swap_file_on(site, kind):
    """The verb itself refuses a file system that can not hold one, whatever was planned."""
    file(site, "/proc/self/mountinfo").write_text(MOUNT.replace("ext4", kind))
    with pytest.raises(UntouchedError, match=f"would be on {kind}"):
        make(site)
    assert not file(site).exists()


def test_no_swap_file_on_a_read_only_mount(site):
    """Nor one that is read-only."""
    file(site, "/proc/self/mountinfo").write_text(MOUNT.replace("rw,relatime", "ro"))
    with pytest.raises(UntouchedError, match="read-only"):
        make(site)


def test_the_reserve_is_kept(site):
    """A disk that has filled since the plan was made gets no swap file."""
    with pytest.raises(UntouchedError, match="less than 99999999 MiB would be left"):
        make(site, leave=99_999_999)
    assert not file(site).exists()


@pytest.mark.parametrize("there", ["file", "link", "folder"])
def test_what_is_there_is_not_touched(site, there):
    """A path that exists is refused, a dangling link too."""
    if there == "file":
        file(site).write_text("mine")
    elif there == "link":
        file(site).symlink_to("etc/fstab")
    else:
        file(site).mkdir()
    with pytest.raises(UntouchedError, match="can not be made: File exists"):
        make(site)
    assert os.path.lexists(file(site))
    assert file(site, "/etc/fstab").read_text() == FSTAB


def test_no_link_is_followed(site):
    """A link in the folder's path is refused, by every verb."""
    file(site, "/real").mkdir()
    file(site, "/data").symlink_to("real")
    path = "/data/oombot-r1.swap"
    for words in (("swap-on",), ("remove-swap", "--bytes", "0"), ("make-swap", "--mib", "1", "--leave", "0")):
        with pytest.raises(UntouchedError, match=r"data in .* is no plain directory"):
            do(site, words[0], "--path", path, *words[1:])
    assert list(file(site, "/real").iterdir()) == []


def test_what_mkswap_refuses_is_taken_away(site):
    """A file that did not become swap is gone, and it is said."""
    program(site, "mkswap", "echo no luck >&2; exit 1")
    with pytest.raises(UntouchedError, match=r"no luck; what there was of it was removed"):
        make(site)
    assert not file(site).exists()


def test_a_full_disk_leaves_nothing(site, tmp_path):
    """A write that fails half-way takes the file away again."""
    program(site, "ionice", "exit 0")
    handle = os.open(tmp_path / "full", os.O_RDWR | os.O_CREAT)
    (tmp_path / "full").unlink()
    os.dup2(os.open("/dev/full", os.O_RDWR), handle)
    with pytest.raises(OSError, match="No space left"):
        swap._fill(handle, 2)
    os.close(handle)
    folder = os.open(site.root, os.O_RDONLY)
    file(site).write_text("half")
    with pytest.raises(UntouchedError, match="No space left on device; what there was of it was removed"):
        swap._take_away(folder, PATH[1:], PATH, OSError(28, "No space left on device"))
    os.close(folder)
    assert not file(site).exists()


def test_swapon_that_fails_changes_nothing(site):
    """The kernel's refusal is told, and that the file is off."""
    make(site)
    program(site, "swapon", "echo Invalid argument >&2; exit 255")
    with pytest.raises(UntouchedError, match=r"Invalid argument; /oombot-r1\.swap is off, as it was"):
        do(site, "swap-on", "--path", PATH)


def test_swapon_is_believed_by_proc_only(site):
    """A program that says yes is not enough."""
    make(site)
    program(site, "swapon", "exit 0")
    with pytest.raises(StepError, match="not in /proc/swaps"):
        do(site, "swap-on", "--path", PATH)


@pytest.mark.parametrize("spoil", ["mode", "second_name", "gone"])
def test_only_a_file_as_ours_is_used(site, spoil):
    """One that others may read, that has a second name, or is gone is not switched on, nor removed."""
    make(site)
    if spoil == "mode":
        file(site).chmod(0o644)
    elif spoil == "second_name":
        file(site, "/other").hardlink_to(file(site))
    else:
        file(site).unlink()
    for words in (("swap-on",), ("remove-swap", "--bytes", str(3 * MIB))):
        with pytest.raises(UntouchedError, match=r"not as oombot makes it|is not there"):
            do(site, words[0], "--path", PATH, *words[1:])


def test_remove_takes_only_what_was_seen(site):
    """A file of another size, or one that is on, stays."""
    make(site)
    with pytest.raises(UntouchedError, match="as it was seen"):
        do(site, "remove-swap", "--path", PATH, "--bytes", "1")
    do(site, "swap-on", "--path", PATH)
    with pytest.raises(UntouchedError, match="is on; it is not removed"):
        do(site, "remove-swap", "--path", PATH, "--bytes", str(3 * MIB))
    assert file(site).exists()


@pytest.fixture
def used(site):
    """A file that is on and in use."""
    make(site)
    do(site, "swap-on", "--path", PATH)
    use(site, 400_000)
    return site


def test_off_with_room(used):
    """Memory and cgroups have room for it: a cgroup without a limit always has."""
    cgroup(used, "a", memory_swap_current=MIB, memory_current=MIB, memory_max="max")
    cgroup(used, "b", memory_swap_current=MIB, memory_current=MIB, memory_max=3 * MIB)
    do(used, "swap-off", "--path", PATH)
    assert file(used, "/proc/swaps").read_text() == SWAPS


def test_a_small_host_needs_less_to_spare(used):
    """With less than 2 GiB of RAM a quarter of it must stay, since it never has 512 MiB to spare."""
    file(used, "/proc/meminfo").write_text("MemTotal: 512000 kB\nMemAvailable: 600000 kB\n")
    with pytest.raises(UntouchedError, match=r"585 MiB of memory are available, 469 \+ 125 MiB"):
        do(used, "swap-off", "--path", PATH)
    file(used, "/proc/meminfo").write_text("MemTotal: 512000 kB\nMemAvailable: 620000 kB\n")
    do(used, "swap-off", "--path", PATH)


@pytest.mark.parametrize(
    ("available_kb", "files", "why"),
    [
        (800_000, {}, "781 MiB of memory are available, 469 [+] 512 MiB are needed"),
        (
            2_000_000,
            {"memory_max": 64 * MIB},
            "/a would get up to 100 MiB back and has 4 MiB up to its limit",
        ),
        (2_000_000, {"memory_max": 64 * MIB, "memory_current": ""}, "an unknown rest"),
    ],
)
def test_off_without_room(used, available_kb, files, why):
    """Where somebody would be killed it stays on, and why is said."""
    file(used, "/proc/meminfo").write_text(f"MemTotal: 4000000 kB\nMemAvailable: {available_kb} kB\n")
    known = {"memory_swap_current": 100 * MIB, "memory_current": 60 * MIB, "memory_max": "max"}
    cgroup(used, "a", **(known | files))
    with pytest.raises(UntouchedError, match=why):
        do(used, "swap-off", "--path", PATH)
    assert PATH in file(used, "/proc/swaps").read_text()


def test_off_where_cgroups_are_not_counted(used):
    """cgroup v1 without swap accounting does not say who holds it: then it stays on."""
    file(used, "/proc/mounts").write_text("cgroup /sys/fs/cgroup cgroup rw,memory 0 0\n")
    with pytest.raises(UntouchedError, match="does not say which cgroups hold swap"):
        do(used, "swap-off", "--path", PATH)


def test_off_on_cgroup_v1(used):
    """Its own files count: usage and limit in bytes, swap in memory.stat."""
    file(used, "/proc/mounts").write_text("cgroup /sys/fs/cgroup cgroup rw,memory 0 0\n")
    for name, limit in (("", 1 << 62), ("a", 64 * MIB)):
        cgroup(used, name, memory_stat=f"cache 1\ntotal_swap {100 * MIB}")
        file(used, f"/sys/fs/cgroup/{name}/memory.usage_in_bytes").write_text(f"{60 * MIB}\n")
        file(used, f"/sys/fs/cgroup/{name}/memory.limit_in_bytes").write_text(f"{limit}\n")
    with pytest.raises(UntouchedError, match="/a would get up to 100 MiB back"):
        do(used, "swap-off", "--path", PATH)


def test_a_swapoff_that_fails_leaves_it_on(used):
    """What the program says is told, and that it is on."""
    program(used, "swapoff", "echo Cannot allocate memory >&2; exit 255")
    with pytest.raises(UntouchedError, match=r"Cannot allocate memory; /oombot-r1\.swap is on, as it was"):
        do(used, "swap-off", "--path", PATH)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "a b c d",
        "a\n",
        "\n\n",
        "\r\n# kept\t \r\n",
        "caf\xe9\n",
        "/oombot-other.swap none swap sw 0 0\n",
    ],
)
def test_every_other_byte_of_fstab_stays(site, text):
    """Whatever stands there, with or without a last newline: added and removed it is byte for byte as it was."""
    path = file(site, "/etc/fstab")
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o640)
    do(site, "add-fstab", "--path", PATH)
    assert line_for(PATH).encode() in path.read_bytes().split(b"\n")
    do(site, "remove-fstab", "--path", PATH)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (text.encode("latin-1"), 0o640)


@settings(max_examples=30, deadline=None)
@given(text=st.binary(max_size=200).filter(lambda data: b"oombot" not in data))
def test_any_fstab_comes_back(tmp_path_factory, text):
    """The same for any bytes."""
    root = tmp_path_factory.mktemp("root")
    (root / "etc").mkdir()
    (root / "etc/fstab").write_bytes(text)
    site = Site(root=str(root), programs="/nowhere")
    do(site, "add-fstab", "--path", PATH)
    do(site, "remove-fstab", "--path", PATH)
    assert (root / "etc/fstab").read_bytes() == text


def test_fstab_is_never_a_link(site):
    """A link is refused and what it leads to stays."""
    file(site, "/etc/fstab").rename(file(site, "/etc/other"))
    file(site, "/etc/fstab").symlink_to("other")
    with pytest.raises(UntouchedError, match="can not be read"):
        do(site, "add-fstab", "--path", PATH)
    assert file(site, "/etc/other").read_text() == FSTAB


def test_an_edited_line_is_not_ours(site):
    """A line that somebody has changed is neither doubled nor removed; one of somebody else's neither."""
    for line in (
        line_for(PATH).replace("sw,", "sw,pri=5,"),
        f"{PATH} none swap sw 0 0",
        "# gone # oombot:r1",
    ):
        file(site, "/etc/fstab").write_text(FSTAB + line + "\n")
        for verb in ("add-fstab", "remove-fstab"):
            with pytest.raises(UntouchedError, match="nothing was changed"):
                do(site, verb, "--path", PATH)
        assert file(site, "/etc/fstab").read_text() == FSTAB + line + "\n"


def test_what_findmnt_does_not_take_is_put_back(site):
    """A line that makes fstab wrong is taken out again."""
    script = 'grep -q oombot "$3" && echo "1 parse errors, 0 errors" || echo "0 parse errors"'
    program(site, "findmnt", script)
    with pytest.raises(UntouchedError, match="it is as it was"):
        do(site, "add-fstab", "--path", PATH)
    assert file(site, "/etc/fstab").read_text() == FSTAB


@pytest.mark.parametrize("change", ["echo more >>", "rm"])
def test_what_somebody_writes_to_fstab_meanwhile_stays(site, change):
    """A change of somebody else's between our look and our write is not written over, and nothing of ours is said."""
    path = file(site, "/etc/fstab")
    program(site, "findmnt", f"{change} {path}; echo 0 parse errors")
    with pytest.raises(UntouchedError, match=r"somebody has changed|there is no"):
        do(site, "add-fstab", "--path", PATH)
    assert not path.exists() or path.read_text() == f"{FSTAB}more\n"


def test_a_line_that_can_not_be_taken_out_again_is_said(site):
    """Where fstab is changed while our wrong line is in it, it is not called as it was."""
    path = file(site, "/etc/fstab")
    script = f'grep -q oombot {path} && echo more >>{path} && echo "1 parse errors" || echo "0 parse errors"'
    program(site, "findmnt", script)
    with pytest.raises(StepError, match="could not be taken out again") as caught:
        do(site, "add-fstab", "--path", PATH)
    assert not isinstance(caught.value, UntouchedError)
    assert line_for(PATH) in path.read_text()


def test_our_line_is_good_for_findmnt(tmp_path):
    """The bot and the helper write the same line."""
    assert swapping.fstab_line(PATH) == line_for(PATH) == f"{PATH} none swap sw,nofail 0 0 # oombot:r1"


def a_policy(*folders, most=10):
    """A host's own policy."""
    return Policy(("make-swap",), ("*",), ("*",), (-500, 1000), 100, swap_folders=folders, swap_max_mib=most)


def test_a_host_policy_bounds_folder_and_sum(site):
    """No folder named means none; files of ours that are off count."""
    for policy, why in (
        (a_policy(), "/ is not among the swap_folders"),
        (a_policy("/data"), "/ is not among"),
    ):
        with pytest.raises(RefusedError, match=why):
            make(site, policy=policy)
    make(site, policy=a_policy("/"))
    with pytest.raises(RefusedError, match="8 MiB besides 3 MiB of swap files are more than the 10 MiB"):
        make(site, mib=8, path="/oombot-r2.swap", policy=a_policy("/"))
    for words in (
        ("swap-on",),
        ("swap-off",),
        ("remove-swap", "--bytes", "1"),
        ("add-fstab",),
        ("remove-fstab",),
    ):
        with pytest.raises(RefusedError, match="swap_folders"):
            do(site, words[0], "--path", PATH, *words[1:], policy=a_policy("/data"))


BAD_PATHS = (
    "/swap",
    "oombot-r1.swap",
    "//oombot-r1.swap",
    "/../oombot-r1.swap",
    "/data/../oombot-r1.swap",
    "/./oombot-r1.swap",
    "/oombot-r1.swap\n",
    "/da ta/oombot-r1.swap",
    "/$(id)/oombot-r1.swap",
    "/a\n/oombot-r1.swap",
    "/oombot-.swap",
    "/oombot-a.b.swap",
    "/oombot-\u0661.swap",
    "--path",
    "",
)


@pytest.mark.parametrize("path", BAD_PATHS)
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_no_other_path_is_taken(verb, path):
    """Only a plain path of a swap file of ours passes, in every verb; the bot's own form agrees."""
    rest = {"make-swap": ["--mib", "1", "--leave", "0"], "remove-swap": ["--bytes", "1"]}.get(verb, [])
    with pytest.raises(RefusedError):
        VERBS[verb].words(["--path", path, *rest], "")
    assert not swapping.is_path(path)


@pytest.mark.parametrize(
    "mib", ["0", "-1", "+1", "1.5", "1e3", "99999999", "", "01", " 1", "1\n", "\u0661", "0x10"]
)
def test_no_other_size_is_taken(mib):
    """Zero, negative, huge and odd sizes are refused."""
    with pytest.raises(RefusedError):
        VERBS["make-swap"].words(["--path", PATH, "--mib", mib, "--leave", "0"], "")


@given(
    words=st.lists(st.text() | st.sampled_from(["--path", PATH, "--mib", "1", "--leave", "0"]), max_size=8)
)
@pytest.mark.parametrize("verb", sorted(VERBS))
def test_any_words_are_read_or_refused(verb, words):
    """Nothing but RefusedError, and nothing that passes names another file."""
    try:
        found = VERBS[verb].words(words, "")
    except RefusedError:
        return
    assert found["path"] == PATH
