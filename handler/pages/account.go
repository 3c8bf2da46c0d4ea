package pages

// AccountSignIn asks who is there before the account page is shown.
type AccountSignIn struct {
	Action, Form string
}

func (AccountSignIn) file() string { return "account-sign-in.html" }

// Account is the page on which users see and end what acts for them.
type Account struct {
	// Name and Username are the user's, as Entra gave them.
	Name, Username string
	// Base is the path that the forms post below, and Form what they repeat.
	Base, Form string
	Done       AccountDone
	Apps       []AccountApp
	Approvals  []AccountApproval
	// Manage is the path of the page for those who manage, or empty.
	Manage string
}

func (Account) file() string { return "account.html" }

// AccountApp is one connected app.
type AccountApp struct {
	// ID is the grant's and Subject its user.
	ID, Subject string
	Name        string
	// Host is where the app's metadata document is from, empty if the app
	// registered itself. Verified says that the host was asked.
	Host     string
	Verified bool
	// Target is the host that access goes to.
	Target          string
	Scopes          []Permission
	Connected, Used string
}

// AccountApproval is a consent that is remembered.
type AccountApproval struct{ Key, Client, Target, Since string }

// AccountErase asks whether all that is kept about a user is to be removed.
type AccountErase struct {
	Base, Form string
}

func (AccountErase) file() string { return "account-erase.html" }

// Manage is the page of those who manage the connections of a tenant.
type Manage struct {
	// Base is the path of the page, Account that of the user's own.
	Base, Account, Form string
	Done, Mistake       AccountDone
	// Tenant is whose users are managed.
	Tenant string
	// User is whose apps are shown, by object ID.
	User string
	Apps []AccountApp
	// App is what apps were searched for by, Found what was found in a part of
	// all connections, and Next where the search goes on.
	App, Next string
	Found     []ManageApp
	// Everywhere is set for those who act on the whole server.
	Everywhere bool
	Blocks     []ManageBlock
}

func (Manage) file() string { return "manage.html" }

// ManageApp is an app and how many connections of it were found.
type ManageApp struct {
	ID, Name, Target string
	Connections      int
}

// ManageBlock is a party that is refused.
type ManageBlock struct{ Kind, Value, Reason, Since string }

// AccountDone says what was just done, or what was wrong.
type AccountDone string

// The lines about what was done.
const (
	Disconnected   AccountDone = "Disconnected. The app’s access ends within 15 seconds."
	Forgotten      AccountDone = "Forgotten. The next sign-in of that app asks in full."
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
	Title: "Everything is removed", Summary: "All your apps are disconnected, and nothing about you is kept here.",
	NextStep: "You can close this page. Connecting an app begins from the start.",
}
