"""Who acts on the command line: the Unix account, and the person that the configuration says it is.

The account is that of the process's real uid. A process of root, or of the account that owns the store, may act for
whoever logged in: then it is the login uid, which the kernel keeps through sudo and su (/proc/self/loginuid). Both
could rewrite the store anyway. Nobody else is believed about it: a login uid that was never set may be set by anybody,
and SUDO_USER is a mere variable.
"""

import os
import pwd
from collections.abc import Collection
from pathlib import Path

from oombot import app
from oombot.adapters.database import file_of, make_engine
from oombot.config import Settings
from oombot.errors import NotApproverError
from oombot.proposals import Person

NOT_SET = 0xFFFFFFFF


def acting_person(settings: Settings) -> Person:
    """The person behind this process; NotApproverError where the account is nobody's."""
    name = own_account(settings)
    user_id = settings.policy.accounts.get(name)
    if user_id is None:
        fix = f"policy: {{accounts: {{{name}: SLACK-USER-ID}}}} in the configuration, by who may edit it"
        raise NotApproverError(f"The account {name} is nobody in policy.accounts: nothing was done.", fix=fix)
    return Person(user_id=user_id, name=name, account=name)


def own_account(settings: Settings) -> str:
    """The Unix account that acts."""
    uid = acting_uid(os.getuid(), _login_uid(), trusted={0, *_owner(settings)})
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def acting_uid(uid: int, login_uid: int | None, *, trusted: Collection[int]) -> int:
    """The uid that counts: who logged in, where a trusted process acts for them; else the process's own."""
    return login_uid if login_uid is not None and uid in trusted else uid


def _login_uid() -> int | None:
    """Who logged in, as the kernel remembers it; None where nobody did, or it does not say."""
    try:
        found = int(Path("/proc/self/loginuid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if found == NOT_SET else found


def _owner(settings: Settings) -> list[int]:
    """The account that owns the store's file, if it is one that is there."""
    path = file_of(make_engine(app.store_url(settings, make=False)).url)
    try:
        return [] if path is None else [path.stat().st_uid]
    except OSError:
        return []
