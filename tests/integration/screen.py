"""A screen of the live feed without a browser: it does with its socket what the console's scripts do with theirs."""

import asyncio
import json
from typing import Any

import httpx2
import websockets


class Screen:
    """Shows everything from the first event on; it opens its socket again, and fills what it is told that it lacks."""

    def __init__(self, port: int, cookie: str) -> None:
        self._place = f"127.0.0.1:{port}"
        self._cookie = f"sessionid={cookie}"
        self.shown: list[tuple[int, str]] = []  # number and id
        self.head = 0
        self.breaks = self.gaps = self.skips = self.lacking = 0
        self.untold = 0  # events of which no frame told, not even by their count

    def __str__(self) -> str:
        return f"a screen was cut off {self.breaks} times, had {self.gaps} gaps and skipped {self.skips} times"

    async def follow(self) -> None:
        """Follow until cancelled, through whatever ends the socket."""
        while True:
            try:
                async with self._open() as socket:
                    await socket.send(json.dumps({"op": "hello", "last": self.head, "filters": {}}))
                    async for text in socket:
                        await self._take(json.loads(text))
            except (OSError, websockets.WebSocketException, httpx2.HTTPError):
                pass
            self.breaks += 1
            await asyncio.sleep(0.3)

    def _open(self) -> Any:
        origin = websockets.Origin(f"http://{self._place}")
        return websockets.connect(
            f"ws://{self._place}/ws/console/", origin=origin, additional_headers={"Cookie": self._cookie}
        )

    async def _take(self, frame: dict[str, Any]) -> None:
        if frame["op"] == "gap":
            self.gaps += 1
            await self._fill(frame["after"], frame["to"])
        elif frame["op"] == "ev" and frame["skipped"]:
            self.skips += 1
            before, told = len(self.shown), frame["skipped"] + len(frame["items"])
            await self._fill(self.head, frame["head"])
            self.untold += abs(len(self.shown) - before - told)
        elif frame["op"] == "ev":
            self._show(frame["items"], frame["head"])

    async def _fill(self, after: int, to: int) -> None:
        """Read what is missing; what was read is kept if the server goes away in the midst of it."""
        next_: int | None = after
        async with httpx2.AsyncClient(base_url=f"http://{self._place}", headers={"Cookie": self._cookie}) as client:
            while next_ is not None:
                answer = await client.get("/live/events/", params={"after": next_, "to": to})
                page = answer.raise_for_status().json()
                self.lacking += page["missing"]
                self._show(page["items"], page["next"] or to)
                next_ = page["next"]

    def _show(self, items: list[dict[str, Any]], head: int) -> None:
        self.shown += [(item["seq"], item["id"]) for item in items]
        self.head = head
