"""One client's side of one socket: its requests in, acks and refusals out."""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import msgspec

from bybit_sim import wire
from bybit_sim.broadcaster import Broadcaster
from bybit_sim.config import SimulatorConfig
from bybit_sim.connection import LiveConnection
from bybit_sim.fault import Hook
from bybit_sim.faults import Faults
from bybit_sim.feed import encode
from bybit_sim.party import Party, party_of_key
from bybit_sim.pulse import Pulse
from bybit_sim.signing import is_signed_by, read_login
from bybit_sim.topics import PRIVATE_CATEGORISED, PRIVATE_TOPICS, is_plausible_spot_topic

_SPOT_ARGS = 10


class Venue(Protocol):
    """What a conversation needs of the exchange around it."""

    config: SimulatorConfig
    faults: Faults
    broadcaster: Broadcaster
    parties: list[Party]
    pulse: Pulse

    def now_ms(self) -> int:
        """Return server time in milliseconds."""
        ...


class Conversation:
    """Reads requests of one connection and acts on them; replies go out in request order."""

    def __init__(self, venue: Venue, connection: LiveConnection) -> None:
        self._venue = venue
        self._connection = connection

    def handle(self, raw: str | bytes) -> Any:
        """Act on one message from the client; return it parsed, or as text if it is no JSON."""
        text = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
        try:
            request = msgspec.json.decode(text)
        except msgspec.DecodeError:
            request = None
        if not isinstance(request, dict):
            self._refuse(None, "", wire.decode_failure(text))
            return text if request is None else request
        op, req_id = request.get("op"), request.get("req_id")
        req_id = req_id if isinstance(req_id, str) else None
        if op == "ping":
            self._ping(req_id)
        elif op == "auth" and self._connection.kind == "private":
            self._authenticate(req_id, request.get("args"))
        elif op in {"subscribe", "unsubscribe"}:
            self._change_topics(op, req_id, request.get("args"))
        else:
            self._refuse(req_id, op if isinstance(op, str) else "", "error:invalid op")
        return request

    def close(self) -> None:
        """Forget the connection's subscriptions."""
        for name in list(self._connection.topics):
            self._drop(name)

    def _ping(self, req_id: str | None) -> None:
        self._connection.last_ping_ms = self._venue.pulse.now_ms()
        faults = self._venue.faults.at(Hook.PONG)
        if not any(fault.swallows_pong(self._connection) for fault in faults):
            now = self._venue.now_ms()
            self._send(wire.pong(self._connection.kind, self._connection.id, req_id, now))

    def _authenticate(self, req_id: str | None, args: Any) -> None:
        config = self._venue.config
        login = read_login(args, self._venue.now_ms())
        if refused := self._fault_refusal("auth", []):
            problem = refused
        elif login is None:
            problem = "Params Error"
        elif (party := party_of_key(self._venue.parties, login.api_key)) is None:
            problem = config.texts.invalid_key
        elif not is_signed_by(party.of.api_secret or "", login):
            problem = config.texts.invalid_signature
        elif party.terms.is_expired(self._venue.now_ms()):
            problem = config.texts.expired_key
        else:
            problem = ""
            self._connection.is_authenticated = True
            self._connection.party = self._connection.party or party
        reply = wire.private_reply(
            self._connection.id, req_id, success=not problem, ret_msg=problem, op="auth"
        )
        self._acknowledge(reply)
        if problem and config.close_after_failed_auth:
            self._connection.socket.transport.close()

    def _change_topics(self, op: str, req_id: str | None, args: Any) -> None:
        if not isinstance(args, list) or not all(isinstance(each, str) for each in args):
            self._refuse(req_id, op, "Params Error")
            return
        if wire.speaks_commands(self._connection.kind):
            self._change_by_command(op, args)
            return
        if refused := self._fault_refusal(op, args):
            self._refuse(req_id, op, refused)
            return
        if op == "unsubscribe":
            for name in args:
                self._drop(name)
            self._grant(req_id, op)
            return
        private = self._connection.kind == "private"
        problem = self._private_problem(args) if private else self._public_problem(args)
        if problem:
            self._refuse(req_id, op, problem)
        elif self._venue.config.ack_before_snapshot:
            self._grant(req_id, op)
            self._take(args)
        else:
            self._take(args)
            self._grant(req_id, op)

    def _change_by_command(self, op: str, args: list[str]) -> None:
        """Serve option and spread, which acknowledge topics that do not exist.

        Nothing is ever delivered for those (v5 reference 5.3). What is not even shaped like a
        topic is assumed to be listed as failed.
        """
        connection, config = self._connection, self._venue.config
        faults = self._venue.faults.at(Hook.REQUEST)
        good = [name for name in args if "." in name]
        bad = [name for name in args if "." not in name]
        room = config.option_args_per_connection - len(connection.topics)
        refused = self._fault_refusal(op, args) is not None
        if refused or (op == "subscribe" and (len(good) > room or self._is_too_long(args))):
            good, bad = [], args
        reply = wire.command_response(connection.id, good, bad)
        if op == "unsubscribe":
            for name in good:
                self._drop(name)
            self._acknowledge(reply)
            return
        good = [name for name in good if not any(each.hides(connection, name) for each in faults)]
        if config.ack_before_snapshot:
            self._acknowledge(reply)
            self._take(good)
        else:
            self._take(good)
            self._acknowledge(reply)

    def _fault_refusal(self, op: str, args: list[str]) -> str | None:
        """Return why a fault refuses a request, None if none does."""
        for fault in self._venue.faults.at(Hook.REQUEST):
            if text := fault.refusal(self._connection, op, args):
                return text
        return None

    def _is_too_long(self, args: list[str]) -> bool:
        return len(encode_args(args)) > self._venue.config.max_args_characters

    def _public_problem(self, args: list[str]) -> str | None:
        """Return why a whole request is refused: the first reason found, in order of args."""
        connection, texts = self._connection, self._venue.config.texts
        if connection.kind == "spot" and len(args) > _SPOT_ARGS:
            return "args size >10"
        if self._is_too_long(args):
            return texts.args_too_long
        asked: set[str] = set()
        for name in args:
            if self._venue.broadcaster.find(connection.kind, name) is None:
                if connection.kind == "spot" and is_plausible_spot_topic(name):
                    return texts.spot_unknown_symbol.format(topic=name)
                return wire.handler_not_found(name)
            if name in connection.topics or name in asked:
                return wire.already_subscribed(name)
            asked.add(name)
        return None

    def _private_problem(self, args: list[str]) -> str | None:
        connection, texts = self._connection, self._venue.config.texts
        if not connection.is_authenticated:
            return texts.not_authorized
        for name in args:
            if name not in PRIVATE_TOPICS:
                return wire.handler_not_found(name)
            if name in connection.topics:
                return wire.already_subscribed(name)
        categorised = [name for name in args if name in PRIVATE_CATEGORISED]
        plain = {name for name in args if name not in PRIVATE_CATEGORISED}
        for name in categorised:
            if name.rpartition(".")[0] in plain:
                return texts.mixed_private_forms.format(topic=name)
        return None

    def _take(self, names: list[str]) -> None:
        connection, venue = self._connection, self._venue
        for name in names:
            if name in connection.topics:
                continue
            if connection.kind == "private":
                if connection.party is not None:
                    connection.party.stage.subscribe(connection.socket, name)
                connection.topics[name] = None
                continue
            stream = venue.broadcaster.find(connection.kind, name)
            connection.topics[name] = stream
            if stream is not None:
                venue.broadcaster.subscribe(connection.socket, stream)
                venue.broadcaster.greet(connection.socket, stream)

    def _drop(self, name: str) -> None:
        connection, venue = self._connection, self._venue
        if name not in connection.topics:
            return  # what an ack says of a topic that was not subscribed is unknown
        stream = connection.topics.pop(name)
        if stream is not None:
            venue.broadcaster.unsubscribe(connection.socket, stream)
        elif connection.party is not None:
            connection.party.stage.unsubscribe(connection.socket, name)

    def _grant(self, req_id: str | None, op: str) -> None:
        self._acknowledge(wire.command_ack(self._connection.kind, self._connection.id, req_id, op))

    def _refuse(self, req_id: str | None, op: str, text: str) -> None:
        self._acknowledge(
            wire.refusal(self._connection.kind, self._connection.id, req_id, op, text)
        )

    def _acknowledge(self, frame: dict[str, Any]) -> None:
        """Send an answer to a request, unless a fault makes it late or swallows it."""
        late = 0.0
        for fault in self._venue.faults.at(Hook.ACK):
            delay = fault.ack_delay(self._connection)
            if delay is None:
                return
            late = max(late, delay)
        if late:
            due = self._venue.pulse.now_ms() + late * 1000.0
            self._venue.pulse.at(due, partial(self._send_late, frame))
        else:
            self._send(frame)

    def _send_late(self, frame: dict[str, Any], _now_ms: float) -> None:
        self._send(frame)

    def _send(self, frame: dict[str, Any]) -> None:
        self._venue.broadcaster.deliver((self._connection.socket,), encode(frame))


def encode_args(args: list[str]) -> bytes:
    """Write the `args` array as it travels, to measure it."""
    return msgspec.json.encode(args)
