# As predown.sh.
$id = if ($env:ENTRA_CLIENT_ID) { $env:ENTRA_CLIENT_ID } else { '<application id>' }
Write-Output @"
Not in the resource group, and so not deleted by azd: the app registration. Delete it afterwards with
  az ad app delete --id $id
"@
