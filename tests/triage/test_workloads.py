"""A cgroup path as what a person knows."""

import pytest

from oombot.triage import workload

ID = "3f2a" * 16
UID = "0e6f4a5c-1b2c-4d3e-8f90-a1b2c3d4e5f6"
POD_SLICE = f"kubepods-burstable-pod{UID.replace('-', '_')}.slice"


@pytest.mark.parametrize(
    ("path", "kind", "label", "unit"),
    [
        (None, "none", "no unit", None),
        ("/", "none", "no unit", None),
        ("/system.slice/payments.service", "unit", "payments.service", "payments.service"),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            "unit",
            "getty@tty1.service",
            "getty@tty1.service",
        ),
        ("/system.slice/payments.service/worker", "unit", "payments.service", "payments.service"),
        ("/init.scope", "scope", "init.scope", None),
        ("/machine.slice", "slice", "machine.slice", None),
        ("/hogs/one", "cgroup", "cgroup /hogs/one", None),
        ("/user.slice/user-1000.slice/session-3.scope", "session", "a login session of uid 1000", None),
        ("/session-c1.scope", "session", "a login session", None),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service",
            "unit",
            "editor.service of uid 1000",
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/demo.slice/run-r1.scope",
            "scope",
            "run-r1.scope of uid 1000",
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/demo.slice",
            "slice",
            "demo.slice of uid 1000",
            None,
        ),
        (f"/docker/{ID}", "container", "container 3f2a3f2a3f2a", None),
        (f"/system.slice/docker-{ID}.scope", "container", "container 3f2a3f2a3f2a", None),
        (f"/machine.slice/libpod-{ID}.scope", "container", "container 3f2a3f2a3f2a", None),
        ("/ecs/0123456789abcdef/" + "ab12" * 8 + "-123456", "container", "container ab12ab12ab12", None),
        ("/lxc/web01", "container", "container web01", None),
        ("/lxc.payload.web01/init.scope", "container", "container web01", None),
        (
            f"/system.slice/docker-{ID}.scope/system.slice/nginx.service",
            "unit",
            "nginx.service in container 3f2a3f2a3f2a",
            None,
        ),
        (f"/kubepods/burstable/pod{UID}", "pod", f"pod {UID}", None),
        (f"/kubepods/burstable/pod{UID}/{ID}", "container", f"container 3f2a3f2a3f2a of pod {UID}", None),
        (f"/kubepods.slice/kubepods-burstable.slice/{POD_SLICE}", "pod", f"pod {UID}", None),
        (
            f"/kubepods.slice/{POD_SLICE}/cri-containerd-{ID}.scope",
            "container",
            f"container 3f2a3f2a3f2a of pod {UID}",
            None,
        ),
        (
            f"/lxc/k3s/kubepods.slice/{POD_SLICE}/crio-{ID}.scope",
            "container",
            f"container 3f2a3f2a3f2a of pod {UID}",
            None,
        ),
    ],
)
def test_path(path, kind, label, unit):
    """The last known segment wins, and only a service of the host's own systemd has a unit name."""
    found = workload(path)
    assert (found.kind, found.label, found.unit) == (kind, label, unit)


def test_long_names_are_cut():
    """A path of thousands of characters still fits in a sentence."""
    assert len(workload("/" + "x" * 4000).label) < 80


def test_short_leaves_out_the_pod():
    """Where the pod is told already, the container stands alone."""
    assert workload(f"/kubepods/pod{UID}/{ID}").short == "container 3f2a3f2a3f2a"
    assert workload("/system.slice/a.service").short == "a.service"
