package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// WithLocalSettings adds the Values of a local.settings.json, as the Functions
// host does for a local run: the environment comes first. No such file is no
// error.
func WithLocalSettings(getenv func(string) string, path string) (func(string) string, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return getenv, nil
	}
	if err != nil {
		return nil, err
	}
	var settings struct{ Values map[string]string }
	if err := json.Unmarshal(text, &settings); err != nil {
		return nil, fmt.Errorf("%s is no JSON with an object Values of texts: %w", path, err)
	}
	return func(name string) string {
		if v := getenv(name); v != "" {
			return v
		}
		return settings.Values[name]
	}, nil
}
