// The app registration that users sign in to. Its only credential is the
// federated one: no secret exists that could leak or expire.
extension microsoftGraphV1

param uniqueName string
param displayName string
param scopeName string
param redirectUris string[]
param homePageUrl string
param resourceUri string
param multiTenant bool
param identityPrincipalId string
param exchangeAudience string
param assignmentRequired bool
param graphPermissionIds string[]
param preAuthorizedIds string[]
param invokePrincipalIds string[]
param managePrincipalIds string[]
param serviceManagementReference string

var scopeId = guid(uniqueName, 'scope', scopeName)
var invokeRoleId = guid(uniqueName, 'role', 'Mcp.Invoke')
var manageRoleId = guid(uniqueName, 'role', 'Mcp.Connections.Manage')

// Microsoft Graph and the permissions asked for at sign-in.
// https://learn.microsoft.com/graph/permissions-reference
var graph = '00000003-0000-0000-c000-000000000000'
var signInPermissions = [
  '37f7f235-527c-4136-accd-4a02d197296e' // openid
  '14dad69e-099b-42c9-810b-d002981feec1' // profile
  '64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0' // email
  '7427e0e9-2fba-42fe-b0c0-848c9e6a8182' // offline_access
  'e1fe6dd8-ba31-4d61-89e7-88639da4683d' // User.Read
]

// With the tenant id in it the URI passes the default tenant policy.
// api://{appId} is impossible here: the id is not known before the resource
// exists.
var ownUri = 'api://${tenant().tenantId}/${uniqueName}'

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: uniqueName
  displayName: displayName
  signInAudience: multiTenant ? 'AzureADMultipleOrgs' : 'AzureADMyOrg'
  serviceManagementReference: empty(serviceManagementReference) ? null : serviceManagementReference
  identifierUris: empty(resourceUri) ? [ownUri] : [ownUri, resourceUri]
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: [
      {
        id: scopeId
        value: scopeName
        type: 'User'
        isEnabled: true
        adminConsentDisplayName: 'Use the MCP server'
        adminConsentDescription: 'Lets the MCP server act for users who sign in to it.'
        userConsentDisplayName: 'Use the MCP server'
        userConsentDescription: 'Lets the MCP server act for you.'
      }
    ]
    preAuthorizedApplications: [
      for id in preAuthorizedIds: {
        appId: id
        delegatedPermissionIds: [scopeId]
      }
    ]
  }
  appRoles: [
    {
      id: guid(uniqueName, 'role', 'Mcp.Admin')
      value: 'Mcp.Admin'
      displayName: 'Mcp.Admin'
      description: 'May use the tools that change things.'
      allowedMemberTypes: ['User']
      isEnabled: true
    }
    {
      id: guid(uniqueName, 'role', 'Mcp.Reader')
      value: 'Mcp.Reader'
      displayName: 'Mcp.Reader'
      description: 'May use the tools that read.'
      allowedMemberTypes: ['User']
      isEnabled: true
    }
    {
      id: invokeRoleId
      value: 'Mcp.Invoke'
      displayName: 'Mcp.Invoke'
      description: 'May call tools as an application, without a user.'
      allowedMemberTypes: ['Application']
      isEnabled: true
    }
    {
      id: manageRoleId
      value: 'Mcp.Connections.Manage'
      displayName: 'Mcp.Connections.Manage'
      description: 'May see and end the connections of all users.'
      allowedMemberTypes: ['User', 'Application']
      isEnabled: true
    }
  ]
  optionalClaims: {
    // Tells applications from users in access tokens.
    accessToken: [{ name: 'idtyp', essential: false, additionalProperties: ['include_user_token'] }]
  }
  requiredResourceAccess: [
    {
      resourceAppId: graph
      resourceAccess: map(concat(signInPermissions, graphPermissionIds), id => { id: id, type: 'Scope' })
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

resource callers 'Microsoft.Graph/appRoleAssignedTo@v1.0' = [
  for principalId in invokePrincipalIds: {
    appRoleId: invokeRoleId
    principalId: principalId
    resourceId: servicePrincipal.id
  }
]

resource managers 'Microsoft.Graph/appRoleAssignedTo@v1.0' = [
  for principalId in managePrincipalIds: {
    appRoleId: manageRoleId
    principalId: principalId
    resourceId: servicePrincipal.id
  }
]

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
