"""One page on loopback and a websocket beside it: 60 steps a second for each page that is open.

The page is a file of this package; everything else is a stream of small messages. Nothing listens beyond 127.0.0.1.
"""

import asyncio
import contextlib
import http
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from bitexact.cli.exits import BadInput, Ended
from world_model.session import Session

HOST = "127.0.0.1"
STEPS_PER_S = 60
_PAGE = Path(__file__).with_name("page.html")
_LARGEST_MESSAGE = 1024  # bytes, from a page
_MOST_LATE_S = 0.25  # a machine that was asleep does not catch up


class Server:
    """Serves pages until it is cancelled, or a game ends the program. `new_session` makes the games of a page."""

    def __init__(self, new_session: Callable[[], Session], players: tuple[str, ...], shows: tuple[str, ...]) -> None:
        self._new_session, self._players, self._shows = new_session, players, shows

    async def run(self, port: int, ready: Callable[[int], None]) -> None:
        """Listen on a port, or on a free one where it is 0; `ready` is told which. Raises Ended."""
        try:
            server = await serve(
                self._play, HOST, port, process_request=self._page, max_size=_LARGEST_MESSAGE, close_timeout=1
            )
        except OSError as error:
            raise BadInput(f"port {port} cannot be used ({error.strerror}): choose another --port.") from None
        async with server:
            ready(next(iter(server.sockets)).getsockname()[1])
            self._ended = asyncio.get_running_loop().create_future()
            await self._ended

    def _page(self, connection: ServerConnection, request: Request) -> Response | None:
        """The page itself, over plain HTTP; a websocket goes on to `_play`."""
        if request.path == "/play":
            return None
        if request.path != "/":
            return connection.respond(http.HTTPStatus.NOT_FOUND, "There is one page: /\n")
        body = _PAGE.read_bytes()
        headers = Headers([("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))])
        return Response(http.HTTPStatus.OK, "OK", headers, body)

    async def _play(self, connection: ServerConnection) -> None:
        session, heard = self._new_session(), _Heard()
        await connection.send(json.dumps({"players": self._players, "player": session.player, "shows": self._shows}))
        listening = asyncio.create_task(heard.listen(connection, session, self._players))
        try:
            await _steps(connection, session, heard)
        except ConnectionClosed:
            pass
        except Ended as error:  # a disk that refuses a game that is to be kept
            if not self._ended.done():
                self._ended.set_exception(error)
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionClosed):
                await listening


class _Heard:
    """What the page has said: the key that is held, and which message it came with."""

    def __init__(self) -> None:
        self.key = self.number = 0

    async def listen(self, connection: ServerConnection, session: Session, players: tuple[str, ...]) -> None:
        async for text in connection:
            with contextlib.suppress(ValueError, TypeError, AttributeError):  # not of our page
                self._take(json.loads(text), session, players)

    def _take(self, message: dict[str, Any], session: Session, players: tuple[str, ...]) -> None:
        if message.get("key") in (-1, 0, 1):
            self.key, self.number = int(message["key"]), int(message.get("number", 0))
        if message.get("player") in players:
            session.player = message["player"]
        if 0.0 <= float(message.get("temperature", -1.0)) <= 10.0:
            session.temperature = float(message["temperature"])
        if message.get("sync"):
            session.sync()
        if message.get("restart"):
            session.restart()


async def _steps(connection: ServerConnection, session: Session, heard: _Heard) -> None:
    """Step the games at their pace, as long as the page is there."""
    due, step_ms = time.monotonic(), 0.0
    while True:
        began, number = time.perf_counter(), heard.number
        shown = session.tick(heard.key)
        step_ms = 0.95 * step_ms + 0.05 * (time.perf_counter() - began) * 1000.0
        await connection.send(json.dumps({**shown, "number": number, "step_ms": round(step_ms, 3)}))
        due = max(due + 1.0 / STEPS_PER_S, time.monotonic() - _MOST_LATE_S)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
