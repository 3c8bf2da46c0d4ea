package pages

// The words that the server says to people are here and in html/, for anybody who
// wants to change or translate them. The exceptions, and why they are elsewhere, are
// in TestWordsForPeopleStandInOnePlace.

// Words are what a page says: what happened, and what to do.
type Words struct {
	Title, Summary, NextStep string
}

// Problem is why a sign-in stops, as far as a person can tell.
type Problem string

// The problems that have words.
const (
	IncompleteLink      Problem = "incomplete link"
	UnknownApp          Problem = "unknown app"
	UnregisteredAddress Problem = "unregistered address"
	WithdrawnAddress    Problem = "withdrawn address"
	RejectedRequest     Problem = "rejected request"
	UnreadableRequest   Problem = "unreadable request"
	OtherSite           Problem = "other site"
	OtherBrowser        Problem = "other browser"
	PageExpired         Problem = "page expired"
	UnreadableForm      Problem = "unreadable form"
	SignInOver          Problem = "sign-in over"
	SignInElsewhere     Problem = "sign-in elsewhere"
	Interrupted         Problem = "interrupted"
	NotAvailable        Problem = "not available"
	TryReload           Problem = "try reload"
	TooMany             Problem = "too many"
	Blocked             Problem = "blocked"
	Fault               Problem = "fault"
	NotManager          Problem = "not a manager"
	NoPage              Problem = "no page"
	NotOpened           Problem = "not opened by itself"
	AppAddress          Problem = "address of apps"

	// At Entra, with a summary and a next step of Entra's own.
	NotAllowedThere  Problem = "not allowed"
	AdminConsent     Problem = "administrator's consent"
	AdminPolicy      Problem = "administrator's policy"
	Misconfigured    Problem = "misconfigured"
	AdminNotApproved Problem = "administrator did not approve"
)

const connectAgain = "Go back to your app and connect again."

var problemWords = map[Problem]Words{
	IncompleteLink: {"This link is not complete",
		"The link that brought you here does not say which app it is for, or where to answer it.", connectAgain},
	UnknownApp: {"This app is not registered",
		"The app has not registered with this server, its registration has expired, or its metadata could not be used.",
		"Remove this server from your app and add it again, so that the app registers again."},
	UnregisteredAddress: {"This sign-in cannot continue",
		"The app asked for its answer at an address that it has not registered.",
		"Do not continue if you did not start this yourself. Otherwise remove this server from your app and add it again."},
	WithdrawnAddress: {"This sign-in cannot continue",
		"The address at which the app asked for its answer is no longer registered.",
		"Do not continue if you did not start this yourself. Otherwise remove this server from your app and add it again."},
	RejectedRequest: {"This sign-in cannot continue",
		"The app sent a request that this server does not accept.",
		"Connect again from your app. If this page comes back, the app needs a change: show this page to the person who develops it or set it up."},
	UnreadableRequest: {"This sign-in cannot continue",
		"The request cannot be read.", connectAgain},
	OtherSite: {"This sign-in cannot continue",
		"The form was sent by another site.", "Do not continue if you did not start this yourself. Otherwise connect again from your app."},
	OtherBrowser: {"This sign-in cannot continue",
		"This page was opened in another browser, or the browser did not send its cookie.",
		"Connect again from your app, and allow cookies for this server."},
	PageExpired: {"This page has expired",
		"The page has been open for too long.", connectAgain},
	UnreadableForm: {"This sign-in cannot continue",
		"The form cannot be read, or was not made by this server.", connectAgain},
	SignInOver: {"This sign-in is over",
		"It has expired or was finished already.",
		"If your app is connected, you can close this page. Otherwise connect again from your app."},
	SignInElsewhere: {"This sign-in cannot continue",
		"This sign-in was not started in this browser, or the browser did not send its cookie.",
		"Connect again from your app, and allow cookies for this server."},
	Interrupted: {"This sign-in was interrupted",
		"The server stopped before this sign-in was finished.", connectAgain},
	NotManager: {"You cannot manage connections",
		"This needs the role Mcp.Connections.Manage in your organization. What affects every organization can only be changed from the one that runs this server.",
		"Ask an administrator to assign the role to you, then sign in to this page again."},
	NoPage: {"Page not found",
		"This server has no page at this address.", "Check the address, or start at the home page."},
	NotOpened: {"This page cannot be opened by itself",
		"It is one step of a process that starts on another page.",
		"If you were connecting an app, go back to it and connect again. Otherwise start at the home page."},
	AppAddress: {"This address is for apps",
		"Apps talk to this server here. There is nothing to see in a browser.",
		"The home page shows how to add this server to your app."},
	NotAvailable: {"Not available right now",
		"The server cannot reach a service that it needs. Nothing is lost.", "Wait a minute and connect again from your app."},
	TryReload: {"Not available right now",
		"The server cannot reach a service that it needs. Nothing is lost.",
		"Load this page again in a few seconds. If that does not help, connect again from your app."},
	TooMany: {"Not available right now",
		"Too many sign-ins have been started.", "Wait a minute and connect again from your app."},
	Blocked: {"This app is blocked",
		"The operator of this server does not allow this app, account or organization.", "Ask the operator of this server."},
	Fault: {"Something went wrong",
		"The server could not complete the request.", connectAgain},
	NotAllowedThere: {Title: "You cannot sign in here"},
	AdminConsent:    {Title: "An administrator has to approve this first"},
	AdminPolicy:     {Title: "An administrator has to act"},
	Misconfigured:   {Title: "This server is not set up correctly"},
	AdminNotApproved: {"Not approved",
		"The administrator did not approve what this server asks for.", "Open the link again, or ask another administrator."},
}

// WordsFor are the words for p. A problem without words is a fault.
func WordsFor(p Problem) Words {
	if w, ok := problemWords[p]; ok {
		return w
	}
	return problemWords[Fault]
}

// Permitted is said where a user has given an app access to another API, and
// OtherAccount where somebody else has.
var (
	Permitted = Words{"Done", "The permission is given.", "Close this window and go back to your assistant. It can continue now."}

	OtherAccount = Words{"Another account",
		"You signed in with a different account than the one that uses the tool, so nothing has changed.",
		"Open the link again and choose the account with which you use the tool."}
)

// TooManyRequests answers a flood.
var TooManyRequests = Words{"Too many requests", "There were too many requests from this address or in total.",
	"Try again in a moment."}

// BackFromAdminConsent is said to an administrator who comes back from Entra's
// page. Anybody can open the address, so nothing is claimed.
var BackFromAdminConsent = Words{"Back from the administrator’s page",
	"If you approved there, people in your organization can now sign in to this server.",
	"Go back to your app and connect again. An approval may take a minute to arrive everywhere."}

// What AccountDone says.
const (
	Disconnected   AccountDone = "Disconnected. The app’s access ends within 15 seconds."
	Forgotten      AccountDone = "Forgotten. The next time that app connects, the full page is shown."
	UserSignedOut  AccountDone = "Signed out. All access of that user ends within 15 seconds; they can sign in again."
	PartySignedOut AccountDone = "Signed out. All access ends within 15 seconds; it can be approved again."
	PartyBlocked   AccountDone = "Blocked. All access ends within 15 seconds."
	PartyUnblocked AccountDone = "Unblocked."
	NotAnObjectID  AccountDone = "That is not an object ID. It is a GUID, on the user’s page in the Entra admin center."
)

// OpenAccountAgain is the next step where a form of the account page fails.
const OpenAccountAgain = "Open the page of your connected apps again."

// Erased is what is said once nothing is kept any more.
var Erased = Words{
	Title: "Everything is removed", Summary: "All your apps are disconnected, and this server keeps nothing about you.",
	NextStep: "You can close this page. To connect an app, start from the beginning.",
}

const (
	thisComputer = "An app on this computer"
	namelessApp  = "An app without a name"
	badAddress   = "an unreadable address"
	notShown     = "The page could not be shown."
)

// scopeWords are what the scopes that are not a tool's own allow.
var scopeWords = map[string]string{
	"openid":         "Know who you are",
	"profile":        "See your name and user name",
	"email":          "See your email address",
	"offline_access": "Stay connected when you are away",
	"User.Read":      "Read your Microsoft profile",
}

// NoDescription is shown if a server has no description.
const NoDescription = "An MCP server with a Microsoft sign-in."
