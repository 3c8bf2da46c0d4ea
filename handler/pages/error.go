package pages

import "time"

// Failure says in plain words what went wrong and what to do about it.
type Failure struct {
	Words
	// ConsentURL, if set, is where an administrator approves this app.
	ConsentURL string
	// Reference finds the entry in the log. Time is when it happened.
	Reference, Time string
	// Technical is for developers of the app: an error code and what it is
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
