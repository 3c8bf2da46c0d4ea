package stack

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
)

// Register registers a client (RFC 7591) and returns its client_id.
func (s *Stack) Register(tb testing.TB, metadata map[string]any) string {
	tb.Helper()
	body, err := json.Marshal(metadata)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := s.Client().Post(s.URL+"/register", "application/json", bytes.NewReader(body))
	if err != nil {
		tb.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		ID    string `json:"client_id"`
		Error string `json:"error_description"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || res.StatusCode != http.StatusCreated {
		tb.Fatalf("register: %s %s %v", res.Status, answer.Error, err)
	}
	return answer.ID
}
