"""What a name may look like, wherever it was read; whatever else a file says is refused, never mended."""

HOST = r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$"  # never begins with a dash, meets no shell
ADDRESS = r"^[A-Za-z0-9:][A-Za-z0-9._:%-]{0,252}$"  # IPv6 too
USER = r"^[A-Za-z0-9_][A-Za-z0-9._@+\\-]{0,63}$"
GROUP = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,79}$"  # tags look the same
_PLACE = r"(?:[A-Za-z0-9][A-Za-z0-9._:-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?)"
_HOP = rf"(?:[A-Za-z0-9_][A-Za-z0-9._+-]{{0,63}}@)?{_PLACE}"
JUMP = rf"^{_HOP}(?:,{_HOP}){{0,7}}$"  # a chain, the first hop first, as in ssh_config
RUNBOOK = r"^https://[A-Za-z0-9][A-Za-z0-9._~:/?#\[\]@!$&()*+,;=%-]{0,1500}$"
WORDS = ("fleet", "fix", "help", "since")  # what /oom itself understands
PREFIXES = ("group:", "tag:")
