package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// LocalSettings is the file whose Values the Functions host takes into the
// environment of a local run. LOCAL_SETTINGS names another one.
const LocalSettings = "local.settings.json"

// WithLocalSettings adds the Values of the local settings file: the environment
// comes first. Without the default file nothing is added. The error is Problems.
func WithLocalSettings(getenv func(string) string) (func(string) string, error) {
	const name = "LOCAL_SETTINGS"
	path := getenv(name)
	if path == "none" {
		return getenv, nil
	}
	named := path != ""
	if !named {
		path = LocalSettings
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return getenv, nil
	}
	var settings struct{ Values map[string]string }
	if err == nil {
		err = json.Unmarshal(text, &settings)
	}
	if err != nil {
		return nil, Problems{{path, fmt.Sprintf("cannot be used: %v", err),
			"Write a JSON object whose Values are strings, as in " + LocalSettings + ".example, or set LOCAL_SETTINGS to none"}}
	}
	return func(name string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return settings.Values[name]
	}, nil
}
