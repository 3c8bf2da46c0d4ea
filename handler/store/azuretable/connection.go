package azuretable

import (
	"errors"
	"log/slog"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"
)

// ConnectionString opens a storage account. It holds a secret.
type ConnectionString string

const redacted = "[redacted]"

// LogValue hides the secret from slog.
func (ConnectionString) LogValue() slog.Value { return slog.StringValue(redacted) }

// String hides the secret from fmt.
func (ConnectionString) String() string { return redacted }

// GoString hides the secret from %#v.
func (ConnectionString) GoString() string { return redacted }

// MarshalText hides the secret from encoders, as in a struct that is logged.
func (ConnectionString) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// Azurite is what "UseDevelopmentStorage=true" stands for, which aztables does
// not know: https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string#connect-to-the-emulator-account-using-the-shortcut
const Azurite ConnectionString = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;" +
	"AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;" +
	"TableEndpoint=http://127.0.0.1:10002/devstoreaccount1"

func (c ConnectionString) service(client *aztables.ClientOptions) (*aztables.ServiceClient, error) {
	service, err := aztables.NewServiceClientFromConnectionString(string(c.expand()), client)
	if err != nil {
		// The cause is left out, as it may quote the string.
		return nil, errors.New("azuretable: the connection string is not usable: " +
			"it needs AccountName and either AccountKey, in base64, or SharedAccessSignature")
	}
	return service, nil
}

func (c ConnectionString) expand() ConnectionString {
	bare := strings.TrimRight(strings.TrimSpace(string(c)), ";")
	if strings.EqualFold(bare, "UseDevelopmentStorage=true") {
		return Azurite
	}
	return ConnectionString(bare)
}
