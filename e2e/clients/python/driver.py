"""The commands of ../driver.mjs for a client of the Python SDK, but list and close.

The SDK signs in within a request, which waits for the callback. A command that was answered with "signIn" goes on after
"finish"; given again, it is answered with what came of it.
"""
import asyncio
import json
import sys
from urllib.parse import parse_qsl, urlsplit

from mcp.client.auth import OAuthClientProvider
from mcp.shared.auth import OAuthClientMetadata

settings = json.loads(sys.argv[1])


class Storage:
    """Keeps in memory what a client keeps in its key chain."""

    client = tokens = None

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens


async def drive(connected, returned):
    """Answers commands with what differs between the SDKs: connected(auth) is the context of a connected session, and
    returned makes of the callback's parameters what the SDK takes."""
    storage, sign_ins, callbacks, session = Storage(), asyncio.Queue(), asyncio.Queue(), asyncio.Future()

    async def callback():
        return returned(dict(parse_qsl(urlsplit(await callbacks.get()).query)))

    auth = OAuthClientProvider(
        server_url=settings["url"],
        client_metadata=OAuthClientMetadata(
            client_name=settings["clientName"],
            redirect_uris=[settings["redirectUrl"]],
            token_endpoint_auth_method=settings.get("authMethod"),
        ),
        storage=storage,
        redirect_handler=sign_ins.put,
        callback_handler=callback,
        client_metadata_url=settings.get("clientMetadataUrl"),
    )

    async def hold():
        try:
            async with connected(auth) as opened:
                session.set_result(opened)
                await asyncio.Event().wait()
        except BaseException as error:
            if session.done():
                raise
            session.set_exception(error)

    holding = None

    async def connect():
        nonlocal holding
        holding = holding or asyncio.create_task(hold())
        await session
        return True

    async def finish(callback):
        await callbacks.put(callback)
        return True

    async def call(tool, arguments=None):
        return (await session.result().call_tool(tool, arguments)).model_dump(mode="json", by_alias=True)

    async def refresh():
        # What the SDK does by itself before a request when the time has come.
        auth.context.token_expiry_time, before = 1, storage.tokens
        await session.result().call_tool("greet", {})
        if storage.tokens is before:
            raise RuntimeError("not refreshed")
        return True

    async def state():
        kept = {"client": storage.client, "tokens": storage.tokens}
        return {name: model and model.model_dump(mode="json") for name, model in kept.items()}

    commands, under_way = {"connect": connect, "finish": finish, "call": call, "refresh": refresh, "state": state}, {}
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        work = under_way.pop(line, None) or asyncio.create_task(commands[command.pop("do")](**command))
        asked = asyncio.create_task(sign_ins.get())
        await asyncio.wait({work, asked}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            asked.cancel()
            answer = answer_of(work.exception() or work.result())
        else:
            under_way[line] = work
            answer = {"signIn": asked.result()}
        print(json.dumps(answer), flush=True)


def answer_of(outcome):
    while isinstance(outcome, BaseExceptionGroup):
        outcome = outcome.exceptions[0]
    if isinstance(outcome, BaseException):
        return {"error": {"name": type(outcome).__name__, "message": str(outcome)}}
    return {"ok": outcome}
