package resource

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
)

// entraToken has the header of Entra's tokens.
func entraToken(rest string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"RS256","kid":"k"}`)) + "." + rest
}

// withEntra takes tokens of Entra's own from an application by itself, one that acts
// for a user, and some that are refused.
func withEntra() Options {
	o := options()
	o.VerifyEntra = func(_ context.Context, raw string) (*grants.Access, error) {
		_, who, _ := strings.Cut(raw, ".")
		switch who, _, _ = strings.Cut(who, "~"); who {
		case "robot":
			return &grants.Access{Kind: grants.Application, ClientID: "robot", Roles: []string{"Mcp.Invoke"}}, nil
		case "plugin":
			return &grants.Access{ClientID: "plugin", Scopes: oauth.NewScopes("openid", "profile", "email", "Mail.Read")}, nil
		case "bare":
			return &grants.Access{ClientID: "plugin"}, nil
		case "roleless":
			return nil, &entra.Refusal{AppID: "robot", TenantID: "tenant-1", Reason: "role", Message: "The application lacks the role.", Forbidden: true}
		case "outage":
			return nil, errors.New("no keys")
		}
		return nil, &entra.Refusal{Reason: entra.ReasonExpired, Message: "The token has expired."}
	}
	return o
}

func TestTokensOfEntrasOwnAreAnsweredByWhatTheyLack(t *testing.T) {
	for name, tt := range map[string]struct {
		o           Options
		token, tool string
		status      int
		challenged  bool
		want        string
	}{
		"an application by itself":     {withEntra(), "robot", "hello", 200, false, "hello"},
		"the same, for a user's scope": {withEntra(), "robot", "wipe", 403, false, "needs a signed-in user who grants the scope Admin.All"},
		"a user":                       {withEntra(), "plugin", "hello", 200, false, "hello"},
		"a user without the scope":     {withEntra(), "plugin", "send", 403, true, "Mail.Send"},
		"a user without any scope":     {withEntra(), "bare", "hello", 403, true, "email openid profile"},
		"a role is missing":            {withEntra(), "roleless", "hello", 403, false, "The application lacks the role."},
		"expired":                      {withEntra(), "expired", "hello", 401, true, "The token has expired."},
		"nobody knows":                 {withEntra(), "outage", "hello", 503, false, "temporarily_unavailable"},
		"with 200 groups":              {withEntra(), "robot~" + strings.Repeat("x", 12<<10), "hello", 200, false, "hello"},
		"where none is admitted":       {options(), "robot", "hello", 401, true, "invalid_token"},
	} {
		w := do(tt.o, request(http.MethodPost, endpoint, rpc("tools/call", tt.tool), "Authorization", "Bearer "+entraToken(tt.token)))
		reached := strings.Contains(w.Body.String(), `"jsonrpc"`)
		if w.Code != tt.status || reached != (tt.status == http.StatusOK) || !strings.Contains(w.Body.String(), tt.want) || (challenges(w) != "") != tt.challenged {
			t.Errorf("%s: %d %s, challenge %q", name, w.Code, w.Body, challenges(w))
		}
		if tt.challenged && (!strings.HasPrefix(challenges(w), `Bearer error="`) || !strings.Contains(challenges(w), `email openid profile", resource_metadata=`)) {
			t.Errorf("%s: challenge %q", name, challenges(w))
		}
	}
	if w := do(withEntra(), request(http.MethodPost, endpoint, rpc("tools/call", "hello"), "Authorization", "Bearer good")); w.Code != http.StatusOK {
		t.Errorf("a token of ours beside them: %d %s", w.Code, w.Body)
	}
}

// TestARefusalThatIsNotAdmittedCostsNothing: a stranger's flood is answered by
// what limits it, without a challenge or a line in the log. Who has a good token
// is not limited by it, nor whose token nobody can judge.
func TestARefusalThatIsNotAdmittedCostsNothing(t *testing.T) {
	const other = "https://evil.example/mcp"
	var out bytes.Buffer
	o := withEntra()
	o.Log = slog.New(slog.NewJSONHandler(&out, nil))
	o.Admit = func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusTooManyRequests)
		return false
	}
	for name, tt := range map[string]struct {
		target string
		header []string
		status int
	}{
		"no token":                {endpoint, nil, 429},
		"two tokens":              {endpoint, []string{"Authorization", "Bearer good good"}, 429},
		"a forged token":          {endpoint, []string{"Authorization", "Bearer forged"}, 429},
		"a caller that lacks it":  {endpoint, []string{"Authorization", "Bearer " + entraToken("roleless")}, 429},
		"another page":            {endpoint, []string{"Authorization", "Bearer good", "Origin", "https://evil.example"}, 429},
		"another name":            {other, []string{"Authorization", "Bearer good"}, 429},
		"a good token":            {endpoint, []string{"Authorization", "Bearer good"}, 200},
		"a good token of Entra's": {endpoint, []string{"Authorization", "Bearer " + entraToken("plugin")}, 200},
		"nobody knows":            {endpoint, []string{"Authorization", "Bearer outage"}, 503},
		"nobody knows at Entra":   {endpoint, []string{"Authorization", "Bearer " + entraToken("outage")}, 503},
	} {
		out.Reset()
		w := do(o, request(http.MethodPost, tt.target, "", tt.header...))
		if w.Code != tt.status || w.Code == 429 && (w.Body.Len() != 0 || challenges(w) != "" || out.Len() != 0) {
			t.Errorf("%s: %d %s, challenge %q, logged %s", name, w.Code, w.Body, challenges(w), &out)
		}
	}
}

func TestARefusedCallerIsOneAuditEvent(t *testing.T) {
	var out bytes.Buffer
	o := withEntra()
	o.Log = slog.New(slog.NewJSONHandler(&out, nil))
	do(o, request(http.MethodPost, endpoint, rpc("tools/call", "hello"), "Authorization", "Bearer "+entraToken("roleless")))
	if strings.Count(out.String(), `"category":"audit"`) != 1 {
		t.Errorf("logged %s", &out)
	}
	for _, want := range []string{`"event":"caller_refused"`, `"client_id":"robot"`, `"tenant":"tenant-1"`, `"reason":"role"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, &out)
		}
	}
}
