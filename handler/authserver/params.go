package authserver

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"

	"entramcp/handler/oauth"
)

// maxBody is the largest request body in bytes, the sealed consent form with a
// state of maxState included.
const maxBody = 64 << 10

// query reads the parameters of a request's URL.
func query(r *http.Request) (url.Values, error) {
	return parse(r.URL.RawQuery)
}

// form reads the parameters of a request's body, and only of its body: secrets
// do not belong in URLs (RFC 6749 §2.3.1).
func form(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/x-www-form-urlencoded" {
		return nil, oauth.New(oauth.InvalidRequest, "The request body must be application/x-www-form-urlencoded.")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, oauth.New(oauth.InvalidRequest, "The request body is too large.")
	}
	if err != nil {
		return nil, oauth.New(oauth.InvalidRequest, "The request body could not be read.").Because(err)
	}
	return parse(string(body))
}

func parse(encoded string) (url.Values, error) {
	values, err := url.ParseQuery(encoded)
	if err != nil {
		return nil, oauth.New(oauth.InvalidRequest, "The parameters are not properly encoded.").Because(err)
	}
	return values, nil
}

// once refuses parameters that occur more than once (RFC 6749 §3.1 and §3.2),
// because two readers may each take another one. Only resource may be repeated
// (RFC 8707 §2).
func once(values url.Values) error {
	for name, all := range values {
		if len(all) > 1 && name != "resource" {
			return oauth.New(oauth.InvalidRequest, "A parameter occurs more than once: "+printable(name)+".")
		}
	}
	return nil
}

// printable keeps what error_description may hold (RFC 6749 §4.1.2.1), at most
// 40 bytes of it.
func printable(s string) string {
	out := make([]byte, 0, 40)
	for i := 0; i < len(s) && len(out) < cap(out); i++ {
		if c := s[i]; c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			out = append(out, c)
		}
	}
	return string(out)
}
