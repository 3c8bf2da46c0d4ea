package authserver_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestTheWayBackFromAdminConsentSaysHowItWent(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		query  string
		status int
		says   string
	}{
		{"admin_consent=True&tenant=tenant-1&scope=openid", http.StatusOK, "connect again"},
		{"error=consent_required&admin_consent=True&tenant=t&error_description=" + url.QueryEscape("AADSTS65004: The resource owner denied the request."), http.StatusForbidden, "ask another administrator"},
		{"error=permission_denied&error_description=The+admin+canceled+the+request", http.StatusForbidden, "ask another administrator"},
		{"error=invalid_request&error_description=" + url.QueryEscape("AADSTS50011: The redirect URI <b>does</b> not match."), http.StatusForbidden, "is not registered"},
		{"admin_consent=False", http.StatusForbidden, "did not approve"},
	} {
		resp := w.browser().get(issuer + "/auth/callback?" + tt.query)
		body := text(t, resp)
		if resp.StatusCode != tt.status || !strings.Contains(body, tt.says) || strings.Contains(body, "http-equiv=\"refresh\"") || resp.Header.Get("Location") != "" {
			t.Errorf("%s: %d\n%s", tt.query, resp.StatusCode, body)
		}
		for _, raw := range []string{"does</b>", "canceled", "resource owner"} {
			if strings.Contains(body, raw) {
				t.Errorf("%s: Entra's own text %q is on the page", tt.query, raw)
			}
		}
	}
	if n := strings.Count(w.log.String(), "administrator's consent not given"); n != 3 || !strings.Contains(w.log.String(), "aadsts=50011") {
		t.Errorf("%d refusals are logged:\n%s", n, w.log)
	}
	if reads, writes := w.table.Taken(); reads+writes > 0 {
		t.Errorf("a page that anyone can open made %d reads and %d writes", reads, writes)
	}
	// With a state it is a sign-in, however it is dressed up.
	wantPage(t, w.browser().get(issuer+"/auth/callback?admin_consent=True&state=x"), http.StatusBadRequest)
}
