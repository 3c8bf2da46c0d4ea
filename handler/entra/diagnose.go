package entra

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Verdict is the outcome of one check.
type Verdict string

// The verdicts. Unknown is for what cannot be observed from here.
const (
	OK      Verdict = "ok"
	Wrong   Verdict = "wrong"
	Unknown Verdict = "unknown"
)

// Finding is one line for an operator: what was checked, what was seen and, if
// it is wrong, the exact fix.
type Finding struct {
	Check   string
	Verdict Verdict
	Detail  string
	Fix     string
}

// Diagnose checks from outside what it can of the configuration and the app
// registration. It signs nobody in and obtains no token. It may be called at
// any time and returns at least one Finding.
func (c *Client) Diagnose(ctx context.Context) []Finding {
	m, findings, ok := c.diagnoseMetadata(ctx)
	if !ok {
		return findings
	}
	findings = append(findings, c.diagnoseKeys(ctx), c.diagnoseRedirect(ctx, m), c.diagnoseCredential(ctx))
	if cert, ok := c.credential.(*certificateCredential); ok {
		findings = append(findings, cert.diagnose(ctx))
	}
	return append(findings, c.diagnoseVersion())
}

func (c *Client) diagnoseMetadata(ctx context.Context) (metadata, []Finding, bool) {
	const check = "Entra metadata"
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	m, header, err := c.readMetadata(ctx)
	if err != nil {
		return m, []Finding{{check, Wrong, err.Error(),
			"Check ENTRA_TENANT_ID and ENTRA_AUTHORITY, and that this machine can reach " + c.cfg.Authority + "."}}, false
	}
	detail := "tenant " + m.tenantID()
	if m.tenantID() == "" {
		detail = "every tenant of " + c.cfg.Tenant + "; allowed: " + strings.Join(c.cfg.AllowedTenants, ", ")
	}
	findings := []Finding{{check, OK, detail, ""}, c.diagnoseClock(header)}
	if own := m.tenantID(); own != "" && !c.allows(m, own) {
		findings = append(findings, Finding{"allowed tenants", Wrong, "nobody can sign in: the tenant " + own + " is not among the allowed ones",
			"Add it to ENTRA_ALLOWED_TENANTS, or leave that empty."})
	}
	return m, findings, true
}

func (c *Client) diagnoseClock(header http.Header) Finding {
	const check = "clock"
	theirs, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return Finding{check, Unknown, "the answer had no date", ""}
	}
	skew := c.deps.Now().Sub(theirs).Round(time.Second)
	detail := fmt.Sprintf("%s from Entra's", skew)
	if skew.Abs() > leeway {
		return Finding{check, Wrong, detail, "Set this machine's clock; tokens are refused at more than " + leeway.String() + "."}
	}
	return Finding{check, OK, detail, ""}
}

func (c *Client) diagnoseKeys(ctx context.Context) Finding {
	const check = "Entra signing keys"
	set, err := c.keys.refresh(ctx)
	if err != nil {
		return Finding{check, Wrong, err.Error(), "Check that this machine can reach " + c.cfg.Authority + "."}
	}
	return Finding{check, OK, strconv.Itoa(len(set)) + " keys", ""}
}

// bogusCode is no code of Entra's, whose codes are long and start otherwise.
const bogusCode = "0.diagnose"

// diagnoseCredential redeems a code that cannot exist. A refusal of the code
// (invalid_grant) means that the credential met no objection; a refusal of the
// client names what is wrong with it. Nothing documents in which order Entra
// looks at the two, so only the second is proof. A client_credentials request
// would prove both, but it obtains a token that nobody needs and fails at the
// endpoints that stand for many tenants.
func (c *Client) diagnoseCredential(ctx context.Context) Finding {
	check := "credential (" + c.credential.setting() + ")"
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	verifier, err := newUUID(c.deps.Rand)
	if err != nil {
		return Finding{check, Unknown, err.Error(), ""}
	}
	_, err = c.requestTokens(ctx, c.cfg.Tenant, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {bogusCode},
		"code_verifier": {verifier + verifier},
		"redirect_uri":  {c.cfg.RedirectURI},
		"scope":         {strings.Join(c.scopes, " ")},
	})
	if err == nil {
		return Finding{check, Unknown, "Entra redeemed a code that does not exist", "Check ENTRA_AUTHORITY."}
	}
	f := AsFailure(err)
	switch {
	case f.code == "invalid_grant" || slices.Contains(malformedCode, f.AADSTS):
		return Finding{check, OK, "Entra raised no objection", ""}
	case f.Kind == Misconfigured:
		return Finding{check, Wrong, f.Description(), f.NextStep}
	}
	return Finding{check, Unknown, f.Description(), f.NextStep}
}

// malformedCode are the numbers for a code that cannot be read, which come
// with invalid_request at times.
var malformedCode = []int{90023, 9002313}

// diagnose reports the file and when its certificate ends.
func (c *certificateCredential) diagnose(ctx context.Context) Finding {
	const check, warnBefore = "certificate", 14 * 24 * time.Hour
	cert, err := c.current(ctx)
	if err != nil {
		return Finding{check, Wrong, err.Error(), "ENTRA_CLIENT_CERTIFICATE_PATH must name " + certificateFile}
	}
	detail := "valid until " + cert.expires.UTC().Format(time.DateOnly)
	if cert.expires.Sub(c.deps.Now()) < warnBefore {
		return Finding{check, Wrong, detail, "Renew it: upload the new certificate to the app registration, then replace the file. No restart is needed."}
	}
	return Finding{check, OK, detail, ""}
}

// diagnoseVersion reports what sign-ins since the start have shown.
func (c *Client) diagnoseVersion() Finding {
	const check = "access token version"
	switch version, _ := c.apiTokenVersion.Load().(string); {
	case c.cfg.APIScope == "":
		return Finding{check, OK, "no API scope is configured", ""}
	case version == "":
		return Finding{check, Unknown, "seen at the first sign-in", ""}
	case version != "2.0":
		return Finding{check, Wrong, "version " + version, "Set " + tokenVersionSetting}
	}
	return Finding{check, OK, "version 2.0", ""}
}
