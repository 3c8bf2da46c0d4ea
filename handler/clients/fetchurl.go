package clients

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Hosts are the hosts that metadata documents and key sets may be fetched
// from. The zero value is any host, on port 443.
type Hosts struct {
	off   bool
	names map[string]bool
}

// ParseHosts reads the operator's setting: nothing or "*" for any host, "none"
// or "off" for none, or a list of host names, each with a port if it is not
// 443. A listed name does not include its subdomains.
func ParseHosts(entries ...string) (Hosts, error) {
	switch {
	case len(entries) == 0, len(entries) == 1 && entries[0] == "*":
		return Hosts{}, nil
	case len(entries) == 1 && (strings.EqualFold(entries[0], "none") || strings.EqualFold(entries[0], "off")):
		return Hosts{off: true}, nil
	}
	h := Hosts{names: make(map[string]bool, len(entries))}
	var errs []error
	for _, entry := range entries {
		name := strings.ToLower(entry)
		if !validHost(name) {
			errs = append(errs, fmt.Errorf("%q is not a host name; write * or none alone, or names such as claude.ai", entry))
			continue
		}
		h.names[strings.TrimSuffix(name, ":443")] = true
	}
	return h, errors.Join(errs...)
}

func (h Hosts) allows(authority string) bool {
	return !h.off && (h.names == nil || h.names[strings.TrimSuffix(authority, ":443")])
}

// checkFetchURL accepts the URLs this server would fetch for a client: https,
// no user name, a path, no fragment, no dot segments (the draft, §3), in
// normal form, on a host the operator allows. A port other than 443 is only for
// hosts that the operator lists, so that strangers cannot have ports of other
// hosts tried. loopback also admits this machine, by http too.
func checkFetchURL(raw string, hosts Hosts, loopback bool) (*url.URL, error) {
	u, err := parseFetchURL(raw)
	if err != nil {
		return nil, err
	}
	local := loopback && isLoopbackURI("http://"+u.Host)
	_, port, hasPort := splitPort(u.Host)
	switch {
	case u.Scheme != "https" && !(local && u.Scheme == "http"):
		return nil, errors.New("it must use https")
	case !hosts.allows(u.Host) && !(local && !hosts.off):
		return nil, errors.New("this server does not fetch from its host")
	case hasPort && port != "443" && hosts.names == nil && !local:
		return nil, errors.New("it must use port 443")
	case isAddress(u.Host) && !local:
		return nil, errors.New("it must name a host, not an address")
	}
	return u, nil
}

func parseFetchURL(raw string) (*url.URL, error) {
	if len(raw) > maxRedirectURI {
		return nil, errors.New("it is too long")
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c > '~' || c == '\\' {
			return nil, errors.New("it contains a character that is not allowed in a URI")
		}
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Opaque != "" || u.String() != raw:
		return nil, errors.New("it is not a URL in normal form")
	case u.User != nil:
		return nil, errors.New("it must not contain a user name or password")
	case strings.Contains(raw, "#"):
		return nil, errors.New("it must not have a fragment")
	case !validHost(u.Host) || u.Host != strings.ToLower(u.Host):
		return nil, errors.New("it must name a host in lower case")
	case u.Path == "" || u.Path == "/":
		return nil, errors.New("it must have a path")
	case hasDotSegment(u.EscapedPath()):
		return nil, errors.New("it must not contain . or .. path segments")
	}
	return u, nil
}

// isAddress recognizes every spelling that a resolver reads as an IPv4 address: one
// whose last label is a number, also in hexadecimal (WHATWG URL, "ends in a number").
func isAddress(authority string) bool {
	host, _, _ := splitPort(authority)
	if strings.HasPrefix(host, "[") {
		return true
	}
	last := host[strings.LastIndexByte(host, '.')+1:]
	return strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x")
}
