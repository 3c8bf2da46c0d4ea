package authserver_test

import (
	"net/http"
	"net/http/httptest"
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
		w.table.counted()
		resp := w.serve(r)
		if _, writes := w.table.counted(); writes != 0 {
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
