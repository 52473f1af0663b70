"""Every error oombot raises on purpose, in one tree.

OombotError
├── ConfigError            the configuration is wrong; carries every mistake
│   └── StoreTakenError        another process acts on this store
├── HostError              a host could not be asked
│   ├── UnknownHostError       no such host in the configuration
│   ├── HostUnreachableError   no connection (refused, timed out, lost)
│   ├── HostKeyError           host key unknown or changed
│   ├── HostLoginError         the host refused the account or the key
│   ├── CommandTimeoutError    the host did not finish in time
│   └── CommandFailedError     the command ran and failed
├── DecisionError          a request can not be decided this way
│   ├── NotApproverError
│   ├── AlreadyDecidedError
│   ├── PlanExpiredError
│   ├── PlanStaleError
│   └── RefusedError           a guard rail says no, whoever asks
├── ChatError              Slack refused or could not be reached
└── ViewError              a view would be refused by Slack

A message is a sentence shown to a person: what happened, what was not done, and the fix.
`temporary` answers the only question the engine asks: is it worth trying again by itself?
"""

from collections.abc import Sequence


class OombotError(Exception):
    """Something went wrong and nothing was changed."""

    temporary = False
    fix = ""
    who = ""

    def __init__(self, message: str = "", *, fix: str = "", who: str = "") -> None:
        """Take the sentence shown to the person and the command that mends it; the docstring stands in.

        `who` is the Slack user who stands behind it, apart from the sentence, in which every name is plain text.
        """
        super().__init__(message or (type(self).__doc__ or "").splitlines()[0])
        self.fix = fix or type(self).fix
        self.who = who


class ConfigError(OombotError):
    """The configuration is wrong; nothing was started."""

    def __init__(self, problems: Sequence[str]) -> None:
        """Take every mistake, each as `file:line: path: what is wrong`."""
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class StoreTakenError(ConfigError):
    """Another process acts on this store; nothing was started."""


class HostError(OombotError):
    """The host could not be asked."""

    def __init__(
        self, message: str = "", *, fix: str = "", jump: str | None = None, retry_after_s: float | None = None
    ) -> None:
        """Take the jump host that failed in its place, and the seconds until the host is tried again by itself."""
        super().__init__(message, fix=fix)
        self.jump = jump
        self.retry_after_s = retry_after_s


class UnknownHostError(HostError):
    """No such host in the configuration."""


class HostUnreachableError(HostError):
    """The host can not be reached; nothing is known about it now."""

    temporary = True


class HostKeyError(HostError):
    """The host's key is unknown or has changed; no connection was made."""


class HostLoginError(HostError):
    """The host refused the login."""


class CommandTimeoutError(HostError):
    """The host did not answer in time; it may be short of memory itself."""

    temporary = True


class CommandFailedError(HostError):
    """The command failed on the host."""


class DecisionError(OombotError):
    """The request can not be decided this way; nothing was run."""


class NotApproverError(DecisionError):
    """You may not approve this; nothing was run."""


class AlreadyDecidedError(DecisionError):
    """This was already decided; your press changed nothing."""


class PlanExpiredError(DecisionError):
    """This request has expired; nothing was run. Ask for a new plan."""


class PlanStaleError(DecisionError):
    """The host has changed since the plan was shown; nothing was run."""


class RefusedError(DecisionError):
    """A guard rail refuses this; nothing was run."""


class ChatError(OombotError):
    """Slack refused the call or could not be reached."""

    def __init__(self, message: str = "", *, code: str = "", retry_after_s: float | None = None) -> None:
        """Take Slack's error code and, for a fault that passes, the seconds to wait before trying again."""
        super().__init__(message or f"Slack answered {code}")
        self.code = code
        self.retry_after_s = retry_after_s
        self.temporary = retry_after_s is not None


class ViewError(OombotError):
    """A view would be refused by Slack; it was not sent."""

    def __init__(self, template: str, problems: Sequence[str]) -> None:
        """Name the template and everything that is wrong with what it rendered."""
        super().__init__(f"{template}: " + "; ".join(problems))
        self.template = template
        self.problems = tuple(problems)
