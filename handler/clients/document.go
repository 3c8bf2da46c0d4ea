package clients

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"entramcp/handler/oauth"
)

const documentRefused = "The client metadata document is refused: "

// AcceptsDocuments reports whether a client_id can be the URL of a metadata
// document, to be advertised as client_id_metadata_document_supported.
func (r *Registry) AcceptsDocuments() bool {
	return !r.documents.hosts.off || len(r.pinned) > 0
}

// lookupDocument returns the client whose client_id is the URL of its metadata
// document.
func (r *Registry) lookupDocument(ctx context.Context, id string) (Client, error) {
	if body, ok := r.pinned[id]; ok {
		c, err := r.parseDocument(id, body)
		c.Source = SourcePinned
		return c, err
	}
	if err := r.documents.permits(id); err != nil {
		return Client{}, unknownClient("The client_id is refused: " + err.Error() + ".")
	}
	check := func(body []byte) error {
		_, err := r.parseDocument(id, body)
		return err
	}
	document, err := r.documents.get(ctx, id, 0, check)
	if err != nil {
		return Client{}, err
	}
	c, err := r.parseDocument(id, document.body)
	c.document = &document
	if document.builtIn {
		c.Source = SourceBuiltIn
	}
	return c, err
}

// parseDocument reads a metadata document. Every refusal is invalid_client, whatever
// is wrong with the metadata, because there is no client without them.
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
			return refuse("it must not contain " + name + ".")
		}
	}
	m, err := f.common(r.policy)
	if err != nil {
		return refuse(oauth.AsError(err).Description)
	}
	if m.Name == "" {
		return refuse("it has no client_name.")
	}
	// The URL of the keys is checked when it is used: a pinned document can be used
	// without them.
	if err := m.readKeys(f, func(string) error { return nil }); err != nil {
		return refuse(err.Error() + ".")
	}
	c := r.client(id, m)
	c.Source, c.Host = SourceFetched, withoutDefaultPort(u.Host)
	if c.AuthMethods, err = documentMethods(f, m, c.Host); err != nil {
		return refuse(err.Error() + ".")
	}
	return c, nil
}

// optionalKeyHost is ChatGPT's host. Its documents declare private_key_jwt, although
// its clients also come without an assertion, as
// token_endpoint_auth_methods_supported in them says.
const optionalKeyHost = "chatgpt.com"

// documentMethods are the methods the client may use. A document that declares
// private_key_jwt binds the client to it (the draft, §8.2), with the exception
// of one host. A document is public, so a method with a shared secret is a
// mistake.
func documentMethods(f fields, m metadata, host string) ([]string, error) {
	declared := f.text("token_endpoint_auth_method", maxText)
	listed, _ := f.list("token_endpoint_auth_methods_supported")
	if declared != "" && declared != AuthNone && declared != AuthPrivateKeyJWT {
		return nil, errors.New("token_endpoint_auth_method must be none or private_key_jwt")
	}
	if declared == "" && len(listed) == 0 {
		return []string{AuthNone}, nil
	}
	if declared == AuthPrivateKeyJWT && host != optionalKeyHost {
		listed = nil
	}
	var methods []string
	for _, method := range []string{AuthNone, AuthPrivateKeyJWT} {
		if (method == declared || slices.Contains(listed, method)) && (method == AuthNone || m.hasKeys()) {
			methods = append(methods, method)
		}
	}
	if len(methods) == 0 {
		return nil, errors.New("its authentication methods must be none, or private_key_jwt with jwks or jwks_uri")
	}
	return methods, nil
}

// Pinned are metadata documents by their URL.
type Pinned map[string][]byte

// ParsePinned reads the operator's setting: a JSON array of metadata documents,
// or the path of a file that holds one. The client_id in a document is its URL.
func ParsePinned(setting string) (Pinned, error) {
	text := []byte(strings.TrimSpace(setting))
	if len(text) == 0 {
		return nil, nil
	}
	if text[0] != '[' {
		var err error
		if text, err = os.ReadFile(string(text)); err != nil {
			return nil, fmt.Errorf("read pinned client metadata: %w", err)
		}
	}
	return parsePinned(text)
}

func parsePinned(text []byte) (Pinned, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("pinned client metadata must be a JSON array of documents: %w", err)
	}
	pinned := make(Pinned, len(list))
	var errs []error
	for i, body := range list {
		f, err := parseFields(body)
		if err == nil {
			_, err = parseFetchURL(f.text("client_id", maxRedirectURI))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("pinned client metadata, entry %d: client_id: %w", i+1, err))
			continue
		}
		pinned[f.text("client_id", maxRedirectURI)] = body
	}
	return pinned, errors.Join(errs...)
}

//go:embed known-clients.json
var knownClients []byte

// builtIn are the documents of well-known clients, as far as they are publicly
// known; docs/pinned-clients.md says from where. They replace documents
// that cannot be fetched. A test reads the file, so it cannot fail here.
var builtIn = sync.OnceValue(func() Pinned {
	pinned, _ := parsePinned(knownClients)
	return pinned
})
