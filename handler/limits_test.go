package handler_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entramcp/handler/oauth"
)

// TestLimitsByAddressAreTheOperators: each setting bounds what it names, for one
// address, and says when to come back.
func TestLimitsByAddressAreTheOperators(t *testing.T) {
	const confidential = `{"redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"private_key_jwt","jwks":{"keys":[` +
		`{"kty":"EC","crv":"P-256","kid":"1","use":"sig","alg":"ES256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}}`
	send := func(w *entraWorld, address string, r *http.Request) *httptest.ResponseRecorder {
		r.RemoteAddr = address + ":1234"
		rec := httptest.NewRecorder()
		w.server.ServeHTTP(rec, r)
		return rec
	}
	register := func(w *entraWorld, address, metadata string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, mcpIssuer+"/register", strings.NewReader(metadata))
		r.Header.Set("Content-Type", "application/json")
		return send(w, address, r)
	}
	form := func(path string, values url.Values) *http.Request {
		r := httptest.NewRequest(http.MethodPost, mcpIssuer+path, strings.NewReader(values.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	clientOf := func(rec *httptest.ResponseRecorder) string {
		var registered struct {
			ID string `json:"client_id"`
		}
		if err := json.NewDecoder(rec.Body).Decode(&registered); err != nil || registered.ID == "" {
			t.Fatalf("%d %v", rec.Code, err)
		}
		return registered.ID
	}
	for setting, attempt := range map[string]func(w *entraWorld) func(address string) *httptest.ResponseRecorder{
		"REQUESTS_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			return func(address string) *httptest.ResponseRecorder {
				return send(w, address, httptest.NewRequest(http.MethodPost, mcpIssuer+"/mcp", nil))
			}
		},
		"REGISTRATIONS_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			n := 0
			return func(address string) *httptest.ResponseRecorder {
				n++
				return register(w, address, fmt.Sprintf(`{"client_name":"app %d","redirect_uris":["https://app.example/cb"],"token_endpoint_auth_method":"none"}`, n))
			}
		},
		"SIGN_INS_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			id := clientOf(register(w, "203.0.113.1", `{"redirect_uris":["`+mcpRedirect+`"],"token_endpoint_auth_method":"none"}`))
			type opened struct {
				request string
				cookies []*http.Cookie
			}
			var pages []opened
			for range 4 {
				page := send(w, "203.0.113.1", httptest.NewRequest(http.MethodGet, mcpIssuer+"/authorize?"+url.Values{
					"response_type": {"code"}, "client_id": {id}, "redirect_uri": {mcpRedirect},
					"code_challenge": {oauth.S256(mcpVerifier)}, "code_challenge_method": {"S256"},
				}.Encode(), nil))
				request := regexp.MustCompile(`name="request" value="([^"]+)"`).FindStringSubmatch(page.Body.String())
				if request == nil {
					t.Fatalf("no form: %d %s", page.Code, page.Body)
				}
				pages = append(pages, opened{html.UnescapeString(request[1]), page.Result().Cookies()})
			}
			time.Sleep(750 * time.Millisecond) // the button arms late
			return func(address string) *httptest.ResponseRecorder {
				page := pages[0]
				pages = pages[1:]
				r := form("/consent", url.Values{"request": {page.request}, "decision": {"approve"}})
				r.Header.Set("Origin", mcpIssuer)
				for _, c := range page.cookies {
					r.AddCookie(c)
				}
				return send(w, address, r)
			}
		},
		"FETCHES_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			n := 0
			return func(address string) *httptest.ResponseRecorder {
				n++
				return send(w, address, httptest.NewRequest(http.MethodGet, mcpIssuer+"/authorize?"+url.Values{
					"response_type": {"code"}, "client_id": {fmt.Sprintf("https://localhost/client%d.json", n)}, "redirect_uri": {mcpRedirect},
					"code_challenge": {oauth.S256(mcpVerifier)}, "code_challenge_method": {"S256"},
				}.Encode(), nil))
			}
		},
		"FAILED_ASSERTIONS_PER_ADDRESS": func(w *entraWorld) func(string) *httptest.ResponseRecorder {
			id := clientOf(register(w, "203.0.113.1", confidential))
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			return func(address string) *httptest.ResponseRecorder {
				assertion := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{
					"iss": id, "sub": id, "aud": mcpIssuer, "jti": rand.Text(), "exp": time.Now().Add(time.Minute).Unix(),
				})
				assertion.Header["kid"] = "1"
				signed, err := assertion.SignedString(key)
				if err != nil {
					t.Fatal(err)
				}
				return send(w, address, form("/token", url.Values{
					"grant_type": {"refresh_token"}, "refresh_token": {"x"}, "client_id": {id}, "client_assertion": {signed},
					"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				}))
			}
		},
	} {
		t.Run(setting, func(t *testing.T) {
			w := newEntraWorld(t, map[string]string{setting: "2/1h"})
			try := attempt(w)
			for range 2 {
				if got := try("192.0.2.1"); got.Code == http.StatusTooManyRequests {
					t.Fatalf("within the limit: %d %s", got.Code, got.Body)
				}
			}
			if got := try("192.0.2.1"); got.Code != http.StatusTooManyRequests || got.Header().Get("Retry-After") == "" {
				t.Errorf("beyond the limit: %d %v %s", got.Code, got.Header(), got.Body)
			}
			if got := try("198.51.100.1"); got.Code == http.StatusTooManyRequests {
				t.Errorf("another address: %d %s", got.Code, got.Body)
			}
		})
	}
}
