#!/bin/sh
# azd deletes the resource group; the app registration lives in the tenant.
set -u
cat <<TEXT
Not in the resource group, and so not deleted by azd: the app registration. Delete it afterwards with
  az ad app delete --id ${ENTRA_CLIENT_ID:-<application id>}
TEXT
