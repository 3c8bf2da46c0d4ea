package warnings

import (
	"strings"
	"testing"
	"time"
)

// TestEachWarningBeginsInTimeAndNotBefore: each fact is good on one side of its
// limit and warned of on the other, with what to do.
func TestEachWarningBeginsInTimeAndNotBefore(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	in := now.Add
	driven := map[Name]bool{}
	for _, tt := range []struct {
		name       Name
		good, late Facts
		says       string
	}{
		{SecretExpires, Facts{SecretEnds: in(31 * 24 * time.Hour)}, Facts{SecretEnds: in(29 * 24 * time.Hour)}, "2026-12-25"},
		{SecretExpires, Facts{}, Facts{SecretRefused: true}, "AADSTS7000222"},
		{CertificateExpires, Facts{CertificateEnds: in(15 * 24 * time.Hour)}, Facts{CertificateEnds: in(-time.Hour)}, "2026-11-26"},
		{KeysNotRotated, Facts{NewestKey: in(-31 * 24 * time.Hour), RotateAfter: 30 * 24 * time.Hour}, Facts{NewestKey: in(-33 * 24 * time.Hour), RotateAfter: 30 * 24 * time.Hour}, "33 days"},
		{SweepBehind, Facts{Swept: in(-time.Hour), SweepEvery: 15 * time.Minute}, Facts{Swept: in(-61 * time.Minute), SweepEvery: 15 * time.Minute}, "10:59"},
		{ClockApart, Facts{ClockAhead: -time.Minute}, Facts{ClockAhead: -61 * time.Second}, "-1m1s"},
		{DocumentsNotFetchable, Facts{Documents: map[string]time.Time{"https://a.example/m": in(-time.Minute)}}, Facts{Documents: map[string]time.Time{"https://a.example/m": in(-time.Hour)}}, "https://a.example/m"},
	} {
		driven[tt.name] = true
		tt.good.Now, tt.late.Now = now, now
		if found := Of(tt.good); len(found) != 0 {
			t.Errorf("%s: warned of too early: %v", tt.name, found)
		}
		found := Of(tt.late)
		if len(found) != 1 || found[0].Name != tt.name || !strings.Contains(found[0].Summary, tt.says) || found[0].Fix == "" {
			t.Errorf("%s: %+v", tt.name, found)
		}
	}
	for _, name := range Names {
		if !driven[name] {
			t.Errorf("%s is never given", name)
		}
	}
	if found := Of(Facts{Now: now}); len(found) != 0 {
		t.Errorf("nothing is known, and %v", found)
	}
}
