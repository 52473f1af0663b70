"""Every fault can be switched on, counts down by itself and can be cleared."""

import asyncio

import pytest

from oombot.workspace import seed


async def test_lost_ack(ws, app):
    """A lost ack makes a command time out although the app answered."""
    app.answer = lambda _envelope: {"text": "hi"}
    ws.faults.drop_acks()
    assert "operation_timeout" in (await ws.slash(seed.ADA, "oncall", "/oom"))["text"]
    assert (await ws.slash(seed.ADA, "oncall", "/oom"))["text"] == "hi"


async def test_lost_ack_of_an_event(ws, app, until):
    """An event whose ack is lost is delivered twice with one event_id."""
    ws.faults.drop_acks()
    await ws.mention(seed.ADA, "oncall", "x")
    await until(lambda: len(app.envelopes) == 2)
    assert len({e["payload"]["event_id"] for e in app.envelopes}) == 1


async def test_rate_limit(ws, api):
    """Only the method named is limited, as often as asked, with Retry-After."""
    ws.faults.rate_limit("chat.update", times=2, retry_after_s=7)
    answers = [await api("chat.update", channel=seed.ONCALL, ts="1.000000", text="x") for _ in range(3)]
    assert [a.status for a in answers] == [429, 429, 200]
    assert (answers[0].headers["Retry-After"], answers[0].error) == ("7", "ratelimited")


async def test_refusal(ws, api):
    """A method fails with the error and status wanted, then works again."""
    ws.faults.fail("usergroups.users.list", "fatal_error", status=500)
    broken = await api("usergroups.users.list", usergroup=seed.ONCALL_GROUP)
    assert (broken.status, broken.error) == (500, "fatal_error")
    assert (await api("usergroups.users.list", usergroup=seed.ONCALL_GROUP)).ok


async def test_lost_event(ws, app):
    """A lost event never arrives, the next one does."""
    ws.faults.lose_events()
    await ws.mention(seed.ADA, "oncall", "lost")
    await ws.mention(seed.ADA, "oncall", "found")
    await asyncio.sleep(0.1)
    assert [e["payload"]["event"]["text"].split()[-1] for e in app.envelopes] == ["found"]


async def test_expired_trigger(ws, api, trigger, kit):
    """Triggers may be too old from the start, until cleared."""
    ws.faults.expire_triggers()
    assert (await api("views.open", trigger_id=await trigger(), view=kit.modal)).error == "expired_trigger_id"
    ws.faults.clear()
    assert (await api("views.open", trigger_id=await trigger(), view=kit.modal)).ok


@pytest.mark.parametrize("handed_out_before", [True, False])
async def test_spent_response_url(ws, app, http, handed_out_before):
    """response_urls may be spent, those out already and those to come."""
    if handed_out_before:
        await ws.slash(seed.ADA, "oncall", "/oom")
        ws.faults.spend_response_urls()
    else:
        ws.faults.spend_response_urls()
        await ws.slash(seed.ADA, "oncall", "/oom")
    async with http.post(app.envelopes[0]["payload"]["response_url"], json={"text": "x"}) as answer:
        assert (answer.status, (await answer.json())["error"]) == (404, "used_url")


async def test_clear(ws, api):
    """clear turns everything off."""
    ws.faults.fail("auth.test", times=5)
    ws.faults.delay("auth.test", 60)
    ws.faults.accept_then_drop("auth.test")
    ws.faults.clear()
    assert (await api("auth.test")).ok
