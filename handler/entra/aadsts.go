package entra

import "entramcp/handler/oauth"

// Explanation says what one of Entra's error numbers (AADSTS) means.
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

// explanations has the error numbers that this server can get.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
// documents all of them except those marked, which are known by the texts that
// Entra gives with them.
var explanations = map[int]Explanation{
	// The user decided, or has to do something.
	65004:  {Declined, oauth.AccessDenied, "You did not approve the access that this server asked for.", tryAgain},
	50126:  {Declined, oauth.AccessDenied, "The user name or password was not right.", tryAgain},
	50058:  interaction("You are not signed in with Microsoft.", signInAgain),
	16000:  interaction("The account you used cannot be used with this server's organization.", "Sign out, then sign in with another account."),
	16001:  interaction("The chosen account could not be used.", "Sign in again and choose the account from the list."),
	50072:  interaction("Your organization requires a second sign-in factor that you have not set up.", "Sign in again and set it up when Microsoft asks."),
	50074:  interaction("The second sign-in factor was not confirmed.", "Sign in again and confirm it."),
	50076:  interaction("Your organization now requires a second sign-in factor.", "Sign in again and confirm it."),
	50078:  interaction("The second sign-in factor has to be confirmed again.", "Sign in again and confirm it."),
	50079:  interaction("Your organization requires a second sign-in factor that you have to register.", "Sign in again and register it when Microsoft asks."),
	50097:  interaction("Your organization requires a device that it knows.", "Sign in again on a registered device."),
	50125:  interaction("The sign-in was interrupted because your password has to be set up again.", signInAgain),
	50129:  interaction("Your organization requires a device that is registered with it.", "Register the device, then sign in again."),
	50131:  interaction("Your organization's access policy stopped this request.", "Sign in again; if that does not help, ask your administrator about Conditional Access."),
	50135:  interaction("Your password has to be changed because the account is at risk.", "Change it, then sign in again."),
	50140:  interaction("The sign-in stopped at the question whether to stay signed in.", signInAgain),
	50144:  interaction("Your password has expired.", "Change it, then sign in again."),
	50055:  interaction("Your password has expired.", "Change it, then sign in again."),
	50155:  interaction("Your device could not be recognized.", "Sign in again on a registered device."),
	50158:  interaction("Your organization requires a further check that was not passed.", signInAgain),
	50187:  interaction("Your device could not be recognized.", "Sign in again on a registered device."),
	50197:  interaction("Your account could not be found.", signInAgain),
	50199:  interaction("Microsoft wants you to confirm this sign-in.", signInAgain),
	53004:  interaction("You have to set up a second sign-in factor first.", "Sign in again and set it up when Microsoft asks."),
	700020: interaction("Microsoft Entra ID wants you to sign in again.", signInAgain),

	// Conditional Access. A fresh sign-in with the claims challenge may satisfy it.
	53000:  interaction("Your organization requires a compliant device.", "Enrol this device as your organization asks, then sign in again."),
	53001:  interaction("Your organization requires a device that is joined to its domain.", "Sign in again on such a device."),
	53002:  interaction("Your organization allows approved applications only.", "Ask your administrator about Conditional Access for this application."),
	53003:  interaction("Your organization's access policy blocked this request.", "Sign in again; if that does not help, ask your administrator about Conditional Access."),
	53010:  interaction("Your second sign-in factor can only be set up from certain places or devices.", "Set it up there, then sign in again."),
	50005:  interaction("Your organization does not allow sign-ins from this kind of device.", "Sign in again on another device."),
	53011:  notAllowed("Your home organization has blocked your account because it is at risk.", "Ask your own organization's administrator to clear the risk."),
	530032: notAllowed("A security policy of the organization blocks this sign-in.", "Ask your administrator about the organization's security policies."),
	530034: notAllowed("Your account was blocked because of suspicious activity.", "Ask your administrator to review the account."),
	530035: notAllowed("The organization's security defaults blocked this sign-in.", "Ask your administrator about security defaults."),

	// The sign-in is used up.
	54005:  over("This sign-in was already completed once."),
	70000:  over("The sign-in with Microsoft Entra ID is no longer valid."),
	70008:  over("The sign-in took too long, or was not used for too long."),
	70043:  over("Your organization wants you to sign in more often."),
	700003: over("The device you signed in with has been removed from your organization."), // not on the page
	700005: over("The sign-in was for another organization."),
	700081: over("The sign-in with Microsoft Entra ID has reached its maximum lifetime."), // not on the page
	700082: over("The sign-in was not used for too long."),
	700084: over("The sign-in with Microsoft Entra ID has reached its maximum lifetime."),
	50013:  over("The sign-in that this server holds for you cannot be passed on any more."),
	500133: over("The sign-in that this server holds for you has expired."),
	50085:  over("Your identity provider wants you to sign in again."),
	50089:  over("The sign-in took too long."),
	50132:  over("Your session ended because the password changed or expired."),
	50133:  over("Your session ended because the password changed or expired."),
	50139:  over("Your session can no longer be renewed."),
	50143:  over("Your session belongs to another organization."),
	50173:  over("Your session was ended, by you or by an administrator."),
	501481: over("This sign-in could not be matched with the one that was started."),

	// Consent.
	65001:  consent("This server has not been approved for what it asks for."),
	65005:  operator("The app registration does not list a permission that this server asks for.", "The administrator adds it under API permissions and grants consent."),
	90008:  consent("This server has not been approved to sign users in."),
	90093:  consent("You may not approve what this server asks for."),
	90094:  consent("Only an administrator can approve what this server asks for."),
	90095:  consent("An administrator has to approve what this server asks for."),
	90099:  consent("This server has not been approved in your organization."),
	650052: operator("The organization has no subscription to a service that this server asks for.", "The administrator checks the subscriptions and the permissions of the app registration."),
	650054: operator("This server asks for permissions of a service that no longer exists.", "The administrator checks ENTRA_API_SCOPE and the API permissions of the app registration."),
	650056: operator("The app registration does not list the permissions that this server asks for, or they are not approved.", "The administrator adds them under API permissions and grants consent."),
	650057: operator("This server asks for an API that the app registration does not list.", "The administrator adds it under API permissions and checks ENTRA_API_SCOPE."),

	// The user may not use this server.
	16003:  notAllowed("Your account is not known in this organization.", "Ask its administrator to add you as a guest, or sign in with another account."),
	50014:  notAllowed("Your guest account is not complete in this organization.", "Accept the invitation, or ask the administrator to invite you again."),
	50020:  notAllowed("Your account belongs to another organization and is not known in this one.", "Sign in with another account, or ask the administrator to add you as a guest."),
	50034:  notAllowed("Your account is not known in this organization.", "Sign in with another account, or ask the administrator to add you."),
	50053:  notAllowed("Your account is locked, or the sign-in came from a suspicious address.", "Wait some minutes and try again, or ask your administrator."),
	50057:  notAllowed("Your account is disabled.", "Ask your administrator to enable it."),
	50105:  notAllowed("You are not assigned to this application.", "Ask your administrator to assign you, or a group you are in, under Enterprise applications, Users and groups."),
	50177:  notAllowed("Your organization's access policy cannot be applied to your kind of account.", "Ask your administrator about Conditional Access."),
	51004:  notAllowed("Your account is not known in this organization.", "Sign in with another account, or ask the administrator to add you."),
	54000:  notAllowed("Your account's age group may not use this application.", "Ask your administrator."),
	80012:  notAllowed("Your organization does not allow you to sign in at this time.", "Try again within the hours that your organization allows."),
	90072:  notAllowed("Your account is not known in this organization.", "Sign in with another account, or ask the administrator to add you as a guest."),
	90123:  notAllowed("Your identity provider refused the sign-in.", "Ask your administrator."),
	135011: notAllowed("The device you signed in with is disabled.", "Sign in on another device, or ask your administrator to enable it."),
	50002:  notAllowed("Your network's tenant restrictions forbid this organization.", "Ask the administrator of your network."),
	500021: notAllowed("Your network's tenant restrictions forbid this organization.", "Ask the administrator of your network."),
	500022: notAllowed("Your network's tenant restrictions forbid this organization.", "Ask the administrator of your network."),
	500208: notAllowed("This kind of account cannot sign in here.", "Sign in with a work or school account."),
	500212: notAllowed("Your own organization does not allow access to this one.", "Ask your own organization's administrator about outbound access."),
	500213: notAllowed("This organization does not allow access from yours.", "Ask its administrator about inbound cross-tenant access."),

	// Which app, which tenant, which address.
	50011:   operator("The address that Microsoft Entra ID should return to is not registered.", "The administrator adds this server's callback URL under Authentication, platform Web, of the app registration."),
	50049:   operator("Microsoft Entra ID does not know the configured sign-in host.", "The administrator checks ENTRA_AUTHORITY."),
	50059:   operator("Microsoft Entra ID cannot tell which organization is meant.", "The administrator checks ENTRA_TENANT_ID."),
	50128:   operator("The configured domain is not one of an organization.", "The administrator checks ENTRA_TENANT_ID."),
	50194:   operator("The app registration is for one organization only.", "The administrator writes that organization's id in ENTRA_TENANT_ID, or makes the app registration multitenant."),
	70001:   operator("The application is disabled or not known in this organization.", "The administrator checks ENTRA_CLIENT_ID and ENTRA_TENANT_ID, and that the enterprise application is enabled."),
	700011:  operator("The application is not known in this organization.", "The administrator checks ENTRA_CLIENT_ID and ENTRA_TENANT_ID."),
	700016:  operator("The application is not known in this organization.", "The administrator checks ENTRA_CLIENT_ID and ENTRA_TENANT_ID, or approves the application in the organization."),
	7000112: operator("The application is disabled.", "The administrator enables it under Enterprise applications."),
	1000031: operator("The application cannot be used at the moment.", "The administrator checks its state under Enterprise applications."),
	90002:   operator("The configured organization does not exist.", "The administrator checks ENTRA_TENANT_ID and, for a national cloud, ENTRA_AUTHORITY."),
	90019:   operator("Microsoft Entra ID cannot tell which organization is meant.", "The administrator checks ENTRA_TENANT_ID."),
	90038:   operator("The organization is in another national cloud.", "The administrator sets ENTRA_AUTHORITY to the sign-in host of that cloud."),
	900382:  operator("The organization is in another national cloud.", "The administrator sets ENTRA_AUTHORITY to the sign-in host of that cloud."),
	900432:  operator("The organization is in another national cloud.", "The administrator sets ENTRA_AUTHORITY to the sign-in host of that cloud."),
	900971:  operator("No address to return to is registered.", "The administrator adds this server's callback URL under Authentication, platform Web, of the app registration."),
	500113:  operator("No address to return to is registered.", "The administrator adds this server's callback URL under Authentication, platform Web, of the app registration."), // not on the page
	90124:   operator("The application cannot be used with this kind of organization setting.", "The administrator sets ENTRA_TENANT_ID to organizations or to one organization's id."),
	90130:   operator("The application cannot be used with this kind of organization setting.", "The administrator sets ENTRA_TENANT_ID to organizations or to one organization's id."),
	9001023: operator("The request cannot be made with this kind of organization setting.", "The administrator sets ENTRA_TENANT_ID to organizations or to one organization's id."),
	9002326: operator("This server's request looked like a browser's.", "The administrator looks for a proxy that adds an Origin header to requests to Microsoft Entra ID."), // not on the page
	9002327: operator("The callback is registered for a single-page application.", "The administrator moves the callback URL to the platform Web of the app registration."),  // not on the page
	9002332: operator("The application is for work and school accounts only.", "The administrator sets ENTRA_TENANT_ID to organizations or to one organization's id."),

	// What is asked for.
	28002:   operator("A scope that this server asks for is not valid.", "The administrator checks ENTRA_API_SCOPE."),
	28003:   operator("No scope was asked for.", "The administrator checks ENTRA_API_SCOPE."),
	50001:   operator("The API that this server asks for is disabled or does not exist.", "The administrator checks ENTRA_API_SCOPE."),
	500011:  operator("The API that this server asks for is not known in this organization.", "The administrator checks ENTRA_API_SCOPE against Expose an API in the app registration."),
	650053:  operator("A scope that this server asks for does not exist on its API.", "The administrator writes ENTRA_API_SCOPE in full, as shown under Expose an API in the app registration."), // not on the page
	70011:   operator("A scope that this server asks for is not valid.", "The administrator checks ENTRA_API_SCOPE."),
	700022:  operator("Scopes of more than one API were asked for at once.", "The administrator checks ENTRA_API_SCOPE."),
	700023:  operator("A scope that this server asks for names no API.", "The administrator checks ENTRA_API_SCOPE."),
	7000114: operator("The application may not call other APIs for its users.", "The administrator checks the app registration."),
	90009:   operator("The application asks for its own API by a name that Microsoft Entra ID does not accept.", "The administrator writes ENTRA_API_SCOPE with the application id: the client id, a slash and the scope's name."),
	901002:  operator("Microsoft Entra ID refused the resource parameter.", "The administrator looks for a proxy that changes requests to Microsoft Entra ID."),
	9010010: operator("The resource that was asked for belongs to another app registration than the scopes, or equals none of its Application ID URIs.", "The administrator compares the Application ID URIs of the app registration with the MCP endpoint's URL, character for character and without a slash at the end. This server sends no resource itself: a proxy may add one."), // not on the page

	// How this server proves who it is.
	50012:   operator("Microsoft Entra ID did not accept this server's credential.", "The administrator checks ENTRA_CLIENT_CERTIFICATE_PATH: the certificate must be the one uploaded to the app registration."),
	50027:   operator("Microsoft Entra ID did not accept this server's signed request.", "The administrator checks ENTRA_CLIENT_CERTIFICATE_PATH and the clock of the machine this server runs on."),
	50048:   operator("This server's signed request names another application.", "The administrator checks ENTRA_CLIENT_ID."),
	70002:   operator("Microsoft Entra ID did not accept this server's client secret.", "The administrator writes the secret's value, not its id, in ENTRA_CLIENT_SECRET."),
	70021:   operator("The managed identity is not trusted by the app registration.", "The administrator adds a federated credential for the identity that ENTRA_MANAGED_IDENTITY_CLIENT_ID names; a new one takes some minutes."), // not on the page
	700024:  operator("This server's signed request was not within its time of validity.", "The administrator checks the clock of the machine this server runs on."),                                                               // not on the page
	700025:  operator("The app registration is a public client, which has no credential.", "The administrator moves the callback URL to the platform Web of the app registration."),
	700027:  operator("Microsoft Entra ID does not know the certificate that this server signs with.", "The administrator uploads the certificate of ENTRA_CLIENT_CERTIFICATE_PATH to the app registration."),
	700030:  operator("The name in this server's certificate is not authorized.", "The administrator checks ENTRA_CLIENT_CERTIFICATE_PATH."),
	700211:  operator("The issuer of the managed identity's token is not trusted by the app registration.", "The administrator corrects the federated credential's issuer, and checks ENTRA_TENANT_ID: the identity must be of the same organization."), // not on the page
	700212:  operator("The audience of the managed identity's token is not trusted by the app registration.", "The administrator corrects the federated credential's audience, and checks ENTRA_AUTHORITY: each cloud has its own."),                    // not on the page
	7002121: operator("The audience of the managed identity's token is not trusted by the app registration.", "The administrator corrects the federated credential's audience, and checks ENTRA_AUTHORITY: each cloud has its own."),                    // not on the page
	700213:  operator("The managed identity is not the one that the app registration trusts.", "The administrator sets the federated credential's subject to the object (principal) id of the identity that ENTRA_MANAGED_IDENTITY_CLIENT_ID names."),   // not on the page
	700229:  operator("The token used as a federated credential is a user's.", "The administrator checks ENTRA_MANAGED_IDENTITY_CLIENT_ID."),
	7000215: operator("Microsoft Entra ID did not accept this server's client secret.", "The administrator writes the secret's value, not its id, in ENTRA_CLIENT_SECRET."),
	7000218: operator("This server sent no credential.", "The administrator sets one of ENTRA_CLIENT_SECRET, ENTRA_CLIENT_CERTIFICATE_PATH and ENTRA_MANAGED_IDENTITY_CLIENT_ID."),
	7000222: operator("This server's client secret has expired.", "The administrator creates a new one in the app registration, writes its value in ENTRA_CLIENT_SECRET and its end in ENTRA_CLIENT_SECRET_EXPIRES, which the log then warns of."),

	// A matter of time.
	50033: wait("Microsoft Entra ID had a temporary fault."),
	50087: wait("The second sign-in factor had a temporary fault."),
	50088: wait("Too many telephone confirmations were made."),
	50166: wait("An identity provider is too busy."),
	50196: wait("Microsoft Entra ID saw too many of the same request."),
	40010: wait("Your identity provider had a temporary fault."),
	70012: wait("Microsoft's service for personal accounts had a fault."),
	90006: wait("Microsoft Entra ID had a temporary fault."),
	90012: wait("Microsoft Entra ID took too long."),
	90024: wait("Microsoft Entra ID had a temporary fault."),
	90033: wait("Microsoft Entra ID's directory is not available."),
	90055: wait("Microsoft Entra ID receives too many requests for this organization."),
	90090: wait("Microsoft Entra ID had a temporary fault."),
	90091: wait("Microsoft Graph cannot be reached."),
	50000: wait("Microsoft Entra ID could not issue a token."),
	80001: wait("Your organization's own directory cannot be reached."),
	80002: wait("Your organization's own directory took too long."),
}
