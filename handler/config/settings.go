package config

import "slices"

// Setting is one variable of the environment.
type Setting struct {
	Name string
	// Default is what holds where it is not set, as docs/configuration.md
	// writes it.
	Default string
	// Does says in one line what it does.
	Does string
	// Alias is the name that the Python server reads. It counts where Name is
	// unset.
	Alias string
	// Platform says that Azure sets it, or make run uses it: it is not for
	// operators.
	Platform bool
}

// pythonPrefix begins the names that the Python server (FastMCP's
// AzureProvider) reads, so that its settings files work unchanged.
const pythonPrefix = "FASTMCP_SERVER_AUTH_AZURE_"

// Settings are all that Load reads, in the order of docs/configuration.md.
var Settings = []Setting{
	{Name: "ENTRA_TENANT_ID", Alias: pythonPrefix + "TENANT_ID", Does: "Directory (tenant) ID or a domain of the tenant; `organizations`, `common` or `consumers`"},
	{Name: "ENTRA_ALLOWED_TENANTS", Default: "the one tenant", Does: "Tenant IDs whose users and applications are allowed; required with `organizations` and `common`; `*` allows all. `app tenants allow` and `app tenants deny` change that at run time"},
	{Name: "ENTRA_CLIENT_ID", Alias: pythonPrefix + "CLIENT_ID", Does: "Application (client) ID of the app registration"},
	{Name: "ENTRA_CLIENT_SECRET", Alias: pythonPrefix + "CLIENT_SECRET", Does: "A client secret. Set exactly one of this, the certificate and the managed identity"},
	{Name: "ENTRA_CLIENT_CERTIFICATE_PATH", Does: "A file with certificate and RSA key, PEM or PFX; it is read again when it changes"},
	{Name: "ENTRA_CLIENT_CERTIFICATE_PASSWORD", Does: "Opens a protected PFX"},
	{Name: "ENTRA_MANAGED_IDENTITY_CLIENT_ID", Does: "Client ID of a user-assigned managed identity that is federated with the app registration: no secret exists"},
	{Name: "ENTRA_CLIENT_SECRET_EXPIRES", Does: "The day on which the client secret ends, such as `2027-05-31`; log and doctor warn 30 days before"},
	{Name: "ENTRA_API_SCOPE", Does: "`CLIENT-ID/mcp.access`; needed by tools that call other APIs for the user"},
	{Name: "ENTRA_AUTHORITY", Default: "`https://login.microsoftonline.com`", Does: "The sign-in host of a national cloud or an external tenant"},
	{Name: "GRAPH_URL", Default: "follows `ENTRA_AUTHORITY`", Does: "Microsoft Graph"},
	{Name: "ENTRA_APP_CALLERS", Default: "`off`", Does: "`roles` lets applications call with their own Entra tokens if they hold the app role `Mcp.Invoke`"},
	{Name: "ENTRA_CLIENTS", Does: "Application (client) IDs of applications that may call with their users' Entra tokens for this server's API"},
	{Name: "ENTRA_RESOURCE_URI", Default: "`off`", Does: "`on` says that the MCP endpoint's URL is an Application ID URI of the app registration: callers are told to ask Entra for a token for it"},
	{Name: "ENTRA_PROMPT", Default: "`select_account`", Does: "What Entra shows where no approval is remembered: `select_account`, `login` or `none` (Entra decides)"},
	{Name: "ENTRA_DOMAIN_HINT", Does: "A domain whose sign-in page Entra shows at once, or `organizations` or `consumers`"},
	{Name: "ENTRA_RECHECK", Default: "off", Does: "How often Entra is asked whether an active user may still sign in, for clients that do not refresh; `1m` to `24h`. An outage of Entra is tolerated for three times this interval"},

	{Name: "PUBLIC_URL", Default: "`https://$WEBSITE_HOSTNAME`, else `http://localhost:$PORT`", Alias: pythonPrefix + "BASE_URL", Does: "Where clients reach the server; with a path behind a gateway. `/mcp` is added to it"},
	{Name: "PUBLIC_HOST", Default: "`own`; `shared` where `PUBLIC_URL` has a path", Does: "`shared` if others serve under the same host name: this switches remembered approvals and `/account` off; `own` if only this server uses the host name"},
	{Name: "REDIRECT_PATH", Default: "`/auth/callback`", Alias: pythonPrefix + "REDIRECT_PATH", Does: "Register `PUBLIC_URL` + this path in Entra"},
	{Name: "LISTEN_ADDRESS", Default: "`127.0.0.1`", Does: "The address to listen on; `0.0.0.0` or `::` in a container"},
	{Name: "PORT", Default: "7071", Does: "The port to listen on"},
	{Name: "TRUSTED_PROXIES", Does: "Addresses or CIDRs of proxies whose `X-Forwarded-For` is trusted; it is used for limits only"},
	{Name: "ALLOWED_ORIGINS", Does: "Origins of web pages that may call the MCP endpoint, besides the server's own and, on loopback, all loopback origins"},

	{Name: "REQUIRED_SCOPES", Default: "`openid,profile,email`", Alias: pythonPrefix + "REQUIRED_SCOPES", Does: "The scopes that every grant includes and every call needs"},
	{Name: "ACCESS_TOKEN_LIFETIME", Default: "`30m`", Does: "Lifetime of an access token, `1s` to `24h`"},
	{Name: "REFRESH_LIFETIME", Default: "`90d`", Does: "Lifetime of a grant after its last use; not less than `ACCESS_TOKEN_LIFETIME`"},
	{Name: "REFRESH_GRACE", Default: "`1m`, or half of `ACCESS_TOKEN_LIFETIME` if that is less", Does: "How long a rotated refresh token is still accepted; at most `10m`, and less than half of `ACCESS_TOKEN_LIFETIME`"},
	{Name: "GRANT_LIFETIME", Default: "none", Does: "Maximum age of a grant, however often it is used"},
	{Name: "CONSENT", Default: "`remember`", Does: "`remember` shortens the page of an app that the same user has approved in the same browser; `always` shows the full page each time"},

	{Name: "ALLOWED_REDIRECT_URIS", Does: "Redirect URIs to allow beside those of the policy: exact ones or `https://host/path/*`; with `only` as the first entry, no others are allowed"},
	{Name: "CLIENT_METADATA_HOSTS", Default: "`*`", Does: "Hosts whose client ID metadata documents are fetched; `none` switches it off"},
	{Name: "PINNED_CLIENTS", Does: "Client metadata documents that are known without a fetch: a JSON array, or the path of a file with one"},
	{Name: "CLIENT_ASSERTION_AUDIENCE", Default: "`issuer-or-token-endpoint`", Does: "`issuer` refuses client assertions whose audience is the token endpoint"},
	{Name: "REQUESTS_PER_ADDRESS", Default: "800 at once, 50 a second", Does: "How many requests without a valid access token one address may send to one instance, such as `3000/1m`. This limit and the next four are what to raise where many people share an address; all addresses together keep the limits in [security.md](security.md#limits)"},
	{Name: "REGISTRATIONS_PER_ADDRESS", Default: "`60/1m`", Does: "How often one address may register a client, on one instance"},
	{Name: "SIGN_INS_PER_ADDRESS", Default: "100 at once, 10 a second", Does: "How often one address may begin to sign in, on one instance"},
	{Name: "FETCHES_PER_ADDRESS", Default: "20 at once, `30/1m`", Does: "How often requests from one address may have a metadata document or key set fetched, on one instance"},
	{Name: "FAILED_ASSERTIONS_PER_ADDRESS", Default: "`30/1m`", Does: "How often client assertions from one address may fail, on one instance"},

	{Name: "TIMEOUT_SECONDS", Default: "8", Alias: pythonPrefix + "TIMEOUT_SECONDS", Does: "Bounds every call to Entra; clients give up after 10 s"},
	{Name: "TABLES_URL", Does: "Azure Table Storage, with the managed identity"},
	{Name: "TABLES_CONNECTION_STRING", Does: "Azure Table Storage or Azurite, with a key"},
	{Name: "TABLES_NAME", Default: "`mcp`", Does: "The table in that account"},
	{Name: "DATA_DIR", Default: "`.data`", Does: "The directory of the embedded store"},
	{Name: "SWEEP_INTERVAL", Default: "`15m`", Does: "How often expired rows are removed"},
	{Name: "KEY_VAULT_KEY_URL", Does: "The Key Vault key that wraps the key ring"},
	{Name: "MASTER_KEY", Default: "generated in `DATA_DIR`", Does: "Wraps the key ring where there is no Key Vault: the output of `openssl rand -base64 32`"},
	{Name: "MASTER_KEY_PREVIOUS", Does: "The previous `MASTER_KEY`, while it is being changed or the key ring is being moved to Key Vault"},

	{Name: "CALLS_PER_USER", Default: "no limit", Does: "How often one user may call all tools together, on one instance, such as `600/1m`"},
	{Name: "CALLS_PER_TOOL", Default: "no limit", Does: "How often one user may call each tool, on one instance; a tool may have a limit of its own"},
	{Name: "CALLS_PER_TENANT", Default: "no limit", Does: "How often all users and applications of one tenant together may call, on one instance"},
	{Name: "TOOL_DEADLINE", Default: "`10m`", Does: "Ends calls of tools that take longer; a tool may have a deadline of its own"},

	{Name: "LOG_LEVEL", Default: "`info`", Does: "`debug` (a line for each request), `info`, `warn` or `error`; audit events are written at any level"},
	{Name: "LOG_FORMAT", Default: "`text` on a terminal, else `json`", Does: "The form of log lines"},
	{Name: "AUDIT_OBJECT_IDS", Default: "`off`", Does: "`on` writes the object ID of users to audit events"},

	{Name: "MCP_REGISTRY_AUTH", Does: "What `/.well-known/mcp-registry-auth` says, to publish the server in the MCP registry: `v=MCPv1; k=ed25519; p=…`"},
	{Name: "OPENAI_APPS_CHALLENGE", Does: "What `/.well-known/openai-apps-challenge` says, for OpenAI's review of apps"},

	{Name: "LOCAL_SETTINGS", Default: "`local.settings.json`", Does: "A file whose `Values` apply where an environment variable is not set; `none` reads no file"},

	{Name: "FUNCTIONS_CUSTOMHANDLER_PORT", Platform: true, Does: "The port on which the Functions host expects the handler"},
	{Name: "WEBSITE_HOSTNAME", Platform: true, Does: "The name that Azure gave the app"},
	{Name: "AZURE_CLIENT_ID", Platform: true, Does: "The user-assigned identity for Azure's own services; empty: the system-assigned one"},
}

// setting returns the setting of that name. A name that is not in Settings is a
// mistake in this package, which every test that loads a configuration finds.
func setting(name string) Setting {
	i := slices.IndexFunc(Settings, func(s Setting) bool { return s.Name == name })
	if i < 0 {
		panic("config: " + name + " is not in Settings")
	}
	return Settings[i]
}

// notSupported are the other names that the Python server reads. They have no
// effect here, which the start and the doctor say.
var notSupported = []Problem{
	{pythonPrefix + "IDENTIFIER_URI", "has no effect here", "Write the API's scope in full into ENTRA_API_SCOPE, such as api://CLIENT-ID/mcp.access"},
	{pythonPrefix + "ISSUER_URL", "has no effect here: the issuer is PUBLIC_URL", "Remove it"},
	{pythonPrefix + "ADDITIONAL_AUTHORIZE_SCOPES", "has no effect here: tools declare the scopes of the APIs that they call", "Remove it, and see docs/from-fastmcp.md"},
	{pythonPrefix + "ALLOWED_CLIENT_REDIRECT_URIS", "has no effect here", "Write the redirect URIs into ALLOWED_REDIRECT_URIS, after the word only if no others are to be allowed"},
	{pythonPrefix + "BASE_AUTHORITY", "has no effect here", "Write https:// and its value into ENTRA_AUTHORITY"},
	{pythonPrefix + "JWT_SIGNING_KEY", "has no effect here: keys are created and rotated automatically", "Remove it"},
	{pythonPrefix + "TOKEN_ENCRYPTION_KEY", "has no effect here: keys are created and rotated automatically", "Remove it"},
	{pythonPrefix + "CLIENT_STORAGE", "has no effect here", "Set TABLES_URL or DATA_DIR"},
	{pythonPrefix + "REQUIRE_AUTHORIZATION_CONSENT", "has no effect here: consent is always asked for", "Remove it"},
}
