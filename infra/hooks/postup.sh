#!/bin/sh
# Says how to connect. The variables are the outputs of infra/main.bicep.
set -u
cat <<TEXT

Your MCP server: $MCP_URL

  Claude Code     claude mcp add --transport http entra $MCP_URL
  VS Code         code --add-mcp '{"name":"entra","type":"http","url":"$MCP_URL"}'
  Cursor          ~/.cursor/mcp.json: {"mcpServers":{"entra":{"url":"$MCP_URL"}}}
  Claude, ChatGPT add a custom connector with the URL
  Inspector       npx @modelcontextprotocol/inspector
  stdio clients   npx mcp-remote $MCP_URL

The first sign-in may fail for some minutes while Entra copies the new application. If your tenant wants an
administrator's consent, an administrator gives it here:
  $ADMIN_CONSENT_URL
TEXT
