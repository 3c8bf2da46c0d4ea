package resource

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"entramcp/handler/entra"
	"entramcp/handler/grants"
	"entramcp/handler/oauth"
	"entramcp/handler/secret"
)

// TestACallerHasWhatItsTokenSaysAndThisServerKnows: a user has the scopes that every
// call needs besides, and who comes without a user has none and is never that user.
func TestACallerHasWhatItsTokenSaysAndThisServerKnows(t *testing.T) {
	const tenant, object = "c0a7050c-0000-4000-8000-000000000001", "a11ce000-0000-4000-8000-000000000001"
	issued := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	user := grants.SubjectOf(tenant, object)
	for name, test := range map[string]struct {
		kind    entra.CallerKind
		scopes  []string
		subject grants.Subject
		want    grants.CallerKind
		granted oauth.Scopes
	}{
		"user":                  {entra.UserCaller, []string{"mcp.access", "Mail.Send", "Unknown.All"}, user, grants.User, oauth.NewScopes("openid", "Mail.Send")},
		"agent for a user":      {entra.AgentCaller, []string{"mcp.access"}, user, grants.Agent, oauth.NewScopes("openid")},
		"agent by itself":       {entra.AgentCaller, nil, grants.SubjectOf("application/"+tenant, object), grants.Agent, nil},
		"application by itself": {entra.ApplicationCaller, nil, grants.SubjectOf("application/"+tenant, object), grants.Application, nil},
	} {
		t.Run(name, func(t *testing.T) {
			caller := entra.Caller{
				Kind: test.kind, TenantID: tenant, ObjectID: object, AppID: "app", Name: "Alice", Username: "alice@contoso.com", Roles: []string{"Mcp.Admin"},
				Scopes: test.scopes, TokenID: "uti", Issued: issued, Expires: issued.Add(time.Hour), Token: entra.AccessToken{Value: secret.New("assertion")},
			}
			var asked grants.Parties
			c := EntraCallers{
				VerifyToken: func(context.Context, string) (entra.Caller, error) { return caller, nil },
				Blocked:     func(_ context.Context, p grants.Parties) (*grants.Block, error) { asked = p; return nil, nil },
				Required:    oauth.NewScopes("openid"), Known: oauth.NewScopes("Mail.Send"),
			}
			got, err := c.Verify(t.Context(), "token")
			want := &grants.Access{
				Subject: test.subject, ClientID: "app", TenantID: tenant, ID: "uti", Scopes: test.granted, Roles: caller.Roles,
				Issued: issued, Expires: issued.Add(time.Hour), Kind: test.want, Assertion: grants.EntraAccessToken(caller.Token),
				Identity: &grants.Identity{TenantID: tenant, ObjectID: object, Name: "Alice", Username: "alice@contoso.com", Roles: caller.Roles},
			}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v, want %+v (%v)", got, want, err)
			}
			if asked != (grants.Parties{AppID: "app", Subject: test.subject, TenantID: tenant}) {
				t.Errorf("blocks of %+v", asked)
			}
		})
	}
}

// TestACallerIsNotLetInWhileItIsNotKnownWhetherItMay: neither what Entra's token is
// worth nor what is blocked is guessed.
func TestACallerIsNotLetInWhileItIsNotKnownWhetherItMay(t *testing.T) {
	away := errors.New("away")
	for name, test := range map[string]struct {
		verify, read error
		block        *grants.Block
	}{
		"token": {verify: away}, "blocks": {read: away}, "blocked": {block: &grants.Block{Kind: grants.BlockApp}},
	} {
		c := EntraCallers{
			VerifyToken: func(context.Context, string) (entra.Caller, error) {
				return entra.Caller{AppID: "app", TenantID: "t"}, test.verify
			},
			Blocked: func(context.Context, grants.Parties) (*grants.Block, error) { return test.block, test.read },
		}
		access, err := c.Verify(t.Context(), "token")
		refusal, refused := errors.AsType[*entra.Refusal](err)
		if access != nil || refused != (test.block != nil) || !refused && !errors.Is(err, away) {
			t.Errorf("%s: %v, %v", name, access, err)
		}
		if refused && (refusal.Reason != "blocked: app" || refusal.AppID != "app" || refusal.TenantID != "t" || refusal.Forbidden) {
			t.Errorf("%+v", refusal)
		}
	}
}
