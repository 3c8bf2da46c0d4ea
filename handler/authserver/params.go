package authserver

import (
	"errors"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"

	"entramcp/handler/oauth"
)

// maxBody is the largest request body in bytes, the sealed consent form with a
// state of maxState included.
const maxBody = 64 << 10

// params are the parameters of one request, read by the rules of RFC 6749 §3.1 and
// §3.2: one without a value counts as omitted, and none may occur twice, because two
// readers could use different ones. Only resource may be repeated (RFC 8707 §2).
// Unknown parameters are ignored.
type params struct {
	url.Values
	// repeated are the names that occur more than once, in order.
	repeated []string
}

// readQuery reads the parameters of a request's URL.
func readQuery(r *http.Request) (params, error) { return parseParams(r.URL.RawQuery) }

// readForm reads the parameters of a request's body, and only of its body:
// secrets do not belong in URLs (RFC 6749 §2.3.1).
func readForm(w http.ResponseWriter, r *http.Request) (params, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return params{}, oauth.New(oauth.InvalidRequest, "The request body must be application/x-www-form-urlencoded.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return params{}, oauth.New(oauth.InvalidRequest, "The request body is larger than 64 KiB.")
	}
	if err != nil {
		return params{}, oauth.New(oauth.InvalidRequest, "The request body could not be read.").Because(err)
	}
	return parseParams(string(body))
}

func parseParams(encoded string) (params, error) {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return params{}, oauth.New(oauth.InvalidRequest, "The parameters are not properly encoded.").Because(err)
	}
	p := params{Values: values}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		given := slices.DeleteFunc(values[name], func(v string) bool { return v == "" })
		values[name] = given
		switch {
		case len(given) == 0:
			delete(values, name)
		case len(given) > 1 && name != "resource":
			p.repeated = append(p.repeated, name)
		}
	}
	return p, nil
}

// unambiguous refuses parameters that occur more than once.
func (p params) unambiguous() error {
	if len(p.repeated) == 0 {
		return nil
	}
	return oauth.New(oauth.InvalidRequest, "A parameter occurs more than once: "+excerpt(p.repeated[0], 40)+".")
}

// isRepeated reports whether one of names occurs more than once.
func (p params) isRepeated(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(p.repeated, name) })
}

// excerpt is at most n bytes of text that a stranger wrote, in the characters
// of a description.
func excerpt(text string, n int) string {
	text = oauth.Describe(text)
	return text[:min(n, len(text))]
}
