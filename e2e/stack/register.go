package stack

import (
	"bytes"
	"encoding/json"
	"net/http"
	"testing"
)

// Register registers a client at a server (RFC 7591) and returns its client_id.
func Register(tb testing.TB, server string, metadata map[string]any) string {
	tb.Helper()
	body, err := json.Marshal(metadata)
	if err != nil {
		tb.Fatal(err)
	}
	res, err := http.Post(server+"/register", "application/json", bytes.NewReader(body))
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
