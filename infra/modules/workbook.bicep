// What operators look at: sign-ins, calls and refusals from the server's log.
import { Tags } from '../types.bicep'

param location string
param tags Tags
param workspaceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'mcp-server')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'MCP server'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: loadTextContent('workbook.json')
  }
}
