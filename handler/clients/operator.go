package clients

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"entramcp/handler/oauth"
	"entramcp/handler/store"
)

// OperatorClient is a client that the operator makes for an application that
// can neither register itself nor publish a document. Its record is never
// swept. A change reaches all instances within a minute.
type OperatorClient struct {
	ID string
	// Name is shown on the consent page.
	Name string
	// RedirectURIs are exact https URIs.
	RedirectURIs []string
	// Public says that the client has no secret.
	Public bool
	// WithoutPKCE permits authorizations without code_challenge, for
	// applications that send none. The client needs a secret then.
	WithoutPKCE bool

	// Created is when it was made.
	Created time.Time
	// PreviousSecretUntil is until when the secret before the last rotation is
	// valid too; zero if it is not.
	PreviousSecretUntil time.Time
}

// ErrNoClient: the operator has made no client with this id.
var ErrNoClient = errors.New("there is no such client")

// Create makes a client of Name, RedirectURIs, Public and WithoutPKCE and returns it
// with its secret, which is empty for a public client and cannot be read later.
func (r *Registry) Create(ctx context.Context, c OperatorClient) (OperatorClient, Secret, error) {
	name := sanitizeName(c.Name)
	if name == "" {
		return OperatorClient{}, Secret{}, errors.New("the client needs a name of letters, digits and plain punctuation")
	}
	if c.Public && c.WithoutPKCE {
		return OperatorClient{}, Secret{}, errors.New("a client without a secret needs PKCE")
	}
	uris, err := operatorRedirects(c.RedirectURIs)
	if err != nil {
		return OperatorClient{}, Secret{}, err
	}
	rec := record{
		Metadata: metadata{
			Name: name, RedirectURIs: uris, AuthMethod: AuthSecretPost,
			GrantTypes: GrantTypes(), ResponseTypes: []string{"code"}, ApplicationType: "web",
		},
		IssuedAt: r.now().Unix(), WithoutPKCE: c.WithoutPKCE,
	}
	var secret Secret
	if c.Public {
		rec.Metadata.AuthMethod = AuthNone
	} else {
		secret = newSecret()
		rec.Secret = hashSecret(secret)
	}
	value, err := rec.encode()
	if err != nil {
		return OperatorClient{}, Secret{}, err
	}
	row := store.Row{Partition: OperatorPartition, Key: operatorPrefix + oauth.RandomID(), Value: value}
	if row.ETag, err = r.table.Insert(ctx, row); err != nil {
		return OperatorClient{}, Secret{}, fmt.Errorf("store the client: %w", err)
	}
	return r.operatorClient(row.Key, rec), secret, nil
}

// List returns the clients that the operator made, by name.
func (r *Registry) List(ctx context.Context) ([]OperatorClient, error) {
	var list []OperatorClient
	for row, err := range store.Rows(ctx, r.table, store.Partition(OperatorPartition)) {
		if err != nil {
			return nil, fmt.Errorf("list the clients: %w", err)
		}
		c, err := r.decode(row)
		if err != nil {
			return nil, err
		}
		list = append(list, r.operatorClient(c.ID, c.record))
	}
	slices.SortFunc(list, func(a, b OperatorClient) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.ID, b.ID))
	})
	return list, nil
}

// RotateSecret gives the client a new secret, which cannot be read later. The secret
// that it replaces stays valid for overlap; an older one ends now.
func (r *Registry) RotateSecret(ctx context.Context, id string, overlap time.Duration) (Secret, error) {
	secret := newSecret()
	return secret, r.update(ctx, id, func(rec *record) error {
		if rec.Secret == nil {
			return errors.New("the client has no secret")
		}
		rec.Previous, rec.PreviousUntil = rec.Secret, r.now().Add(overlap).Unix()
		rec.Secret = hashSecret(secret)
		return nil
	})
}

// SetRedirectURIs replaces the redirect URIs of the client.
func (r *Registry) SetRedirectURIs(ctx context.Context, id string, uris []string) error {
	uris, err := operatorRedirects(uris)
	if err != nil {
		return err
	}
	return r.update(ctx, id, func(rec *record) error {
		rec.Metadata.RedirectURIs = uris
		return nil
	})
}

// Delete removes the client. Its grants end when it next refreshes.
func (r *Registry) Delete(ctx context.Context, id string) error {
	return r.onOperatorClient(ctx, id, func(c Client) error {
		r.cache.Remove(id)
		return r.table.Delete(ctx, c.row.Partition, c.row.Key, c.row.ETag)
	})
}

func (r *Registry) update(ctx context.Context, id string, change func(*record) error) error {
	return r.onOperatorClient(ctx, id, func(c Client) error {
		rec := c.record
		if err := change(&rec); err != nil {
			return err
		}
		row := c.row
		var err error
		if row.Value, err = rec.encode(); err != nil {
			return err
		}
		_, err = r.replace(ctx, row)
		return err
	})
}

// onOperatorClient runs write on the newest row of the client, and again if another
// change came first. After any other error the write may have happened.
func (r *Registry) onOperatorClient(ctx context.Context, id string, write func(Client) error) error {
	if !strings.HasPrefix(id, operatorPrefix) {
		return fmt.Errorf("%w: %q", ErrNoClient, id)
	}
	for {
		c, err := r.read(ctx, id)
		if err == nil {
			err = write(c)
		}
		switch {
		case errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("%w: %q", ErrNoClient, id)
		case !errors.Is(err, store.ErrConflict):
			return err
		}
	}
}

func (r *Registry) operatorClient(id string, rec record) OperatorClient {
	c := OperatorClient{
		ID: id, Name: rec.Metadata.Name, RedirectURIs: rec.Metadata.RedirectURIs,
		Public: rec.Secret == nil, WithoutPKCE: rec.WithoutPKCE, Created: time.Unix(rec.IssuedAt, 0).UTC(),
	}
	if rec.PreviousUntil > r.now().Unix() {
		c.PreviousSecretUntil = time.Unix(rec.PreviousUntil, 0).UTC()
	}
	return c
}

func operatorRedirects(uris []string) ([]string, error) {
	if len(uris) == 0 || len(uris) > maxRedirectURIs {
		return nil, fmt.Errorf("the client needs 1 to %d redirect URIs", maxRedirectURIs)
	}
	var errs []error
	for _, uri := range uris {
		u, err := parseRedirect(uri)
		if err == nil && u.Scheme != "https" {
			err = errors.New("it must be an https URI")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("redirect URI %q: %w", uri, err))
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(uris))), errors.Join(errs...)
}
