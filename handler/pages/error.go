package pages

import "time"

// ErrorPage says in plain words what went wrong and what to do about it.
type ErrorPage struct {
	Words
	// ConsentURL, if set, is where an administrator approves this app.
	ConsentURL string
	// Reference finds the entry in the log. Time is when it happened.
	Reference, Time string
	// Technical is for developers of the app: an error code and what it is
	// about. It may be empty.
	Technical string
	// Client and ReturnTo, if set, lead back to the app that began the
	// sign-in; the link also tells the app of the error. Where says where it
	// leads, if the person should look at that first.
	Client, ReturnTo, Where string
	// OwnPage is set if ReturnTo is a page of this server, and HomePage if it is
	// the one at the root.
	OwnPage, HomePage bool
	// ReturnAfter is in how many seconds the browser goes back by itself.
	ReturnAfter int
}

// NewErrorPage is a page with words and the reference of a request that failed at
// the time at, without a link back.
func NewErrorPage(words Words, reference string, at time.Time) ErrorPage {
	return ErrorPage{Words: words, Reference: reference, Time: at.UTC().Format(time.DateTime) + " UTC"}
}

func (ErrorPage) file() string { return "error.html" }

// Notice says that something which began on another page is done.
type Notice struct {
	Words
}

func (Notice) file() string { return "notice.html" }
