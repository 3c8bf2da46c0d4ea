package entra

import (
	"strings"
	"testing"
	"time"

	"entramcp/handler/secret"
)

func TestWhatIsNotConfiguredHasADefault(t *testing.T) {
	c, err := New(Config{Tenant: "CONTOSO.example", ClientID: "ABC", AllowedTenants: []string{"DEF"}, Secret: Secret{secret.New("x")}}, Deps{})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.cfg; got.Authority != publicCloud.Authority || got.Timeout != 8*time.Second || got.MaxRetryAfter != 30*time.Second ||
		got.Tenant != "contoso.example" || got.ClientID != "abc" || got.AllowedTenants[0] != "def" {
		t.Errorf("%+v", got)
	}
	if c.deps.HTTPClient == nil || c.deps.Log == nil || time.Since(c.deps.Now()).Abs() > time.Minute {
		t.Errorf("%+v", c.deps)
	}
	if _, err := New(Config{Authority: "ftp://x"}, Deps{}); err == nil || !strings.Contains(err.Error(), "ENTRA_AUTHORITY") {
		t.Errorf("got %v", err)
	}
}

func TestAuthorityHasOneForm(t *testing.T) {
	for text, want := range map[string]Cloud{
		"https://login.microsoftonline.com":         publicCloud,
		"https://login.microsoftonline.com/":        publicCloud,
		"https://Login.MicrosoftOnline.com:443":     publicCloud,
		"https://login.microsoftonline.com.":        publicCloud,
		"https://login.windows.net":                 publicCloud,
		"https://Login.MicrosoftOnline.us":          usGovCloud,
		"https://login.partner.microsoftonline.cn/": chinaCloud,
		"https://login.chinacloudapi.cn":            chinaCloud,
		"https://contoso.ciamlogin.com/":            {"https://contoso.ciamlogin.com", publicCloud.GraphURL, publicCloud.ExchangeAudience},
		"https://login.contoso.com:8443":            {"https://login.contoso.com:8443", publicCloud.GraphURL, publicCloud.ExchangeAudience},
		"http://localhost:7072":                     {"http://localhost:7072", "http://localhost:7072", publicCloud.ExchangeAudience},
		"http://127.0.0.1:80":                       {"http://127.0.0.1", "http://127.0.0.1", publicCloud.ExchangeAudience},
		"http://[::1]:7072":                         {"http://[::1]:7072", "http://[::1]:7072", publicCloud.ExchangeAudience},
	} {
		if got, err := ParseAuthority(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "login.microsoftonline.com", "http://login.microsoftonline.com", "https://login.microsoftonline.com/common",
		"https://login.microsoftonline.com#x", "https://login.microsoftonline.com#", "https://user@login.microsoftonline.com",
		"https://login.microsoftonline.com?x=1", "https://login.microsoftonline.com?", "https://:443", "ftp://localhost", "https://a b", "://",
	} {
		if got, err := ParseAuthority(text); err == nil {
			t.Errorf("%q was accepted as %+v", text, got)
		}
	}
}
