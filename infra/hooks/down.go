package main

import (
	"cmp"
	"context"
)

// preDown says what goes with the resource group.
func (p *program) preDown(context.Context) int {
	p.say("azd deletes the resource group %s. This removes all registrations and sign-ins: after a new deployment everybody\nconnects and signs in again. Nothing of it can be restored.\n",
		cmp.Or(p.getenv("AZURE_RESOURCE_GROUP"), p.names().group))
	return 0
}

// postDown says what azd did not delete.
func (p *program) postDown(context.Context) int {
	if !p.is("MCP_ENTRA_CLIENT_ID") {
		p.say(`
Kept: the app registration %[1]s, with its consents and role assignments. The next azd up of this environment uses
it again. To delete it permanently, in this order (deleted alone, it keeps its name for 30 days):
  id=$(az ad app show --id %[1]s --query id --output tsv)
  az ad app delete --id %[1]s
  az rest --method DELETE --url https://graph.microsoft.com/v1.0/directory/deletedItems/$id
`, cmp.Or(p.getenv("ENTRA_CLIENT_ID"), "<application id>"))
	}
	p.say(`
Kept: the deleted vault %s, for 7 days, during which nobody can purge it. To create the environment again by then:
  azd env set MCP_RECOVER_KEY_VAULT true     (and false again afterwards)
`, cmp.Or(p.getenv("KEY_VAULT_NAME"), p.names().vault))
	return 0
}
