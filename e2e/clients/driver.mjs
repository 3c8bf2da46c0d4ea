// A real MCP client under the control of a test: it reads one JSON command a
// line on stdin and answers each with one JSON line on stdout.
//
//   {"do":"connect"}                     → {"ok":{"protocol":…}} or {"signIn":url}
//   {"do":"finish","callback":url}       → {"ok":true}
//   {"do":"call","tool":…,"arguments":…} → {"ok":result} or {"signIn":url}
//   {"do":"list"}                        → {"ok":[names]}
//   {"do":"state"}                       → {"ok":{client, tokens}}
//   {"do":"refresh"}                     → {"ok":true} or {"signIn":url}
//   {"do":"close"}                       → {"ok":true}
//
// "signIn" says that the client would now open a browser there.
import { createInterface } from 'node:readline';

// Provider keeps in memory what a client keeps in its key chain.
export class Provider {
  constructor({ redirectUrl, clientMetadata, clientMetadataUrl }) {
    this.redirectUrl = redirectUrl;
    this.clientMetadata = clientMetadata;
    if (clientMetadataUrl) this.clientMetadataUrl = clientMetadataUrl;
    this.saved = {};
  }
  state() { return (this.saved.state = crypto.randomUUID()); }
  clientInformation() { return this.saved.client; }
  saveClientInformation(client) { this.saved.client = client; }
  tokens() { return this.saved.tokens; }
  saveTokens(tokens) { this.saved.tokens = tokens; }
  redirectToAuthorization(url) { this.signIn = url.toString(); }
  saveCodeVerifier(verifier) { this.saved.verifier = verifier; }
  codeVerifier() { return this.saved.verifier; }
  saveDiscoveryState(discovery) { this.saved.discovery = discovery; }
  discoveryState() { return this.saved.discovery; }
  invalidateCredentials(scope) {
    if (scope === 'all') this.saved = {};
    const kept = { client: 'client', tokens: 'tokens', verifier: 'verifier', discovery: 'discovery' }[scope];
    if (kept) delete this.saved[kept];
  }
}

export const settings = JSON.parse(process.argv[2]);

// drive answers commands with the functions that differ between the SDKs:
// open, finish and refresh.
export async function drive({ open, finish, refresh }) {
  const provider = new Provider({
    redirectUrl: settings.redirectUrl,
    clientMetadataUrl: settings.clientMetadataUrl,
    clientMetadata: {
      client_name: settings.clientName,
      redirect_uris: [settings.redirectUrl],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: settings.authMethod ?? 'none',
      ...(settings.scope ? { scope: settings.scope } : {}),
    },
  });
  let current;

  const commands = {
    async connect() {
      current = await open(provider, settings);
      await current.client.connect(current.transport);
      return { protocol: current.transport.protocolVersion, server: current.client.getServerVersion() };
    },
    async finish({ callback }) {
      const url = new URL(callback);
      if (url.searchParams.get('state') !== provider.saved.state) throw new Error('state differs');
      await finish(current.transport, url.searchParams, provider);
      return true;
    },
    async call({ tool, arguments: args }) {
      return await current.client.callTool({ name: tool, arguments: args ?? {} });
    },
    async list() { return (await current.client.listTools()).tools.map((t) => t.name); },
    async state() { return { client: provider.saved.client, tokens: provider.saved.tokens }; },
    async refresh() {
      // What the SDK does by itself when a call answers 401.
      const result = await refresh(provider, settings);
      if (result !== 'AUTHORIZED') throw new Error(result);
      return true;
    },
    async close() { await current?.client.close(); return true; },
  };

  for await (const line of createInterface({ input: process.stdin })) {
    const command = JSON.parse(line);
    provider.signIn = undefined;
    let answer;
    try {
      answer = { ok: await commands[command.do](command) };
    } catch (error) {
      answer = provider.signIn
        ? { signIn: provider.signIn }
        : { error: { name: error.constructor.name, code: error.code, message: String(error.message) } };
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
  }
}
