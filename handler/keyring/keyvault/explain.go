package keyvault

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"entramcp/handler/keyring"
)

// refusal is the body of an error
// (https://learn.microsoft.com/azure/key-vault/general/rest-error-codes).
type refusal struct {
	Error struct {
		Code       string `json:"code"`
		Message    string `json:"message"`
		InnerError struct {
			Code string `json:"code"`
		} `json:"innererror"`
	} `json:"error"`
}

// explain says what to do about an error. The SDK's own text contains the whole
// answer and is left out: it is long, and the answer to a success is the key.
func (k *Key) explain(operation string, err error) error {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		return fmt.Errorf("key vault: %s with %s: no answer: %w", operation, k.base, err)
	}
	said := describe(answer)
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("key vault: %s does not accept the token of this identity, which may belong to another tenant; "+
			"the identity needs the role Key Vault Crypto User on the vault or key: %s", k.base, said)
	case http.StatusForbidden:
		return fmt.Errorf("key vault: this identity may not %s with %s: %s: %s", operation, k.base, remedy(answer), said)
	case http.StatusNotFound:
		return fmt.Errorf("key vault: there is no %s, or not the version asked for; recover it if it was deleted, "+
			"or correct KEY_VAULT_KEY_URL: %s", k.base, said)
	case http.StatusBadRequest:
		if operation == "unwrap" {
			return fmt.Errorf("%w: key vault: %s: %s", keyring.ErrWrongKey, k.base, said)
		}
		return fmt.Errorf("key vault: %s cannot wrap with RSA-OAEP-256; it must be an RSA key of 2048 bits or more "+
			"that permits wrapKey and unwrapKey: %s", k.base, said)
	}
	return fmt.Errorf("key vault: %s with %s: unavailable: %s", operation, k.base, said)
}

func remedy(answer *azcore.ResponseError) string {
	switch parseRefusal(answer).Error.InnerError.Code {
	case "ForbiddenByFirewall", "ForbiddenByConnection":
		return "the vault's firewall does not let this network in"
	case "KeyDisabled":
		return "enable the key or the version"
	case "KeyExpired", "KeyNotYetValid":
		return "the key is outside its validity; make a new version"
	}
	return "assign it the role Key Vault Crypto User on the vault or key (a new assignment takes some minutes)"
}

func describe(answer *azcore.ResponseError) string {
	r := parseRefusal(answer).Error
	message, _, _ := strings.Cut(r.Message, "\n")
	message = strings.TrimSpace(message)
	if len(message) > 200 {
		message = message[:200]
	}
	parts := []string{fmt.Sprintf("status %d", answer.StatusCode)}
	for _, s := range []string{r.Code, r.InnerError.Code, message} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}

func parseRefusal(answer *azcore.ResponseError) (r refusal) {
	if answer.RawResponse == nil {
		return r
	}
	if body, err := runtime.Payload(answer.RawResponse); err == nil {
		_ = json.Unmarshal(body, &r) // a body of another form is described by its status
	}
	return r
}
