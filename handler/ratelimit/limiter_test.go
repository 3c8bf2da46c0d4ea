package ratelimit

import (
	"fmt"
	"testing"
	"time"

	"entramcp/handler/clocktest"
)

// network is an address in the nth network of those that an attacker has.
func network(n, host int) string {
	return fmt.Sprintf("10.%d.%d.%d", n/256, n%256, host)
}

func TestOneAddressIsLimited(t *testing.T) {
	c := clocktest.New()
	l := New(Limit{PerSecond: 1, Burst: 30}, Limit{PerSecond: 20, Burst: 200}, c.Now)
	for i := range 30 {
		if wait := l.Take("192.0.2.1"); wait != 0 {
			t.Fatalf("request %d has to wait %v", i, wait)
		}
	}
	if wait := l.Take("192.0.2.1"); wait != time.Second {
		t.Errorf("the 31st has to wait %v, want 1s", wait)
	}
	if wait := l.Take("192.0.2.2"); wait != 0 {
		t.Errorf("another address has to wait %v", wait)
	}
	c.Advance(time.Second)
	if l.Take("192.0.2.1") != 0 || l.Take("192.0.2.1") == 0 {
		t.Error("a second later it is not one more")
	}
}

func TestTheInstanceIsLimitedForAllAddressesTogether(t *testing.T) {
	c := clocktest.New()
	l := New(Limit{PerSecond: 1, Burst: 30}, Limit{PerSecond: 20, Burst: 200}, c.Now)
	taken := 0
	for second := range 60 {
		for n := range 5000 {
			if l.Take(network(n, second+1)) == 0 {
				taken++
			}
		}
		c.Advance(time.Second)
	}
	if most := 200 + 60*20; taken > most || taken < most/2 {
		t.Errorf("%d in a minute, want at most %d", taken, most)
	}
}

// 400 requests a second from 1,000 networks, each of which stays below the
// limit of an address, and an honest caller that asks for the first time every
// third second.
func TestAFirstRequestIsServedDuringAFlood(t *testing.T) {
	c := clocktest.New()
	l := New(Limit{PerSecond: 1, Burst: 30}, Limit{PerSecond: 20, Burst: 200}, c.Now)
	flood, n := 0, 0
	step := func() {
		if l.Take(network(n%1000, n/1000%250+1)) == 0 {
			flood++
		}
		n++
		c.Advance(2500 * time.Microsecond)
	}
	for range 400 * 120 {
		step()
	}
	for honest := range 20 {
		for range 1200 {
			step()
		}
		if wait := l.Take(fmt.Sprintf("198.51.%d.7", honest)); wait != 0 {
			t.Errorf("honest caller %d has to wait %v", honest, wait)
		}
	}
	if most := 200 + 180*20; flood > most {
		t.Errorf("the flood took %d, the instance allows %d", flood, most)
	}
}

func TestOneNetworkCannotUseUpTheInstance(t *testing.T) {
	c := clocktest.New()
	l := New(Limit{PerSecond: 1, Burst: 30}, Limit{PerSecond: 20, Burst: 200}, c.Now)
	for host := range 250 {
		for range 30 {
			l.Take(network(0, host+1))
		}
	}
	for i := range 50 {
		if wait := l.Take(fmt.Sprintf("198.51.%d.7", i)); wait != 0 {
			t.Fatalf("network %d has to wait %v", i, wait)
		}
	}
}

func TestWhatIsReturnedCanBeTakenAgain(t *testing.T) {
	c := clocktest.New()
	l := New(Limit{PerSecond: 1, Burst: 2}, Limit{PerSecond: 1, Burst: 4}, c.Now)
	client := "192.0.2.1"
	for range 20 {
		if wait := l.Take(client); wait != 0 {
			t.Fatal(wait)
		}
		l.Return(client)
	}
	l.Return(client)
	for range 2 {
		l.Take(client)
	}
	if l.Take(client) == 0 {
		t.Error("returning more than was taken widens the limit")
	}
}

func TestWhatWaitSaysIsEnough(t *testing.T) {
	c := clocktest.New()
	l := New(Limit{PerSecond: 3, Burst: 100}, Limit{PerSecond: 7, Burst: 40}, c.Now)
	client := "192.0.2.1"
	for range 200 {
		wait := l.Take(client)
		if wait == 0 {
			continue
		}
		c.Advance(wait)
		if again := l.Take(client); again != 0 {
			t.Fatalf("after waiting %v it is %v more", wait, again)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	for most, l := range map[int]*Limiter{
		kept:      New(Limit{PerSecond: 1, Burst: 1}, Limit{PerSecond: 1, Burst: 1}, clocktest.New().Now),
		keptSmall: NewSmall(Limit{PerSecond: 1, Burst: 1}, Limit{PerSecond: 1, Burst: 1}, clocktest.New().Now),
	} {
		for n := range 3 * most {
			l.Take(network(n, 1))
		}
		if l.addresses.Len() > most || l.networks.Len() > most {
			t.Errorf("%d addresses, %d networks, want at most %d", l.addresses.Len(), l.networks.Len(), most)
		}
	}
}

func TestAClockThatIsSetBackGivesNothing(t *testing.T) {
	c := clocktest.New()
	l := New(Limit{PerSecond: 1, Burst: 1}, Limit{PerSecond: 1, Burst: 10}, c.Now)
	client := "192.0.2.1"
	l.Take(client)
	c.Advance(-time.Hour)
	if l.Take(client) == 0 {
		t.Error("taken twice")
	}
	c.Advance(time.Hour + time.Second)
	if wait := l.Take(client); wait != 0 {
		t.Error(wait)
	}
}

func TestAddressesThatShareABudget(t *testing.T) {
	for name, tt := range map[string]struct {
		a, b string
		same bool
	}{
		"two of IPv4":            {"192.0.2.1", "192.0.2.2", false},
		"one of IPv4, mapped":    {"192.0.2.1", "::ffff:192.0.2.1", true},
		"one /64":                {"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true},
		"two /64":                {"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		"an address and its /64": {"2001:db8:1:2::1", "2001:db8:1:2::/64", true},
		"zones do not count":     {"fe80::1%eth0", "fe80::1%eth1", true},
		"loopback of each kind":  {"127.0.0.1", "::1", false},
	} {
		l := New(Limit{PerSecond: 1, Burst: 1}, Limit{PerSecond: 100, Burst: 100}, clocktest.New().Now)
		l.Take(tt.a)
		if shared := l.Take(tt.b) != 0; shared != tt.same {
			t.Errorf("%s: shared %v", name, shared)
		}
	}
	l := New(Limit{PerSecond: 1, Burst: 1}, Limit{PerSecond: 100, Burst: 100}, clocktest.New().Now)
	l.Take("unknown")
	if l.Take("") == 0 {
		t.Error("clients without an address are not limited")
	}
}
