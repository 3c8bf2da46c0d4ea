# As postup.sh.
$url = $env:MCP_URL
Write-Output @"

Your MCP server: $url

  Claude Code     claude mcp add --transport http entra $url
  VS Code         code --add-mcp '{"name":"entra","type":"http","url":"$url"}'
  Cursor          ~/.cursor/mcp.json: {"mcpServers":{"entra":{"url":"$url"}}}
  Claude, ChatGPT add a custom connector with the URL
  Inspector       npx @modelcontextprotocol/inspector
  stdio clients   npx mcp-remote $url

The first sign-in may fail for some minutes while Entra copies the new application. If your tenant wants an
administrator's consent, an administrator gives it here:
  $($env:ADMIN_CONSENT_URL)
"@
