"""One trace from the request to the row and the venue, and from the frame to the message."""

from __future__ import annotations

import asyncpg

from support.site import Site

TRACE_ID, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


async def test_a_trace_is_in_answers_lines_rows_and_messages(site: Site) -> None:
    """The caller's own for a request; one per frame, the same in its line and its message."""
    assert site.database_url is not None
    async with (
        site.venue() as venue,
        site.gateway(venue.url, WSG_LOG_LEVEL="debug", WSG_LOG_FRAMES_ONE_IN="1") as gateway,
        site.consumer("ticker") as consumer,
    ):
        wish = {
            "channel": "ticker",
            "symbol": "BTCUSDT",
            "category": "linear",
            "requesting_service": "e2e",
        }
        path = "/api/v1/subscriptions"
        headers = {"traceparent": f"00-{TRACE_ID}-{PARENT}-01"}
        answer = await gateway.http.post(path, json=wish, headers=headers)
        assert answer.status_code == 201
        version, trace_id, span_id, flags = answer.headers["traceparent"].split("-")
        assert (version, trace_id, flags) == ("00", TRACE_ID, "01")
        assert span_id != PARENT
        refused = await gateway.http.post(path, json={**wish, "depth": 5}, headers=headers)
        assert refused.json()["trace_id"] == TRACE_ID

        event = await consumer.until(lambda one: one["kind"] not in {"gap", "resumed"})
        frames = {line["trace_id"]: line for line in gateway.logged("venue.frame_received")}
        assert frames[event["trace_id"]]["topic"] == "tickers.BTCUSDT"
        assert event["amqp"].correlation_id == event["trace_id"]
        (resumed,) = [one for one in consumer.events if one["kind"] == "resumed"]
        assert frames[resumed["trace_id"]]["topic"] == "tickers.BTCUSDT"

        (added,) = gateway.logged("control.subscription_added")
        assert added["trace_id"] == TRACE_ID
        (asked,) = gateway.logged("venue.request_sent")
        assert (asked["op"], asked["topics"], asked["asked_by"]) == (
            "subscribe",
            ["tickers.BTCUSDT"],
            [TRACE_ID],
        )
        served = [line for line in gateway.logged("api.request_served") if line["route"] == path]
        assert [(line["method"], line["status"], line["key"]) for line in served] == [
            ("POST", 201, "WSG_API_KEY"),
            ("POST", 422, "WSG_API_KEY"),
        ]
        assert {line["trace_id"] for line in served} == {TRACE_ID}
        assert served[1]["code"] == "field_not_applicable"
        assert served[0]["bytes"] == len(answer.content)
        connection = await asyncpg.connect(site.database_url)
        try:
            stored = await connection.fetchval("SELECT trace_id FROM subscriptions")
        finally:
            await connection.close()
        assert stored == TRACE_ID
        # What the venue's sockets do later is no part of the request that opened them.
        changes = gateway.logged("venue.session_changed")
        assert changes
        assert not any("trace_id" in line for line in changes)
