package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/oauth"
)

var (
	guid   = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	domain = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?\.)+[a-zA-Z]{2,}$`)
)

// consumersTenant is the tenant that holds all personal Microsoft accounts.
const consumersTenant = "9188040d-6c67-4c5b-b112-36a304b66dad"

func (r *reader) entra(c *Config) {
	e := &c.Entra
	*e = Entra{
		TenantID:                r.text("ENTRA_TENANT_ID"),
		AllowedTenants:          r.list("ENTRA_ALLOWED_TENANTS"),
		ClientID:                r.text("ENTRA_CLIENT_ID"),
		APIScope:                r.text("ENTRA_API_SCOPE"),
		ClientSecret:            r.secret("ENTRA_CLIENT_SECRET"),
		CertificatePath:         r.text("ENTRA_CLIENT_CERTIFICATE_PATH"),
		CertificatePassword:     r.secret("ENTRA_CLIENT_CERTIFICATE_PASSWORD"),
		ManagedIdentityClientID: r.text("ENTRA_MANAGED_IDENTITY_CLIENT_ID"),
		Prompt:                  r.choice("ENTRA_PROMPT", "select_account", "login", "none"),
		DomainHint:              r.text("ENTRA_DOMAIN_HINT"),
	}
	if d := e.DomainHint; d != "" && d != "organizations" && d != "consumers" && !domain.MatchString(d) {
		r.bad("ENTRA_DOMAIN_HINT", fmt.Sprintf("is %q", d), "Write a domain such as contoso.com, organizations or consumers")
	}
	r.tenants(e)
	switch {
	case e.ClientID == "":
		r.bad("ENTRA_CLIENT_ID", "is not set", "Write the Application (client) ID of the app registration")
	case !guid.MatchString(e.ClientID):
		r.bad("ENTRA_CLIENT_ID", fmt.Sprintf("is %q, which is not a GUID", e.ClientID), "Write the Application (client) ID of the app registration")
	}
	r.credential(e)
	r.authority(e)
	r.callers(e)
	if s := e.APIScope; s != "" && (strings.Contains(s, " ") || !strings.Contains(s, "/") || strings.HasSuffix(s, "/.default")) {
		// An unqualified scope would be taken for one of Microsoft Graph's.
		r.bad("ENTRA_API_SCOPE", fmt.Sprintf("is %q", s), "Write one scope in full, such as "+e.ClientID+"/mcp.access")
	}
}

func (r *reader) tenants(e *Entra) {
	const name = "ENTRA_TENANT_ID"
	multi := false
	switch t := strings.ToLower(e.TenantID); {
	case t == "":
		r.bad(name, "is not set", "Write the Directory (tenant) ID, a domain of the tenant, organizations or common")
		return
	case t == "organizations", t == "common":
		e.TenantID, multi = t, true
	case t == "consumers":
		e.TenantID = t
		e.AllowedTenants = []string{consumersTenant}
	case !guid.MatchString(t) && !domain.MatchString(t):
		r.bad(name, fmt.Sprintf("is %q", e.TenantID), "Write the Directory (tenant) ID, a domain of the tenant, organizations or common")
		return
	}
	if multi && len(e.AllowedTenants) == 0 {
		r.bad("ENTRA_ALLOWED_TENANTS", fmt.Sprintf("is not set, and %s=%s would allow every tenant", name, e.TenantID),
			"Write the IDs of the tenants to allow, or * to allow all of them")
	}
	for i, t := range e.AllowedTenants {
		if t != "*" && !guid.MatchString(t) {
			r.bad("ENTRA_ALLOWED_TENANTS", fmt.Sprintf("names %q, which is not a tenant ID", t), "Write GUIDs separated by commas, or *")
		}
		e.AllowedTenants[i] = strings.ToLower(t)
	}
	if slices.Contains(e.AllowedTenants, "*") && len(e.AllowedTenants) > 1 {
		r.bad("ENTRA_ALLOWED_TENANTS", "has * beside other values", "Write either * or the IDs")
	}
}

func (r *reader) credential(e *Entra) {
	var set []string
	for name, v := range map[string]string{
		"ENTRA_CLIENT_SECRET":              e.ClientSecret.Reveal(),
		"ENTRA_CLIENT_CERTIFICATE_PATH":    e.CertificatePath,
		"ENTRA_MANAGED_IDENTITY_CLIENT_ID": e.ManagedIdentityClientID,
	} {
		if v != "" {
			set = append(set, name)
		}
	}
	slices.Sort(set)
	switch len(set) {
	case 0:
		r.bad("ENTRA_CLIENT_SECRET", "is not set, and neither is another credential",
			"Set one of ENTRA_CLIENT_SECRET, ENTRA_CLIENT_CERTIFICATE_PATH and ENTRA_MANAGED_IDENTITY_CLIENT_ID")
	case 1:
	default:
		r.bad(set[0], "and "+strings.Join(set[1:], ", ")+" are set together", "Keep one of them")
	}
	if e.ManagedIdentityClientID != "" && !guid.MatchString(e.ManagedIdentityClientID) {
		r.bad("ENTRA_MANAGED_IDENTITY_CLIENT_ID", fmt.Sprintf("is %q, which is not a GUID", e.ManagedIdentityClientID),
			"Write the client ID of the user-assigned identity")
	}
	if day := r.text("ENTRA_CLIENT_SECRET_EXPIRES"); day != "" {
		var err error
		if e.SecretExpires, err = time.Parse(time.DateOnly, day); err != nil {
			r.bad("ENTRA_CLIENT_SECRET_EXPIRES", fmt.Sprintf("is %q", day), "Write the day as 2027-05-31, as the app registration shows it under Certificates & secrets")
		}
	}
}

// callers reads who may call with Entra's own tokens.
func (r *reader) callers(e *Entra) {
	if r.choice("ENTRA_APP_CALLERS", "off", "roles") == "roles" {
		e.AppRole = entra.InvokeRole
	}
	e.ResourceURI = r.choice("ENTRA_RESOURCE_URI", "off", "on") == "on"
	for _, id := range r.list("ENTRA_CLIENTS") {
		switch {
		case !guid.MatchString(id):
			r.bad("ENTRA_CLIENTS", fmt.Sprintf("names %q, which is not a GUID", id), "Write application (client) IDs with commas between them")
		case strings.EqualFold(id, e.ClientID):
			r.bad("ENTRA_CLIENTS", "names this server's own application, whose tokens are for its sign-ins only", "Remove it")
		}
		e.Clients = append(e.Clients, strings.ToLower(id))
	}
}

func (r *reader) authority(e *Entra) {
	text := r.textOr("ENTRA_AUTHORITY", "https://login.microsoftonline.com")
	cloud, err := entra.ParseAuthority(text)
	if err != nil {
		r.bad("ENTRA_AUTHORITY", fmt.Sprintf("is %q: %v", text, err), "Write an origin such as https://login.microsoftonline.us")
		return
	}
	e.Authority = cloud.Authority
	e.GraphURL = strings.TrimSuffix(r.textOr("GRAPH_URL", cloud.GraphURL), "/")
	if g, err := url.Parse(e.GraphURL); err != nil || g.Host == "" || (g.Scheme != "https" && !oauth.Loopback(g.Hostname())) {
		r.bad("GRAPH_URL", fmt.Sprintf("is %q", e.GraphURL), "Write an origin such as https://graph.microsoft.com")
	}
}
