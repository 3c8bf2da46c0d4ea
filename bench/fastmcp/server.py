"""The hello tool on FastMCP with its AzureProvider, at the simulated tenant."""

import os

import uvicorn
from fastmcp import FastMCP
from fastmcp.server.auth.providers.azure import AzureProvider

tenant = os.environ["ENTRA_AUTHORITY"]  # http://localhost:PORT
path = f"{tenant}/{os.environ['ENTRA_TENANT_ID']}"

auth = AzureProvider(
    client_id=os.environ["ENTRA_CLIENT_ID"],
    client_secret=os.environ["ENTRA_CLIENT_SECRET"],
    tenant_id=os.environ["ENTRA_TENANT_ID"],
    base_url=os.environ["PUBLIC_URL"],
    required_scopes=["mcp.access"],
    token_issuer=f"{path}/v2.0",
    jwt_signing_key="not-a-secret-only-measured-on-loopback",
    require_authorization_consent="external",  # fewer pages than ours
)
# The provider writes https before the authority; the simulated tenant speaks http.
auth._upstream_authorization_endpoint = f"{path}/oauth2/v2.0/authorize"
auth._upstream_token_endpoint = f"{path}/oauth2/v2.0/token"
auth._token_validator.jwks_uri = f"{path}/discovery/v2.0/keys"

mcp = FastMCP("hello", auth=auth)


@mcp.tool
def hello_world(name: str = "World") -> str:
    """Say hello."""
    return f"Hello, {name}!"


@mcp.tool
def large() -> str:
    """Answer with 100 kB of text."""
    return "0123456789abcdef" * 6400


for n in range(int(os.environ.get("TOOLS", "0"))):

    @mcp.tool(name=f"tool_{n}", description=f"Tool number {n}, one of many.")
    def tool(subject: str, count: int = 1) -> str:
        return f"{subject} {count}"


if __name__ == "__main__":
    app = mcp.http_app(stateless_http=True, json_response=True)
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="error", access_log=False)
