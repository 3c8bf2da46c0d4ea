package clients

import (
	"net/netip"
	"syscall"

	"code.dny.dev/ssrf"
)

// wireServer answers for the Azure fabric on every virtual machine. It is in a
// public range, so that no registry of special-use addresses lists it
// (https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16).
var wireServer = netip.MustParsePrefix("168.63.129.16/32")

// dialGuard is a net.Dialer.Control function. It sees the address that is about
// to be connected to, after all name resolution, so a name that changes its
// address between two looks gains nothing. It refuses everything that is not
// global unicast (RFC 6890) and, unless loopback is permitted, this machine.
// Which ports may be used is decided by checkFetchURL.
func dialGuard(loopback bool) func(network, address string, _ syscall.RawConn) error {
	options := []ssrf.Option{ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(wireServer)}
	if loopback {
		options = append(options,
			ssrf.WithAllowedV4Prefixes(netip.MustParsePrefix("127.0.0.0/8")),
			ssrf.WithAllowedV6Prefixes(netip.MustParsePrefix("::1/128")))
	}
	return ssrf.New(options...).Safe
}
