// The one identity of the function app: it reads storage, wraps keys, sends
// telemetry and, through the federated credential, signs in as the Entra app.
import { Tags } from '../types.bicep'

param location string
param tags Tags
param suffix string

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-mcp-${suffix}'
  location: location
  tags: tags
}

output identityId string = identity.id
output clientId string = identity.properties.clientId
output principalId string = identity.properties.principalId
