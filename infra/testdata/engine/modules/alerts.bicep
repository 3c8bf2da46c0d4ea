// What an operator wants to be told. Without an e-mail address the alerts are
// shown in the portal.
param location string
param tags object
param suffix string
param email string
param workspaceId string
param storageAccountId string
param vaultId string

var logAlerts = [
  {
    name: 'server-errors'
    severity: 2
    text: 'More than 5 % of the requests of 15 minutes failed with a 5xx status.'
    query: 'AppRequests | summarize total = count(), failed = countif(toint(ResultCode) >= 500) | where failed >= 5 and failed * 20 > total'
  }
  {
    name: 'no-healthy-answer'
    severity: 1
    text: 'There were requests for 15 minutes and none was answered without a 5xx status.'
    query: 'AppRequests | summarize total = count(), healthy = countif(toint(ResultCode) < 500) | where total >= 3 and healthy == 0'
  }
  {
    name: 'keys-or-table-unreachable'
    severity: 1
    text: 'The server cannot read its keys or its table: nobody can sign in.'
    query: 'AppTraces | where Message has_any ("the key ring cannot be read", "a key epoch cannot be used", "the table cannot be prepared")'
  }
  {
    name: 'token-reuse'
    severity: 2
    text: 'A refresh token or code was used again and the sign-in was revoked: it may have been stolen.'
    query: 'AppTraces | where Message has "grant revoked" and Message has_any ("refresh token reuse", "authorization code used twice")'
  }
]

var denials = [
  {
    name: 'storage-denied'
    text: 'The table service refused requests: a role assignment or network rule is missing.'
    target: '${storageAccountId}/tableServices/default'
    namespace: 'Microsoft.Storage/storageAccounts/tableServices'
    metric: 'Transactions'
    aggregation: 'Total'
    dimension: 'ResponseType'
    value: 'AuthorizationError'
  }
  {
    name: 'key-vault-denied'
    text: 'Key Vault refused requests: a role assignment or network rule is missing, or the key is disabled.'
    target: vaultId
    namespace: 'Microsoft.KeyVault/vaults'
    metric: 'ServiceApiResult'
    aggregation: 'Count'
    dimension: 'StatusCode'
    value: '403'
  }
]

resource notify 'Microsoft.Insights/actionGroups@2018-03-01' = if (!empty(email)) {
  name: 'ag-mcp-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'mcp'
    enabled: true
    emailReceivers: [{ name: 'operator', emailAddress: email }]
  }
}

resource logRules 'Microsoft.Insights/scheduledQueryRules@2023-03-15-preview' = [for alert in logAlerts: {
  name: 'alert-${alert.name}-${suffix}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'MCP server: ${alert.name}'
    description: alert.text
    severity: alert.severity
    enabled: true
    scopes: [workspaceId]
    evaluationFrequency: 'PT15M'
    windowSize: 'PT15M'
    criteria: {
      allOf: [
        {
          query: alert.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    autoMitigate: true
    // The tables do not exist before the first telemetry arrives.
    skipQueryValidation: true
    actions: { actionGroups: empty(email) ? [] : [notify.id] }
  }
}]

resource metricRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [for denial in denials: {
  name: 'alert-${denial.name}-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    description: denial.text
    severity: 2
    enabled: true
    scopes: [denial.target]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: denial.name
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: denial.namespace
          metricName: denial.metric
          timeAggregation: denial.aggregation
          operator: 'GreaterThan'
          threshold: 5
          dimensions: [{ name: denial.dimension, operator: 'Include', values: [denial.value] }]
        }
      ]
    }
    autoMitigate: true
    actions: empty(email) ? [] : [{ actionGroupId: notify.id }]
  }
}]
