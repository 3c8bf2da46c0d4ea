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
		case "roleless":
			return nil, &entra.Refusal{Reason: "role", Message: "The application lacks the role.", Forbidden: true}
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
		"a role is missing":            {withEntra(), "roleless", "hello", 403, false, "The application lacks the role."},
		"expired":                      {withEntra(), "expired", "hello", 401, true, "The token has expired."},
		"nobody knows":                 {withEntra(), "outage", "hello", 503, false, "temporarily_unavailable"},
		"with 200 groups":              {withEntra(), "robot~" + strings.Repeat("x", 12<<10), "hello", 200, false, "hello"},
		"where none is admitted":       {options(), "robot", "hello", 401, true, "invalid_token"},
	} {
		w := do(tt.o, request(http.MethodPost, endpoint, rpc("tools/call", tt.tool), "Authorization", "Bearer "+entraToken(tt.token)))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || (challenges(w) != "") != tt.challenged {
			t.Errorf("%s: %d %s, challenge %q", name, w.Code, w.Body, challenges(w))
		}
	}
	if w := do(withEntra(), request(http.MethodPost, endpoint, rpc("tools/call", "hello"), "Authorization", "Bearer good")); w.Code != http.StatusOK {
		t.Errorf("a token of ours beside them: %d %s", w.Code, w.Body)
	}
}

func TestARefusedCallerIsOneAuditEvent(t *testing.T) {
	var out bytes.Buffer
	o := withEntra()
	o.Log = slog.New(slog.NewJSONHandler(&out, nil))
	do(o, request(http.MethodPost, endpoint, rpc("tools/call", "hello"), "Authorization", "Bearer "+entraToken("expired")))
	if strings.Count(out.String(), `"category":"audit"`) != 1 || !strings.Contains(out.String(), `"reason":"`+entra.ReasonExpired+`"`) {
		t.Errorf("logged %s", &out)
	}
}
