// The app registration that users sign in to. Its only credential is the
// federated one: no secret exists that could leak or expire.
extension microsoftGraphV1

param uniqueName string
param displayName string
param redirectUris array
param homePageUrl string
param identityPrincipalId string
param exchangeAudience string
param assignmentRequired bool
param serviceManagementReference string

var scopeName = 'mcp.access'
var roles = [
  { value: 'Mcp.Admin', description: 'May use the tools that change things.' }
  { value: 'Mcp.Reader', description: 'May use the tools that read.' }
]

// Microsoft Graph and the permissions asked for at sign-in.
// https://learn.microsoft.com/graph/permissions-reference
var graph = '00000003-0000-0000-c000-000000000000'
var permissions = [
  '37f7f235-527c-4136-accd-4a02d197296e' // openid
  '14dad69e-099b-42c9-810b-d002981feec1' // profile
  '64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0' // email
  '7427e0e9-2fba-42fe-b0c0-848c9e6a8182' // offline_access
  'e1fe6dd8-ba31-4d61-89e7-88639da4683d' // User.Read
]

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: 'AzureADMyOrg'
  serviceManagementReference: empty(serviceManagementReference) ? null : serviceManagementReference
  // api://{appId} is impossible here: the id is not known before the resource
  // exists. With the tenant id in it the URI passes the default tenant policy.
  identifierUris: ['api://${tenant().tenantId}/${uniqueName}']
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: [
      {
        id: guid(uniqueName, 'scope', scopeName)
        value: scopeName
        type: 'User'
        isEnabled: true
        adminConsentDisplayName: 'Use the MCP server'
        adminConsentDescription: 'Lets the MCP server act for users who sign in to it.'
        userConsentDisplayName: 'Use the MCP server'
        userConsentDescription: 'Lets the MCP server act for you.'
      }
    ]
  }
  appRoles: map(roles, role => {
    id: guid(uniqueName, 'role', role.value)
    value: role.value
    displayName: role.value
    description: role.description
    allowedMemberTypes: ['User']
    isEnabled: true
  })
  requiredResourceAccess: [
    {
      resourceAppId: graph
      resourceAccess: map(permissions, permission => { id: permission, type: 'Scope' })
    }
  ]
  web: {
    homePageUrl: homePageUrl
    redirectUris: redirectUris
    implicitGrantSettings: {
      enableAccessTokenIssuance: false
      enableIdTokenIssuance: false
    }
  }
}

resource servicePrincipal 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
  appRoleAssignmentRequired: assignmentRequired
}

// Entra accepts wrong values here and refuses sign-ins later (AADSTS7002xx):
// the subject is the identity's object id, not its client id.
resource federation 'Microsoft.Graph/applications/federatedIdentityCredentials@v1.0' = {
  name: '${application.uniqueName}/function-app'
  description: 'The function app signs in as this application; no secret exists.'
  issuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
  subject: identityPrincipalId
  audiences: [exchangeAudience]
}

output clientId string = servicePrincipal.appId
// The server asks for a token for its own API, which Entra grants only when the
// scope is qualified by the client id; by an api:// URI it refuses (AADSTS90009).
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
output scope string = '${application.appId}/${scopeName}'
