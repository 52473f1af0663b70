"""What a word after the host may mean."""

from oombot.triage import find


def test_pid(nouns):
    """A number is a PID."""
    assert [match.label for match in find(nouns.snapshot(), "812")] == ["mysqld (pid 812)"]


def test_number_that_is_no_pid_may_be_a_name(nouns):
    """A process may be named by a number."""
    host = nouns.snapshot(processes=(nouns.process(7, "1234"),))
    assert [match.ask for match in find(host, "1234")] == ["7"]


def test_several_are_listed_largest_first(nouns):
    """Several processes of one name are all listed; nobody guesses."""
    found = find(nouns.snapshot(), "nginx")
    assert [match.label for match in found] == ["nginx (pid 901)", "nginx (pid 900)"]
    assert found[0].details == "26 MiB, adj 0, in nginx.service"


def test_unit_with_and_without_suffix(nouns):
    """A unit is found by either spelling, with its main process."""
    for word in ("payments", "payments.service"):
        (match,) = find(nouns.snapshot(), word)
        assert (match.ask, match.details) == ("payments.service", "active (running)")
        assert match.process is not None
        assert match.process.pid == 5120


def test_processes_of_a_named_unit_are_not_listed_beside_it(nouns):
    """A unit stands for its processes; a namesake elsewhere is listed too."""
    stray = nouns.process(77, "nginx", cgroup="/user.slice")
    host = nouns.snapshot()
    host = nouns.changed(
        host,
        units=(*host.units, nouns.unit("nginx.service", main_pid=None)),
        processes=(*host.processes, stray),
    )
    assert [match.label for match in find(host, "nginx")] == ["nginx.service", "nginx (pid 77)"]


def test_name_cut_by_the_kernel_and_before_a_colon(nouns):
    """The kernel keeps 15 bytes of a name, and some programs add a title after a colon."""
    host = nouns.snapshot(
        processes=(nouns.process(7, "a-name-that-is-"), nouns.process(8, "gunicorn: maste", cgroup=None))
    )
    assert [match.ask for match in find(host, "a-name-that-is-long")] == ["7"]
    assert [(match.ask, match.details) for match in find(host, "gunicorn")] == [("8", "5.9 MiB, adj 0")]


def test_nothing(nouns):
    """An empty or unknown word means nothing."""
    assert (find(nouns.snapshot(), " "), find(nouns.snapshot(), "apache")) == ((), ())
