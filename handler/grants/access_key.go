package grants

// AccessKey is the key of the SDK's auth.TokenInfo.Extra under which the bearer
// check leaves the *Access of a request and tools find it.
const AccessKey = "entramcp.access"
