// The TypeScript SDK, version 1: what most clients of 2025 are built on.
import { auth } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { drive } from './driver.mjs';

await drive({
  async open(provider, { url }) {
    return {
      client: new Client({ name: 'sdk-v1', version: '1' }),
      transport: new StreamableHTTPClientTransport(new URL(url), { authProvider: provider }),
    };
  },
  finish: (transport, params) => transport.finishAuth(params.get('code')),
  refresh: (provider, { url }) => auth(provider, { serverUrl: url }),
});
