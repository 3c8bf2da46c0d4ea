package observe

import (
	"net/http/httptest"
	"net/netip"
	"testing"
)

func TestTheClientAddressCannotBeForged(t *testing.T) {
	azure := Proxies{Appended: true}
	proxied := Proxies{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	gateway := Proxies{Appended: true, Trusted: proxied.Trusted}
	for name, tt := range map[string]struct {
		proxies   Proxies
		peer      string
		forwarded []string
		key       string
	}{
		"no proxy":                             {Proxies{}, "192.0.2.1:1", nil, "192.0.2.1"},
		"a header where nobody is trusted":     {Proxies{}, "192.0.2.1:1", []string{"198.51.100.7"}, "192.0.2.1"},
		"Azure":                                {azure, "127.0.0.1:1", []string{"198.51.100.7:443"}, "198.51.100.7"},
		"Azure, made-up hops in front":         {azure, "127.0.0.1:1", []string{"203.0.113.1, 198.51.100.7:443"}, "198.51.100.7"},
		"Azure, made-up header lines":          {azure, "127.0.0.1:1", []string{"203.0.113.1", "198.51.100.7"}, "198.51.100.7"},
		"Azure without the header":             {azure, "192.0.2.1:1", nil, "192.0.2.1"},
		"Azure, IPv6 with a port":              {azure, "127.0.0.1:1", []string{"[2001:db8:1:2::9]:443"}, "2001:db8:1:2::/64"},
		"Azure, IPv6 without a port":           {azure, "127.0.0.1:1", []string{"2001:db8:1:2:9::1"}, "2001:db8:1:2::/64"},
		"Azure, IPv4 in IPv6":                  {azure, "127.0.0.1:1", []string{"::ffff:198.51.100.7"}, "198.51.100.7"},
		"Azure behind a trusted gateway":       {gateway, "127.0.0.1:1", []string{"203.0.113.1, 198.51.100.7, 10.1.1.1:443"}, "198.51.100.7"},
		"Azure, past a trusted gateway":        {gateway, "127.0.0.1:1", []string{"203.0.113.1, 198.51.100.7"}, "198.51.100.7"},
		"trusted proxy":                        {proxied, "10.0.0.1:1", []string{"203.0.113.1, 198.51.100.7"}, "198.51.100.7"},
		"two trusted proxies":                  {proxied, "10.0.0.1:1", []string{"203.0.113.1, 198.51.100.7, fd00::1"}, "198.51.100.7"},
		"trusted proxy without the header":     {proxied, "10.0.0.1:1", nil, "10.0.0.1"},
		"trusted hops alone":                   {proxied, "10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"a stranger names a trusted proxy":     {proxied, "192.0.2.1:1", []string{"10.0.0.2"}, "192.0.2.1"},
		"a trusted proxy passes on no address": {proxied, "10.0.0.1:1", []string{"203.0.113.1, nonsense"}, "unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = tt.peer
			for _, f := range tt.forwarded {
				r.Header.Add("X-Forwarded-For", f)
			}
			if got := LimitKey(tt.proxies.Address(r)); got != tt.key {
				t.Errorf("got %s, want %s", got, tt.key)
			}
		})
	}
}
