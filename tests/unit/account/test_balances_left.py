"""Balance rows that another prefix or account left on disk are named, and left as they are."""

from __future__ import annotations

from pathlib import Path

from structlog.testing import capture_logs

from ws_gateway.account.balance_log import condense
from ws_gateway.account.spool_left import find_left, spool_folder
from ws_gateway.runtime.spool_format import Record
from ws_gateway.runtime.spool_log import SpoolLog


def leave(folder: Path) -> SpoolLog:
    """Write rows to a log and keep it."""
    log = SpoolLog(folder, max_bytes=10**6, max_age_seconds=3600, condense=condense)
    log.open()
    log.append([Record(b"{}", is_observed=True)] * 3)
    return log


def test_balance_rows_left_by_another_prefix_or_account_are_named_with_what_to_do(
    tmp_path: Path,
) -> None:
    """Ours and those of a gateway that runs are not among them; nothing is touched."""
    ours = {spool_folder(tmp_path, "new", account) for account in (None, "hedge")}
    for mine in ours:
        leave(mine).close()
    running = leave(spool_folder(tmp_path, "beside", None))
    leave(spool_folder(tmp_path, "old", None)).close()
    leave(spool_folder(tmp_path, "new", "gone")).close()
    leave(tmp_path / "spool-old").close()  # private events: delivery tells of those
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with capture_logs() as told:
        problems = find_left(tmp_path, ours, "main")
    running.close()
    lines = [one for one in told if one["event"] == "account.balance_spool_left_behind"]
    assert [Path(one["folder"]).name for one in lines] == ["balances-new@gone", "balances-old"]
    assert all(one["bytes"] > 0 for one in lines)
    account, prefix = (one["remedy"] for one in lines)
    assert "WSG_AMQP_PREFIX=new and the account gone in WSG_ACCOUNTS" in account
    assert "WSG_AMQP_PREFIX=old," in prefix
    assert {(one.code, one.account) for one in problems} == {("balance_spool_left_behind", "main")}
    assert "WSG_AMQP_PREFIX=old" in problems[1].detail
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: after[path] for path in before} == before


def test_balance_rows_that_were_stored_are_not_named(tmp_path: Path) -> None:
    """A folder stays when it is empty, and a place without any is none to speak of."""
    log = leave(spool_folder(tmp_path, "old", None))
    batch = log.read(10)
    log.acknowledge(batch.records[-1][0])
    log.close()
    assert find_left(tmp_path, set(), "main") == []
    assert find_left(tmp_path / "nowhere", set(), "main") == []
