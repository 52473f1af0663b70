"""Hosts that nobody can hear: said once, folded by what they share, and edited when they are back."""

import asyncio
from dataclasses import dataclass, replace

from oombot.engine.context import Context
from oombot.engine.timing import Timing
from oombot.errors import OombotError
from oombot.following import Outage
from oombot.model import Draft


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a host is not followed; `kind` is the same for hosts that share a cause, `jump` the jump host that failed."""

    problem: str
    fix: str = ""
    kind: str = "ended"
    jump: str | None = None
    retry_after_s: float | None = None
    blind: bool = False
    ours: bool = False  # a fault of oombot's own

    @classmethod
    def of(cls, error: Exception) -> "Trouble":
        """What an error says; one of our own making says nothing that a person can use."""
        kind = type(error).__name__
        if not isinstance(error, OombotError):
            return cls(problem=f"oombot failed ({kind}); its log says more.", kind=kind, ours=True)
        jump, retry_after_s = getattr(error, "jump", None), getattr(error, "retry_after_s", None)
        return cls(problem=str(error), fix=error.fix, kind=kind, jump=jump, retry_after_s=retry_after_s)


class Unheard:
    """Gathers what hosts fall silent and come back, and tells it in as few messages as there are causes."""

    def __init__(self, context: Context, timing: Timing) -> None:
        """Hear everybody."""
        self._ctx, self._timing = context, timing
        self._down: dict[str, tuple[float, Trouble]] = {}
        self._open: dict[str, Outage] = {}
        self._due: set[str] = set()  # outages to tell; they stay due until they are stored
        self._returning: dict[str, float] = {}  # outages of which some are back, since when that is not told

    async def load(self) -> None:
        """Go on with what was said before a restart; a host that is configured no longer is not waited for."""
        configured = {host.name for host in self._ctx.settings.hosts}
        for outage in await self._ctx.store.outages():
            kept = {host: back_s for host, back_s in outage.hosts.items() if host in configured}
            known = replace(outage, hosts=kept)
            if known.away:
                self._open[known.key] = known
            else:
                await self._ctx.store.save_outage(known)

    def lost(self, host: str, trouble: Trouble) -> None:
        """A host is not followed; the first time counts, the newest reason is told."""
        known = self._down.get(host)
        same = known is not None and known[1].blind == trouble.blind
        self._down[host] = (known[0] if known is not None and same else self._ctx.clock(), trouble)

    def heard(self, host: str) -> None:
        """A host is followed live."""
        self._down.pop(host, None)
        self._back(host)

    def _back(self, host: str) -> None:
        outage = self._outage(host)
        if outage is not None:
            now = self._ctx.clock()
            self._open[outage.key] = replace(outage, hosts={**outage.hosts, host: now})
            self._returning.setdefault(outage.key, now)

    def _outage(self, host: str) -> Outage | None:
        """The open outage that says this host is away."""
        return next((one for one in self._open.values() if one.hosts.get(host, 0.0) is None), None)

    async def run(self) -> None:
        """Tell, for ever."""
        while True:
            await asyncio.sleep(self._timing.fold_every)
            await self.tell()

    async def tell(self) -> None:
        """Say what is due: new outages and new hosts in known ones, and those that are over."""
        now = self._ctx.clock()
        for host, (since_s, trouble) in sorted(self._down.items()):
            outage = self._outage(host)
            if now - since_s <= self._timing.unheard_after:
                continue
            if outage is None:
                self._due.add(self._join(host, since_s, trouble))
            elif outage.blind != trouble.blind:
                self._turn(host, outage, trouble)
        for key, since_s in list(self._returning.items()):
            if not self._open[key].away or now - since_s > self._timing.return_within:
                self._due.add(key)
        for key in sorted(self._due):
            try:
                await self._say(key)
            except Exception:  # it stays due, and holds up no other
                self._ctx.log(key=key).exception("unheard_not_told")

    def _join(self, host: str, since_s: float, trouble: Trouble) -> str:
        """Put a host into the open outage of its place and cause, or begin one."""
        channel, place = self._ctx.settings.channel(host), self._place(host, trouble)
        wanted = (channel, place, trouble.kind, trouble.blind)
        for one in self._open.values():
            if (one.channel, one.place, one.cause, one.blind) == wanted and one.away:
                self._open[one.key] = replace(
                    one, hosts={**one.hosts, host: None}, since_s=min(one.since_s, since_s)
                )
                return one.key
        outage = Outage(
            key=f"outage:{self._ctx.new_id()}",
            channel=channel,
            place=place,
            cause=trouble.kind,
            problem=trouble.problem,
            fix=trouble.fix,
            since_s=since_s,
            blind=trouble.blind,
            hosts={host: None},
        )
        self._open[outage.key] = outage
        return outage.key

    def _turn(self, host: str, outage: Outage, trouble: Trouble) -> None:
        """A host that was blind is gone now, or one that was gone is blind: it is not back, so that is not said."""
        self._due.add(outage.key)
        if len(outage.away) > 1:
            others = {name: back_s for name, back_s in outage.hosts.items() if name != host}
            self._open[outage.key] = replace(outage, hosts=others)
            self._due.add(self._join(host, self._ctx.clock(), trouble))
            return
        self._open[outage.key] = replace(
            outage,
            place=self._place(host, trouble),
            cause=trouble.kind,
            problem=trouble.problem,
            fix=trouble.fix,
            blind=trouble.blind,
        )

    def _place(self, host: str, trouble: Trouble) -> str:
        if trouble.jump is not None:
            return f"jump host {trouble.jump}"
        return f"group {self._ctx.settings.host(host).group}"

    async def _say(self, key: str) -> None:
        outage = self._open[key]
        draft = Draft(key=key, channel=outage.channel, view=self._ctx.views.outage(outage))
        await self._ctx.store.save_outage(outage, [draft])
        self._due.discard(key)
        if self._open[key] == outage:  # else somebody came back meanwhile
            self._returning.pop(key, None)
            if not outage.away:
                del self._open[key]
        self._ctx.wake.set()
