package browser

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
)

// jar drops the cookies whose prefix promises what they do not keep, as
// browsers do and net/http/cookiejar does not (RFC 6265bis §4.1.3).
type jar struct{ *cookiejar.Jar }

func (j jar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	var kept []*http.Cookie
	for _, c := range cookies {
		secure := c.Secure && u.Scheme == "https"
		switch {
		case strings.HasPrefix(c.Name, "__Host-") && (!secure || c.Path != "/" || c.Domain != ""),
			strings.HasPrefix(c.Name, "__Secure-") && !secure,
			c.Secure && u.Scheme != "https":
			continue
		}
		kept = append(kept, c)
	}
	j.Jar.SetCookies(u, kept)
}
