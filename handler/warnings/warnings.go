// Package warnings lists what works now and will stop working, from facts that a
// running server or the doctor has. The log, the metric, the doctor and the page for
// managers all use this list.
package warnings

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Name is what queries and alerts look for: stable, one for each kind.
type Name string

// The warnings that there are.
const (
	SecretExpires         Name = "secret_expires"
	CertificateExpires    Name = "certificate_expires"
	KeysNotRotated        Name = "keys_not_rotated"
	SweepBehind           Name = "sweep_behind"
	ClockApart            Name = "clock_apart"
	DocumentsNotFetchable Name = "documents_not_fetchable"
)

// Names are all of them.
var Names = []Name{SecretExpires, CertificateExpires, KeysNotRotated, SweepBehind, ClockApart, DocumentsNotFetchable}

const (
	// SecretBefore and CertificateBefore are how long before its end a secret
	// and a certificate are warned of. A new secret needs somebody who may make
	// one; a certificate is usually renewed by itself.
	SecretBefore      = 30 * 24 * time.Hour
	CertificateBefore = 14 * 24 * time.Hour
	// ClockLimit is the difference to Entra's clock from which on tokens are
	// refused.
	ClockLimit = time.Minute
	// RotationLate is how long after its due time a rotation is late: every
	// instance tries every few minutes.
	RotationLate = 48 * time.Hour
	// SweepsMissed is how many intervals may pass without a finished sweep.
	SweepsMissed = 4
	// DocumentFails is how long a document of a client in use may not be
	// fetchable before it is said.
	DocumentFails = 10 * time.Minute
)

// Facts are what is known. What is zero is unknown and warns of nothing.
type Facts struct {
	Now time.Time
	// SecretEnds is when the client secret ends, and SecretRefused that Entra
	// says it has ended (AADSTS7000222).
	SecretEnds    time.Time
	SecretRefused bool
	// CertificateEnds is when the certificate ends that is used instead.
	CertificateEnds time.Time
	// NewestKey is when the newest epoch was made, which is to be replaced after
	// RotateAfter.
	NewestKey   time.Time
	RotateAfter time.Duration
	// Swept is when a sweep was last finished, by any instance; a server that
	// knows of none says when it started.
	Swept      time.Time
	SweepEvery time.Duration
	// ClockAhead is by how much this machine's clock is ahead of Entra's.
	ClockAhead time.Duration
	// Documents are those of clients in use that cannot be fetched, and since
	// when.
	Documents map[string]time.Time
}

// Warning is one, in words for operators.
type Warning struct {
	Name Name
	// Summary says what is the matter and Fix what to do.
	Summary, Fix string
}

// Of are the warnings that facts give rise to, in the order of Names.
func Of(f Facts) []Warning {
	var found []Warning
	say := func(name Name, summary, fix string) { found = append(found, Warning{name, summary, fix}) }
	const newSecret = "Create a new secret in the app registration, write its value in ENTRA_CLIENT_SECRET and its end in ENTRA_CLIENT_SECRET_EXPIRES, and restart."
	switch {
	case f.SecretRefused:
		say(SecretExpires, "Entra says that the client secret has expired (AADSTS7000222): nobody can sign in.", newSecret)
	case within(f.SecretEnds, f.Now, SecretBefore):
		say(SecretExpires, "The client secret of the app registration ends on "+day(f.SecretEnds)+". From then on nobody can sign in.", newSecret)
	}
	if within(f.CertificateEnds, f.Now, CertificateBefore) {
		say(CertificateExpires, "The certificate that this server signs in with ends on "+day(f.CertificateEnds)+".",
			"Renew it: upload the new certificate to the app registration, then replace the file that ENTRA_CLIENT_CERTIFICATE_PATH names. No restart is needed.")
	}
	if age := f.Now.Sub(f.NewestKey); !f.NewestKey.IsZero() && age > f.RotateAfter+RotationLate {
		say(KeysNotRotated, fmt.Sprintf("The newest key epoch is %d days old, and none has followed it.", int(age.Hours()/24)),
			"Look in the log for \"the key ring could not be rotated\": usually the wrapping key is disabled, or may not be used. Then run app keys rotate.")
	}
	if !f.Swept.IsZero() && f.Now.Sub(f.Swept) > SweepsMissed*f.SweepEvery {
		say(SweepBehind, "What has expired was last removed completely at "+f.Swept.UTC().Format(time.RFC3339)+".",
			"Look in the log for \"sweep ended early\". Nothing is wrong for users yet; the table grows.")
	}
	if f.ClockAhead.Abs() > ClockLimit {
		say(ClockApart, fmt.Sprintf("The clock of this machine is %s ahead of Entra's: tokens are refused at more than %s.", f.ClockAhead.Round(time.Second), ClockLimit),
			"Set the machine's clock by NTP.")
	}
	var urls []string
	for url, since := range f.Documents {
		if f.Now.Sub(since) > DocumentFails {
			urls = append(urls, url)
		}
	}
	if slices.Sort(urls); len(urls) > 0 {
		say(DocumentsNotFetchable, "The metadata of apps in use cannot be fetched: "+strings.Join(urls, ", ")+". A copy may stand in for a week.",
			"Open the address from this server's network. If the app has moved or stays away, name its document in PINNED_CLIENTS.")
	}
	return found
}

func within(end, now time.Time, before time.Duration) bool {
	return !end.IsZero() && end.Sub(now) < before
}

func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
