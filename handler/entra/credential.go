package entra

import (
	"context"
	"net/url"
)

// credential proves to the token endpoint that we are the app registration.
type credential interface {
	// authenticate adds the proof to a token request. Its errors are *Failure.
	authenticate(ctx context.Context, form url.Values, tokenEndpoint string) error
	// setting is the environment variable an operator mends it with.
	setting() string
}

func newCredential(cfg Config, deps Deps) (credential, error) {
	switch {
	case cfg.Secret != "":
		return secretCredential(cfg.Secret), nil
	case cfg.CertificatePath != "":
		return newCertificateCredential(cfg, deps)
	}
	return newIdentityCredential(cfg, deps)
}

// jwtBearer is the client_assertion_type of RFC 7523 §2.2.
const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func setAssertion(form url.Values, assertion string) {
	form.Set("client_assertion_type", jwtBearer)
	form.Set("client_assertion", assertion)
}

// explainCredential names the setting in use where Entra only says that client
// authentication failed.
func (c *Client) explainCredential(f *Failure) {
	if f.Kind == Misconfigured && f.code == "invalid_client" && explanations[f.AADSTS].NextStep == "" {
		f.NextStep = "The administrator checks " + c.credential.setting() + "."
	}
}
