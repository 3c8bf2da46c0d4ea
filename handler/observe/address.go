package observe

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies says whose word about the client's address counts. The zero value
// trusts nobody: the peer is the client.
type Proxies struct {
	// Appended says that the platform in front, Azure's, appends the address
	// of its own peer to X-Forwarded-For of every request.
	Appended bool
	// Trusted are the addresses of further proxies that append.
	Trusted []netip.Prefix
}

// Address is the client's address: the rightmost hop outside of Trusted. Each
// proxy appends what it saw to X-Forwarded-For; what stands left of the first
// hop that is not trusted, anyone can write. It is invalid if a trusted proxy
// wrote what is not an address.
func (p Proxies) Address(r *http.Request) netip.Addr {
	var hops []string
	for _, line := range r.Header.Values("X-Forwarded-For") {
		hops = append(hops, strings.Split(line, ",")...)
	}
	if !p.Appended || len(hops) == 0 {
		hops = append(hops, r.RemoteAddr)
	}
	var address netip.Addr
	for _, hop := range slices.Backward(hops) {
		address = parseHop(hop)
		if !slices.ContainsFunc(p.Trusted, func(t netip.Prefix) bool { return t.Contains(address) }) {
			break
		}
	}
	return address
}

// parseHop reads an address with or without a port, brackets and a zone.
func parseHop(hop string) netip.Addr {
	hop = strings.TrimSpace(hop)
	if host, _, err := net.SplitHostPort(hop); err == nil {
		hop = host
	}
	address, err := netip.ParseAddr(strings.Trim(hop, "[]"))
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}

// LimitKey is what address counts as in limits: an address of IPv6 counts as
// its /64, which is what one subscriber has.
func LimitKey(address netip.Addr) string {
	switch {
	case !address.IsValid():
		return "unknown"
	case address.Is6():
		prefix, _ := address.Prefix(64)
		return prefix.String()
	}
	return address.String()
}

// ClientKey is the LimitKey of the client of the request in ctx, or "unknown"
// outside of one. It feeds limits only.
func ClientKey(ctx context.Context) string {
	if c, ok := correlation(ctx); ok {
		return c.client
	}
	return "unknown"
}
