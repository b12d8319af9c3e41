"""Balance spools beside ours, of other prefixes or accounts: nobody writes them to the database."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import structlog

from ws_gateway.ports.account import AccountProblem
from ws_gateway.runtime.left_spools import left_spools

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_BEGINS = "balances-"


def spool_folder(data_dir: Path, prefix: str, account: str | None) -> Path:
    """Name the folder of an account; the first one's, None, is where it always was.

    No prefix has an @ in it.
    """
    whose = "" if account is None else f"@{account}"
    return data_dir / f"{_BEGINS}{prefix}{whose}"


def find_left(data_dir: Path, ours: Collection[Path], account: str) -> list[AccountProblem]:
    """Look for what others left, log it, and answer it as problems under the name of an account.

    Only reads; spools of gateways that run are not among them.
    """
    problems = []
    for one in left_spools(data_dir, _BEGINS, ours, _remedy):
        log.warning(
            "account.balance_spool_left_behind",
            folder=one.folder,
            bytes=one.size_bytes,
            remedy=one.remedy,
        )
        detail = one.holding("balance rows")
        problems.append(AccountProblem("balance_spool_left_behind", account, detail))
    return problems


def _remedy(name: str) -> str:
    prefix, _, whose = name.partition("@")
    with_account = f" and the account {whose} in WSG_ACCOUNTS" if whose else ""
    return (
        f"start the gateway once with WSG_AMQP_PREFIX={prefix}{with_account}, "
        "on the database that is to have them"
    )
