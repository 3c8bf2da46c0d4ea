package azuretable

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"entramcp/handler/store"
)

// Refusal is an answer of the service that says nothing about a row: a right
// that is missing, a table that does not exist, throttling. Whether a write
// took place is unknown.
type Refusal struct {
	Operation string
	Status    int
	// Code is the service's error code:
	// https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
	Code string
	// Request finds the request in the storage account's logs.
	Request string
}

// Error names the operation and what the service said.
func (r *Refusal) Error() string {
	return fmt.Sprintf("azuretable: %s: status %d %s (request %s)", r.Operation, r.Status, r.Code, r.Request)
}

// outcome turns what aztables returned into a sentinel, if the service has said
// so by both its status and its error code, or else into an error of unknown
// outcome. A 404 alone says nothing about a row: the table may be missing, or
// the answer may come from something that is not the service.
//
// The text names neither the URL, which may hold a SAS, nor the body.
func outcome(op string, err error) error {
	if err == nil {
		return nil
	}
	if sentinel := sentinelOf(err); sentinel != nil {
		return fmt.Errorf("azuretable: %s: %w", op, sentinel)
	}
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return &Refusal{Operation: op, Status: answer.StatusCode, Code: answer.ErrorCode, Request: requestID(answer)}
	}
	if request, ok := errors.AsType[*url.Error](err); ok {
		err = request.Err
	}
	return fmt.Errorf("azuretable: %s: %w", op, err)
}

func sentinelOf(err error) error {
	switch {
	case isStatus(err, http.StatusNotFound) && hasCode(err, aztables.ResourceNotFound, aztables.EntityNotFound):
		return store.ErrNotFound
	case isStatus(err, http.StatusConflict) && hasCode(err, aztables.EntityAlreadyExists):
		return store.ErrExists
	case isStatus(err, http.StatusPreconditionFailed) && hasCode(err, aztables.UpdateConditionNotSatisfied, conditionNotMet):
		return store.ErrConflict
	}
	return nil
}

// conditionNotMet is the code that all storage services share for a failed
// If-Match: https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
const conditionNotMet aztables.TableErrorCode = "ConditionNotMet"

// wasBusy reports whether the service has refused a request because of its load,
// and does not ask for a longer wait than a request has.
func wasBusy(err error) bool {
	answer, ok := errors.AsType[*azcore.ResponseError](err)
	return ok && answer.StatusCode == http.StatusServiceUnavailable && answer.ErrorCode == serverBusy &&
		(answer.RawResponse == nil || slices.Contains([]string{"", "0", "1"}, answer.RawResponse.Header.Get("Retry-After")))
}

// serverBusy is among https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
const serverBusy = "ServerBusy"

func isStatus(err error, status int) bool {
	var answer *azcore.ResponseError
	return errors.As(err, &answer) && answer.StatusCode == status
}

func hasCode(err error, codes ...aztables.TableErrorCode) bool {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) {
		return false
	}
	for _, code := range codes {
		if answer.ErrorCode == string(code) {
			return true
		}
	}
	return false
}

func requestID(answer *azcore.ResponseError) string {
	if answer.RawResponse == nil {
		return "unknown"
	}
	return answer.RawResponse.Header.Get("x-ms-request-id")
}
