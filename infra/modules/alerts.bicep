// What an operator wants to be told. Without an e-mail address the alerts are
// shown in the portal.
import { Tags } from '../types.bicep'

param location string
param tags Tags
param suffix string
param email string
param workspaceId string
param storageAccountId string
param vaultId string

// Lines of the server's log are JSON. Those of the category "audit" name what
// happened in "event"; the names are stable.
var lines = 'AppTraces | where Message startswith "{" | extend line = parse_json(Message)'
var audit = '${lines} | where line.category == "audit" | extend event = tostring(line.event), grant = tostring(line.grant_id)'

// "periods" are those of 15 minutes in a row after which the alert is raised.
// Two give role assignments time to arrive after the first deployment.
var logAlerts = [
  {
    name: 'server-errors'
    severity: 2
    periods: 1
    text: 'More than 5 % of the requests of 15 minutes failed with a 5xx status.'
    query: 'AppRequests | summarize total = count(), failed = countif(toint(ResultCode) >= 500) | where failed >= 5 and failed * 20 > total'
  }
  {
    name: 'no-healthy-answer'
    severity: 1
    periods: 2
    text: 'There were requests for half an hour and none was answered without a 5xx status.'
    query: 'AppRequests | summarize total = count(), healthy = countif(toint(ResultCode) < 500) | where total >= 3 and healthy == 0'
  }
  {
    name: 'keys-or-table-unreachable'
    severity: 1
    periods: 2
    text: 'The server cannot read its keys or its table: nobody can sign in.'
    query: 'AppTraces | where Message has_any ("the key ring cannot be read", "a key epoch cannot be used", "the table cannot be prepared")'
  }
  {
    name: 'will-break'
    severity: 3
    periods: 1
    text: 'Something works now and will not later: a secret or certificate that ends, keys that do not rotate, rows that pile up, a clock that is wrong, an app whose metadata cannot be fetched.'
    query: '${lines} | where line.warning in ("secret_expires", "certificate_expires", "keys_not_rotated", "sweep_behind", "clock_apart", "documents_not_fetchable")'
  }
  {
    name: 'overload'
    severity: 2
    periods: 2
    text: 'Requests without an access token were refused for half an hour because there were too many: somebody floods the server. Calls are not affected.'
    query: '${lines} | where line.metric == "entramcp.overload.requests" | summarize refused = sum(tolong(line["count"])) | where refused > 0'
  }
  {
    name: 'busy'
    severity: 2
    periods: 2
    text: 'Calls were refused for half an hour because there were more than the processors can serve: let more instances start, give them more memory, or limit calls (CALLS_PER_USER).'
    query: '${lines} | where line.metric == "entramcp.overload.calls" | summarize refused = sum(tolong(line["count"])) | where refused > 0'
  }
  {
    name: 'revocation-lag'
    severity: 1
    periods: 1
    text: 'An instance has not read for more than a minute what was revoked: calls wait or are refused.'
    query: '${lines} | where line.metric == "entramcp.revocation.lag" and todouble(line.value) > 60'
  }
  {
    name: 'token-reuse'
    severity: 2
    periods: 1
    text: 'A refresh token or code was used again and the sign-in was revoked: it may have been stolen.'
    query: '${audit} | where event in ("token_reused", "code_reused")'
  }
  {
    name: 'token-repeated'
    severity: 3
    periods: 1
    text: 'One sign-in used rotated refresh tokens many times within the grace: a client that loses answers, or a copied token.'
    query: '${audit} | where event == "token_repeated" | summarize repeated = count() by grant | where repeated > 20'
  }
  {
    name: 'conditional-access'
    severity: 3
    periods: 1
    text: 'Conditional Access refused to refresh sign-ins: does a policy for locations leave out the address of the server?'
    query: '${audit} | where event in ("refresh_refused", "sign_in_failed") and line.reason == "AADSTS53003"'
  }
]

var denials = [
  {
    name: 'storage-denied'
    text: 'The table service refused requests: a role assignment or network rule is missing. Expected in the minutes after the first deployment.'
    target: '${storageAccountId}/tableServices/default'
    namespace: 'Microsoft.Storage/storageAccounts/tableServices'
    metric: 'Transactions'
    aggregation: 'Total'
    dimension: 'ResponseType'
    value: 'AuthorizationError'
  }
  {
    name: 'key-vault-denied'
    text: 'Key Vault refused requests: a role assignment or network rule is missing, or the key is disabled. Expected in the minutes after the first deployment.'
    target: vaultId
    namespace: 'Microsoft.KeyVault/vaults'
    metric: 'ServiceApiResult'
    aggregation: 'Count'
    dimension: 'StatusCode'
    value: '403'
  }
]

resource notify 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'ag-mcp-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'mcp'
    enabled: true
    emailReceivers: [{ name: 'operator', emailAddress: email, useCommonAlertSchema: true }]
  }
}

resource logRules 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [
  for alert in logAlerts: {
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
            failingPeriods: {
              numberOfEvaluationPeriods: alert.periods
              minFailingPeriodsToAlert: alert.periods
            }
          }
        ]
      }
      autoMitigate: true
      // The tables do not exist before the first telemetry arrives.
      skipQueryValidation: true
      actions: { actionGroups: empty(email) ? [] : [notify.id] }
    }
  }
]

resource metricRules 'Microsoft.Insights/metricAlerts@2026-01-01' = [
  for denial in denials: {
    name: 'alert-${denial.name}-${suffix}'
    location: 'global'
    tags: tags
    properties: {
      description: denial.text
      severity: 3
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
  }
]
