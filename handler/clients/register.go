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
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// Registration is the answer to a registration (RFC 7591 §3.2.1), to be sent
// with status 201: everything that was registered, which can be less than what
// was asked for.
type Registration struct {
	ClientID string `json:"client_id"`
	IssuedAt int64  `json:"client_id_issued_at"`
	Secret   Secret `json:"client_secret,omitempty"`
	// SecretExpiresAt is present, and 0 for never, exactly if Secret is.
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"`
	metadata
}

// MarshalJSON is the answer on the wire, the one place that shows the secret.
func (r Registration) MarshalJSON() ([]byte, error) {
	type answer Registration // without this method
	return json.Marshal(struct {
		answer
		Secret string `json:"client_secret,omitempty"`
	}{answer(r), string(r.Secret)})
}

// LogValue names the client and leaves out the secret.
func (r Registration) LogValue() slog.Value {
	return slog.GroupValue(slog.String("client_id", r.ClientID), slog.String("name", r.Name))
}

// Register registers the client that the JSON in body describes (RFC 7591
// §3.1). Unknown metadata is ignored, defaults are filled in, lists are cut to
// what is supported, and redirect URIs that the policy refuses are left out as
// long as one remains. The registered scope does not limit later requests.
//
// A registration without a secret is addressed by its content: registering the
// same metadata again yields the same client. One with a secret is always new.
// Errors: invalid_redirect_uri, invalid_client_metadata, slow_down,
// temporarily_unavailable.
func (r *Registry) Register(ctx context.Context, body io.Reader) (Registration, error) {
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

// readAuthMethod sets how the client authenticates. A native app that does not
// say could keep no secret (RFC 8252 §8.5); any other client gets the default
// of RFC 7591 §2.
func (r *Registry) readAuthMethod(m *metadata, f fields) error {
	m.AuthMethod = f.text("token_endpoint_auth_method", maxText)
	switch m.AuthMethod {
	case "":
		m.AuthMethod = AuthSecretBasic
		if m.ApplicationType == "native" {
			m.AuthMethod = AuthNone
		}
	case AuthNone, AuthSecretPost, AuthSecretBasic:
	case AuthPrivateKeyJWT:
		return r.readKeys(m, f)
	default:
		return oauth.New(oauth.InvalidClientMetadata,
			"token_endpoint_auth_method must be none, client_secret_post, client_secret_basic or private_key_jwt.")
	}
	return nil
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
	rec := record{Metadata: m, IssuedAt: r.now().Unix()}
	// Each round is lost only to another who writes or removes the same row;
	// three in a row do not happen by chance.
	for range 3 {
		c, err := r.revive(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			c, err = r.insert(ctx, id, rec)
		}
		switch {
		case err == nil:
			return c.answer(""), nil
		case !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrConflict):
			return Registration{}, registrationFailed(err)
		}
	}
	return Registration{}, registrationFailed(store.ErrConflict)
}

// revive reads an existing registration and, if it would soon die unused or
// has died and is not yet swept, gives it another term. It looks into the
// table, not the cache: what it answers must exist for all instances.
func (r *Registry) revive(ctx context.Context, id string) (Client, error) {
	c, err := r.read(ctx, id)
	if err != nil {
		return Client{}, err
	}
	if c.row.Expires.Sub(r.now()) > unusedLife/2 {
		r.remember(c)
		return c, nil
	}
	return r.extend(ctx, c, unusedLife)
}

func (r *Registry) registerSecret(ctx context.Context, m metadata) (Registration, error) {
	id, err := randomText(r.rand, 18)
	if err != nil {
		return Registration{}, err
	}
	secret, err := newSecret(r.rand)
	if err != nil {
		return Registration{}, err
	}
	c, err := r.insert(ctx, secretPrefix+id, record{Metadata: m, IssuedAt: r.now().Unix(), Secret: hashSecret(secret)})
	if err != nil {
		return Registration{}, registrationFailed(err)
	}
	return c.answer(secret), nil
}

// insert writes a new row, if this instance is not writing too many of them.
func (r *Registry) insert(ctx context.Context, id string, rec record) (Client, error) {
	if !r.registrations.AllowN(r.now(), 1) {
		return Client{}, &oauth.Error{Code: oauth.SlowDown,
			Description: "Too many clients are being registered. Try again in a moment.", RetryAfter: time.Second}
	}
	value, err := json.Marshal(rec)
	if err != nil {
		return Client{}, fmt.Errorf("encode client: %w", err)
	}
	if len(value) > maxRecord {
		return Client{}, oauth.New(oauth.InvalidClientMetadata, fmt.Sprintf("The client metadata is longer than %d bytes.", maxRecord))
	}
	row := store.Row{Partition: partition(id), Key: id, Expires: expiry(r.now(), unusedLife), Value: value}
	if row.ETag, err = r.table.Insert(ctx, row); err != nil {
		return Client{}, err
	}
	c, err := r.decode(row)
	if err == nil {
		r.remember(c)
	}
	return c, err
}

func registrationFailed(err error) error {
	var refusal *oauth.Error
	if errors.As(err, &refusal) {
		return err
	}
	return oauth.Unavailable("The registration could not be stored. Try again in a moment.", 2*time.Second, err)
}

func (c Client) answer(secret Secret) Registration {
	answer := Registration{ClientID: c.ID, IssuedAt: c.issuedAt, Secret: secret, metadata: c.registered}
	if secret != "" {
		answer.SecretExpiresAt = new(int64)
	}
	return answer
}
