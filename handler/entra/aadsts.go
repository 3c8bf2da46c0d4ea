package entra

import "entramcp/handler/oauth"

// Explanation is what one of Entra's error numbers means for a person.
type Explanation struct {
	Kind              Kind
	OAuth             oauth.Code
	Summary, NextStep string
}

// Explain returns the explanation of an AADSTS number, and whether the table
// has one.
func Explain(code int) (Explanation, bool) {
	e, ok := explanations[code]
	return e, ok
}

// generic explains an error by its OAuth code and suberror alone.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes#handling-error-codes-in-your-application
func generic(code, suberror string) Explanation {
	if suberror == "consent_required" {
		code = suberror
	}
	switch code {
	case "access_denied":
		return Explanation{Declined, oauth.AccessDenied, "The sign-in was declined.", tryAgain}
	case "consent_required":
		return consent("This server has not been approved for what it asks for.")
	case "invalid_grant":
		return Explanation{SignInOver, oauth.AccessDenied, "The sign-in with Microsoft Entra ID is no longer valid.", signInAgain}
	case "interaction_required", "login_required":
		return Explanation{InteractionNeeded, oauth.AccessDenied, "Microsoft Entra ID wants you to sign in again.", signInAgain}
	case "invalid_client":
		return Explanation{Misconfigured, oauth.ServerError, "Microsoft Entra ID did not accept this server's credential.", "The administrator checks the credential of the app registration."}
	case "invalid_request", "unauthorized_client", "unsupported_grant_type", "unsupported_response_type", "invalid_scope", "invalid_resource", "invalid_target":
		return Explanation{Misconfigured, oauth.ServerError, "Microsoft Entra ID refused this server's request.", "The administrator checks the app registration against the documentation."}
	}
	return Explanation{Unavailable, oauth.TemporarilyUnavailable, "Microsoft Entra ID could not complete the request.", "Try again in a minute."}
}

const (
	tryAgain    = "Start the sign-in again from your application."
	signInAgain = "Sign in again from your application."
)

func consent(summary string) Explanation {
	return Explanation{ConsentNeeded, oauth.AccessDenied, summary, "Ask an administrator of your organization to approve this server, then sign in again."}
}

func over(summary string) Explanation {
	return Explanation{SignInOver, oauth.AccessDenied, summary, signInAgain}
}

func interaction(summary, next string) Explanation {
	return Explanation{InteractionNeeded, oauth.AccessDenied, summary, next}
}

func notAllowed(summary, next string) Explanation {
	return Explanation{NotAllowed, oauth.AccessDenied, summary, next}
}

func operator(summary, next string) Explanation {
	return Explanation{Misconfigured, oauth.ServerError, summary, next}
}

func wait(summary string) Explanation {
	return Explanation{Unavailable, oauth.TemporarilyUnavailable, summary, "Try again in a minute."}
}
