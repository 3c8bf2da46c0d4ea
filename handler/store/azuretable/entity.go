package azuretable

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/data/aztables"

	"entramcp/handler/store"
)

// entity is a row as JSON with minimal metadata:
// https://learn.microsoft.com/rest/api/storageservices/payload-format-for-table-service-operations
type entity struct {
	PartitionKey string
	RowKey       string
	ETag         string `json:"odata.etag,omitempty"`

	Value     aztables.EDMBinary
	ValueType string `json:"Value@odata.type"`

	// Expires is absent from a row that never expires; a filter by it then
	// leaves the row out.
	Expires     *aztables.EDMDateTime `json:",omitempty"`
	ExpiresType string                `json:"Expires@odata.type,omitempty"`
}

func encode(row store.Row) ([]byte, error) {
	e := entity{
		PartitionKey: row.Partition,
		RowKey:       row.Key,
		Value:        row.Value,
		ValueType:    "Edm.Binary",
	}
	if row.Value == nil {
		e.Value = aztables.EDMBinary{} // nil would be null, which deletes a property
	}
	if !row.Expires.IsZero() {
		at := aztables.EDMDateTime(row.Expires.UTC())
		e.Expires, e.ExpiresType = &at, "Edm.DateTime"
	}
	return json.Marshal(e)
}

func decode(data []byte) (store.Row, error) {
	var e entity
	if err := json.Unmarshal(data, &e); err != nil {
		return store.Row{}, err
	}
	if e.PartitionKey == "" || e.RowKey == "" || e.ETag == "" {
		return store.Row{}, errors.New("the answer is no entity")
	}
	row := store.Row{
		Partition: e.PartitionKey,
		Key:       e.RowKey,
		ETag:      store.ETag(e.ETag),
		Value:     e.Value,
	}
	if e.Expires != nil {
		row.Expires = time.Time(*e.Expires).UTC()
	}
	return row, nil
}
