package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// credential authenticates this server, as the app registration, at the token
// endpoint.
type credential interface {
	// authenticate adds the proof to a token request. Its errors are *Error.
	authenticate(ctx context.Context, form url.Values, tokenEndpoint string) error
	// setting is the environment variable that names it.
	setting() string
}

func newCredential(cfg Config, cloud Cloud, deps Deps) (credential, error) {
	switch {
	case !cfg.Secret.IsZero():
		return secretCredential{cfg.Secret}, nil
	case cfg.CertificatePath != "":
		// The file is not read yet: it may be mounted after the process starts.
		return &certificateCredential{path: cfg.CertificatePath, password: cfg.CertificatePassword, clientID: cfg.ClientID, deps: deps}, nil
	}
	return newIdentityCredential(cfg.ManagedIdentityClientID, cloud, deps)
}

// jwtBearer is the client_assertion_type of RFC 7523 §2.2.
const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

func setAssertion(form url.Values, assertion string) {
	form.Set("client_assertion_type", jwtBearer)
	form.Set("client_assertion", assertion)
}

// nameCredential adds the setting in use if Entra only says that client
// authentication failed.
func (c *Client) nameCredential(e *Error) {
	if e.Kind == Misconfigured && e.code == "invalid_client" && explanations[e.AADSTS].NextStep == "" {
		e.NextStep = "The administrator checks " + c.credential.setting() + "."
	}
}

func credentialUnusable(summary, next string, cause error) *Error {
	return refused(summary, next, Misconfigured, cause)
}

// secretCredential is a client secret, sent in the body (RFC 6749 §2.3.1) as
// Entra documents it.
type secretCredential struct{ Secret }

func (s secretCredential) authenticate(_ context.Context, form url.Values, _ string) error {
	form.Set("client_secret", s.Reveal())
	return nil
}

func (secretCredential) setting() string { return "ENTRA_CLIENT_SECRET" }

// identityCredential uses a managed identity's token as our client assertion. The app
// registration trusts the identity through a federated credential, so there is no
// secret. azidentity caches the token and renews it before it expires.
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
type identityCredential struct {
	source azcore.TokenCredential
	scope  string
}

func newIdentityCredential(clientID string, cloud Cloud, deps Deps) (credential, error) {
	source, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ID: azidentity.ClientID(clientID),
		ClientOptions: policy.ClientOptions{
			Transport: deps.HTTPClient,
			// azidentity's default of six attempts would take longer than the
			// caller's deadline, and browsers and clients repeat.
			Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: time.Second},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("ENTRA_MANAGED_IDENTITY_CLIENT_ID: %w", err)
	}
	return identityCredential{source: source, scope: cloud.ExchangeAudience + "/.default"}, nil
}

func (identityCredential) setting() string { return "ENTRA_MANAGED_IDENTITY_CLIENT_ID" }

func (c identityCredential) authenticate(ctx context.Context, form url.Values, _ string) error {
	token, err := c.source.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.scope}})
	if err != nil {
		return identityError(err)
	}
	setAssertion(form, token.Token)
	return nil
}

// identityError distinguishes an identity that does not exist, for which the platform
// answers 400, from an endpoint that is slow.
func identityError(err error) *Error {
	var refusal *azidentity.AuthenticationFailedError
	if errors.As(err, &refusal) && refusal.RawResponse != nil {
		switch status := refusal.RawResponse.StatusCode; {
		case status == http.StatusTooManyRequests || status >= 500:
			return unreachable("managed identity", err)
		}
		return credentialUnusable("The managed identity this server signs in with gave no token.",
			"The administrator assigns the user-assigned identity to this app and checks ENTRA_MANAGED_IDENTITY_CLIENT_ID.", err)
	}
	return unreachable("managed identity", err)
}
