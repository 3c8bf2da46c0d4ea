package resource

import (
	"context"
	"net/http"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/auth"

	"entramcp/handler/grants"
)

type admittedKey struct{}

// admitted marks the request as one that the guard lets through.
func admitted(r *http.Request, access *grants.Access) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), admittedKey{}, access))
}

// hand gives an admitted request to next with the TokenInfo that the SDK looks
// for. Only the SDK's own middleware can set it, so that runs here with nothing
// left to decide: the token is verified, and its expiry judged by the
// verifier's clock.
func hand(next http.Handler) http.Handler {
	verified := func(ctx context.Context, _ string, _ *http.Request) (*auth.TokenInfo, error) {
		access, ok := ctx.Value(admittedKey{}).(*grants.Access)
		if !ok {
			return nil, auth.ErrInvalidToken
		}
		return &auth.TokenInfo{
			Scopes: access.Scopes,
			UserID: string(access.Subject),
			Extra:  map[string]any{grants.AccessKey: access},
		}, nil
	}
	return auth.RequireBearerToken(verified, &auth.RequireBearerTokenOptions{AllowMissingExpiration: true})(bared(next))
}

// bared keeps credentials and claims about the user from what comes behind:
// tools see the headers, and must neither pass the client's token on (MCP
// security best practices, "Token Passthrough") nor believe the headers with
// which App Service authentication names a user, which anyone can send where
// that feature is off.
func bared(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := make(http.Header, len(r.Header))
		for name, values := range r.Header {
			if name == "Authorization" || name == "Cookie" || strings.HasPrefix(name, "X-Ms-Client-Principal") || strings.HasPrefix(name, "X-Ms-Token-") {
				continue
			}
			header[name] = values
		}
		r = r.WithContext(r.Context())
		r.Header = header
		next.ServeHTTP(w, r)
	})
}
