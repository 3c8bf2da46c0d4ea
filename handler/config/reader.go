package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Problem is one mistake in the configuration.
type Problem struct {
	// Name of the setting.
	Name string
	// Wrong says what is wrong with it, Write what to write.
	Wrong, Write string
}

// Problems are all mistakes of one configuration.
type Problems []Problem

// Error lists one problem a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, q := range p {
		lines[i] = fmt.Sprintf("%s %s. %s.", q.Name, q.Wrong, q.Write)
	}
	return strings.Join(lines, "\n")
}

// reader takes settings from the environment and collects what is wrong.
type reader struct {
	getenv   func(string) string
	problems Problems
}

// seedPrefix begins the names that the Python server used. They are read where
// the plain name is unset, so that its settings files work unchanged.
const seedPrefix = "FASTMCP_SERVER_AUTH_AZURE_"

// seedNames maps our names to the seven of the Python server.
var seedNames = map[string]string{
	"ENTRA_CLIENT_ID":     seedPrefix + "CLIENT_ID",
	"ENTRA_CLIENT_SECRET": seedPrefix + "CLIENT_SECRET",
	"ENTRA_TENANT_ID":     seedPrefix + "TENANT_ID",
	"PUBLIC_URL":          seedPrefix + "BASE_URL",
	"REDIRECT_PATH":       seedPrefix + "REDIRECT_PATH",
	"REQUIRED_SCOPES":     seedPrefix + "REQUIRED_SCOPES",
	"TIMEOUT_SECONDS":     seedPrefix + "TIMEOUT_SECONDS",
}

func (r *reader) bad(name, wrong, write string) {
	r.problems = append(r.problems, Problem{name, wrong, write})
}

func (r *reader) text(name string) string {
	if v := strings.TrimSpace(r.getenv(name)); v != "" {
		return v
	}
	if seed, ok := seedNames[name]; ok {
		return strings.TrimSpace(r.getenv(seed))
	}
	return ""
}

func (r *reader) textOr(name, fallback string) string {
	if v := r.text(name); v != "" {
		return v
	}
	return fallback
}

// list reads values separated by commas or white space.
func (r *reader) list(name string) []string {
	return strings.FieldsFunc(r.text(name), func(c rune) bool {
		return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r'
	})
}

func (r *reader) port(name string, fallback int) int {
	v := r.text(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 65535 {
		r.bad(name, fmt.Sprintf("is %q, which is no port", v), "Write a number from 1 to 65535")
		return fallback
	}
	return n
}

// seconds reads a number of seconds; a fraction is allowed.
func (r *reader) seconds(name string, fallback, least, most time.Duration) time.Duration {
	v := r.text(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.ParseFloat(v, 64)
	d := time.Duration(n * float64(time.Second))
	// The negated form also refuses NaN.
	if err != nil || !(n >= least.Seconds() && n <= most.Seconds()) {
		r.bad(name, fmt.Sprintf("is %q", v),
			fmt.Sprintf("Write a number of seconds from %g to %g", least.Seconds(), most.Seconds()))
		return fallback
	}
	return d
}

// duration reads a Go duration, or days written as "90d".
func (r *reader) duration(name string, fallback, least, most time.Duration) time.Duration {
	v := r.text(name)
	if v == "" {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if days, ok := strings.CutSuffix(v, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(min(max(n, 0), 36500)) * 24 * time.Hour
	}
	if err != nil || d < least || d > most {
		r.bad(name, fmt.Sprintf("is %q", v),
			fmt.Sprintf("Write a duration such as 30m, 12h or 90d, from %s to %s", least, most))
		return fallback
	}
	return d
}
