// The TypeScript SDK, version 2, in the era that the settings name.
import { auth, Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { drive } from './driver.mjs';

await drive({
  async open(provider, { url, era }) {
    return {
      client: new Client({ name: 'sdk-v2', version: '2' }, { versionNegotiation: { mode: era ?? 'legacy' } }),
      transport: new StreamableHTTPClientTransport(new URL(url), { authProvider: provider }),
    };
  },
  finish: (transport, params) => transport.finishAuth(params),
  refresh: (provider, { url }) => auth(provider, { serverUrl: url }),
});
