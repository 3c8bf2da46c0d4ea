using '../main.bicep'

param environmentName = 'mcp-test'
param location = 'westeurope'
param publicUrl = 'https://mcp.example.com/'
param allowedOrigins = 'https://chat.example.com/, http://localhost:6274,'
param virtualNetwork = true
param privateOnly = true
param fixedEgress = true
param zoneRedundant = true
param storageSku = 'Standard_ZRS'
param alertEmail = 'ops@example.com'
param operatorPrincipalId = '00000000-0000-0000-0000-00000000000a'
param operatorPrincipalType = 'Group'
param multiTenant = true
param assignmentRequired = true
param resourceUri = true
param graphPermissions = '00000000-0000-0000-0000-00000000000b'
param preAuthorizedClients = '00000000-0000-0000-0000-00000000000c'
param invokePrincipals = '00000000-0000-0000-0000-00000000000d'
param managePrincipals = '00000000-0000-0000-0000-00000000000e, 00000000-0000-0000-0000-00000000000f'
param serviceManagementReference = '00000000-0000-0000-0000-000000000010'
param pinnedClients = true
param alwaysReadyInstances = 2
param logsDailyLimitGB = -1
param serverSettings = {
  ACCESS_TOKEN_LIFETIME: '15m'
  ALLOWED_REDIRECT_URIS: 'https://claude.ai/*'
  ENTRA_ALLOWED_TENANTS: '22222222-2222-2222-2222-222222222222'
  LOG_LEVEL: ''
}
