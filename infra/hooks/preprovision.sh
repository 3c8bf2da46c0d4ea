#!/bin/sh
# Flex Consumption runs on Microsoft.App, which the template never names, so
# Resource Manager does not register it by itself. Without the Azure CLI there
# is nothing to ask; provisioning then says what is missing.
command -v az >/dev/null 2>&1 || exit 0
state=$(az provider show --namespace Microsoft.App ${AZURE_SUBSCRIPTION_ID:+--subscription "$AZURE_SUBSCRIPTION_ID"} \
  --query registrationState --output tsv 2>/dev/null) || exit 0
case $state in
Registered | Registering | '') exit 0 ;;
esac
echo "The resource provider Microsoft.App is not registered in this subscription ($state). Run, once:" >&2
echo "  az provider register --namespace Microsoft.App --wait${AZURE_SUBSCRIPTION_ID:+ --subscription $AZURE_SUBSCRIPTION_ID}" >&2
exit 1
