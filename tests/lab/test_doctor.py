"""Doctor on real machines: what it says of each is what that machine's own kernel, systemd and files say."""

import json
from typing import Any

from tests.lab.images import NOBODY
from tests.lab.machine import Machine
from tests.lab.product import Product
from tests.lab.test_privilege import WATCH, Site

Lines = dict[str, dict[str, Any]]
CONFIGURED = "mode: propose\nread_timeout_s: 120\n"  # emulation on a busy machine is slow


async def looked(product: Product) -> Lines:
    """The lines about the host, by item."""
    _, out, err = await product.oombot("doctor", "--json", "--host", "web")
    assert out, err
    return {line["item"]: line for line in json.loads(out)["lines"] if line["host"] == "web"}


async def test_what_doctor_says_of_a_machine(any_machine: Machine, product: Product) -> None:
    """Log source, kernel, systemd, cgroup version, swap, overcommit and panic_on_oom are told as they are there."""
    product.settings = CONFIGURED
    await product.add("web", any_machine)
    release = (await any_machine.run("uname", "-r")).strip()
    systemd = (await any_machine.run("systemctl", "--version")).split()[1]
    found = await looked(product)
    for item in ("key", "account", "source", "kernel", "systemd", "cgroup", "overcommit", "panic_on_oom"):
        assert found[item]["state"] == "ok", found[item]
    assert "follows the journal" in found["source"]["what"]
    assert release in found["kernel"]["what"]
    assert found["systemd"]["what"].startswith(f"systemd {systemd}")
    assert f"cgroup v{1 if any_machine.kind == 'cgroup1' else 2}" in found["cgroup"]["what"]
    assert "systemd-journal" in found["account"]["what"]

    await any_machine.run("sysctl", "-w", "vm.overcommit_memory=2", "vm.panic_on_oom=1")
    await any_machine.run("mkdir", "-p", "/etc/oombot")
    await any_machine.run("touch", "/etc/oombot/frozen")
    await any_machine.run("date", "-s", "+10 minutes")
    found = await looked(product)
    for item in ("overcommit", "panic_on_oom", "frozen", "clock"):
        assert found[item]["state"] in {"warning", "wrong"}, found[item]


async def test_an_account_without_privilege(debian: Machine, product: Product) -> None:
    """An account in no group is told that it can read no log, with each source that was tried and the command."""
    product.settings = CONFIGURED
    await product.add("web", debian, user=NOBODY)
    found = await looked(product)
    source = found["source"]
    assert (source["state"], NOBODY in source["fix"]) == ("wrong", True)
    for tried in ("journald", "kmsg", "dmesg"):
        assert tried in source["what"]
    assert found["rights"]["state"] == "ok"  # mode propose runs nothing, and this account could not


async def test_installed_helpers(debian12: Machine, product: Product) -> None:
    """Of a host with both identities doctor tells the helpers' versions, what its policy permits, and what stops it."""
    site = Site(debian12, product)
    await site.prepare()
    await product.add("web", debian12, user=WATCH)
    await site.install("--apply")
    found = await looked(product)
    for item in ("account", "source", "oombot-read", "oombot-helper", "rights"):
        assert found[item]["state"] == "ok", found[item]
    assert WATCH in found["account"]["what"]

    await debian12.sh("echo '# of another day' >>/usr/local/libexec/oombot-read")
    await debian12.sh("touch /etc/oombot/frozen")
    await site.policy(units=["web-*.service"], changes_per_hour=7)
    found = await looked(product)
    assert found["oombot-read"]["state"] == "warning"
    assert found["oombot-helper"]["state"] == "ok"
    assert found["frozen"]["state"] == "warning"
    for word in ("web-*.service", "-500 to 1000", "7 an hour"):
        assert word in found["rights"]["what"]

    await debian12.sh("chmod 666 /etc/oombot/policy.json")
    rights = (await looked(product))["rights"]
    assert (rights["state"], "written by others" in rights["what"]) == ("wrong", True)
