// The whole environment of one MCP server: azd deploys it at subscription scope.
targetScope = 'subscription'
import { Settings } from 'types.bicep'

@description('azd environment name. It names the resource group and, with subscription and region, every resource.')
@minLength(1)
@maxLength(64)
param environmentName string

// az functionapp list-flexconsumption-locations --output table
@description('Azure region. Flex Consumption must be offered there.')
@metadata({ azd: { type: 'location' } })
@allowed([
  'australiaeast'
  'australiasoutheast'
  'brazilsouth'
  'canadacentral'
  'centralindia'
  'centralus'
  'eastasia'
  'eastus'
  'eastus2'
  'francecentral'
  'germanywestcentral'
  'italynorth'
  'japaneast'
  'koreacentral'
  'northcentralus'
  'northeurope'
  'norwayeast'
  'southafricanorth'
  'southcentralus'
  'southeastasia'
  'southindia'
  'spaincentral'
  'swedencentral'
  'uaenorth'
  'uksouth'
  'ukwest'
  'usgovarizona'
  'usgovvirginia'
  'westcentralus'
  'westeurope'
  'westus'
  'westus2'
  'westus3'
])
param location string

@description('URL that clients use, without /mcp. Empty: the host name of the function app.')
param publicUrl string = ''

@description('Origins of web pages that may call the server. Commas and white space separate.')
param allowedOrigins string = ''

@description('A virtual network, and private endpoints in it for storage and Key Vault.')
param virtualNetwork bool = false

@description('Storage and Key Vault answer through the private endpoints only.')
param privateOnly bool = false

@description('One outgoing address, that of a NAT gateway in the virtual network.')
param fixedEgress bool = false

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

@description('Requests that one instance serves at a time before another one is started.')
@minValue(1)
@maxValue(1000)
param requestsPerInstance int = 100

@description('Spread instances over availability zones, where the region has them. Needs zone-redundant storage too.')
param zoneRedundant bool = false

@description('Redundancy of the storage account.')
@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageSku string = 'Standard_LRS'

@description('Gigabytes of logs a day at which collecting stops until the next day; -1: no limit.')
param logsDailyLimitGB int = 1

@description('Raise alerts. They are what an idle deployment costs.')
param raiseAlerts bool = true

@description('E-mail address for alerts. Empty: alerts are shown in the portal only.')
param alertEmail string = ''

@description('Let the person who deploys use the operator commands of the server from their own computer.')
param deployerIsOperator bool = false

@description('Object ID and type of the principal that deploys. azd sets both.')
param deployerPrincipalId string = ''
@allowed(['User', 'Group', 'ServicePrincipal'])
param deployerPrincipalType string = 'User'

@description('Object ID and type of another principal that may use the operator commands.')
param operatorPrincipalId string = ''
@allowed(['User', 'Group', 'ServicePrincipal'])
param operatorPrincipalType string = 'User'

@description('Set once to recover the Key Vault that an earlier "azd down" of this environment deleted.')
param recoverKeyVault bool = false

@description('Client ID of an existing app registration. Empty: one is created.')
param existingClientId string = ''

@description('Tenant of the existing registration, organizations or common. Empty: the tenant of the subscription.')
param existingTenantId string = ''

@description('Sign-in host of that tenant, such as https://contoso.ciamlogin.com. Empty: that of this cloud.')
param existingAuthority string = ''

@description('Name of the Key Vault secret with the client secret, where the registration cannot trust the identity.')
param vaultCredentialName string = ''

@description('Let users of other tenants sign in: those in ENTRA_ALLOWED_TENANTS.')
param multiTenant bool = false

@description('Only users and groups that are assigned to the enterprise application can sign in.')
param assignmentRequired bool = false

@description('Ask for a token for the own API at sign-in. Tools that act for the user need it; signing in does not.')
param requestApiScope bool = true

@description('Register the MCP URL as identifier URI, so that Entra takes it as resource from clients that it knows.')
param resourceUri bool = false

@description('Ids of delegated permissions of Microsoft Graph that tools need, beside User.Read.')
param graphPermissions string = ''

@description('Client ids of applications that get the scope without asking users.')
param preAuthorizedClients string = ''

@description('Object ids of service principals that may call tools as applications.')
param invokePrincipals string = ''

@description('Object ids of users, groups and service principals that may see and end connections of others.')
param managePrincipals string = ''

@description('Service or asset ID, if the tenant requires one for app registrations.')
param serviceManagementReference string = ''

@description('Admit the clients in docs/pinned-clients.json without fetching their metadata.')
param pinnedClients bool = false

@description('Settings of the server by name, as in docs/configuration.md. Empty ones are omitted.')
param serverSettings Settings = {}

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
// A slash at the end goes: the space marks the end.
var customOrigin = trim(replace('${trim(publicUrl)} ', '/ ', ''))
var origin = empty(customOrigin) ? defaultOrigin : customOrigin
var redirectPath = '/auth/callback'
var ownOrigins = empty(customOrigin) ? [defaultOrigin] : [defaultOrigin, customOrigin]
var redirectUris = map(ownOrigins, base => '${base}${redirectPath}')

// As the server reads a list.
var separated = replace(replace(replace(allowedOrigins, '\n', ','), '\t', ','), ' ', ',')
var listed = filter(split(separated, ','), item => !empty(item))
var webOrigins = map(listed, item => trim(replace('${item} ', '/ ', '')))
var graphPermissionIds = filter(split(replace(graphPermissions, ' ', ','), ','), item => !empty(item))
var preAuthorizedIds = filter(split(replace(preAuthorizedClients, ' ', ','), ','), item => !empty(item))
var invokePrincipalIds = filter(split(replace(invokePrincipals, ' ', ','), ','), item => !empty(item))
var managePrincipalIds = filter(split(replace(managePrincipals, ' ', ','), ','), item => !empty(item))

var usesDeployer = deployerIsOperator && empty(operatorPrincipalId)
var operatorId = usesDeployer ? deployerPrincipalId : operatorPrincipalId
var operatorType = usesDeployer ? deployerPrincipalType : operatorPrincipalType

var createsRegistration = empty(existingClientId)
var scopeName = 'mcp.access'
var loginEndpoint = environment().authentication.loginEndpoint
var customAuthority = trim(replace('${existingAuthority} ', '/ ', ''))
var authority = empty(customAuthority) ? loginEndpoint : '${customAuthority}/'
var ownTenant = multiTenant ? 'organizations' : tenant().tenantId
var signInTenant = empty(existingTenantId) ? ownTenant : existingTenantId

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'modules/identity.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
  }
}

module monitoring 'modules/monitoring.bicep' = {
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
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    sku: storageSku
    privateOnly: privateOnly
    identityPrincipalId: identity.outputs.principalId
    operatorPrincipalId: operatorId
    operatorPrincipalType: operatorType
  }
}

module vault 'modules/vault.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    privateOnly: privateOnly
    recover: recoverKeyVault
    holdsCredential: !empty(vaultCredentialName)
    workspaceId: monitoring.outputs.workspaceId
    identityPrincipalId: identity.outputs.principalId
    operatorPrincipalId: operatorId
    operatorPrincipalType: operatorType
  }
}

module network 'modules/network.bicep' = if (virtualNetwork) {
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    fixedEgress: fixedEgress
    storageAccountId: storage.outputs.accountId
    vaultId: vault.outputs.vaultId
  }
}

module registration 'modules/registration.bicep' = if (createsRegistration) {
  scope: group
  params: {
    uniqueName: siteName
    displayName: 'MCP server (${environmentName})'
    scopeName: scopeName
    redirectUris: redirectUris
    homePageUrl: origin
    resourceUri: resourceUri ? '${origin}/mcp' : ''
    multiTenant: multiTenant
    identityPrincipalId: identity.outputs.principalId
    exchangeAudience: cloud.exchangeAudience
    assignmentRequired: assignmentRequired
    graphPermissionIds: graphPermissionIds
    preAuthorizedIds: preAuthorizedIds
    invokePrincipalIds: invokePrincipalIds
    managePrincipalIds: managePrincipalIds
    serviceManagementReference: serviceManagementReference
  }
}

var clientId = createsRegistration ? registration!.outputs.clientId : existingClientId
// The server asks for a token for its own API, which Entra grants only when the
// scope is qualified by the client id; by an api:// URI it refuses (AADSTS90009).
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var apiScope = '${clientId}/${scopeName}'
var signInScopes = 'openid profile email offline_access'
var consentScopes = requestApiScope ? '${signInScopes} ${apiScope}' : signInScopes
// The platform puts the secret in the place of this reference.
var credentialReference = '@Microsoft.KeyVault(VaultName=${vault.outputs.vaultName};SecretName=${vaultCredentialName})'

var ownSettings = {
  PUBLIC_URL: origin
  REDIRECT_PATH: redirectPath
  ENTRA_AUTHORITY: authority
  ENTRA_TENANT_ID: signInTenant
  ENTRA_CLIENT_ID: clientId
  ENTRA_RESOURCE_URI: resourceUri ? 'on' : 'off'
  AZURE_CLIENT_ID: identity.outputs.clientId
  TABLES_URL: storage.outputs.tableEndpoint
  TABLES_NAME: storage.outputs.tableName
  KEY_VAULT_KEY_URL: vault.outputs.keyUrl
}
var identityCredential = { ENTRA_MANAGED_IDENTITY_CLIENT_ID: identity.outputs.clientId }
var vaultCredential = { ENTRA_CLIENT_SECRET: credentialReference }
var someSettings = union(
  empty(vaultCredentialName) ? identityCredential : vaultCredential,
  requestApiScope ? { ENTRA_API_SCOPE: apiScope } : {},
  empty(webOrigins) ? {} : { ALLOWED_ORIGINS: join(webOrigins, ',') },
  pinnedClients ? { PINNED_CLIENTS: string(loadJsonContent('../docs/pinned-clients.json')) } : {}
)
// azd passes every setting, most of them empty.
var given = filter(items(serverSettings), setting => !empty(setting.value))
var givenSettings = toObject(given, setting => setting.key, setting => setting.value)

module app 'modules/app.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    suffix: suffix
    siteName: siteName
    identityId: identity.outputs.identityId
    identityClientId: identity.outputs.clientId
    subnetId: virtualNetwork ? network!.outputs.siteSubnetId : ''
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    alwaysReadyInstances: alwaysReadyInstances
    requestsPerInstance: requestsPerInstance
    zoneRedundant: zoneRedundant
    allowedOrigins: webOrigins
    blobEndpoint: storage.outputs.blobEndpoint
    packageContainer: storage.outputs.packageContainer
    insightsConnectionString: monitoring.outputs.connectionString
    settings: union(givenSettings, ownSettings, someSettings)
  }
}

module workbook 'modules/workbook.bicep' = {
  scope: group
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
  }
}

module alerts 'modules/alerts.bicep' = if (raiseAlerts) {
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
output ENTRA_TENANT_ID string = signInTenant
output ENTRA_CLIENT_ID string = clientId
output ENTRA_REDIRECT_URIS string = join(redirectUris, ' ')
output ADMIN_CONSENT_URL string = '${authority}${signInTenant}/v2.0/adminconsent?client_id=${clientId}&scope=${uriComponent(consentScopes)}&redirect_uri=${uriComponent('${origin}${redirectPath}')}'
// What an administrator writes into a registration that the template did not make.
output FEDERATION_ISSUER string = '${loginEndpoint}${tenant().tenantId}/v2.0'
output FEDERATION_SUBJECT string = identity.outputs.principalId
output FEDERATION_AUDIENCE string = cloud.exchangeAudience
output KEY_VAULT_NAME string = vault.outputs.vaultName
output KEY_VAULT_KEY_URL string = vault.outputs.keyUrl
output TABLES_URL string = storage.outputs.tableEndpoint
output EGRESS_ADDRESS string = virtualNetwork ? network!.outputs.egressAddress : ''
