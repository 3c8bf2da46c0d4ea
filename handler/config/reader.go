package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"entramcp/handler/secret"
)

// Problem is one mistake in the configuration.
type Problem struct {
	// Name of the setting.
	Name string
	// Wrong says what is wrong with it, Write what to write.
	Wrong, Write string
}

func (p Problem) String() string { return p.Name + " " + p.Wrong + ". " + p.Write + "." }

// Problems are all mistakes of one configuration.
type Problems []Problem

// Error lists one problem a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, q := range p {
		lines[i] = q.String()
	}
	return strings.Join(lines, "\n")
}

// reader takes settings from the environment and collects what is wrong.
type reader struct {
	getenv   func(string) string
	problems Problems
}

func (r *reader) bad(name, wrong, write string) {
	r.problems = append(r.problems, Problem{name, wrong, write})
}

func (r *reader) text(name string) string {
	s := setting(name)
	if v := strings.TrimSpace(r.getenv(name)); v != "" || s.Alias == "" {
		return v
	}
	return strings.TrimSpace(r.getenv(s.Alias))
}

func (r *reader) secret(name string) Secret { return Secret{secret.New(r.text(name))} }

func (r *reader) textOr(name, fallback string) string {
	if v := r.text(name); v != "" {
		return v
	}
	return fallback
}

// list reads values separated by commas or white space, or a JSON array of
// texts, which the Python server takes.
func (r *reader) list(name string) []string {
	v := r.text(name)
	if strings.HasPrefix(v, "[") {
		var values []string
		if err := json.Unmarshal([]byte(v), &values); err != nil {
			r.bad(name, fmt.Sprintf("is %q, which is not a JSON array of strings", v), "Write the values with commas between them")
		}
		v = strings.Join(values, ",")
	}
	return strings.FieldsFunc(v, func(c rune) bool {
		return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r'
	})
}

// choice reads one of values, the first of which is the default.
func (r *reader) choice(name string, values ...string) string {
	v := strings.ToLower(r.textOr(name, values[0]))
	if slices.Contains(values, v) {
		return v
	}
	r.bad(name, fmt.Sprintf("is %q", v), "Write "+strings.Join(values[:len(values)-1], ", ")+" or "+values[len(values)-1])
	return values[0]
}

func (r *reader) port(name string, fallback int) int {
	v := r.text(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 65535 {
		r.bad(name, fmt.Sprintf("is %q, which is not a port", v), "Write a number from 1 to 65535")
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

// levels are names of log levels as people write them.
var levels = map[string]slog.Level{
	"": slog.LevelInfo, "trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelInfo, "information": slog.LevelInfo,
	"warn": slog.LevelWarn, "warning": slog.LevelWarn, "error": slog.LevelError, "critical": slog.LevelError, "fatal": slog.LevelError,
}

func (r *reader) level(name string) slog.Level {
	v := r.text(name)
	l, ok := levels[strings.ToLower(v)]
	if !ok {
		r.bad(name, fmt.Sprintf("is %q", v), "Write debug, info, warn or error")
	}
	return l
}

// networks reads addresses and CIDRs.
func (r *reader) networks(name string) []netip.Prefix {
	var out []netip.Prefix
	for _, v := range r.list(name) {
		prefix, err := netip.ParsePrefix(v)
		if err != nil {
			var address netip.Addr
			if address, err = netip.ParseAddr(v); err == nil {
				prefix = netip.PrefixFrom(address, address.BitLen())
			}
		}
		switch {
		case err != nil:
			r.bad(name, fmt.Sprintf("names %q, which is not an address or a CIDR", v), "Write values such as 10.0.0.0/8, with commas between them")
		case prefix.Bits() == 0:
			r.bad(name, fmt.Sprintf("names %q, which trusts every address", v), "Write only the addresses of your proxies")
		default:
			out = append(out, prefix.Masked())
		}
	}
	return out
}

// parseOrigin reads a web address that has no path, in its canonical form:
// lower case, without the scheme's default port and without a slash.
func parseOrigin(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") || u.User != nil ||
		strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") {
		return nil, false
	}
	return &url.URL{Scheme: u.Scheme, Host: canonicalHost(u)}, true
}

func canonicalHost(u *url.URL) string {
	host := strings.ToLower(u.Host)
	if p := u.Port(); p == "" || (u.Scheme == "https" && p == "443") || (u.Scheme == "http" && p == "80") {
		host = strings.TrimSuffix(strings.TrimSuffix(host, p), ":")
	}
	return host
}

// rate reads calls in a window, such as "600/1m". Nothing is no limit.
func (r *reader) rate(name string) Rate {
	v := r.text(name)
	if v == "" {
		return Rate{}
	}
	calls, window, _ := strings.Cut(v, "/")
	n, err := strconv.Atoi(calls)
	d, failed := time.ParseDuration(window)
	if err != nil || failed != nil || n < 1 || d < time.Second || d > 24*time.Hour {
		r.bad(name, fmt.Sprintf("is %q", v), "Write a number in a window of 1s to 24h, such as 600/1m")
		return Rate{}
	}
	return Rate{n, d}
}
