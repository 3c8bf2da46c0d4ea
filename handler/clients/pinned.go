package clients

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
)

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
