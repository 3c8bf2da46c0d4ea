package clients

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/clocktest"
	"entramcp/handler/oauth"
	hide "entramcp/handler/secret"
	"entramcp/handler/store/storetest"
)

func basic(id, secret string) http.Header {
	return http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte(id+":"+secret))}}
}

func TestClientAuthentication(t *testing.T) {
	r := newRegistry(t, Options{})
	public := register(t, r, realRegistrations[0].body).ClientID
	withPost := register(t, r, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"client_secret_post"}`)
	withBasic := register(t, r, `{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"client_secret_basic"}`)
	id, secret := withPost.ClientID, withPost.Secret.Reveal()
	unknown := publicPrefix + strings.Repeat("A", 43)
	form := func(pairs ...string) url.Values {
		v := url.Values{}
		for i := 0; i < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		return v
	}
	for name, tt := range map[string]struct {
		header http.Header
		form   url.Values
		code   oauth.Code // empty if accepted
	}{
		"public":                           {nil, form("client_id", public), ""},
		"public, empty secret":             {nil, form("client_id", public, "client_secret", ""), ""},
		"public, Basic without secret":     {basic(public, ""), nil, ""},
		"public, bearer token ignored":     {http.Header{"Authorization": {"Bearer x"}}, form("client_id", public), ""},
		"public with a secret":             {nil, form("client_id", public, "client_secret", "x"), oauth.InvalidClient},
		"public with another's secret":     {nil, form("client_id", public, "client_secret", secret), oauth.InvalidClient},
		"public with a Basic secret":       {basic(public, "x"), nil, oauth.InvalidClient},
		"post":                             {nil, form("client_id", id, "client_secret", secret), ""},
		"post, sent by Basic":              {basic(id, secret), nil, ""},
		"Basic":                            {basic(withBasic.ClientID, withBasic.Secret.Reveal()), nil, ""},
		"Basic, in lower case":             {http.Header{"Authorization": {"basic " + strings.TrimPrefix(basic(id, secret).Get("Authorization"), "Basic ")}}, nil, ""},
		"Basic, sent by post":              {nil, form("client_id", withBasic.ClientID, "client_secret", withBasic.Secret.Reveal()), ""},
		"Basic, percent-encoded":           {basic(strings.ReplaceAll(id, "-", "%2D"), strings.ReplaceAll(secret, "_", "%5F")), nil, ""},
		"Basic and the same client_id":     {basic(id, secret), form("client_id", id), ""},
		"Basic and another client_id":      {basic(id, secret), form("client_id", public), oauth.InvalidRequest},
		"Basic and a body secret":          {basic(id, secret), form("client_id", id, "client_secret", secret), oauth.InvalidRequest},
		"secret and assertion":             {nil, form("client_id", id, "client_secret", secret, "client_assertion", "x"), oauth.InvalidRequest},
		"Basic and assertion":              {basic(id, secret), form("client_assertion", "x"), oauth.InvalidRequest},
		"two Basic headers":                {http.Header{"Authorization": append(basic(id, secret)["Authorization"], basic(id, secret)["Authorization"]...)}, nil, oauth.InvalidRequest},
		"confidential without secret":      {nil, form("client_id", id), oauth.InvalidClient},
		"confidential with empty secret":   {basic(id, ""), nil, oauth.InvalidClient},
		"wrong secret":                     {nil, form("client_id", id, "client_secret", secret+"x"), oauth.InvalidClient},
		"another client's secret":          {nil, form("client_id", id, "client_secret", withBasic.Secret.Reveal()), oauth.InvalidClient},
		"wrong Basic secret":               {basic(id, "x"), nil, oauth.InvalidClient},
		"hash instead of secret":           {nil, form("client_id", id, "client_secret", string(hashSecret(withPost.Secret))), oauth.InvalidClient},
		"unknown":                          {nil, form("client_id", unknown), oauth.InvalidClient},
		"unknown by Basic":                 {basic(unknown, "x"), nil, oauth.InvalidClient},
		"malformed id":                     {nil, form("client_id", "../x"), oauth.InvalidClient},
		"no client":                        {nil, nil, oauth.InvalidClient},
		"Basic that is not base64":         {http.Header{"Authorization": {"Basic ***"}}, nil, oauth.InvalidClient},
		"Basic without a colon":            {http.Header{"Authorization": {"Basic eA=="}}, nil, oauth.InvalidClient},
		"assertion that is no JWT":         {nil, form("client_id", public, "client_assertion_type", assertionType, "client_assertion", "x"), oauth.InvalidClient},
		"assertion of another kind (SAML)": {nil, form("client_id", public, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "client_assertion", "x"), oauth.InvalidRequest},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := r.Authenticate(t.Context(), tt.header, tt.form)
			if tt.code != "" {
				wantCode(t, err, tt.code)
				return
			}
			if err != nil || c.ID == "" {
				t.Error(c.ID, err)
			}
		})
	}
}

func TestBasicIsNamedOnlyWhereItWasUsed(t *testing.T) {
	for value, want := range map[string]bool{"": false, "Basic eA==": true, "basic": true, "Bearer Basic": false, "Basics x": false} {
		if got := UsedBasic(http.Header{"Authorization": {value}}); got != want {
			t.Errorf("%q: %v", value, got)
		}
	}
}

func TestSecretsStayOutOfLogs(t *testing.T) {
	var log strings.Builder
	secret := Secret{hide.New("super-secret-value")}
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "secret", secret, "in a struct", struct{ S Secret }{secret}, "registration", Registration{Secret: secret})
	text := log.String() + fmt.Sprintf("%v %+v %#v %s", secret, Registration{Secret: secret}, secret, secret)
	if strings.Contains(text, secret.Reveal()) {
		t.Error(text)
	}
}

// A client that is told invalid_client registers again.
func TestStorageFaultAtAuthenticationIsNotAnUnknownClient(t *testing.T) {
	table := storetest.Instrument(openTable(t))
	r := newRegistry(t, Options{Table: table})
	public := register(t, newRegistry(t, Options{Table: table}), realRegistrations[0].body).ClientID
	confidential := register(t, newRegistry(t, Options{Table: table}), `{"redirect_uris":["https://a.example/cb"]}`)
	table.Before(storetest.Fail(errStorage, storetest.Get))
	for name, form := range map[string]url.Values{"public": {"client_id": {public}}, "confidential": with(confidential.ClientID, confidential.Secret)} {
		_, err := r.Authenticate(t.Context(), nil, form)
		if refusal := wantCode(t, err, oauth.TemporarilyUnavailable); refusal.RetryAfter == 0 {
			t.Errorf("%s: no Retry-After", name)
		}
	}
	table.Repair()
	if _, err := r.Authenticate(t.Context(), nil, with(confidential.ClientID, confidential.Secret)); err != nil {
		t.Error(err)
	}
}

// A method is the client's only if it has declared it, whatever else it publishes.
func TestAnAssertionProvesNothingForAClientOfAnotherMethod(t *testing.T) {
	s, clock := newSigners(t), clocktest.New()
	for method, keys := range map[string]string{AuthNone: "jwks", AuthSecretPost: "x"} {
		body := `{"client_id":"` + appURL + `","client_name":"App","redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"` + method + `","` + keys + `":` + s.jwks + `}`
		r := newRegistry(t, Options{Now: clock.Now})
		id := appURL
		if method == AuthNone {
			r = newRegistry(t, Options{Now: clock.Now, Documents: Documents{Pinned: Pinned{appURL: []byte(body)}}})
		} else {
			id = register(t, r, body).ClientID
		}
		_, err := r.Authenticate(t.Context(), nil, assertionForm(sign(t, jwt.SigningMethodES256, s.ec, "k1", goodClaims(id, clock.Now()))))
		if refusal := wantCode(t, err, oauth.InvalidClient); !strings.Contains(refusal.Description, "not registered for private_key_jwt") {
			t.Errorf("%s: %q", method, refusal.Description)
		}
	}
}
