package clients

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"slices"
	"strings"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/observe"
	"entramcp/handler/store"
)

// Registration is the answer to a registration (RFC 7591 §3.2.1), to be sent
// with status 201: everything that was registered, which can be less than what
// was asked for.
type Registration struct {
	ClientID string `json:"client_id"`
	IssuedAt int64  `json:"client_id_issued_at"`
	Secret   Secret `json:"-"`
	// SecretExpiresAt is when the registration expires unless it is used, in Unix
	// seconds. Without a secret it is absent.
	SecretExpiresAt int64 `json:"client_secret_expires_at,omitempty"`
	metadata
}

// MarshalJSON writes the body of the response, with the secret.
func (r Registration) MarshalJSON() ([]byte, error) {
	type answer Registration // without this method
	return json.Marshal(struct {
		answer
		Secret string `json:"client_secret,omitempty"`
	}{answer(r), r.Secret.Reveal()})
}

// LogValue names the client and leaves out the secret.
func (r Registration) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", r.ClientID), slog.String("name", r.Name))
}

// Register registers the client that the JSON in body describes (RFC 7591 §3.1).
// contentType is the header's; it must be application/json, which a web page of
// another origin cannot send without a preflight. Unknown metadata is ignored,
// defaults are filled in, lists are cut to what is supported, and redirect URIs that
// the policy refuses are left out as long as one remains. The registered scope does
// not limit later requests.
//
// A registration without a secret is addressed by its content: registering the
// same metadata again yields the same client. One with a secret is always new.
// Errors: invalid_request, invalid_redirect_uri, invalid_client_metadata,
// slow_down, temporarily_unavailable.
func (r *Registry) Register(ctx context.Context, contentType string, body io.Reader) (Registration, error) {
	if media, _, err := mime.ParseMediaType(contentType); err != nil || media != "application/json" {
		return Registration{}, oauth.New(oauth.InvalidRequest, "A registration must have the Content-Type application/json (RFC 7591 section 3.1).")
	}
	if wait := r.registrations.Take(observe.ClientKey(ctx)); wait > 0 {
		return Registration{}, slowDown("There are too many registrations. Try again in a moment.", wait)
	}
	f, err := readFields(body)
	if err != nil {
		return Registration{}, oauth.New(oauth.InvalidClientMetadata, "The registration is refused: "+err.Error()+".")
	}
	m, err := f.common(r.policy)
	if err != nil {
		return Registration{}, err
	}
	if err := r.readAuthMethod(&m, f); err != nil {
		return Registration{}, err
	}
	if m.AuthMethod == AuthSecretPost || m.AuthMethod == AuthSecretBasic {
		return r.registerSecret(ctx, m)
	}
	return r.registerContent(ctx, m)
}

// readAuthMethod sets how the client authenticates. If it does not say, a native app
// gets none, because it could not keep a secret (RFC 8252 §8.5), and any other client
// the default of RFC 7591 §2. A client that asks for a secret gets one, whatever its
// application_type.
func (r *Registry) readAuthMethod(m *metadata, f fields) error {
	m.AuthMethod = f.text("token_endpoint_auth_method", maxText)
	if (m.AuthMethod == "" || m.AuthMethod == AuthNone) && needsSecret(m.RedirectURIs) {
		m.AuthMethod = AuthSecretPost
	}
	switch m.AuthMethod {
	case "":
		m.AuthMethod = AuthSecretBasic
		if m.ApplicationType == "native" {
			m.AuthMethod = AuthNone
		}
	case AuthNone, AuthSecretPost, AuthSecretBasic:
	case AuthPrivateKeyJWT:
		if err := m.readKeys(f, r.documents.permits); err != nil {
			return oauth.New(oauth.InvalidClientMetadata, "The registration is refused: "+err.Error()+".")
		}
		if !m.hasKeys() {
			return oauth.New(oauth.InvalidClientMetadata, "private_key_jwt needs jwks or jwks_uri.")
		}
	default:
		return oauth.New(oauth.InvalidClientMetadata,
			"token_endpoint_auth_method must be none, client_secret_post, client_secret_basic or private_key_jwt.")
	}
	return nil
}

// needsSecret reports whether all redirect URIs are those of Microsoft 365, which
// cannot use a registration without a client_secret although it does not ask for one.
func needsSecret(redirects []string) bool {
	return !slices.ContainsFunc(redirects, func(uri string) bool { return !strings.HasPrefix(uri, "https://teams.microsoft.com/") })
}

// registerContent registers a client without a secret under an id that is the
// hash of its metadata. SHA-256 keeps anyone from finding other metadata for
// the id of a client that users have approved.
func (r *Registry) registerContent(ctx context.Context, m metadata) (Registration, error) {
	canonical, err := json.Marshal(m)
	if err != nil {
		return Registration{}, fmt.Errorf("encode client metadata: %w", err)
	}
	sum := sha256.Sum256(canonical)
	id := publicPrefix + base64.RawURLEncoding.EncodeToString(sum[:])
	if err := r.refuse(ctx, id, m.RedirectURIs); err != nil {
		return Registration{}, err
	}
	rec := record{Metadata: m, IssuedAt: r.now().Unix()}
	// A round fails only if somebody else writes or removes the same row meanwhile;
	// that does not happen three times by chance.
	for range 3 {
		c, err := r.renew(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			c, err = r.insert(ctx, id, rec)
		}
		switch {
		case err == nil:
			return c.registration(Secret{}), nil
		case !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict):
			return Registration{}, registrationFailed(err)
		}
	}
	return Registration{}, registrationFailed(store.ErrConflict)
}

// renew reads an existing record and, if it would soon expire unused or has expired
// and is not yet swept, extends it. It reads the table and not the cache, because the
// registration must exist for all instances.
func (r *Registry) renew(ctx context.Context, id string) (Client, error) {
	c, err := r.read(ctx, id)
	if err != nil {
		return Client{}, err
	}
	left := c.row.Expires.Sub(r.now())
	if left <= unusedLife/2 {
		if life := r.newLife(); left <= life/2 {
			return r.extend(ctx, c, life)
		}
	}
	r.cacheClient(c)
	return c, nil
}

func (r *Registry) registerSecret(ctx context.Context, m metadata) (Registration, error) {
	if err := r.refuse(ctx, "", m.RedirectURIs); err != nil {
		return Registration{}, err
	}
	secret := newSecret()
	c, err := r.insert(ctx, secretPrefix+oauth.RandomID(), record{Metadata: m, IssuedAt: r.now().Unix(), Secret: hashSecret(secret)})
	if err != nil {
		return Registration{}, registrationFailed(err)
	}
	return c.registration(secret), nil
}

func (r *Registry) insert(ctx context.Context, id string, rec record) (Client, error) {
	value, err := rec.encode()
	if err != nil {
		return Client{}, err
	}
	row := store.Row{Partition: partition(id), Key: id, Expires: expiry(r.now(), r.newLife()), Value: value}
	if row.ETag, err = r.table.Insert(ctx, row); err != nil {
		return Client{}, err
	}
	c, err := r.decode(row)
	if err == nil {
		r.cacheClient(c)
		observe.Audit(ctx, r.log, observe.Event{Name: observe.ClientRegistered, Client: c.Audit(c.RedirectURIs[0])})
	}
	return c, err
}

// newLife is how long a record that is written now lives if it is not used.
func (r *Registry) newLife() time.Duration {
	if r.lasting.AllowN(r.now(), 1) {
		return unusedLife
	}
	return floodLife
}

func slowDown(description string, wait time.Duration) *oauth.Error {
	return &oauth.Error{Code: oauth.SlowDown, Description: description, RetryAfter: wait}
}

func registrationFailed(err error) error {
	if _, ok := errors.AsType[*oauth.Error](err); ok {
		return err
	}
	return oauth.Unavailable("The registration could not be stored. Try again in a moment.", 2*time.Second, err)
}

func (c Client) registration(secret Secret) Registration {
	answer := Registration{ClientID: c.ID, IssuedAt: c.record.IssuedAt, Secret: secret, metadata: c.registered}
	if !secret.IsZero() {
		answer.SecretExpiresAt = c.row.Expires.Unix()
	}
	return answer
}
