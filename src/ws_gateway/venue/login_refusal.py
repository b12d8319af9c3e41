"""What is done about a refused login: the doctor is asked, and it is counted; it can be stopped."""

from __future__ import annotations

import asyncio

from ws_gateway.errors import VenueLost
from ws_gateway.venue.auth import Credentials
from ws_gateway.venue.context import LoginDiagnosis, SessionContext

UNDIAGNOSED = {"login": "not_diagnosed", "login_deadline": "no_answer"}
"""What a failed login is counted as where nobody can be asked, by why the socket was lost."""


def is_worth_asking(
    loss: VenueLost, credentials: Credentials | None, context: SessionContext
) -> bool:
    """Say whether it can be found out why a socket was lost; counts a failed login if it cannot."""
    if loss.reason == "login" and credentials is not None and context.doctor is not None:
        return True
    if loss.reason in UNDIAGNOSED:
        context.tally.login_failures[_owner_of(credentials), UNDIAGNOSED[loss.reason]] += 1
    return False


async def ask_why(
    words: str, credentials: Credentials, context: SessionContext, stopping: asyncio.Event
) -> LoginDiagnosis | None:
    """Find out why a login was refused with these words, and count it; None if stopped first."""
    if context.doctor is None:
        return None
    inquiry = asyncio.ensure_future(context.doctor.diagnose(words, credentials))
    stopped = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait({inquiry, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not inquiry.done():
            return None
        found = inquiry.result()
    finally:
        stopped.cancel()
        inquiry.cancel()
        await asyncio.wait({inquiry, stopped})
    context.tally.login_failures[_owner_of(credentials), found.fault.value] += 1
    return found


def _owner_of(credentials: Credentials | None) -> str:
    return "" if credentials is None else credentials.account or ""
