package docs

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The times that pages state, each with the declarations of the code that it has to
// agree with. Settings are not here: only configuration.md states them, and
// TestTheSettingsPageIsTheTable compares it.
var timesOfTheCode = map[string][]string{
	"700 ms":     {"authserver/consent.go: consentDelay = 700 * time.Millisecond"},
	"15 s":       {"grants/grants.go: MaxStale = 15 * time.Second"},
	"20 s":       {"mcphttp/mcphttp.go: commentEvery = 20 * time.Second"},
	"30 s":       {"grants/grants.go: RepeatWindow = 30 * time.Second"},
	"60 s":       {"grants/grants.go: CodeLifetime = time.Minute"},
	"10 minutes": {"authserver/consent.go: consentLifetime = 10 * time.Minute", "authserver/transaction.go: transactionLifetime = 10 * time.Minute", "keyring/keyring.go: PublishBefore = 10 * time.Minute"},
	"20 minutes": {"account/account.go: sessionLifetime = 20 * time.Minute"},
	"24 hours":   {"keyring/keyring.go: RewrapAfter = 24 * time.Hour", "process/commands_clients.go: secretOverlap = 24 * time.Hour"},
	"7 days":     {"clients/fetchcache.go: staleFor = 7 * 24 * time.Hour"},
	"14 days":    {"warnings/warnings.go: CertificateBefore = 14 * 24 * time.Hour"},
	"30 days":    {"clients/registry.go: unusedLife = 30 * 24 * time.Hour", "keyring/keyring.go: Period = 30 * 24 * time.Hour", "warnings/warnings.go: SecretBefore = 30 * 24 * time.Hour"},
	"32 days":    {"keyring/keyring.go: Overlap = 24 * time.Hour", "keyring/keyring.go: Margin = 24 * time.Hour", "warnings/warnings.go: RotationLate = 48 * time.Hour"},
	"90 days":    {"authserver/approval.go: approverLifetime = 90 * 24 * time.Hour"},
	"400 days":   {"clients/registry.go: usedLife = 400 * 24 * time.Hour"},
}

// The times that are others', with the page that states them.
var timesOfOthers = map[string]string{
	"add-a-tool.md: 230 s":             "Azure's limit of a silent connection",
	"audit.md: 10 s":                   "the rate of log lines, see observe.TestStrangersCannotFillTheLog",
	"clients.md: 60 s":                 "the C# SDK's",
	"configuration.md: 10 s":           "when clients give up",
	"configuration.md: 30 days":        "a setting's text",
	"entra.md: 12 hours":               "Entra's",
	"entra.md: 90 days":                "Entra's",
	"gateway.md: 240 s":                "what a gateway has to allow",
	"microsoft-callers.md: 24 hours":   "how long the platform caches a managed identity's token",
	"microsoft-callers.md: 90 minutes": "Entra's lifetime of a token",
	"security.md: 10 s":                "when clients give up",
	"deploy.md: 7 days":                "Key Vault's",
	"deploy.md: 30 days":               "Entra's, beside the rotation of the ring",
}

// TestTimesInTheDocsAreTheCodes: a time that the code changes is changed on every page
// that states it.
func TestTimesInTheDocsAreTheCodes(t *testing.T) {
	stated, usedOthers := map[string]bool{}, map[string]bool{}
	for page, text := range pages(t) {
		if page == "performance.md" || strings.HasSuffix(page, "CHANGELOG.md") || strings.HasSuffix(page, "CONTRIBUTING.md") {
			continue
		}
		if page == "deploy.md" { // prices and loads are assumptions
			before, rest, _ := strings.Cut(text, "\n## What it costs")
			_, after, _ := strings.Cut(rest, "\n## ")
			text = before + after
		}
		for _, m := range duration.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
			value := m[1] + " " + strings.Replace(m[2], "seconds", "s", 1)
			if key := page + ": " + value; timesOfOthers[key] != "" {
				usedOthers[key] = true
				continue
			}
			if timesOfTheCode[value] == nil {
				t.Errorf("%s states %s, which is neither the code's nor listed as somebody else's", page, value)
			}
			stated[value] = true
		}
	}
	for value, declarations := range timesOfTheCode {
		if !stated[value] {
			t.Errorf("no page states %s any more", value)
		}
		for _, declaration := range declarations {
			file, code, _ := strings.Cut(declaration, ": ")
			source := spaces.ReplaceAllString(read(t, filepath.Join("handler", file)), " ")
			if !strings.Contains(source, " "+code+" ") {
				t.Errorf("pages state %s, and %s has no %s", value, file, code)
			}
		}
	}
	for key := range timesOfOthers {
		if !usedOthers[key] {
			t.Errorf("no page states %s any more", key)
		}
	}
}

var (
	duration = regexp.MustCompile(`\b(\d+) (ms|s|seconds|minutes|hours|days)\b`)
	spaces   = regexp.MustCompile(`\s+`)
)

// TestThePageCountsTheAlerts: they are most of what an idle deployment costs.
func TestThePageCountsTheAlerts(t *testing.T) {
	template := read(t, "infra/modules/alerts.bicep")
	logs, metrics := strings.Count(template, "\n    periods: "), strings.Count(template, "\n    metric: ")
	cents := logs*50 + metrics*10
	page := read(t, "docs/deploy.md")
	for _, want := range []string{
		fmt.Sprintf("only; %d alerts and a workbook", logs+metrics),
		fmt.Sprintf("%d × 0.50 + %d × 0.10 = $%d.%02d.", logs, metrics, cents/100, cents%100),
		fmt.Sprintf("%d × 0.50 + %d × 0.10 = $%d.%02d | $", logs, metrics, cents/100, cents%100),
	} {
		if !strings.Contains(page, want) {
			t.Errorf("deploy.md does not say %q", want)
		}
	}
}

// TestTheRatesOfThePagesAreTheCodes: what the pages say of limits, beside the settings.
func TestTheRatesOfThePagesAreTheCodes(t *testing.T) {
	for _, tt := range []struct{ page, says, file, code string }{
		{"security.md", "a burst of 800 and 50 a second for each address", "middleware/throttle.go", "throttleAddress = ratelimit.Limit{PerSecond: 50, Burst: 800}"},
		{"security.md", "a burst of 1,600 and 400 a second for all addresses", "middleware/throttle.go", "throttleInstance = ratelimit.Limit{PerSecond: 400, Burst: 1600}"},
		{"security.md", "a burst of 100 rows and 10 a second", "authserver/server.go", "approveAddress = ratelimit.Limit{PerSecond: 10, Burst: 100}"},
		{"security.md", "a burst of 1,000 and 50 a second", "authserver/server.go", "everyAddress = ratelimit.Limit{PerSecond: 50, Burst: 1000}"},
		{"security.md", "1,200 rows", "clients/registry.go", "instanceRegistrations = ratelimit.Limit{PerSecond: 20, Burst: 400}"},
		{"security.md", "1,200 registrations and 3,000 approvals, with 400 and 1,000 more in the first minute", "clients/registry.go", "instanceRegistrations = ratelimit.Limit{PerSecond: 20, Burst: 400}"},
		{"security.md", "640 for fetches", "clients/fetchlimits.go", "instanceFetches = ratelimit.Limit{PerSecond: 10, Burst: 40}"},
		{"audit.md", "a burst of 20 and one in 10 s for each client address", "observe/sample.go", "linesEach = ratelimit.Limit{PerSecond: 0.1, Burst: 20}"},
		{"audit.md", "a burst of 200 and 2 a second", "observe/sample.go", "linesTotal = ratelimit.Limit{PerSecond: 2, Burst: 200}"},
	} {
		if !strings.Contains(spaces.ReplaceAllString(read(t, filepath.Join("docs", tt.page)), " "), tt.says) {
			t.Errorf("%s does not say %q", tt.page, tt.says)
		}
		if !strings.Contains(spaces.ReplaceAllString(read(t, filepath.Join("handler", tt.file)), " "), tt.code) {
			t.Errorf("%s says %q, and %s has no %s", tt.page, tt.says, tt.file, tt.code)
		}
	}
}
