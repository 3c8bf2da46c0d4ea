package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"entramcp/handler/oauth"
)

const documentRefused = "The client metadata document is refused: "

// AcceptsDocuments reports whether a client_id can be the URL of a metadata
// document, to be advertised as client_id_metadata_document_supported.
func (r *Registry) AcceptsDocuments() bool {
	return !r.documents.hosts.off || len(r.documents.pinned) > 0
}

// lookupDocument returns the client whose client_id is the URL of its metadata
// document.
func (r *Registry) lookupDocument(ctx context.Context, id string) (Client, error) {
	if body, ok := r.documents.pinned[id]; ok {
		c, err := r.parseDocument(id, body)
		c.listed = true
		return c, err
	}
	if err := r.documents.permits(id); err != nil {
		return Client{}, unknownClient("The client_id is refused: " + err.Error() + ".")
	}
	check := func(body []byte) error {
		_, err := r.parseDocument(id, body)
		return err
	}
	body, err := r.documents.get(ctx, id, 0, check)
	if err != nil {
		return Client{}, err
	}
	return r.parseDocument(id, body)
}

// parseDocument reads a metadata document. Every refusal is invalid_client,
// because that is what the client is, whatever the metadata lacks.
func (r *Registry) parseDocument(id string, body []byte) (Client, error) {
	refuse := func(why string) (Client, error) { return Client{}, unknownClient(documentRefused + why) }
	f, err := parseFields(body)
	if err != nil {
		return refuse(err.Error() + ".")
	}
	u, err := parseFetchURL(id)
	if err != nil {
		return refuse("its URL is not valid: " + err.Error() + ".")
	}
	if f.text("client_id", maxRedirectURI) != id {
		return refuse("its client_id is not its URL.")
	}
	for _, name := range []string{"client_secret", "client_secret_expires_at"} {
		if _, ok := f[name]; ok {
			return refuse("it must not hold " + name + ".")
		}
	}
	m, err := f.common(r.policy)
	if err != nil {
		return refuse(oauth.AsError(err).Description)
	}
	if m.Name == "" {
		return refuse("it has no client_name.")
	}
	if err := m.readDocumentKeys(f); err != nil {
		return refuse(err.Error() + ".")
	}
	c := r.client(id, m)
	c.VerifiedHost = strings.TrimSuffix(u.Host, ":443")
	if c.AuthMethods, err = documentMethods(f, m); err != nil {
		return refuse(err.Error() + ".")
	}
	return c, nil
}

func (m *metadata) readDocumentKeys(f fields) error {
	m.JWKSURI = f.text("jwks_uri", maxRedirectURI)
	inline, ok := f["jwks"]
	if !ok || m.JWKSURI != "" {
		return nil
	}
	if err := checkKeys(inline); err != nil {
		return errors.New("its jwks cannot be used: " + err.Error())
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, inline); err != nil {
		return errors.New("its jwks is not JSON")
	}
	m.JWKS = compact.Bytes()
	return nil
}

// documentMethods are the methods the client may use. A document that declares
// private_key_jwt binds the client to it (the draft, §8.2), unless its list of
// supported methods names none as well, which ChatGPT's does. A document is
// public, so a method with a shared secret is a mistake.
func documentMethods(f fields, m metadata) ([]string, error) {
	declared := f.text("token_endpoint_auth_method", maxText)
	listed, _ := f.list("token_endpoint_auth_methods_supported")
	if declared != "" && declared != AuthNone && declared != AuthPrivateKeyJWT {
		return nil, errors.New("token_endpoint_auth_method must be none or private_key_jwt")
	}
	if declared == "" && len(listed) == 0 {
		return []string{AuthNone}, nil
	}
	hasKeys := m.JWKSURI != "" || m.JWKS != nil
	var methods []string
	for _, method := range []string{AuthNone, AuthPrivateKeyJWT} {
		if (method == declared || slices.Contains(listed, method)) && (method == AuthNone || hasKeys) {
			methods = append(methods, method)
		}
	}
	if len(methods) == 0 {
		return nil, errors.New("its authentication methods must be none, or private_key_jwt with jwks or jwks_uri")
	}
	return methods, nil
}
