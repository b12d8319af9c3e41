"""Composition root: joins the sides that `composition` builds, and owns the order of life.

Start: database, broker proof, sockets, tasks. Stop, under one deadline: intake, drain, confirms,
connections, database.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

import structlog

from ws_gateway import __version__
from ws_gateway.composition.control import Control, LateObserver, build_control, certificate_of
from ws_gateway.composition.data_path import DataPath, build_data_path
from ws_gateway.composition.desk import Desk, build_desk
from ws_gateway.composition.outside import (
    GOODBYE_SECONDS,
    database,
    or_stop,
    require_broker,
    unstarted_if_stopped,
)
from ws_gateway.config import Settings
from ws_gateway.control.api.server import listening
from ws_gateway.errors import DatabaseLost
from ws_gateway.runtime.telemetry import Telemetry

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

STOP_SECONDS = 8.0
"""From the signal to the end, whoever is away: an orchestrator grants 10 s."""

GRACE_SECONDS = 1.0
"""How long requests and statements at work may go on."""

INTAKE_SECONDS = 3.0
"""How long the intake may take to end, the grace included."""

SPOOL_SECONDS = 0.5
"""How long the spool may take to end what it is at, and then to write what is held."""


async def serve(settings: Settings, stop: asyncio.Event, telemetry: Telemetry) -> None:
    """Run the gateway until `stop` is set, then drain and leave; a stop ends the start too.

    Args:
        settings: what to serve, and with whom.
        stop: ends it.
        telemetry: of the process, for what changes it at run time.

    Raises:
        ConfigError: something outside refused at start; a person must act.
        ExceptionGroup: a defect of ours ended a room, and with it the gateway.
    """
    shown = certificate_of(settings)
    with listening(settings.http_host, settings.http_port) as listener, unstarted_if_stopped():
        async with database(settings, stop) as (store, changes):
            await or_stop(require_broker(settings), stop)
            observer = LateObserver()
            desk = build_desk(settings)
            path = build_data_path(settings, observer, desk, telemetry, store.statements)
            joining = build_control(
                settings,
                store=store,
                changes=changes,
                path=path,
                desk=desk,
                telemetry=telemetry,
                observer=observer,
                shown=shown,
            )
            control = await or_stop(joining, stop)
            try:
                is_drained = await _run_rooms(path, desk, control, listener, stop)
            finally:
                await desk.close()
                if path.recorder is not None:
                    await asyncio.to_thread(path.recorder.close)
            if is_drained:
                log.info("gateway.stopped", **control.figures.now())
            else:
                lost = path.publisher.in_flight
                log.error("gateway.stopped_with_loss", lost=lost, **control.figures.now())


async def _run_rooms(
    path: DataPath,
    desk: Desk,
    control: Control,
    listener: socket.socket,
    stop: asyncio.Event,
) -> bool:
    """Own the rooms' tasks: the death of any ends all; a stop goes through its stages.

    Answers whether everything that was taken is confirmed, or on disk for the next process.
    """
    if path.recorder is not None:
        path.recorder.start()
    await path.spool.open()
    await or_stop(_remember_torn(path), stop)
    await or_stop(_restore(path), stop)
    async with asyncio.TaskGroup() as rooms:
        spooling = rooms.create_task(path.spool.run(), name="spool")
        storing = [
            (one, rooms.create_task(one.writer.run(), name=f"balances of {one.name}"))
            for one in path.accounts
        ]
        publishing = rooms.create_task(path.publisher.run(), name="publisher")
        feeding = rooms.create_task(path.feed.run(), name="feed")
        reconciling = rooms.create_task(control.reconciler.run(), name="reconciler")
        keying = rooms.create_task(control.ring.run(), name="keys")
        serving = rooms.create_task(control.http.serve(sockets=[listener]), name="http")
        aside = _begin_aside(rooms, path, desk, control)
        log.info(
            "gateway.started",
            version=__version__,
            epoch=path.epoch,
            url=control.url_of(listener),
        )
        try:
            await stop.wait()
        except asyncio.CancelledError:  # a room died
            control.give_up()
            raise
        ends_at = asyncio.get_running_loop().time() + STOP_SECONDS
        log.info("gateway.stopping", held=path.publisher.status().buffered_events)
        path.feed.stop()
        control.stop()
        if path.backfill is not None:
            path.backfill.stop()
        for task in aside:
            task.cancel()
        await _end_intake(control, feeding, reconciling, keying, serving)
        await asyncio.gather(*(account.end(task) for account, task in storing))
        left = ends_at - 2 * GOODBYE_SECONDS - asyncio.get_running_loop().time()
        drained = await path.publisher.drain(left)
        await path.publisher.close(GOODBYE_SECONDS)
        publishing.cancel()
        path.spool.stop()
        await asyncio.wait({spooling}, timeout=SPOOL_SECONDS)
        spooling.cancel()
        with contextlib.suppress(TimeoutError):  # a disk that hangs
            async with asyncio.timeout(SPOOL_SECONDS):
                await path.spool.close()
    return drained or not path.publisher.status().buffered_events


async def _remember_torn(path: DataPath) -> None:
    """Store what a torn end of the spool means, before a stop or a crash lets it be forgotten."""
    try:
        for account in path.accounts:
            await account.marks.store_back()
    except DatabaseLost as exc:
        log.warning("delivery.spool_end_kept", why=str(exc))  # for the next process, if need be
    else:
        await path.spool.forget_torn()


async def _restore(path: DataPath) -> None:
    """Take up what earlier processes stored; a database that is away holds each account up."""
    await asyncio.gather(*(account.restore() for account in path.accounts))


def _begin_aside(
    rooms: asyncio.TaskGroup, path: DataPath, desk: Desk, control: Control
) -> list[asyncio.Task[None]]:
    """Begin what holds nothing that could be lost."""
    aside = [
        rooms.create_task(desk.instruments.run(), name="instruments"),
        rooms.create_task(desk.maintenance.run(), name="maintenance"),
        rooms.create_task(desk.clock.run(), name="clock"),
        rooms.create_task(control.loop.run(), name="loop lag"),
        rooms.create_task(control.certificates.run(), name="certificates"),
        rooms.create_task(control.care.run(), name="queues"),
        rooms.create_task(control.changes.run(control.reconciler), name="changes"),
        # One table for all accounts, so one of them looks after it.
        rooms.create_task(path.accounts[0].retention.run(), name="retention"),
    ]
    for one in path.accounts:
        aside += [
            rooms.create_task(one.reconciliation.run(), name=f"reconciliation of {one.name}"),
            rooms.create_task(one.marks.run(), name=f"marks of {one.name}"),
        ]
    aside += [rooms.create_task(one.run(), name="credentials") for one in path.credential_files]
    if path.backfill is not None:
        aside.append(rooms.create_task(path.backfill.run(), name="backfill"))
    if control.shown is not None:
        aside.append(rooms.create_task(control.shown.run(), name="certificate"))
    return aside


async def _end_intake(control: Control, *tasks: asyncio.Task[None]) -> None:
    """Let tasks end by themselves for a while, then without what they wait for, then at all."""
    _, late = await asyncio.wait(tasks, timeout=GRACE_SECONDS)
    if late:
        control.give_up()
        _, late = await asyncio.wait(late, timeout=INTAKE_SECONDS - GRACE_SECONDS)
    for task in late:
        task.cancel()
