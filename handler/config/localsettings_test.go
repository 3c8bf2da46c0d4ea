package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLocalSettingsCountWhereTheEnvironmentIsSilent(t *testing.T) {
	t.Chdir(t.TempDir())
	env := map[string]string{"PORT": "8080"}
	environment := func(name string) string { return env[name] }
	if getenv, err := WithLocalSettings(environment); err != nil || getenv("PORT") != "8080" {
		t.Errorf("without a file: %v", err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(LocalSettings, `{"IsEncrypted": false, "Values": {"PORT": "9090", "ENTRA_TENANT_ID": "contoso.example"}}`)
	getenv, err := WithLocalSettings(environment)
	if err != nil || getenv("PORT") != "8080" || getenv("ENTRA_TENANT_ID") != "contoso.example" {
		t.Errorf("the environment comes first, then the file: %v", err)
	}
	env["LOCAL_SETTINGS"] = "none"
	if getenv, err := WithLocalSettings(environment); err != nil || getenv("ENTRA_TENANT_ID") != "" {
		t.Errorf("none reads a file: %v", err)
	}
	other := filepath.Join(t.TempDir(), "other.json")
	env["LOCAL_SETTINGS"] = other
	if _, err := WithLocalSettings(environment); err == nil || !strings.Contains(err.Error(), other) {
		t.Errorf("a file that is named and missing: %v", err)
	}
	write(other, `{"Values": [`)
	if _, err := WithLocalSettings(environment); err == nil {
		t.Error("a broken file is taken for an empty one")
	}
}
