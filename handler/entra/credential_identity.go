package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"golang.org/x/sync/singleflight"
)

// renewBefore is how long before its end azidentity is asked for another
// token. They live for most of a day; azidentity answers from its own cache as
// long as that is sound.
const renewBefore = time.Hour

// identityCredential uses a managed identity's token as our client assertion.
// The app registration trusts the identity by a federated credential, so that
// no secret exists.
// https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity
type identityCredential struct {
	source  azcore.TokenCredential
	scope   string
	now     func() time.Time
	timeout time.Duration

	flight singleflight.Group
	mu     sync.Mutex
	token  azcore.AccessToken
}

func newIdentityCredential(cfg Config, deps Deps) (credential, error) {
	source, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{
		ID: azidentity.ClientID(cfg.ManagedIdentityClientID),
		ClientOptions: policy.ClientOptions{
			Transport: deps.HTTPClient,
			// The caller's deadline is near, and browsers and clients repeat:
			// azidentity's own six attempts would outlast them.
			Retry: policy.RetryOptions{MaxRetries: 1, RetryDelay: 200 * time.Millisecond, MaxRetryDelay: time.Second},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("ENTRA_MANAGED_IDENTITY_CLIENT_ID: %w", err)
	}
	return &identityCredential{
		source: source, scope: exchangeAudience(cfg.Authority) + "/.default", now: deps.Now, timeout: cfg.Timeout,
	}, nil
}

func (*identityCredential) setting() string { return "ENTRA_MANAGED_IDENTITY_CLIENT_ID" }

func (c *identityCredential) authenticate(ctx context.Context, form url.Values, _ string) error {
	token, err := c.current(ctx)
	if err != nil {
		return identityFailure(err)
	}
	setAssertion(form, token)
	return nil
}

// current is the identity's token. azidentity caches too, but gives up a token
// five minutes before its end even if there is no other; here it serves to the
// end while the identity endpoint is down.
func (c *identityCredential) current(ctx context.Context) (string, error) {
	c.mu.Lock()
	held := c.token
	c.mu.Unlock()
	left := held.ExpiresOn.Sub(c.now())
	if held.Token != "" && left > renewBefore {
		return held.Token, nil
	}
	fresh, err := c.renew(ctx)
	if err != nil && held.Token != "" && left > 0 {
		return held.Token, nil
	}
	return fresh, err
}

func (c *identityCredential) renew(ctx context.Context) (string, error) {
	done := c.flight.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()
		token, err := c.source.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{c.scope}})
		if err != nil {
			return "", err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.token = token
		return token.Token, nil
	})
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case r := <-done:
		if r.Err != nil {
			return "", r.Err
		}
		return r.Val.(string), nil
	}
}

// identityFailure tells an identity that does not exist from an endpoint that
// is slow: the platform answers 400 for the former.
func identityFailure(err error) *Failure {
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
