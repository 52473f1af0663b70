"""Inventories of others: the shapes of Ansible's and OpenSSH's own documentation, their mistakes, and hostile ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oombot import config
from oombot.errors import ConfigError

INI = """\
mail.example.com

# the web tier
[webservers]
www[01:03].example.com ansible_user=deploy
badwolf.example.com:5309 ansible_host=192.0.2.50   # jumper
[2001:db8::7]:2222

[dbservers]
db-[a:f:2].example.com
one.example.com ansible_host="10.1.1.1" http_port=80
www01.example.com

[southeast:children]
webservers
dbservers

[southeast:vars]
ansible_user=ops
ansible_port = 2200

[here]
localhost ansible_connection=local
win01 ansible_connection=winrm
"""

YAML = """\
all:
  vars: {ansible_user: everybody}
  hosts:
    mail.example.com:
  children:
    webservers:
      hosts:
        foo.example.com:
          ansible_host: 192.0.2.9
          ansible_port: 5309
          secret: !vault |
            $ANSIBLE_VAULT;1.1;AES256
        www[01:02].example.com:
    east:
      vars: {ansible_user: ops}
      children:
        webservers:
        dbservers:
          hosts: {one.example.com: {ansible_connection: local}}
"""

SSH = """\
# before any section
Port 2200
Host bastion
    HostName bastion.example.net
    User jump
Host web1 web2 !web3
    HostName %h.example.net
    ProxyJump bastion
Host db1
    HostName=10.0.0.5
    Port 22
    ProxyJump ops@other:2022,bastion
Host old
    ProxyCommand nc %h %p
Match exec "touch /tmp/never"
    User evil
Host web* *.example.org
    User web-reader
Include other/*
"""


def loaded(files, text=None):
    """The settings and notes of a configuration that imports these files."""
    text = text or "".join(
        f"inventory:\n  {'ssh_config' if 'ssh' in name else 'ansible'}: [{name}]\n" for name in files
    )
    return config.load_noted(text, filename="oombot.yaml", read_file=lambda name: files[name])


def problems(files, text=None):
    with pytest.raises(ConfigError) as caught:
        loaded(files, text)
    return list(caught.value.problems)


def test_ini_inventory():
    """Hosts, ranges, ports, groups of groups and their values come over from Ansible's INI form."""
    settings, notes = loaded({"hosts.ini": INI})
    assert [host.name for host in settings.select("group:webservers")] == [
        "www01.example.com",
        "www02.example.com",
        "www03.example.com",
        "badwolf.example.com",
        "2001:db8::7",
    ]
    assert [host.name for host in settings.select("group:dbservers")] == [
        "www01.example.com",
        "db-a.example.com",
        "db-c.example.com",
        "db-e.example.com",
        "one.example.com",
    ]
    assert len(settings.select("group:southeast")) == 9
    www, wolf, six = (settings.host(n) for n in ("www01.example.com", "badwolf.example.com", "2001:db8::7"))
    assert (www.user, www.port, www.group, www.groups) == ("deploy", 2200, "webservers", ("dbservers",))
    assert (wolf.user, wolf.port, wolf.address) == ("ops", 5309, "192.0.2.50")
    assert (six.port, settings.host("one.example.com").address) == (2222, "10.1.1.1")
    assert (settings.host("localhost").local, settings.host("mail.example.com").group) == (True, "default")
    assert notes == (
        "hosts.ini:24: win01 is left out: its connection is 'winrm', not ssh",
        "hosts.ini: 11 host(s) in 4 group(s) imported",
    )


def test_yaml_inventory():
    """The same from Ansible's YAML form; a vaulted value is not looked at."""
    settings, _ = loaded({"hosts.yaml": YAML})
    foo, one = settings.host("foo.example.com"), settings.host("one.example.com")
    assert (foo.address, foo.port, foo.user) == ("192.0.2.9", 5309, "ops")
    assert (one.local, settings.host("mail.example.com").user) == (True, "everybody")
    assert [host.name for host in settings.select("group:east")] == [
        "foo.example.com",
        "www01.example.com",
        "www02.example.com",
        "one.example.com",
    ]


def test_own_group_gives_an_imported_one_its_channel():
    """A group of the configuration and one of an inventory with its name are one group."""
    text = (
        "groups: {southeast: {channel: se-oncall}}\ninventory: {ansible: [hosts.ini]}\nhosts: [{name: own}]\n"
    )
    settings, _ = loaded({"hosts.ini": INI}, text)
    assert settings.channel("db-a.example.com") == "se-oncall"
    assert settings.channel("own") == "oncall"
    assert len(settings.select("fleet")) == 12


def test_ssh_config():
    """Entries without wildcards come over, with what sections for many say; the first value counts, as in ssh."""
    settings, notes = loaded({"ssh_config": SSH})
    assert [host.name for host in settings.hosts] == ["bastion", "web1", "web2", "db1", "old"]
    web, db = settings.host("web2"), settings.host("db1")
    assert (web.address, web.port, web.user) == ("web2.example.net", 2200, "web-reader")
    assert web.jump == "jump@bastion.example.net:2200"
    assert (db.address, db.jump) == ("10.0.0.5", "ops@other:2022,jump@bastion.example.net:2200")
    assert settings.host("old").user is None
    assert notes == (
        "ssh_config:15: Match is not followed; what it sets is left out",
        "ssh_config:19: Include is not followed; what it sets is left out",
        "ssh_config:13: old: ProxyCommand is not used: oombot runs no command to connect",
        "ssh_config: 5 host(s) imported",
    )


def test_a_jump_to_itself_ends():
    """Entries that jump through each other are cut, not followed for ever."""
    settings, _ = loaded({"ssh_config": "Host a b\nProxyJump a,b\n"})
    assert len(settings.host("a").jump) < 600


def test_names_that_collide_name_both_places():
    """A host that two files name is a mistake, and both places are told."""
    text = "inventory:\n  ansible: [hosts.ini]\n  ssh_config: [ssh_config]\nhosts:\n  - name: a\n"
    assert problems({"hosts.ini": "a\nb\n", "ssh_config": "Host x\nHost b\n"}, text) == [
        "hosts.ini:1: host named twice: a (first at oombot.yaml:5)",
        "ssh_config:2: host named twice: b (first at hosts.ini:2)",
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("hosts.ini", "a\nb;id\n", "hosts.ini:2: name: String should match"),
        ("hosts.ini", "$(id)\n", "hosts.ini:1: name: String should match"),
        ("hosts.ini", "-oProxyCommand=id\n", "hosts.ini:1: name: String should match"),
        ("hosts.ini", "a ansible_host={{ip}}\n", "hosts.ini:1: address: String should match"),
        ("hosts.ini", "a ansible_port=many\n", "hosts.ini:1: port: Input should be a valid integer"),
        ("hosts.ini", "a ansible_user='-l root'\n", "hosts.ini:1: user: String should match"),
        ("hosts.ini", "a 'b\n", "hosts.ini:1: No closing quotation"),
        ("hosts.ini", "a b\n", "hosts.ini:1: 'b' is no key=value"),
        ("hosts.ini", "[a:b]\n", "hosts.ini:1: [ungrouped:b] is no section"),
        ("hosts.ini", "x\n[a:children]\nb\n", "hosts.ini:2: a holds a group that is not under groups: b"),
        (
            "hosts.ini",
            "x\n[a:children]\nb\n[b:children]\na\n",
            "hosts.ini:2: groups hold each other in a circle: a → b → a",
        ),
        ("hosts.ini", "web[1:99999]\n", "hosts.ini:1: web[1-99999] stands for 99999 names"),
        ("hosts.ini", "web[01:100]\n", "different widths"),
        ("hosts.ini", "#!/bin/sh\nid\n", "oombot.yaml:2: hosts.ini is a script, and nothing is executed"),
        ("hosts.yaml", "all: {hosts: [a]}\n", "hosts.yaml:1: all.hosts: keys and values must stand here"),
        ("hosts.yaml", "all: {host: {a: }}\n", "a group holds hosts:, children: and vars:, nothing else"),
        ("hosts.yaml", "all: {hosts: {a: 3}}\n", "hosts.yaml:1: all.hosts.a: keys and values must"),
        ("hosts.yaml", "all:\n  hosts:\n    'a b':\n", "hosts.yaml:3: name: String should match"),
        ("hosts.yaml", "all: [\n", "not YAML"),
        ("hosts.yaml", "- a\n", "hosts.yaml:1: the file must hold groups"),
        ("ssh_config", "Host\n", "ssh_config:1: 'host' has no value"),
        ("ssh_config", "Host a\nHostName $(id)\n", "ssh_config:1: address: String should match"),
        ("ssh_config", "Host a\nProxyJump -oProxyCommand=id\n", "ssh_config:1: jump: String should match"),
        ("ssh_config", "Host a'b\n", "a quote is not closed"),
    ],
)
def test_mistakes_have_a_place(name, text, said):
    """A mistake, or a string that would be dangerous elsewhere, is refused with its file and line."""
    assert any(said in line for line in problems({name: text}))


def test_every_mistake_at_once():
    """The mistakes of all files and of the configuration come in one go."""
    text = (
        "mode: x\ninventory: {ansible: [gone.ini, hosts.ini], ssh_config: [ssh_config]}\nhosts: [{name: a}]\n"
    )

    def read_file(name):
        if name == "gone.ini":
            raise FileNotFoundError(2, "No such file")
        return {"hosts.ini": "b;c\n[x:y]\n", "ssh_config": "Host d a\nPort 99999\n"}[name]

    with pytest.raises(ConfigError) as caught:
        config.load(text, filename="oombot.yaml", read_file=read_file)
    found = "\n".join(caught.value.problems)
    collision = "ssh_config:1: host named twice: a (first at oombot.yaml:3)"
    for said in (
        collision,
        "gone.ini can not be read",
        "hosts.ini:1: ",
        "hosts.ini:2: ",
        "ssh_config:1: port",
        "mode",
    ):
        assert said in found


def test_anchors_that_stand_for_gigabytes_are_refused():
    """An inventory made of anchors of anchors is a mistake, and no gigabytes."""
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    assert "values, or anchors" in problems({"hosts.yaml": "a0: &a0 [x]\n" + levels})[0]


@given(
    st.text(alphabet="ab[]:01\n= \t#;'\"{}-*!$\x00é,@", max_size=80),
    st.sampled_from(["hosts.ini", "hosts.yaml", "ssh_config"]),
)
def test_any_file_is_hosts_or_mistakes(text, name):
    """Whatever a file holds, it becomes well-formed hosts or mistakes with a place, and nothing else."""
    try:
        settings, _ = loaded({name: ("Host " if name == "ssh_config" else "") + text})
    except ConfigError as error:
        told = error.problems
    else:
        told = [f"{name}:{host.name.isprintable()}" for host in settings.hosts]
    assert told
    assert all(line.startswith((f"{name}:", "oombot.yaml:")) for line in told)
