package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"entramcp/handler/config"
	"entramcp/handler/entra"
)

// maxSkew is the clock difference to Entra from which on tokens are refused.
const maxSkew = time.Minute

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
		return Unknown(check, "the answer had no date", "")
	}
	skew := now.Sub(d.Date).Round(time.Second)
	detail := fmt.Sprintf("%s from Entra's", skew)
	if skew.Abs() > maxSkew {
		return Wrong(check, detail, "Set this machine's clock; tokens are refused at more than "+maxSkew.String()+".")
	}
	return OK(check, detail)
}

func redirect(ctx context.Context, c *entra.Client, uri string) Finding {
	const check = "redirect URI"
	var refused *entra.Failure
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
		return OK(check, "Entra raised no objection")
	}
	f := entra.AsFailure(err)
	if f.Kind == entra.Misconfigured {
		return Wrong(check, f.Description(), f.NextStep)
	}
	return Unknown(check, f.Description(), f.NextStep)
}

// renewBefore is how long before its end a certificate should be replaced.
const renewBefore = 14 * 24 * time.Hour

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
	case expires.Sub(now) < renewBefore:
		return Wrong(check, detail, "Renew it: upload the new certificate to the app registration, then replace the file. No restart is needed."), true
	}
	return OK(check, detail), true
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
