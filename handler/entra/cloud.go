package entra

import (
	"net/url"
	"strings"
)

// The sign-in hosts of the national clouds.
// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
const (
	PublicCloud = "https://login.microsoftonline.com"
	USGovCloud  = "https://login.microsoftonline.us"
	ChinaCloud  = "https://login.partner.microsoftonline.cn"
)

// exchangeAudience is the audience of a managed identity's token that Entra
// accepts as a client assertion; each cloud has its own.
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
func exchangeAudience(authority string) string {
	switch authority {
	case USGovCloud:
		return "api://AzureADTokenExchangeUSGov"
	case ChinaCloud:
		return "api://AzureADTokenExchangeChina"
	}
	return "api://AzureADTokenExchange"
}

// consentURL is the page on which an administrator consents for a whole
// tenant. The endpoint refuses "common" and "consumers": personal accounts
// have no administrator.
// https://learn.microsoft.com/entra/identity-platform/v2-admin-consent
func consentURL(cfg Config, scopes []string) string {
	tenant := cfg.Tenant
	if tenant == common || tenant == consumers {
		tenant = organizations
	}
	return cfg.Authority + "/" + tenant + "/v2.0/adminconsent?" + url.Values{
		"client_id":    {cfg.ClientID},
		"scope":        {strings.Join(scopes, " ")},
		"redirect_uri": {cfg.RedirectURI},
	}.Encode()
}
