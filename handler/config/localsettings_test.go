package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLocalSettingsStandInForTheEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "local.settings.json")
	environment := func(name string) string { return map[string]string{"PORT": "8080"}[name] }
	if getenv, err := WithLocalSettings(environment, path); err != nil || getenv("PORT") != "8080" {
		t.Errorf("without a file: %v", err)
	}
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"IsEncrypted": false, "Values": {"PORT": "9090", "ENTRA_TENANT_ID": "contoso.example"}}`)
	getenv, err := WithLocalSettings(environment, path)
	if err != nil || getenv("PORT") != "8080" || getenv("ENTRA_TENANT_ID") != "contoso.example" {
		t.Errorf("the environment comes first, then the file: %v", err)
	}
	write(`{"Values": [`)
	if _, err := WithLocalSettings(environment, path); err == nil {
		t.Error("a broken file is taken for an empty one")
	}
}
