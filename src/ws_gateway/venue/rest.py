"""Bybit's REST API, and the only home of the HTTP client: one attempt per call, one budget."""

from __future__ import annotations

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec

from ws_gateway import __version__
from ws_gateway.domain.topic import Category
from ws_gateway.errors import Rejected, VenueLost
from ws_gateway.runtime.budget import AttemptBudget
from ws_gateway.venue.auth import Credentials, signed_headers
from ws_gateway.venue.rest_allowance import Allowance, Pause, RestBudget

T = TypeVar("T")

_PAGE = {Category.SPREAD: 500}
_LARGEST_PAGE = 1_000
_MOST_PAGES = 100
_MOST_BYTES = 32 * 1024 * 1024
_SHORTEST_SECRET = 6
_MOST_WORDS = 300
_SPENT, _UNAUTHORIZED, _FORBIDDEN = 10_006, 401, 403
_OVERLOADED = frozenset({429, 10_000, 10_016, 10_019})
"""Codes of an answer that the same call may not get again (v5 reference 12)."""

_ECHOED = re.compile(r"origin_string\[.*\]?", re.DOTALL)
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")


class RestAway(VenueLost):
    """REST did not answer, or asked to be left alone; the same call may work later.

    Its `reason` is `rest`, or `budget` where the venue was not asked because we ask enough.

    Until `retry_after_seconds` are over, calls are refused here without the venue hearing of them.
    """

    def __init__(
        self, detail: str, *, retry_after_seconds: float | None = None, reason: str = "rest"
    ) -> None:
        super().__init__(reason, detail, retry_after_seconds=retry_after_seconds)


class RestRefused(Rejected):
    """REST said no, and will say no again.

    Attributes:
        ret_code: the venue's number, or the HTTP status where the body has none.
        words: the venue's own, without what they echo of a secret.
    """

    def __init__(self, ret_code: int, words: str) -> None:
        super().__init__(f"Bybit's REST refused: {words} ({ret_code})", code="venue_refused")
        self.ret_code = ret_code
        self.words = words


@dataclass(frozen=True, slots=True)
class RestDeadlines:
    """How long each part of a call may take, in seconds.

    Attributes:
        connect_seconds: TCP and TLS.
        answer_seconds: from the first step to the last byte.
    """

    connect_seconds: float = 5.0
    answer_seconds: float = 10.0


class Instrument(msgspec.Struct, frozen=True, rename="camel"):
    """A row of the instruments list, as far as it is needed."""

    symbol: str
    base_coin: str = ""


class KeyInformation(msgspec.Struct, frozen=True, rename="camel"):
    """What the venue says of a key that it knows.

    Attributes:
        expired_at: ISO time; nothing, or the beginning of 1970, of a key without an end.
        ips: addresses it is bound to; `*` is any.
        read_only: 1 if it can change nothing.
        permissions: what it may do, by product.
    """

    expired_at: str | None = None
    ips: tuple[str, ...] = ()
    read_only: int = 0
    permissions: dict[str, tuple[str, ...]] = {}

    @property
    def ends_at(self) -> datetime | None:
        """When it ends, aware; None if it does not. Raises ValueError if that cannot be read."""
        if not self.expired_at:
            return None
        ends_at = datetime.fromisoformat(self.expired_at)
        if ends_at.tzinfo is None:
            ends_at = ends_at.replace(tzinfo=UTC)
        # What Bybit tells of a key that is bound to addresses.
        return ends_at if ends_at.timestamp() > 0 else None

    @property
    def end_in_words(self) -> str:
        """When it ends, as Bybit says it."""
        try:
            return "never" if self.ends_at is None else str(self.expired_at)
        except ValueError:
            return str(self.expired_at)


class _Envelope(msgspec.Struct):
    # msgspec's own renaming is not used: `retCode` and `time` are all there is.
    ret_code: int = msgspec.field(name="retCode")
    ret_msg: str = msgspec.field(name="retMsg", default="")
    result: msgspec.Raw = msgspec.field(default_factory=lambda: msgspec.Raw(b"null"))
    time: int = 0


class _Time(msgspec.Struct, rename="camel"):
    time_nano: str


class _Page(msgspec.Struct, rename="camel"):
    list: tuple[Instrument, ...] = ()
    next_page_cursor: str = ""


class _Notices(msgspec.Struct):
    list: tuple[Any, ...] = ()


class BybitRest:
    """Asks the venue over HTTP; `async with` closes its connections.

    Every call may raise `RestAway` (later) and `RestRefused` (never as it stands). No call is
    repeated here: whoever needs an answer backs off by itself, and the budget holds for all.
    """

    def __init__(
        self,
        url: str,
        *,
        deadlines: RestDeadlines | None = None,
        budget: RestBudget | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self._deadlines = deadlines or RestDeadlines()
        self._allowance = Allowance(budget or RestBudget(), monotonic)
        self._client: httpx.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def server_time_ms(self) -> int:
        """Return the venue's clock, Unix ms."""
        answer = await self._ask("/v5/market/time")
        nano = _decoded(answer.result, _Time).time_nano
        if not nano.isdecimal():
            raise RestAway(f"the server time is no number: {nano[:30]!r}")
        return int(nano) // 1_000_000

    async def instruments(
        self, category: Category, base_coin: str | None = None
    ) -> list[Instrument]:
        """Return all instruments of a category that can be traded, page by page.

        Options are listed per base coin, and without one the venue lists BTC's alone (v5
        reference 11.14); spreads have a path of their own, which the official SDK names.
        """
        is_spread = category is Category.SPREAD
        path = "/v5/spread/instrument" if is_spread else "/v5/market/instruments-info"
        query = f"limit={_PAGE.get(category, _LARGEST_PAGE)}"
        if not is_spread:
            query = f"category={category}&{query}"
        if base_coin is not None:
            query += f"&baseCoin={base_coin}"
        rows: list[Instrument] = []
        cursor = ""
        for _ in range(_MOST_PAGES):
            # The cursor comes percent-encoded and has to go back as it came.
            answer = await self._ask(path, query + (f"&cursor={cursor}" if cursor else ""))
            page = _decoded(answer.result, _Page)
            rows += page.list
            if not page.next_page_cursor:
                return rows
            if page.next_page_cursor == cursor:
                break
            cursor = page.next_page_cursor
        raise RestAway(f"the pages of {category} instruments have no end")

    async def system_status(self) -> list[Any]:
        """Return the venue's notices of maintenance, rows as they came."""
        return list(_decoded((await self._ask("/v5/system/status")).result, _Notices).list)

    async def key_information(self, credentials: Credentials, at_ms: int) -> KeyInformation:
        """Ask what a key is good for; a refusal's number tells why it is good for nothing.

        Args:
            credentials: the key and its secret.
            at_ms: what the venue's clock shows now.
        """
        answer = await self._ask("/v5/user/query-api", credentials=credentials, at_ms=at_ms)
        return _decoded(answer.result, KeyInformation)

    async def signed(
        self, path: str, query: str, credentials: Credentials, at_ms: int
    ) -> tuple[msgspec.Raw, int]:
        """Ask with a signature; answers the result and the venue's time, ms."""
        answer = await self._ask(path, query, credentials=credentials, at_ms=at_ms)
        return answer.result, answer.time

    async def market_past(self, path: str, query: str) -> msgspec.Raw:
        """Ask for market data of late; answers the result."""
        return (await self._ask(path, query, calls=self._allowance.past_calls)).result

    # ── one call ──────────────────────────────────────────────────────────────────────────────

    async def _ask(
        self,
        path: str,
        query: str = "",
        *,
        credentials: Credentials | None = None,
        at_ms: int = 0,
        calls: AttemptBudget | None = None,
    ) -> _Envelope:
        allowance = self._allowance
        calls = calls or (allowance.calls if credentials is None else allowance.signed_calls)
        if (pause := allowance.take(calls)) is not None:
            raise _away(pause)
        headers = {} if credentials is None else signed_headers(credentials, query, at_ms)
        with _mapped(self.url, path):
            async with asyncio.timeout(self._deadlines.answer_seconds):
                url = f"{self.url}{path}?{query}" if query else f"{self.url}{path}"
                async with self._open(url, headers) as response:
                    body = await _bounded(response)
        return self._read(path, response, body, credentials)

    @asynccontextmanager
    async def _open(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        if self._client is None:
            self._client = httpx.AsyncClient(
                verify=_certificates(self.url),
                # Nothing from the environment, which `config` alone reads.
                trust_env=False,
                timeout=httpx.Timeout(
                    self._deadlines.answer_seconds, connect=self._deadlines.connect_seconds
                ),
                limits=httpx.Limits(max_connections=12, max_keepalive_connections=8),
                headers={"User-Agent": f"ws-gateway/{__version__}"},
            )
        async with self._client.stream("GET", url, headers=headers) as response:
            yield response

    def _read(
        self, path: str, response: httpx.Response, body: bytes, credentials: Credentials | None
    ) -> _Envelope:
        status, allowance = response.status_code, self._allowance
        if status in (_FORBIDDEN, httpx.codes.TOO_MANY_REQUESTS):
            # 403 is an address that asked too much, or one of a country that is not served.
            pause = allowance.seconds_after_status(response.headers, is_ban=status == _FORBIDDEN)
            said = fit_to_show(body.decode(errors="replace"), credentials)
            why = f"HTTP {status} ({said}); asking nothing for {pause:.0f} s"
            raise _away(allowance.shut(pause, why))
        try:
            answer = msgspec.json.decode(body, type=_Envelope)
        except msgspec.MsgspecError:
            if status == _UNAUTHORIZED:
                raise RestRefused(status, "key or signature is missing or wrong") from None
            raise RestAway(f"HTTP {status} from {path}, and no answer one could read") from None
        if answer.ret_code == 0:
            return answer
        words = fit_to_show(answer.ret_msg, credentials) or "without words"
        if answer.ret_code == _SPENT:
            pause = allowance.seconds_until_reset(response.headers, answer.time)
            why = f"{words} ({answer.ret_code}); asking nothing for {pause:.1f} s"
            raise _away(allowance.shut(pause, why))
        if answer.ret_code in _OVERLOADED:
            raise RestAway(f"{words} ({answer.ret_code})")
        raise RestRefused(answer.ret_code, words)


def _away(pause: Pause) -> RestAway:
    return RestAway(pause.why, retry_after_seconds=pause.seconds, reason=pause.reason)


def _certificates(url: str) -> ssl.SSLContext:
    """Load the system's, as for the sockets; not where none are shown, for it takes a while."""
    is_plain = url.startswith("http://")
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if is_plain else ssl.create_default_context()


@contextmanager
def _mapped(url: str, path: str) -> Iterator[None]:
    """Make the client's exceptions ours."""
    try:
        yield
    except TimeoutError:
        raise RestAway(f"{url}{path} did not answer in time") from None
    except httpx.TimeoutException as exc:
        raise RestAway(f"{url}{path} did not answer in time ({type(exc).__name__})") from exc
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as exc:
        raise RestAway(f"{url}{path} is out of reach ({str(exc) or type(exc).__name__})") from exc


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise RestAway(f"an answer of more than {_MOST_BYTES} bytes")
    return bytes(body)


def _decoded(raw: msgspec.Raw, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.MsgspecError as exc:
        raise RestAway(f"an answer that cannot be read ({exc})") from exc


def fit_to_show(text: str, credentials: Credentials | None) -> str:
    """Make the venue's words fit to be shown: 10004 repeats what was signed, key included."""
    said = _ECHOED.sub("origin_string[…]", text)
    if credentials is not None:
        for part in (credentials.secret, credentials.key):
            if len(part) >= _SHORTEST_SECRET:  # a shorter one is none, and would tear the words
                said = said.replace(part, "…")
    return _UNPRINTABLE.sub(" ", said).strip()[:_MOST_WORDS]
