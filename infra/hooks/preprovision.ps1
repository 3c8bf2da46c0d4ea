# As preprovision.sh.
if (-not (Get-Command az -ErrorAction SilentlyContinue)) { exit 0 }
$subscription = if ($env:AZURE_SUBSCRIPTION_ID) { @('--subscription', $env:AZURE_SUBSCRIPTION_ID) } else { @() }
$state = az provider show --namespace Microsoft.App @subscription --query registrationState --output tsv 2>$null
if ($LASTEXITCODE -ne 0 -or $state -in @('Registered', 'Registering', '', $null)) { exit 0 }
[Console]::Error.WriteLine("The resource provider Microsoft.App is not registered in this subscription ($state). Run, once:")
[Console]::Error.WriteLine("  az provider register --namespace Microsoft.App --wait $subscription".TrimEnd())
exit 1
