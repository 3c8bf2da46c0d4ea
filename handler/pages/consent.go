package pages

import "slices"

// Consent asks a person whether an app may act in their name. MCP's security
// best practices require it before each sign-in of a proxy with one upstream
// client id, and say what it must show.
type Consent struct {
	// Action is the URL path that the form is posted to, and Form the sealed
	// request that travels in it.
	Action, Form string
	// Server is the host people know this server by.
	Server string
	// Client is the name as the app gave it; VerifiedHost is the host whose
	// document confirms it, empty if nothing does.
	Client, VerifiedHost string
	// Target is where the browser goes afterwards.
	Target Target
	Scopes []Permission
	// Tenant says which Entra accounts may sign in.
	Tenant string
	// Simulated is set when the tenant is the stand-in for local runs.
	Simulated bool
}

func (Consent) file() string { return "consent.html" }

// Permission is one scope in plain words.
type Permission struct {
	Scope, Words string
}

// Permissions describes scopes; one that is not known is shown as it is. known
// adds or replaces descriptions.
func Permissions(scopes []string, known map[string]string) []Permission {
	out := make([]Permission, 0, len(scopes))
	for _, s := range scopes {
		words := known[s]
		if words == "" {
			words = describe(s)
		}
		out = append(out, Permission{Scope: s, Words: words})
	}
	slices.SortStableFunc(out, func(a, b Permission) int { return rank(a.Scope) - rank(b.Scope) })
	return out
}

func describe(scope string) string {
	switch scope {
	case "openid":
		return "Know that it is you"
	case "profile":
		return "See your name and username"
	case "email":
		return "See your e-mail address"
	case "offline_access":
		return "Stay connected when you are away, until you disconnect it"
	case "User.Read":
		return "Read your Microsoft profile"
	}
	return ""
}

// rank puts the familiar scopes first, in the order people think of them.
func rank(scope string) int {
	order := []string{"openid", "profile", "email", "User.Read"}
	if i := slices.Index(order, scope); i >= 0 {
		return i
	}
	if scope == "offline_access" {
		return len(order) + 1
	}
	return len(order)
}
