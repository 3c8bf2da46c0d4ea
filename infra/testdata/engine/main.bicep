// The whole environment of one MCP server: azd deploys it at subscription scope.
targetScope = 'subscription'

@description('azd environment name. It names the resource group and, with subscription and region, every resource.')
@minLength(1)
@maxLength(64)
param environmentName string

@description('Azure region. Flex Consumption must be offered there.')
@minLength(1)
@metadata({ azd: { type: 'location' } })
param location string

@description('Origin that clients use, such as https://mcp.example.com. Empty: the host name of the function app.')
param publicUrl string = ''

@description('Origins of web pages that may call the server, separated by commas. The wildcard is refused by the server.')
param allowedOrigins string = ''

@description('Reach storage and Key Vault through private endpoints only.')
param vnetEnabled bool = false

@description('Memory of one instance, MB.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

@description('Most instances at a time.')
@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Instances that are kept warm; 0 scales to zero.')
@minValue(0)
@maxValue(100)
param alwaysReadyInstances int = 0

@description('Requests that one instance serves at a time before another is started.')
@minValue(1)
@maxValue(1000)
param requestsPerInstance int = 100

@description('Spread instances over availability zones, where the region has them. Wants Standard_ZRS storage too.')
param zoneRedundant bool = false

@description('Redundancy of the storage account.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS'])
param storageSku string = 'Standard_LRS'

@description('Gigabytes of logs a day at which collecting stops until the next day; -1: no limit.')
param logsDailyLimitGB int = 1

@description('E-mail address for alerts. Empty: alerts are shown in the portal only.')
param alertEmail string = ''

@description('Object id of a user or group that may run "app rotate-keys" from its own computer. Empty: nobody.')
param operatorPrincipalId string = ''

@description('What operatorPrincipalId is.')
@allowed(['User', 'Group', 'ServicePrincipal'])
param operatorPrincipalType string = 'User'

@description('Let only users and groups sign in that are assigned to the enterprise application.')
param assignmentRequired bool = false

@description('Service or asset id that the tenant demands of app registrations, if it does.')
param serviceManagementReference string = ''

@description('Set once to take back the Key Vault that an earlier "azd down" of this environment deleted.')
param recoverKeyVault bool = false

@description('Lifetime of access tokens, such as 30m. Empty: the default of the server; so are the settings below.')
param accessTokenLifetime string = ''

@description('Lifetime of sign-ins after their last use, such as 90d.')
param refreshLifetime string = ''

@description('Redirect URIs that clients may register, exact or https://host/path/*, separated by commas.')
param allowedRedirectUris string = ''

@description('Hosts whose client ID metadata documents are fetched, separated by commas; none switches them off.')
param clientMetadataHosts string = ''

@description('debug, info, warn or error.')
param logLevel string = ''

var suffix = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }

// environment() knows neither of these two. The extension for Microsoft Graph
// is documented for the public cloud alone.
var clouds = {
  AzureCloud: { sites: 'azurewebsites.net', exchangeAudience: 'api://AzureADTokenExchange' }
  AzureUSGovernment: { sites: 'azurewebsites.us', exchangeAudience: 'api://AzureADTokenExchangeUSGov' }
}
var cloud = clouds[environment().name]

// Known before anything exists. The app registration needs the host name and the
// site needs the app's client id; taken from the site it would be a cycle.
var siteName = 'func-mcp-${suffix}'
var defaultOrigin = 'https://${siteName}.${cloud.sites}'
var customOrigin = endsWith(publicUrl, '/') ? substring(publicUrl, 0, length(publicUrl) - 1) : publicUrl
var origin = empty(customOrigin) ? defaultOrigin : customOrigin
var origins = empty(customOrigin) ? [defaultOrigin] : [defaultOrigin, customOrigin]
var redirectPath = '/auth/callback'

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    dailyLimitGB: logsDailyLimitGB
    identityPrincipalId: identity.outputs.principalId
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    sku: storageSku
    privateOnly: vnetEnabled
    identityPrincipalId: identity.outputs.principalId
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    privateOnly: vnetEnabled
    recover: recoverKeyVault
    workspaceId: monitoring.outputs.workspaceId
    identityPrincipalId: identity.outputs.principalId
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
  }
}

module network 'modules/network.bicep' = if (vnetEnabled) {
  name: 'network'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    storageAccountId: storage.outputs.accountId
    vaultId: vault.outputs.vaultId
  }
}

module entra 'modules/entra.bicep' = {
  name: 'entra'
  scope: group
  params: {
    uniqueName: siteName
    displayName: 'MCP server (${environmentName})'
    redirectUris: map(origins, o => '${o}${redirectPath}')
    homePageUrl: origin
    identityPrincipalId: identity.outputs.principalId
    exchangeAudience: cloud.exchangeAudience
    assignmentRequired: assignmentRequired
    serviceManagementReference: serviceManagementReference
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    siteName: siteName
    identityId: identity.outputs.identityId
    identityClientId: identity.outputs.clientId
    subnetId: vnetEnabled ? network!.outputs.siteSubnetId : ''
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    requestsPerInstance: requestsPerInstance
    zoneRedundant: zoneRedundant
    allowedOrigins: empty(allowedOrigins) ? [] : map(split(allowedOrigins, ','), o => trim(o))
    blobEndpoint: storage.outputs.blobEndpoint
    packageContainer: storage.outputs.packageContainer
    insightsConnectionString: monitoring.outputs.connectionString
    settings: {
      PUBLIC_URL: origin
      REDIRECT_PATH: redirectPath
      ENTRA_AUTHORITY: environment().authentication.loginEndpoint
      ENTRA_TENANT_ID: tenant().tenantId
      ENTRA_CLIENT_ID: entra.outputs.clientId
      ENTRA_API_SCOPE: entra.outputs.scope
      ENTRA_MANAGED_IDENTITY_CLIENT_ID: identity.outputs.clientId
      AZURE_CLIENT_ID: identity.outputs.clientId
      TABLES_URL: storage.outputs.tableEndpoint
      TABLES_NAME: storage.outputs.tableName
      KEY_VAULT_KEY_URL: vault.outputs.keyUrl
      ALLOWED_ORIGINS: allowedOrigins
      ALLOWED_REDIRECT_URIS: allowedRedirectUris
      CLIENT_METADATA_HOSTS: clientMetadataHosts
      ACCESS_TOKEN_LIFETIME: accessTokenLifetime
      REFRESH_LIFETIME: refreshLifetime
      LOG_LEVEL: logLevel
    }
  }
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    email: alertEmail
    workspaceId: monitoring.outputs.workspaceId
    storageAccountId: storage.outputs.accountId
    vaultId: vault.outputs.vaultId
  }
}

// azd keeps these in .azure/<environment>/.env, where the hooks find them.
output AZURE_TENANT_ID string = tenant().tenantId
output AZURE_RESOURCE_GROUP string = group.name
output SERVICE_MCP_NAME string = siteName
output MCP_URL string = '${origin}/mcp'
output ENTRA_CLIENT_ID string = entra.outputs.clientId
output ADMIN_CONSENT_URL string = '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0/adminconsent?client_id=${entra.outputs.clientId}&scope=${uriComponent('openid profile email offline_access ${entra.outputs.scope}')}&redirect_uri=${uriComponent('${origin}${redirectPath}')}'
output KEY_VAULT_KEY_URL string = vault.outputs.keyUrl
output TABLES_URL string = storage.outputs.tableEndpoint
