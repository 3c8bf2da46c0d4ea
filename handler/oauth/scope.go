package oauth

import (
	"slices"
	"strings"
)

// Scopes is a set of scope tokens (RFC 6749 §3.3), sorted and without doubles.
type Scopes []string

// ParseScopes reads a scope parameter. Clients in the wild send leading,
// doubled and other white space; all of it separates. Tokens with characters
// outside scope-token are dropped.
func ParseScopes(s string) Scopes { return NewScopes(strings.Fields(s)...) }

// NewScopes makes a set of the given tokens.
func NewScopes(tokens ...string) Scopes {
	out := make(Scopes, 0, len(tokens))
	for _, t := range tokens {
		if validScopeToken(t) {
			out = append(out, t)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// String is the scope parameter for the set.
func (s Scopes) String() string { return strings.Join(s, " ") }

// Has reports whether the set holds every one of tokens.
func (s Scopes) Has(tokens ...string) bool {
	for _, t := range tokens {
		if !slices.Contains(s, t) {
			return false
		}
	}
	return true
}

// Union is the set of tokens in s or in t.
func (s Scopes) Union(t Scopes) Scopes { return NewScopes(slices.Concat(s, t)...) }

// Intersect is the set of tokens in s and in t.
func (s Scopes) Intersect(t Scopes) Scopes {
	out := Scopes{}
	for _, v := range s {
		if slices.Contains(t, v) {
			out = append(out, v)
		}
	}
	return out
}

// scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
func validScopeToken(t string) bool {
	if t == "" {
		return false
	}
	for i := range len(t) {
		if c := t[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
