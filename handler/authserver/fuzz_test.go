package authserver_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzAuthorizeLeadsNowhereElse holds that whatever a link to /authorize says,
// the browser stays here or goes to the one registered address with our iss,
// and nothing is written.
func FuzzAuthorizeLeadsNowhereElse(f *testing.F) {
	w := newWorld(f)
	id := w.publicClient()
	w.browser().open(request(id)) // makes the first keys
	f.Add(request(id).Encode())
	f.Add(request(id, "response_type", "token").Encode())
	f.Add(request(id, "redirect_uri", "https://evil.example/").Encode())
	f.Add(request(id).Encode() + "&redirect_uri=https://evil.example/")
	f.Add(request(id, "redirect_uri", callback+"@evil.example").Encode())
	f.Add("client_id=" + id + "&redirect_uri=" + callback + "&state=%0d%0aLocation:%20https://evil.example/")
	f.Fuzz(func(t *testing.T, rawQuery string) {
		r := httptest.NewRequest(http.MethodGet, issuer+"/authorize", nil)
		r.URL.RawQuery = rawQuery
		w.table.Taken()
		resp := w.serve(r)
		if _, writes := w.table.Taken(); writes != 0 {
			t.Errorf("%d writes", writes)
		}
		switch location := resp.Header.Get("Location"); {
		case location == "" && (resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusBadRequest):
		case resp.StatusCode == http.StatusSeeOther && strings.HasPrefix(location, callback+"?") && reached(t, location).Get("iss") == issuer:
		default:
			t.Errorf("answer %d to %q", resp.StatusCode, location)
		}
	})
}

// FuzzEveryEndpointReadsParametersAlike holds that the token endpoint takes no
// form as a request for tokens in which a parameter occurs twice, or in which
// one is there only without a value.
func FuzzEveryEndpointReadsParametersAlike(f *testing.F) {
	w := newWorld(f)
	id := w.publicClient()
	f.Add("grant_type=authorization_code&code=x&code=y&client_id=" + id)
	f.Add("grant_type=&client_id=" + id)
	f.Add("client_id=&client_id=" + id + "&grant_type=refresh_token&refresh_token=")
	f.Add("grant_type=refresh_token&refresh_token=%zz&client_id=" + id)
	f.Fuzz(func(t *testing.T, form string) {
		resp := w.serve(formRequest("/token", form))
		if resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusUnauthorized {
			t.Fatalf("status %d", resp.StatusCode)
		}
		given, err := url.ParseQuery(form)
		description, _ := object(t, resp)["error_description"].(string)
		doubled := false
		for name, values := range given {
			values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
			doubled = doubled || len(values) > 1 && name != "resource"
		}
		if err == nil && len(form) < 60_000 && strings.HasPrefix(description, "A parameter occurs more than once") != doubled {
			t.Errorf("doubled %v: %s", doubled, description)
		}
		for i := range len(description) {
			if c := description[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
				t.Errorf("%q holds %q", description, c)
			}
		}
	})
}
