using '../main.bicep'

param environmentName = 'mcp-test'
param location = 'westeurope'
param existingClientId = '00000000-0000-0000-0000-00000000000a'
param existingTenantId = '00000000-0000-0000-0000-00000000000b'
param existingAuthority = 'https://contoso.ciamlogin.com/'
param vaultCredentialName = 'entra-client'
param requestApiScope = false
param raiseAlerts = false
param deployerIsOperator = true
param deployerPrincipalId = '00000000-0000-0000-0000-00000000000c'
