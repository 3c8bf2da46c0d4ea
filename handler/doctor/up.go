package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Up reports whether this server answers at the site's address, and if it
// does, whether what it depends on is ready.
func (s Site) Up(ctx context.Context) (f Finding, answers bool) {
	const check = "running server"
	a, err := s.get(ctx, s.Issuer+"/healthz")
	if err != nil {
		return Unknown(check, s.Issuer+" does not answer; what clients would find was checked in this process instead",
			"Start the server. If it is running, set PUBLIC_URL to its address."), false
	}
	var health struct {
		Status string `json:"status"`
	}
	if a.status != http.StatusOK || json.Unmarshal(a.body, &health) != nil || health.Status != "up" {
		u := &unexpected{"/healthz", a}
		return Wrong(check, fmt.Sprintf("something else answers at %s: %s; what clients would find was checked in this process instead", s.Issuer, u.Error()),
			u.fix()), false
	}
	if a, err = s.get(ctx, s.Issuer+"/readyz"); err != nil {
		return Wrong(check, s.Issuer+"/readyz does not answer in time", "Look into the server's log."), true
	}
	if a.status == http.StatusOK {
		return OK(check, s.Issuer+" is up; storage, keys and Entra are ready there"), true
	}
	var ready map[string]string
	_ = json.Unmarshal(a.body, &ready) // of another form: nothing is named
	var failing []string
	for part, state := range ready {
		if state != "ready" {
			failing = append(failing, part)
		}
	}
	slices.Sort(failing)
	return Wrong(check, fmt.Sprintf("%s is up, and not ready: %s", s.Issuer, strings.Join(failing, ", ")), "The server's log says why."), true
}
