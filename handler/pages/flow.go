package pages

import "time"

// Continue sends the browser on to Microsoft's sign-in. It is a page and not a
// redirect because browsers hold the redirects that follow a form to the
// form-action of the page that had the form.
type Continue struct {
	// To is the sign-in URL, and Host the part of it worth showing.
	To, Host string
	Client   string
}

func (Continue) file() string { return "continue.html" }

// Done takes the result to the client where a redirect would not do: in answer
// to a form, for the reason given at Continue, and to an app with its own URL
// scheme, which is opened by a click alone.
type Done struct {
	Client string
	// To is the redirect with its result.
	To string
	// App is set if To opens an app beside the browser.
	App bool
	// Denied is set if the person did not approve.
	Denied bool
}

func (Done) file() string { return "done.html" }

// Failure says in plain words what went wrong and what to do about it.
type Failure struct {
	Words
	// ConsentURL, if set, is where an administrator approves this app.
	ConsentURL string
	// Reference finds the entry in the log. Time is when it happened.
	Reference, Time string
	// Technical is for whoever develops the app: an error code and what it is
	// about. It may be empty.
	Technical string
	// Client and ReturnTo, if set, lead back to the app that began the
	// sign-in, which also learns of the failure that way. Where says where
	// that is, if the person should look before they follow it.
	Client, ReturnTo, Where string
	// OwnPage is set if ReturnTo is a page of this server, and HomePage if it is
	// the one at the root.
	OwnPage, HomePage bool
	// ReturnAfter is in how many seconds the browser goes back by itself.
	ReturnAfter int
}

// FailureOf is a page with words and the reference of a request that failed at
// the time at, without a way on.
func FailureOf(words Words, reference string, at time.Time) Failure {
	return Failure{Words: words, Reference: reference, Time: at.UTC().Format(time.DateTime) + " UTC"}
}

func (Failure) file() string { return "failure.html" }

// Notice says that something is done which began elsewhere.
type Notice struct {
	Words
}

func (Notice) file() string { return "notice.html" }
