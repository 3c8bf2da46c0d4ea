using '../main.bicep'

param environmentName = 'mcp-test'
param location = 'westeurope'
