package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// checkAzure asks the subscription and the tenant what would stop a deployment
// half way. What the Azure CLI cannot answer is listed and refuses nothing:
// azd signs in by itself, perhaps as somebody else.
func (p *program) checkAzure(ctx context.Context) []finding {
	if p.getenv("AZURE_SUBSCRIPTION_ID") == "" || p.getenv("AZURE_LOCATION") == "" {
		return []finding{{check: "azure", unknown: true, what: "rights, providers, region and names: azd asks for subscription and region only afterwards",
			remedy: "azd up asks before. Or: azd env set AZURE_SUBSCRIPTION_ID <id>, azd env set AZURE_LOCATION <region>"}}
	}
	var account struct {
		TenantID string
		User     struct{ Name, Type string }
	}
	err := p.az(ctx, &account, "account", "show")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return []finding{{check: "azure", unknown: true, what: "rights, providers, region and names: the Azure CLI (az) is not installed"}}
	case err != nil:
		return []finding{{check: "azure", unknown: true, what: "rights, providers, region and names: the Azure CLI is not signed in to this subscription", remedy: "az login"}}
	}
	checks := []func(context.Context) []finding{p.checkRegion, p.checkVault, p.checkProviders}
	if !p.is("MCP_ENTRA_CLIENT_ID") {
		checks = append(checks, p.checkDeletedRegistration)
		if account.User.Type == "user" {
			checks = append(checks, p.checkRegistering)
		}
	}
	found := make([][]finding, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { found[i] = check(ctx) })
	}
	wg.Wait()
	return slices.Concat(found...)
}

// az runs the Azure CLI on the subscription of the environment.
func (p *program) az(ctx context.Context, into any, args ...string) error {
	if args[0] != "rest" {
		args = append(args, "--subscription", p.getenv("AZURE_SUBSCRIPTION_ID"))
	}
	b, err := p.run(ctx, "az", append(args, "--output", "json", "--only-show-errors")...)
	if err != nil {
		return err
	}
	// Nothing is printed for an empty list by some commands.
	if len(strings.TrimSpace(string(b))) == 0 {
		return nil
	}
	return json.Unmarshal(b, into)
}

func unknown(check, what string) []finding {
	return []finding{{check: check, unknown: true, what: what}}
}

// checkRegion: the list in main.bicep is as old as this repository.
func (p *program) checkRegion(ctx context.Context) []finding {
	args := []string{"functionapp", "list-flexconsumption-locations"}
	if p.is("MCP_ZONE_REDUNDANT") {
		args = append(args, "--zone-redundant", "true")
	}
	var regions []struct{ Name string }
	if err := p.az(ctx, &regions, args...); err != nil || len(regions) == 0 {
		return unknown("region", "the regions that have Flex Consumption could not be listed")
	}
	var names []string
	for _, r := range regions {
		names = append(names, strings.ToLower(strings.ReplaceAll(r.Name, " ", "")))
	}
	region := p.getenv("AZURE_LOCATION")
	if slices.Contains(names, region) {
		return nil
	}
	what := "Flex Consumption is not offered in " + region
	if p.is("MCP_ZONE_REDUNDANT") {
		what += " with availability zones"
	}
	return []finding{{check: "region", what: what + "; it is in " + strings.Join(names, ", "), remedy: "azd env new <another name>, in one of these regions"}}
}

// checkVault: a deleted vault keeps its name while purge protection lasts.
func (p *program) checkVault(ctx context.Context) []finding {
	var deleted []struct{ Name string }
	if err := p.az(ctx, &deleted, "keyvault", "list-deleted", "--resource-type", "vault"); err != nil {
		return unknown("vault", "deleted vaults could not be listed")
	}
	name := p.names().vault
	isDeleted := slices.ContainsFunc(deleted, func(v struct{ Name string }) bool { return v.Name == name })
	switch recover := p.is("MCP_RECOVER_KEY_VAULT"); {
	case isDeleted && !recover:
		return []finding{{check: "vault", what: fmt.Sprintf("the vault %s was deleted with an earlier environment of this name and keeps the name until it is purged", name),
			remedy: "azd env set MCP_RECOVER_KEY_VAULT true"}}
	case !isDeleted && recover:
		return []finding{{check: "vault", what: fmt.Sprintf("MCP_RECOVER_KEY_VAULT is set, and there is no deleted vault %s", name),
			remedy: "azd env set MCP_RECOVER_KEY_VAULT false"}}
	}
	return nil
}

// checkDeletedRegistration: Entra keeps a deleted registration for 30 days, and
// its unique name with it (microsoftgraph/msgraph-bicep-types#137).
func (p *program) checkDeletedRegistration(ctx context.Context) []finding {
	name := p.names().site
	const items = "https://graph.microsoft.com/v1.0/directory/deletedItems/"
	var deleted struct {
		Value []struct{ ID, AppID, UniqueName string }
	}
	query := url.Values{"$filter": {"uniqueName eq '" + name + "'"}, "$select": {"id,appId,uniqueName"}, "$count": {"true"}}
	err := p.az(ctx, &deleted, "rest", "--method", "GET", "--headers", "ConsistencyLevel=eventual",
		"--url", items+"microsoft.graph.application?"+query.Encode())
	if err != nil {
		return unknown("registration-name", "deleted app registrations could not be listed")
	}
	for _, app := range deleted.Value {
		if app.UniqueName == name {
			return []finding{{check: "registration-name",
				what: fmt.Sprintf("the app registration %s (%s) was deleted and keeps its unique name for 30 days", app.AppID, name),
				remedy: "az rest --method POST --url " + items + app.ID + "/restore     to use it again, or\n" +
					"az rest --method DELETE --url " + items + app.ID + "           to delete it permanently"}}
		}
	}
	return nil
}

// registering are the roles whose holders may register applications, by
// template id.
// https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference
var registering = []string{
	"cf1c38e5-3621-4004-a7cb-879624dced7c", // Application Developer
	"9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3", // Application Administrator
	"158c047a-c907-4556-b7ef-446551a6b5f7", // Cloud Application Administrator
	"62e90394-69f5-4237-9190-012177145e10", // Global Administrator
}

// checkRegistering asks whether the signed-in user may register applications.
func (p *program) checkRegistering(ctx context.Context) []finding {
	const graph = "https://graph.microsoft.com/v1.0/"
	var policy struct {
		DefaultUserRolePermissions struct{ AllowedToCreateApps *bool }
	}
	err := p.az(ctx, &policy, "rest", "--method", "GET", "--url", graph+"policies/authorizationPolicy")
	if allowed := policy.DefaultUserRolePermissions.AllowedToCreateApps; err != nil || allowed == nil {
		return unknown("registering", "whether you may register applications could not be checked")
	} else if *allowed {
		return nil
	}
	var roles struct {
		Value []struct{ RoleTemplateID string }
	}
	if err := p.az(ctx, &roles, "rest", "--method", "GET", "--url", graph+"me/transitiveMemberOf/microsoft.graph.directoryRole?$select=roleTemplateId"); err != nil {
		return unknown("registering", "your roles in Entra could not be listed")
	}
	for _, r := range roles.Value {
		if slices.Contains(registering, r.RoleTemplateID) {
			return nil
		}
	}
	return []finding{{check: "registering", what: "in this tenant only users with a role for it may register applications, and you have none",
		remedy: "Ask for the Entra role Application Developer, or have an administrator create the registration:\ngo run ./infra/hooks registration"}}
}

var namespaces = regexp.MustCompile(`'(Microsoft\.[A-Za-z]+)/`)

// checkProviders: the rights of whoever deploys, and the resource providers that
// have to be registered.
func (p *program) checkProviders(ctx context.Context) []finding {
	var rights struct {
		Value []permission
	}
	subscription := "https://management.azure.com/subscriptions/" + p.getenv("AZURE_SUBSCRIPTION_ID")
	if err := p.az(ctx, &rights, "rest", "--method", "GET", "--url", subscription+"/providers/Microsoft.Authorization/permissions?api-version=2022-04-01"); err != nil {
		return unknown("rights", "your rights on the subscription could not be listed")
	}
	var findings []finding
	for _, r := range []struct{ action, what, remedy string }{
		{"Microsoft.Resources/deployments/write", "you may not deploy to this subscription", "Ask for the role Contributor on the subscription."},
		{"Microsoft.Authorization/roleAssignments/write", "you may not assign roles, which the server's identity needs",
			"Ask for the role Role Based Access Control Administrator on the subscription, or that an Owner runs azd provision\nonce: azd deploy needs no right to assign roles."},
	} {
		if !allows(rights.Value, r.action) {
			findings = append(findings, finding{check: "rights", what: r.what, remedy: r.remedy})
		}
	}
	var providers []struct{ Namespace, RegistrationState string }
	if err := p.az(ctx, &providers, "provider", "list"); err != nil {
		return append(findings, unknown("providers", "resource providers could not be listed")...)
	}
	needed, err := p.neededProviders()
	if err != nil {
		return append(findings, unknown("providers", err.Error())...)
	}
	for _, provider := range providers {
		namespace := provider.Namespace
		if !needed[strings.ToLower(namespace)] || provider.RegistrationState == "Registered" || provider.RegistrationState == "Registering" {
			continue
		}
		// Resource Manager registers what a template names, for who may do so.
		// It never learns of Microsoft.App, which a virtual network needs.
		if allows(rights.Value, namespace+"/register/action") && !strings.EqualFold(namespace, "Microsoft.App") {
			continue
		}
		findings = append(findings, finding{check: "providers", what: fmt.Sprintf("the resource provider %s is not registered in this subscription (%s)", namespace, provider.RegistrationState),
			remedy: "az provider register --wait --namespace " + namespace + " --subscription " + p.getenv("AZURE_SUBSCRIPTION_ID")})
	}
	return findings
}

// neededProviders are those that the template names, in lower case.
func (p *program) neededProviders() (map[string]bool, error) {
	files, err := filepath.Glob(filepath.Join(p.root, "infra", "modules", "*.bicep"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("the modules of the template cannot be listed: %w", err)
	}
	needed := map[string]bool{"microsoft.app": p.is("MCP_VIRTUAL_NETWORK")}
	for _, file := range files {
		text, err := os.ReadFile(file) //nolint:gosec // our own template
		if err != nil {
			return nil, err
		}
		if filepath.Base(file) == "network.bicep" && !p.is("MCP_VIRTUAL_NETWORK") {
			continue
		}
		for _, m := range namespaces.FindAllStringSubmatch(string(text), -1) {
			needed[strings.ToLower(m[1])] = true
		}
	}
	return needed, nil
}

// permission is one role that somebody has: actions and exceptions, with *.
type permission struct{ Actions, NotActions []string }

// allows says whether one of the roles allows an action.
// https://learn.microsoft.com/azure/role-based-access-control/role-definitions#how-effective-permissions-are-computed
func allows(roles []permission, action string) bool {
	matches := func(patterns []string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			expression := "(?i)^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$"
			ok, err := regexp.MatchString(expression, action)
			return err == nil && ok
		})
	}
	return slices.ContainsFunc(roles, func(r permission) bool { return matches(r.Actions) && !matches(r.NotActions) })
}
