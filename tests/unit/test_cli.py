"""The command line itself: what is printed, what is refused, and with which exit code."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from ws_gateway import __version__
from ws_gateway.cli import EXIT_DEFECT, EXIT_REFUSED, _run, app
from ws_gateway.config import PREFIX, SECRETS, Settings
from ws_gateway.delivery.topology import Names
from ws_gateway.demo.audience import Audience
from ws_gateway.demo.play import EXIT_HOLES, _sum_up, missing_at_end, not_sent
from ws_gateway.demo.screen import Figures, Screen
from ws_gateway.demo.stage import _running
from ws_gateway.domain.topic import EventClass
from ws_gateway.errors import BrokerLost, ConfigError
from ws_gateway.settings_source import load_settings
from ws_gateway.tail import TailOptions, print_event

Run = Callable[..., subprocess.CompletedProcess[str]]
COMMANDS = (
    "serve",
    "demo",
    "migrate",
    "simulate",
    "check-config",
    "default-env",
    "tail",
    "version",
)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `python -m ws_gateway …` with only the given settings."""

    def run_it(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        return subprocess.run(
            [sys.executable, "-m", "ws_gateway", *arguments],
            env={**inherited, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb", **settings},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    return run_it


def test_version_is_the_packages(run: Run) -> None:
    """One line."""
    done = run("version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ws-gateway {__version__}\n", "")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_names_every_command(run: Run, flag: str) -> None:
    """Both spellings; unknown settings do not stand in the way of help."""
    done = run(flag, WSG_NONSENSE="1")
    assert done.returncode == 0
    for command in COMMANDS:
        assert command in done.stdout


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_of_the_simulator_is_its_own(run: Run, flag: str) -> None:
    """`simulate` takes the options of `bybit-sim`."""
    done = run("simulate", flag)
    assert done.returncode == 0
    assert "ws-gateway simulate" in done.stdout
    for option in ("--port", "--seed", "--rate", "--api-key", "--trade-every"):
        assert option in done.stdout


def test_an_unknown_command_is_refused(run: Run) -> None:
    """With the code of every refusal, and no traceback."""
    done = run("sevre")
    assert done.returncode == EXIT_REFUSED
    assert "sevre" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_config_prints_what_serve_would_use(run: Run, tmp_path: Path) -> None:
    """Secrets are masked, also those from files; notes go to standard error."""
    secret = tmp_path / "amqp-url"
    secret.write_text("amqp://user:hunter2@broker/\n")
    done = run(
        "check-config",
        WSG_AMQP_URL_FILE=str(secret),
        WSG_DATABASE_URL="postgresql://user:hunter2@db/x",
        WSG_API_KEY="hunter2",
        WSG_ENABLED_CATEGORIES="spot, linear",
    )
    assert done.returncode == 0
    shown = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert shown.keys() == {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert shown["WSG_ENABLED_CATEGORIES"] == "spot,linear"
    assert shown["WSG_AMQP_URL"] == shown["WSG_DATABASE_URL"] == "**********"
    assert "hunter2" not in done.stdout + done.stderr
    assert "only public data" in done.stderr
    assert "WSG_API_KEY" not in done.stderr


def test_check_config_refuses_as_serve_would(run: Run) -> None:
    """One sentence, code 2."""
    done = run("check-config", WSG_HTTP_PORTS="1")
    assert (done.returncode, done.stdout) == (EXIT_REFUSED, "")
    assert done.stderr.startswith("ws-gateway: WSG_HTTP_PORTS: no such setting; did you mean")
    assert len(done.stderr.splitlines()) == 1


def test_default_env_uncommented_is_the_default(run: Run) -> None:
    """Its settings load again with the same values, the empty ones left empty."""
    done = run("default-env")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith(f"#{PREFIX}")]
    environ = dict(line[1:].split("=", 1) for line in lines)
    assert environ.keys() == {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert load_settings(environ) == load_settings({})
    for name in SECRETS:
        assert f"{PREFIX}{name.upper()}_FILE" in done.stdout


def test_default_env_can_be_read_by_a_shell(run: Run, tmp_path: Path) -> None:
    """Sourced with every line uncommented, it starts nothing and breaks nothing."""
    text = run("default-env").stdout.replace(f"#{PREFIX}", PREFIX)
    (tmp_path / "env").write_text(text)
    script = "set -eu; set -a; . ./env; exec env"
    done = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True, env={}
    )
    environ = dict(line.split("=", 1) for line in done.stdout.splitlines() if PREFIX in line)
    assert load_settings(environ) == load_settings({})


def test_tail_names_the_classes_there_are(run: Run) -> None:
    """A class that does not exist is refused before anything is asked of the broker."""
    done = run("tail", "orderbooks")
    assert done.returncode == EXIT_REFUSED
    assert "orderbooks" in done.stderr
    for name in (*EventClass, "quarantine"):
        assert name in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("seconds", ["4", "-1", "soon"])
def test_the_demo_refuses_a_length_that_shows_nothing(seconds: str) -> None:
    """The option's own bounds are kept."""
    result: Result = CliRunner().invoke(app, ["demo", "--seconds", seconds])
    assert result.exit_code == EXIT_REFUSED


# ── how commands end ──────────────────────────────────────────────────────────────────────────


def _ended(exc: BaseException | None, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    async def job(_stop: asyncio.Event) -> int | None:
        if exc is not None:
            raise exc
        return 3

    with pytest.raises(BaseException) as caught:  # noqa: PT011 - typer's own exit
        _run(job)
    return int(getattr(caught.value, "exit_code", -1)), capsys.readouterr().err


def test_a_job_decides_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever it answers."""
    assert _ended(None, capsys) == (3, "")


def test_a_refusal_inside_groups_is_still_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Task groups wrap what they raise; a person is told the first cause."""
    refusal = ExceptionGroup("a", [ExceptionGroup("b", [ConfigError("WSG_X", "found 1", "do 2")])])
    assert _ended(refusal, capsys) == (EXIT_REFUSED, "ws-gateway: WSG_X: found 1; do 2\n")
    assert _ended(BrokerLost("it went"), capsys) == (EXIT_REFUSED, "ws-gateway: it went\n")


def test_a_defect_is_not_a_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    """It ends with a code of its own, for whoever restarts the process."""
    code, _ = _ended(ExceptionGroup("a", [ValueError("ours")]), capsys)
    assert code == EXIT_DEFECT


# ── what the demo concludes ───────────────────────────────────────────────────────────────────


def _event(sequence: int, kind: str = "update") -> dict[str, Any]:
    payload = {"reason": "restart", "from_sequence": None, "to_sequence": None, "detail": ""}
    return {
        "category": "linear",
        "account": None,
        "topic": "publicTrade.BTCUSDT",
        "event_type": "trade",
        "epoch": "E",
        "sequence": sequence,
        "kind": kind,
        "payload": payload if kind == "gap" else [],
    }


def _verdict(
    *events: dict[str, Any], classes: tuple[EventClass, ...], faults: tuple[str, ...] = ()
) -> int:
    audience = Audience(Names("t"), classes)
    for event in events:
        audience.note(event)
    return _sum_up(audience, Screen(audience), Figures(), faults)


def test_the_demo_ends_well_only_if_everything_arrived(capsys: pytest.CaptureFixture[str]) -> None:
    """Every class, no hole: 0."""
    events = [_event(1, "gap"), _event(2), _event(3)]
    assert _verdict(*events, classes=(EventClass.TRADE,)) == 0
    assert "no stream has a hole" in capsys.readouterr().out


def test_a_class_that_did_not_come_fails_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """It is named."""
    events = [_event(1, "gap"), _event(2)]
    assert _verdict(*events, classes=(EventClass.TRADE, EventClass.ORDER)) == EXIT_HOLES
    assert "nothing came of class order" in capsys.readouterr().out


def test_markers_alone_are_not_data(capsys: pytest.CaptureFixture[str]) -> None:
    """A class of which only a marker came counts as silent."""
    assert _verdict(_event(1, "gap"), classes=(EventClass.TRADE,)) == EXIT_HOLES
    assert "nothing came of class trade" in capsys.readouterr().out


def test_a_hole_fails_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """A step that nothing explains is shown."""
    events = [_event(1, "gap"), _event(2), _event(4)]
    assert _verdict(*events, classes=(EventClass.TRADE,)) == EXIT_HOLES
    assert "hole: " in capsys.readouterr().out


def test_a_stream_that_lost_its_beginning_fails_the_demo(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The audience sits before the first event, so it has to see the first."""
    assert _verdict(_event(2), _event(3), classes=(EventClass.TRADE,)) == EXIT_HOLES
    assert "hole: " in capsys.readouterr().out


def test_a_gateway_that_ended_badly_fails_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """However well everything arrived; it is said."""
    events = [_event(1, "gap"), _event(2)]
    faults = ("the gateway ended with code 1",)
    assert _verdict(*events, classes=(EventClass.TRADE,), faults=faults) == EXIT_HOLES
    assert faults[0] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("topics", "in_flight", "confirmed", "observed", "words"),
    [
        ({}, 0, 7, 7, None),
        ({}, 0, 7, 6, "7 were confirmed, but 6 reached"),
        ({}, 0, 7, 8, "7 were confirmed, but 8 reached"),
        ({}, 2, 7, 7, "2 events were not confirmed"),
        ({"active": 1}, 0, 7, 7, "1 topics did not end"),
    ],
)
def test_what_was_confirmed_and_what_was_consumed_must_be_the_same(
    topics: dict[str, int], in_flight: int, confirmed: int, observed: int, words: str | None
) -> None:
    """Any difference is told, in either direction."""
    counters = {"in_flight": in_flight, "confirmed": confirmed}
    told = missing_at_end({"subscriptions": topics, "delivery": counters}, observed)
    assert told == words if words is None else words in str(told)


def test_the_demo_explains_why_fewer_events_were_confirmed_than_received() -> None:
    """Each end other than a confirm is named with its number; where there is none, nothing is."""
    counters = {"suppressed": {"duplicate": 7, "old": 0}, "shed": {}, "rejected": {"refused": 1200}}
    repeated, refused = not_sent(counters)
    assert repeated.startswith("the others: 7 suppressed (duplicate)")
    assert refused.startswith("the others: 1,200 rejected (refused)")
    assert not_sent({}) == []


def test_an_event_seen_twice_is_consumed_once() -> None:
    """Delivery is at least once; the comparison is of what was observed."""
    audience = Audience(Names("t"), (EventClass.TRADE,))
    for event in (_event(1, "gap"), _event(2), _event(2), _event(3)):
        audience.note(event)
    assert audience.observed == 2


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("", None),
        ("import sys; sys.exit(3)", "the gateway ended with code 3; see "),
        (
            """if True:
            import signal, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            print("deaf", flush=True)
            time.sleep(60)
            """,
            "the gateway had to be killed; see ",
        ),
        (
            """print('{"event": "gateway.stopped_with_loss", "lost": 12}')""",
            "the gateway ended with 12 events undelivered; see ",
        ),
    ],
)
async def test_how_a_process_of_the_demo_ended_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str | None
) -> None:
    """A bad end is a fault, whatever came before it."""
    monkeypatch.setattr("ws_gateway.demo.stage.STOP_SECONDS", 0.5)
    faults: list[str] = []
    log_file = tmp_path / "gateway.log"
    command = [sys.executable, "-c", script]
    async with _running("gateway", command, None, log_file, faults) as process:
        if "sleep" in script:
            async with asyncio.timeout(30):
                while not log_file.stat().st_size:  # noqa: ASYNC110 - no event for it
                    await asyncio.sleep(0.02)
        else:
            await process.wait()
    assert [fault.removesuffix(str(log_file)) for fault in faults] == ([words] if words else [])


# ── what tail prints ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("category", "symbol", "key"),
    [
        ("*", None, "ticker.#"),
        ("spot", None, "ticker.spot.*"),
        ("*", "BTCUSDT", "ticker.*.BTCUSDT"),
        ("option", "XRP-30OCT26-0.4-P-USDT", "ticker.option.XRP-30OCT26-0%2E4-P-USDT"),
    ],
)
def test_tail_binds_to_what_is_wanted(category: str, symbol: str | None, key: str) -> None:
    """The filter is the broker's work; a dot inside a symbol is escaped as the publisher does."""
    assert TailOptions("ticker", False, category, symbol, None).binding_keys[0] == key


def test_tail_never_hides_the_markers_of_private_streams() -> None:
    """Those of a stream of one category are routed under it, the others under none."""
    options = TailOptions("order", False, "linear", "BTCUSDT", None)
    assert options.binding_keys[1:] == ["order.-.-", "order.linear.-"]


def test_tail_prints_a_long_event_on_one_short_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Place, symbol, number, kind, and the beginning of the payload; `--json` leaves all in."""
    event = _event(4711) | {
        "symbol": None,
        "received_at": 1_791_365_008_341_123,
        "payload": {"text": "x" * 5000},
    }
    body = json.dumps(event).encode()
    print_event(body, as_json=False)
    line = capsys.readouterr().out
    assert len(line) < 220
    assert line.count("\n") == 1
    for word in ("linear", "publicTrade.BTCUSDT", "4711", "update", "…"):
        assert word in line
    print_event(body, as_json=True)
    assert json.loads(capsys.readouterr().out) == event


def test_tail_prints_a_quarantined_frame(capsys: pytest.CaptureFixture[str]) -> None:
    """It has no envelope."""
    frame = {"reason": "too_large", "origin": "linear", "size": 5_000_000, "detail": "at most"}
    print_event(json.dumps(frame).encode(), as_json=False)
    line = capsys.readouterr().out
    assert "too_large" in line
    assert "5000000" in line
