package handler_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"entramcp/handler/clients"
	"entramcp/handler/config"
	"entramcp/handler/entra"
	"entramcp/handler/grants"
	hide "entramcp/handler/secret"
	"entramcp/handler/store/azuretable"
)

// Whatever way a secret comes near a log, by itself or inside something else,
// it shows a placeholder.
func TestNoTypeOfSecretShowsItself(t *testing.T) {
	const secret = "hush-hush"
	hidden := hide.New(secret)
	upstream := grants.Upstream{RefreshToken: grants.EntraRefreshToken{Value: hidden}, APIToken: grants.EntraAccessToken{Value: hidden}}
	for _, v := range []any{
		config.Secret{Value: hidden}, clients.Secret{Value: hidden}, entra.APIToken{Value: hidden},
		azuretable.ConnectionString{Value: hidden},
		grants.Code{Value: hidden}, grants.RefreshToken{Value: hidden}, grants.AccessToken{Value: hidden}, upstream,
		config.Config{Entra: config.Entra{ClientSecret: config.Secret{Value: hidden}}, Store: config.Store{ConnectionString: config.Secret{Value: hidden}}, Keys: config.Keys{MasterKey: config.Secret{Value: hidden}}},
		entra.Config{Secret: entra.Secret{Value: hidden}, CertificatePassword: entra.Secret{Value: hidden}},
		entra.Callback{Code: entra.Code{Value: hidden}, Verifier: entra.Verifier{Value: hidden}},
		entra.SignIn{RefreshToken: entra.RefreshToken{Value: hidden}, AccessToken: entra.AccessToken{Value: hidden}},
		azuretable.Options{ConnectionString: azuretable.ConnectionString{Value: hide.New(secret)}},
		grants.Authorization{Upstream: upstream}, grants.Renewal{Upstream: upstream},
		grants.Tokens{Access: grants.AccessToken{Value: hidden}, Refresh: grants.RefreshToken{Value: hidden}},
	} {
		wrapped := struct{ Inside any }{v}
		var out bytes.Buffer
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			fmt.Fprintf(&out, format+format+"\n", v, wrapped)
		}
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "v", v, "wrapped", wrapped)
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "v", v, "wrapped", wrapped)
		if err := json.NewEncoder(&out).Encode(wrapped); err != nil {
			t.Errorf("%T: %v", v, err)
		}
		if bytes.Contains(out.Bytes(), []byte(secret)) {
			t.Errorf("%T shows itself:\n%s", v, &out)
		}
	}
}

// The answer to a registration is the one thing that has to show a secret when
// it is encoded. Logged, it does not.
func TestARegistrationIsLoggedWithoutItsSecret(t *testing.T) {
	var out bytes.Buffer
	registration := clients.Registration{ClientID: "s-1", Secret: clients.Secret{Value: hide.New("hush-hush")}}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "registration", registration)
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "registration", registration)
	if bytes.Contains(out.Bytes(), []byte("hush-hush")) {
		t.Errorf("the secret was logged:\n%s", &out)
	}
}
