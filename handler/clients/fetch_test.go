package clients

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"code.dny.dev/ssrf"

	"entramcp/handler/oauth"
)

// Addresses that no fetch may connect to, by the registries of RFC 6890 and
// what Azure adds to them.
var specialAddresses = []string{
	"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254",
	"169.254.169.254", "169.254.130.1", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1",
	"192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.1", "192.175.48.1", "198.18.0.1", "198.19.255.255",
	"198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
	"168.63.129.16",
	"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:8.8.8.8",
	"::ffff:0:127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::7f00:1", "100::1", "100:0:0:1::1",
	"2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1",
	"2002:7f00:1::1", "2002:a9fe:a9fe::1", "2620:4f:8000::1", "3fff::1", "5f00::1", "fc00::1", "fd00::1",
	"fe80::1", "fec0::1", "ff02::1",
}

func TestNoConnectionToSpecialUseAddresses(t *testing.T) {
	guard := dialGuard(false)
	for _, text := range specialAddresses {
		address := netip.AddrPortFrom(netip.MustParseAddr(text), 443).String()
		for _, network := range []string{"tcp4", "tcp6"} {
			if err := guard(network, address, nil); !errors.Is(err, ssrf.ErrProhibitedIP) {
				t.Errorf("%s %s: %v", network, address, err)
			}
		}
	}
	for _, address := range []string{"8.8.8.8:443", "160.79.104.1:443", "[2606:4700::1111]:443", "[2a00:1450::1]:443"} {
		if err := guard("tcp4", address, nil); err != nil {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, network := range []string{"udp4", "unix", "ip4:1"} {
		if guard(network, "8.8.8.8:443", nil) == nil {
			t.Errorf("%s is permitted", network)
		}
	}
}

func TestLoopbackServerReachesOnlyItsOwnMachine(t *testing.T) {
	guard := dialGuard(true)
	for _, text := range specialAddresses {
		addr := netip.MustParseAddr(text)
		permitted := guard("tcp4", netip.AddrPortFrom(addr, 443).String(), nil) == nil
		if permitted != (addr.IsLoopback() && !addr.Is4In6()) {
			t.Errorf("%s permitted: %v", text, permitted)
		}
	}
}

func FuzzGuardRefusesSpecialUse(f *testing.F) {
	for _, text := range specialAddresses {
		addr := netip.MustParseAddr(text)
		f.Add(addr.AsSlice())
	}
	guard := dialGuard(false)
	f.Fuzz(func(t *testing.T, b []byte) {
		addr, ok := netip.AddrFromSlice(b)
		if !ok || guard("tcp4", netip.AddrPortFrom(addr, 443).String(), nil) != nil {
			return
		}
		if addr.Is4In6() || !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.IsMulticast() || addr.IsUnspecified() {
			t.Errorf("%s is permitted", addr)
		}
	})
}

// The name resolves to a public address for whoever looks first, and to
// loopback for the connection.
func TestRebindingNameIsRefusedWhenDialled(t *testing.T) {
	s := newSite(t)
	s.serveJSON(`{}`)
	resolver := nameServer(t, func(_ string, query int) []string {
		if query == 0 {
			return []string{"93.184.216.34"}
		}
		return []string{"127.0.0.1"}
	})
	first, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.example.com")
	if err != nil || first[0].String() != "93.184.216.34" {
		t.Fatal(first, err)
	}
	host := "rebind.example.com:" + s.port()
	hosts := hostsOf(t, host)
	r := newRegistry(t, Options{Documents: Documents{Hosts: hosts, resolver: resolver, roots: s.roots()}})
	_, err = r.Lookup(t.Context(), "https://"+host+"/client.json")
	wantCode(t, err, oauth.TemporarilyUnavailable)
	if !errors.Is(err, ssrf.ErrProhibitedIP) {
		t.Error(err)
	}
	if n := s.conns.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
}

func TestNamesOfSpecialAddressesAreRefusedWhenDialled(t *testing.T) {
	table := openTable(t)
	for _, text := range specialAddresses {
		if strings.HasPrefix(text, "::ffff:8.8") {
			continue // Go dials the address it maps, which is public
		}
		resolver := nameServer(t, func(string, int) []string { return []string{text} })
		r := newRegistry(t, Options{Documents: Documents{resolver: resolver}, Table: table})
		_, err := r.Lookup(context.Background(), "https://app.example.com/client.json")
		if !errors.Is(err, ssrf.ErrProhibitedIP) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
