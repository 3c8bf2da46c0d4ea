// The key that wraps the key ring. It never leaves the vault; losing it signs
// everybody out, hence the protection against purging.
import { Tags } from '../types.bicep'

param location string
param tags Tags
param suffix string
param privateOnly bool
param recover bool
param holdsCredential bool
param workspaceId string
param identityPrincipalId string
param operatorPrincipalId string
param operatorPrincipalType string

var roles = {
  cryptoUser: '12338af0-0e69-4776-bea7-57ae8d297424'
  secretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
}

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: 'kv-mcp-${suffix}'
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: { family: 'A', name: 'standard' }
    createMode: recover ? 'recover' : 'default'
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 7
    enablePurgeProtection: true
    publicNetworkAccess: privateOnly ? 'Disabled' : 'Enabled'
    networkAcls: {
      // Resource Manager is such a service: it creates the key below.
      bypass: 'AzureServices'
      defaultAction: privateOnly ? 'Deny' : 'Allow'
    }
  }
}

// A key that exists is returned, not replaced, as long as what is asked for here
// stays the same: deploying again does not rotate.
// A new version each year is the policy below; versions stay enabled, so what
// an older one wrapped can still be unwrapped.
resource key 'Microsoft.KeyVault/vaults/keys@2025-05-01' = {
  parent: vault
  name: 'ring'
  properties: {
    kty: 'RSA'
    keySize: 3072
    keyOps: ['wrapKey', 'unwrapKey']
    attributes: { enabled: true }
    rotationPolicy: {
      lifetimeActions: [
        {
          trigger: { timeAfterCreate: 'P1Y' }
          action: { type: 'rotate' }
        }
      ]
    }
  }
}

resource serverKey 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(key.id, identityPrincipalId, roles.cryptoUser)
  scope: key
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.cryptoUser)
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource operatorKey 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(operatorPrincipalId)) {
  name: guid(key.id, operatorPrincipalId, roles.cryptoUser)
  scope: key
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.cryptoUser)
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
  }
}

// The client secret of a registration that cannot trust the identity, such as one
// in an external tenant. The platform reads it into an app setting.
resource serverCredential 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (holdsCredential) {
  name: guid(vault.id, identityPrincipalId, roles.secretsUser)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.secretsUser)
    principalId: identityPrincipalId
    principalType: 'ServicePrincipal'
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [{ categoryGroup: 'audit', enabled: true }]
  }
}

output vaultId string = vault.id
output vaultName string = vault.name
// Without a version, so that a rotated key is used for wrapping at once.
output keyUrl string = key.properties.keyUri
