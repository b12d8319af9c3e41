"""What a person does about each reason, in one sentence that can be followed half asleep."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_IN_QUARANTINE = (
    "Look into the quarantine queue at what Bybit sent, and report it. All else is kept and flows."
)

REMEDIES: Mapping[str, str] = MappingProxyType(
    {
        "balance_inconsistent": _IN_QUARANTINE,
        "balance_malformed": _IN_QUARANTINE,
        "balance_sign": _IN_QUARANTINE,
        "balance_spool_left_behind": "Start once with the prefix (and account) it names, on the "
        "same database, or delete the folder.",
        "balance_spool_unavailable": "Free the disk or the folder it names. Until then balance "
        "rows of an outage of PostgreSQL are in memory only.",
        "balances_lost": "Bring PostgreSQL back, free the disk. The history of balances has a "
        "hole, the log says where; events and the latest balances have none.",
        "balances_not_stored": "Bring PostgreSQL back. Balance rows wait on disk and are written "
        "by themselves; their events flow.",
        "broker_blocked": "Free memory or disk of RabbitMQ: it takes nothing until its alarm ends.",
        "broker_lost": "Bring RabbitMQ back, or the way to it. Private events go to disk "
        "meanwhile; the gateway connects again by itself.",
        "broker_refuses": "Empty or delete the queue it names, or let it drop its oldest messages.",
        "broker_silent": "Look whether RabbitMQ, its disk or the way to it is frozen. Nothing is "
        "lost yet; if it stays silent the connection is given up and made anew.",
        "capacity_near": "Start the consumers of this queue, or more of them: soon its oldest "
        "messages are dropped.",
        "connection_idle": "Look at the topics that are not active; data of others flow.",
        "connection_missing": "Wait some seconds; if it stays, look at the newest errors.",
        "connection_not_streaming": "Nothing: it tries again by itself, at the time it says. If it "
        "goes on, look whether this host still reaches Bybit.",
        "database_lost": "Bring PostgreSQL back. Data flow on; subscriptions cannot be changed "
        "until it is.",
        "login_refused": "Mend the Bybit key as the reason says. Public data flow on.",
        "no_consumer": "Start the service that reads this queue.",
        "not_reconciled": "Mend what it names: the key's rights, or the way to Bybit's REST or to "
        "PostgreSQL. The stream flows; what it missed is read as soon as that works.",
        "not_restored": "Wait: it begins as soon as PostgreSQL has answered.",
        "position_invalid": _IN_QUARANTINE,
        "queue_problem": "Do what it says. Delete and let it be declared anew only what may be "
        "lost.",
        "recording_failing": "Free its volume, mend the folder it names, or lower "
        "WSG_RECORD_KEEP_FREE_BYTES. Events flow; frames are a hole in the recording meanwhile.",
        "refusing": "Start the consumers of this queue, or let it drop its oldest messages.",
        "slow_consumer": "Look after the service that reads this queue: it takes less than comes.",
        "spool_left_behind": "Start once with the prefix it names, or delete the folder.",
        "spool_unavailable": "Free the disk or the folder it names. Until then private events of "
        "an outage are in memory only.",
        "topics_not_active": "Look at these topics: Bybit has not answered for them. They are "
        "asked for again by themselves.",
        "topics_refused": "Read Bybit's words and correct or remove the subscriptions.",
        "topics_stalled": "Nothing at first: they are asked for again, then get a new socket. If "
        "it goes on, look whether Bybit is well.",
    }
)
"""By code of a reason, as `/health` gives them."""

UNKNOWN = "Read what it says; the log tells more."


def remedy(code: str) -> str:
    """Say what to do about a reason."""
    return REMEDIES.get(code, UNKNOWN)
