package pages

import (
	"html/template"
	"net/url"
	"strings"
	"unicode"

	"golang.org/x/net/idna"

	"entramcp/handler/oauth"
)

// maxName is the longest name shown, in runes: room for every honest one, and
// too short to push the facts below it off the screen.
const maxName = 60

// plain makes a name that a stranger chose fit to be read: control and format
// characters, which can reorder or hide text, are gone, white space is single,
// and the length is bounded. Escaping is the template's part.
func plain(name string) string {
	name = strings.Join(strings.FieldsFunc(name, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	}), " ")
	name = strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.Cf, unicode.Co, unicode.Cs, unicode.Zl, unicode.Zp) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, name)
	if runes := []rune(name); len(runes) > maxName {
		name = string(runes[:maxName-1]) + "…"
	}
	if strings.TrimSpace(name) == "" {
		return "An app without a name"
	}
	return name
}

// link lets a URL with an app's own scheme through html/template, which knows
// only http, https and mailto. Schemes that run or show content in the browser
// are never let through, whatever redirect policy was configured.
func link(raw string) template.URL {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" || unsafeScheme(u.Scheme) {
		return "#blocked"
	}
	return template.URL(raw)
}

// icon lets through pictures that stand in a data URL, as the policy does.
func icon(raw string) template.URL {
	if strings.HasPrefix(raw, "data:image/png;base64,") || strings.HasPrefix(raw, "data:image/svg+xml;base64,") {
		return template.URL(raw)
	}
	return ""
}

func unsafeScheme(scheme string) bool {
	switch strings.ToLower(scheme) {
	case "javascript", "data", "vbscript", "file", "blob", "about", "filesystem", "view-source", "ws", "wss":
		return true
	}
	return false
}

// Target says where a redirect URI leads, in words for the person approving.
type Target struct {
	// Where is what to look at: a host, or "an app on this computer".
	Where string
	// Detail is the redirect URI itself, without its query.
	Detail string
	// Local is set when the URI leads to this computer. Any program there
	// can claim it, so a name says nothing (RFC 8252 §8.6).
	Local bool
}

// TargetOf describes redirectURI.
func TargetOf(redirectURI string) Target {
	u, err := url.Parse(redirectURI)
	if err != nil {
		return Target{Where: "an unreadable address"}
	}
	detail := (&url.URL{Scheme: u.Scheme, Host: ascii(u.Host), Path: u.Path}).String()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return Target{Where: "An app on this computer", Detail: u.Scheme + "://" + ascii(u.Host), Local: true}
	case oauth.Loopback(u.Hostname()):
		return Target{Where: "An app on this computer", Detail: detail, Local: true}
	}
	return Target{Where: ascii(u.Host), Detail: detail}
}

// ascii writes an internationalised host as the network sees it, so that
// letters of another alphabet cannot pose as a known name.
func ascii(host string) string {
	if a, err := idna.Punycode.ToASCII(host); err == nil {
		return a
	}
	return strings.ToValidUTF8(host, "?")
}
