import asyncio
from contextlib import asynccontextmanager

from driver import drive, settings
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


@asynccontextmanager
async def connected(auth):
    async with (
        create_mcp_http_client(auth=auth) as http,
        streamable_http_client(settings["url"], http_client=http) as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        yield session


asyncio.run(drive(connected, lambda callback: (callback["code"], callback["state"])))
