package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"entramcp/handler/config"
	"entramcp/handler/entra"
	"entramcp/handler/warnings"
)

// Entra checks what cfg says about Entra and the app registration, and what
// can be seen of the latter from outside.
func Entra(ctx context.Context, cfg config.Entra, c *entra.Client, redirectURI string, now func() time.Time) []Finding {
	d, err := c.Discover(ctx)
	if err != nil {
		return []Finding{Wrong("Entra metadata", err.Error(),
			"Check ENTRA_TENANT_ID and ENTRA_AUTHORITY, and that this machine can reach "+cfg.Authority+".")}
	}
	findings := []Finding{tenant(cfg, d), clock(d, now()), OK("Entra signing keys", fmt.Sprintf("%d keys", d.Keys))}
	if own := d.TenantID; own != "" && !c.Admits(d, own) {
		findings = append(findings, Wrong("allowed tenants", "nobody can sign in: the tenant "+own+" is not among the allowed ones",
			"Add it to ENTRA_ALLOWED_TENANTS, or leave that empty."))
	}
	findings = append(findings, redirect(ctx, c, redirectURI), credential(ctx, c))
	if f, ok := certificate(ctx, c, now()); ok {
		findings = append(findings, f)
	}
	if f, ok := clientSecret(cfg, now()); ok {
		findings = append(findings, f)
	}
	if d.External {
		findings = append(findings, external(cfg))
	}
	if f, ok := callers(cfg); ok {
		findings = append(findings, f)
	}
	return append(findings, tokenVersion(cfg, c))
}

func tenant(cfg config.Entra, d entra.Discovery) Finding {
	detail := "tenant " + d.TenantID
	if d.TenantID == "" {
		detail = "every tenant of " + cfg.TenantID + "; allowed: " + strings.Join(cfg.AllowedTenants, ", ")
	}
	return OK("Entra metadata", detail)
}

func clock(d entra.Discovery, now time.Time) Finding {
	const check = "clock"
	if d.Date.IsZero() {
		return Unknown(check, "the answer had no Date header", "")
	}
	skew := now.Sub(d.Date).Round(time.Second)
	detail := fmt.Sprintf("%s from Entra's", skew)
	if skew.Abs() > warnings.ClockLimit {
		return Wrong(check, detail, "Set this machine's clock; tokens are refused at more than "+warnings.ClockLimit.String()+".")
	}
	return OK(check, detail)
}

func redirect(ctx context.Context, c *entra.Client, uri string) Finding {
	const check = "redirect URI"
	var refused *entra.Error
	switch err := c.ProbeRedirect(ctx); {
	case err == nil:
		return OK(check, uri+" is registered")
	case errors.As(err, &refused) && refused.Kind == entra.Misconfigured:
		return Wrong(check, fmt.Sprintf("%s (AADSTS%d)", refused.Summary, refused.AADSTS), refused.NextStep+" The URL is "+uri+".")
	default:
		return Unknown(check, err.Error(), "")
	}
}

func credential(ctx context.Context, c *entra.Client) Finding {
	check := "credential (" + c.CredentialSetting() + ")"
	err := c.ProbeCredential(ctx)
	if err == nil {
		return OK(check, "Entra did not reject it")
	}
	e := entra.AsError(err)
	if e.Kind == entra.Misconfigured {
		return Wrong(check, e.Description(), e.NextStep)
	}
	return Unknown(check, e.Description(), e.NextStep)
}

// certificate reports when the certificate in use ends, if there is one.
func certificate(ctx context.Context, c *entra.Client, now time.Time) (Finding, bool) {
	const check = "certificate"
	expires, ok, err := c.CertificateExpiry(ctx)
	detail := "valid until " + expires.UTC().Format(time.DateOnly)
	switch {
	case !ok:
		return Finding{}, false
	case err != nil:
		return Wrong(check, err.Error(), "ENTRA_CLIENT_CERTIFICATE_PATH must name "+entra.CertificateFile), true
	}
	return judged(check, detail, warnings.Facts{Now: now, CertificateEnds: expires}), true
}

// tokenVersion reports what sign-ins since the start have shown.
func tokenVersion(cfg config.Entra, c *entra.Client) Finding {
	const check = "access token version"
	switch version := c.APITokenVersion(); {
	case cfg.APIScope == "":
		return OK(check, "no API scope is configured")
	case version == "":
		return Unknown(check, "seen at the first sign-in", "")
	case version != "2.0":
		return Wrong(check, "version "+version, "Set "+entra.TokenVersionSetting)
	}
	return OK(check, "version 2.0")
}

// clientSecret reports when the client secret ends, if the operator has said.
func clientSecret(cfg config.Entra, now time.Time) (Finding, bool) {
	const check = "client secret"
	ends := cfg.SecretExpires
	detail := "valid until " + ends.UTC().Format(time.DateOnly)
	switch {
	case cfg.ClientSecret.IsZero():
		return Finding{}, false
	case ends.IsZero():
		return Unknown(check, "its expiry date is not known, and after that day nobody can sign in",
			"Write the date in ENTRA_CLIENT_SECRET_EXPIRES: the log then warns 30 days before."), true
	}
	return judged(check, detail, warnings.Facts{Now: now, SecretEnds: ends}), true
}

// external says what is different in an external tenant (External ID).
func external(cfg config.Entra) Finding {
	const check = "external tenant"
	if cfg.ManagedIdentityClientID != "" {
		return Wrong(check, "the managed identity is of another tenant than the app registration, which cannot trust it",
			"Set ENTRA_CLIENT_SECRET or ENTRA_CLIENT_CERTIFICATE_PATH, and remove ENTRA_MANAGED_IDENTITY_CLIENT_ID.")
	}
	return OK(check, "users cannot consent themselves, so an administrator grants consent once; "+
		"a sign-in is said to end after 12 hours without use, so that users of clients that are seldom used sign in again (AADSTS700082)")
}

// callers says who may call with Entra's own tokens.
func callers(cfg config.Entra) (Finding, bool) {
	const check = "callers with Entra's tokens"
	var who []string
	if cfg.AppRole != "" {
		who = append(who, "applications with the app role "+cfg.AppRole)
	}
	if len(cfg.Clients) > 0 {
		who = append(who, "users through "+strings.Join(cfg.Clients, ", "))
	}
	if slices.Contains(cfg.Clients, tokenStore) {
		who = append(who, "the token store of Microsoft 365, which represents every plugin of the tenant")
	}
	return OK(check, strings.Join(who, "; ")), len(who) > 0
}

// tokenStore is the application of Microsoft's that asks for tokens on behalf
// of plugins with single sign-on.
const tokenStore = "ab3be6b7-f5df-413d-ac2d-abf1e3fd9c0b"
