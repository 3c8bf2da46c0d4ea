import asyncio
from contextlib import asynccontextmanager

from driver import drive, settings
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.auth import AuthorizationCodeResult


@asynccontextmanager
async def connected(auth):
    async with (
        create_mcp_http_client(auth=auth) as http,
        Client(streamable_http_client(settings["url"], http_client=http), mode=settings.get("era", "auto")) as client,
    ):
        yield client


asyncio.run(drive(connected, lambda callback: AuthorizationCodeResult(**callback)))
