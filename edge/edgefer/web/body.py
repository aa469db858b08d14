"""Bodies of requests, within a size and a time."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

MAX_BODY_BYTES, BODY_TIMEOUT_S = 2048, 5.0


async def read_body(request: Request) -> bytes | None:
    """The body; None where it is longer than `MAX_BODY_BYTES`, slower than `BODY_TIMEOUT_S` or cut off."""
    body = b""
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    return None
    except (TimeoutError, ClientDisconnect):
        return None
    return body
