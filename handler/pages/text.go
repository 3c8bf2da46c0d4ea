package pages

import (
	"html/template"
	"net/url"
	"strings"

	"golang.org/x/net/idna"

	"entramcp/handler/oauth"
)

// named is the name of an app, which the registry has made fit to be shown, or
// words for one that has none. Escaping is the template's part.
func named(name string) string {
	if name == "" {
		return namelessApp
	}
	return name
}

// Shortened is text in at most limit characters; the last is an ellipsis if something
// is left out.
func Shortened(text string, limit int) string {
	if runes := []rune(text); len(runes) > limit {
		return string(append(runes[:limit-1], '…'))
	}
	return text
}

// supportLink is where Support leads: a web page, or an email.
func supportLink(support string) string {
	if strings.HasPrefix(support, "https://") {
		return support
	}
	return "mailto:" + support
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

// icon lets through images in a data URL, as the policy does.
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
		return Target{Where: badAddress}
	}
	detail := (&url.URL{Scheme: u.Scheme, Host: ascii(u.Host), Path: u.Path}).String()
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return Target{Where: thisComputer, Detail: u.Scheme + "://" + ascii(u.Host), Local: true}
	case oauth.Loopback(u.Hostname()):
		return Target{Where: thisComputer, Detail: detail, Local: true}
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
