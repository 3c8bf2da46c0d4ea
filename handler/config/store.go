package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"entramcp/handler/keyring"
	"entramcp/handler/keyring/keyvault"
	"entramcp/handler/store/azuretable"
)

// tableName is Azure Table Storage's rule for names of tables.
var tableName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{2,62}$`)

func (r *reader) store(c *Config) {
	c.Store = Store{
		TablesURL:        strings.TrimSuffix(r.text("TABLES_URL"), "/"),
		ConnectionString: r.secret("TABLES_CONNECTION_STRING"),
		TableName:        r.textOr("TABLES_NAME", "mcp"),
		DataDir:          r.textOr("DATA_DIR", ".data"),
	}
	if !tableName.MatchString(c.Store.TableName) {
		r.bad("TABLES_NAME", fmt.Sprintf("is %q", c.Store.TableName), "Write 3 to 63 letters and digits, a letter first")
	}
	if c.Store.TablesURL != "" && !c.Store.ConnectionString.IsZero() {
		r.bad("TABLES_URL", "and TABLES_CONNECTION_STRING are both set", "Keep one of them")
	}
	if u, err := url.Parse(c.Store.TablesURL); c.Store.TablesURL != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.User != nil) {
		r.bad("TABLES_URL", fmt.Sprintf("is %q", c.Store.TablesURL), "Write https://ACCOUNT.table.core.windows.net")
	}
	if !c.Store.ConnectionString.IsZero() {
		if _, err := azuretable.New(azuretable.Options{ConnectionString: azuretable.ConnectionString{Value: c.Store.ConnectionString.Value}}); err != nil {
			r.bad("TABLES_CONNECTION_STRING", "cannot be used: "+err.Error(), "Copy it from Access keys of the storage account")
		}
	}
	if c.InAzure && c.Store.Embedded() {
		r.bad("TABLES_URL", "is not set; a file would be lost with this instance and is not shared with others",
			"Write https://ACCOUNT.table.core.windows.net")
	}
}

func (r *reader) keys(c *Config) {
	c.Keys = Keys{
		VaultKeyURL: r.text("KEY_VAULT_KEY_URL"),
		MasterKey:   r.secret("MASTER_KEY"),
		Previous:    r.secret("MASTER_KEY_PREVIOUS"),
	}
	const random = "Write the output of `openssl rand -base64 32`"
	for name, value := range map[string]Secret{"MASTER_KEY": c.Keys.MasterKey, "MASTER_KEY_PREVIOUS": c.Keys.Previous} {
		if value.IsZero() {
			continue
		}
		if _, err := keyring.NewMasterKey(keyring.MasterKey{Value: value.Value}); err != nil {
			r.bad(name, reason(err, "MASTER_KEY"), random)
		}
	}
	switch {
	case c.Keys.VaultKeyURL != "" && !c.Keys.MasterKey.IsZero():
		r.bad("MASTER_KEY", "and KEY_VAULT_KEY_URL are both set",
			"Keep one of them; to move to Key Vault, name the old key in MASTER_KEY_PREVIOUS")
	case c.Keys.VaultKeyURL != "":
		if err := keyvault.Check(c.Keys.VaultKeyURL); err != nil {
			r.bad("KEY_VAULT_KEY_URL", fmt.Sprintf("is %q", c.Keys.VaultKeyURL), "Write https://VAULT.vault.azure.net/keys/NAME")
		}
	case c.Keys.MasterKey.IsZero() && (c.InAzure || !c.Store.Embedded()):
		r.bad("KEY_VAULT_KEY_URL", "is not set, and neither is MASTER_KEY; all instances need the same key",
			"Write https://VAULT.vault.azure.net/keys/NAME, or put the output of `openssl rand -base64 32` into MASTER_KEY")
	}
}

// reason is the text of err without the name of the setting, which a Problem
// has, and with errors that were joined on one line.
func reason(err error, name string) string {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), name), ":")
	return strings.ReplaceAll(strings.TrimSpace(text), "\n", "; ")
}
