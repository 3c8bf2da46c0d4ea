// A network of its own, through which alone storage and Key Vault answer.
// Clients still reach the function app from the internet.
import { Tags } from '../types.bicep'

param location string
param tags Tags
param suffix string
param fixedEgress bool
param storageAccountId string
param vaultId string

// The vault's zone is named unlike its public suffix (.vault.azure.net).
// https://learn.microsoft.com/azure/private-link/private-endpoint-dns
var vaultSuffix = replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')
var services = [
  { group: 'blob', target: storageAccountId, zone: 'privatelink.blob.${environment().suffixes.storage}' }
  { group: 'table', target: storageAccountId, zone: 'privatelink.table.${environment().suffixes.storage}' }
  { group: 'vault', target: vaultId, zone: 'privatelink${vaultSuffix}' }
]

// The address that a Conditional Access policy for locations can name.
resource egress 'Microsoft.Network/publicIPAddresses@2025-07-01' = if (fixedEgress) {
  name: 'pip-mcp-${suffix}'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static' }
}

resource gateway 'Microsoft.Network/natGateways@2025-07-01' = if (fixedEgress) {
  name: 'nat-mcp-${suffix}'
  location: location
  tags: tags
  sku: { name: 'Standard' }
  properties: { publicIpAddresses: [{ id: egress.id }] }
}

resource network 'Microsoft.Network/virtualNetworks@2025-07-01' = {
  name: 'vnet-mcp-${suffix}'
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: ['10.0.0.0/16'] }
    // Inside the network, not resources of their own: deploying again would
    // otherwise try to remove subnets that are in use.
    subnets: [
      {
        name: 'endpoints'
        properties: {
          addressPrefix: '10.0.1.0/24'
          privateEndpointNetworkPolicies: 'Disabled'
          defaultOutboundAccess: false
        }
      }
      {
        name: 'site'
        properties: {
          addressPrefix: '10.0.2.0/24'
          // The server calls Entra, and the hosts of client metadata documents.
          defaultOutboundAccess: true
          natGateway: fixedEgress ? { id: gateway.id } : null
          delegations: [
            {
              name: 'flex'
              properties: { serviceName: 'Microsoft.App/environments' }
            }
          ]
        }
      }
    ]
  }

  resource endpointSubnet 'subnets' existing = {
    name: 'endpoints'
  }

  resource siteSubnet 'subnets' existing = {
    name: 'site'
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [
  for service in services: {
    name: service.zone
    location: 'global'
    tags: tags
  }
]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [
  for (service, i) in services: {
    parent: zones[i]
    name: 'link-${suffix}'
    location: 'global'
    tags: tags
    properties: {
      registrationEnabled: false
      virtualNetwork: { id: network.id }
    }
  }
]

// One at a time: the subnet refuses operations that overlap.
@batchSize(1)
resource endpoints 'Microsoft.Network/privateEndpoints@2025-07-01' = [
  for service in services: {
    name: 'pe-${service.group}-${suffix}'
    location: location
    tags: tags
    properties: {
      subnet: { id: network::endpointSubnet.id }
      privateLinkServiceConnections: [
        {
          name: service.group
          properties: {
            privateLinkServiceId: service.target
            groupIds: [service.group]
          }
        }
      ]
    }
  }
]

// In a loop of its own: a nested resource may not sit inside one (BCP160).
resource records 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-07-01' = [
  for (service, i) in services: {
    parent: endpoints[i]
    name: 'default'
    properties: {
      privateDnsZoneConfigs: [
        {
          name: service.group
          properties: { privateDnsZoneId: zones[i].id }
        }
      ]
    }
  }
]

output siteSubnetId string = network::siteSubnet.id
output egressAddress string = fixedEgress ? egress!.properties.ipAddress : ''
