package entra

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"entramcp/handler/oauth"
)

// authorizationErrors are those an authorization response may carry.
var authorizationErrors = []oauth.Code{oauth.AccessDenied, oauth.ServerError, oauth.TemporarilyUnavailable}

func TestEveryNumberIsExplainedInSentences(t *testing.T) {
	sentence := regexp.MustCompile(`^[A-Z][^<>{}]*\.$`)
	for code, e := range explanations {
		t.Run(strconv.Itoa(code), func(t *testing.T) {
			for _, text := range []string{e.Summary, e.NextStep} {
				if !sentence.MatchString(text) || strings.Contains(text, "AADSTS") || strings.Contains(text, "  ") {
					t.Errorf("%q is not a plain sentence", text)
				}
			}
			if e.Kind == "" || !slices.Contains(authorizationErrors, e.OAuth) {
				t.Errorf("kind %q, OAuth error %q", e.Kind, e.OAuth)
			}
			if e.Kind == Misconfigured && !strings.HasPrefix(e.NextStep, "The administrator ") {
				t.Errorf("an operator's step does not say whose it is: %q", e.NextStep)
			}
			f := errorResponse{Error: "invalid_grant", Codes: []int{code}, Description: "AADSTS" + strconv.Itoa(code) + ": raw text"}.explain()
			if d := f.Description(); !strings.HasSuffix(d, "(AADSTS"+strconv.Itoa(code)+")") || strings.Contains(d, "raw text") || len(d) > 400 {
				t.Errorf("description is %q", d)
			}
			if f.Kind == Unavailable && f.RetryAfter <= 0 {
				t.Error("no Retry-After")
			}
		})
	}
}

// TestNumbersThatUsersReportHaveTheRightKind names the kind of each number that users of
// servers like this one report.
func TestNumbersThatUsersReportHaveTheRightKind(t *testing.T) {
	for kind, codes := range map[Kind][]int{
		Declined:          {65004},
		ConsentNeeded:     {65001, 90094, 90095},
		NotAllowed:        {50105, 50020, 50034, 50057},
		SignInOver:        {54005, 70000, 70008, 700082, 50173},
		InteractionNeeded: {50076, 50079, 53003},
		Misconfigured:     {50011, 700016, 7000215, 7000218, 7000222, 70021, 700027, 700211, 700212, 700213, 90009, 70011, 500011, 650057, 650053, 901002, 9010010, 9002326, 9002327},
		Unavailable:       {90033, 90055},
	} {
		for _, code := range codes {
			if e, ok := Explain(code); !ok || e.Kind != kind {
				t.Errorf("%d is %q, want %s", code, e.Kind, kind)
			}
		}
	}
	if _, ok := Explain(1); ok {
		t.Error("an unknown number is explained")
	}
}

func TestEveryOAuthErrorHasAGenericExplanation(t *testing.T) {
	for _, code := range []string{
		"access_denied", "consent_required", "invalid_grant", "interaction_required", "login_required", "invalid_client",
		"invalid_request", "unauthorized_client", "unsupported_response_type", "invalid_scope", "invalid_resource",
		"invalid_target", "temporarily_unavailable", "server_error", "", "surprise",
	} {
		e := generic(code, "")
		if e.Kind == "" || e.Summary == "" || e.NextStep == "" || !slices.Contains(authorizationErrors, e.OAuth) {
			t.Errorf("%q gives %+v", code, e)
		}
	}
}
