"""What is wrong between the operator and the API server, one thing each."""

import asyncio
import json

from aiohttp import web
from proxy import NEVER, Asked, Broken, Fault

from yolo_operator.controller.kinds import Manifest

SOME = 0.3
HALF = 0.5


def refusal(code: int, reason: str, **headers: str) -> web.Response:
    """An error as the API server answers one."""
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": "told so by the test"}
    return web.json_response(status, status=code, headers={name.replace("_", "-"): value for name, value in headers.items()})


class Late(Fault):
    """Watches lag behind."""

    def delay(self, event: Manifest) -> float:
        return 3


class Lossy(Fault):
    """Some events are never shown."""

    def delay(self, event: Manifest) -> float:
        return NEVER if event["type"] != "BOOKMARK" and self.random.random() < SOME else 0


class Mute(Fault):
    """Watches stay open and show nothing, not even a bookmark."""

    def delay(self, event: Manifest) -> float:
        return NEVER


class Shuffled(Fault):
    """Events of several objects come in any order."""

    def delay(self, event: Manifest) -> float:
        return self.random.uniform(0, 3)


class HangsUp(Fault):
    """Watches break after two events, and some writes are done but their answer is lost."""

    async def after(self, asked: Asked) -> web.Response | None:
        if asked.method != "GET" and self.random.random() < SOME:
            raise Broken
        return None

    def ends(self, asked: Asked, events: int) -> bool:
        return events >= 2


class Frozen(Fault):
    """Nothing moves."""

    frozen = True


class SlamsShut(Fault):
    """Every watch breaks as soon as it is open."""

    def ends(self, asked: Asked, events: int) -> bool:
        return True


class Expired(SlamsShut):
    """Every watch is told that it begins too far back, in an event as the API server tells it."""

    async def before(self, asked: Asked) -> web.Response | None:
        if not asked.watch:
            return None
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410, "message": "too old resource version"}
        return web.Response(text=json.dumps({"type": "ERROR", "object": status}) + "\n", content_type="application/json")


class Gone(SlamsShut):
    """The same as a status."""

    async def before(self, asked: Asked) -> web.Response | None:
        return refusal(410, "Expired") if asked.watch else None


class TooMany(Fault):
    """Half of all requests are put off by a second."""

    async def before(self, asked: Asked) -> web.Response | None:
        return refusal(429, "TooManyRequests", Retry_After="1") if self.random.random() < HALF else None


class Conflicting(Fault):
    """Half of all writes meet a conflict."""

    async def before(self, asked: Asked) -> web.Response | None:
        return refusal(409, "Conflict") if asked.method != "GET" and self.random.random() < HALF else None


class Failing(Fault):
    """Half of all requests fail."""

    async def before(self, asked: Asked) -> web.Response | None:
        return refusal(500, "InternalError") if self.random.random() < HALF else None


class Down(SlamsShut):
    """Watches break, and everything fails."""

    async def before(self, asked: Asked) -> web.Response | None:
        return refusal(500, "InternalError")


class Hanging(Fault):
    """Some requests are never answered; some of those are done all the same."""

    async def before(self, asked: Asked) -> web.Response | None:
        return await self._hang(asked)

    async def after(self, asked: Asked) -> web.Response | None:
        return await self._hang(asked)

    async def _hang(self, asked: Asked) -> web.Response | None:
        if asked.watch or self.random.random() > SOME / 2:
            return None
        await asyncio.sleep(3600)
        raise Broken
