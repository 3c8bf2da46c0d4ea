package tenant

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// saved is what survives a restart. Codes and browser sessions do not: they
// are minutes old at most, and losing them is what a user expects.
type saved struct {
	Seal     []byte              `json:"seal"`
	Keys     [][]byte            `json:"keys"` // PKCS #8, newest first
	Consents map[string][]string `json:"consents"`
}

// load reads the state file, or starts a new one.
func (t *Tenant) load(first *rsa.PrivateKey) error {
	if t.path == "" {
		return t.fresh(first)
	}
	text, err := os.ReadFile(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return t.fresh(first)
	}
	if err != nil {
		return err
	}
	var s saved
	if err := json.Unmarshal(text, &s); err != nil || len(s.Seal) != 32 || len(s.Keys) == 0 {
		return fmt.Errorf("the state file %s is damaged; delete it to start anew", t.path)
	}
	for _, der := range s.Keys {
		parsed, err := x509.ParsePKCS8PrivateKey(der)
		private, ok := parsed.(*rsa.PrivateKey)
		if err != nil || !ok {
			return fmt.Errorf("the state file %s is damaged; delete it to start anew", t.path)
		}
		key, err := certify(private)
		if err != nil {
			return err
		}
		t.keys = append(t.keys, key)
	}
	t.seal = s.Seal
	if s.Consents != nil {
		t.consents = s.Consents
	}
	return nil
}

func (t *Tenant) fresh(first *rsa.PrivateKey) error {
	make := newSigningKey
	if first != nil {
		make = func() (*signingKey, error) { return certify(first) }
	}
	key, err := make()
	if err != nil {
		return err
	}
	t.keys, t.seal = []*signingKey{key}, t.bytes(32)
	return t.save()
}

// save writes the state file, if there is one; the caller holds mu.
func (t *Tenant) save() error {
	if t.path == "" {
		return nil
	}
	s := saved{Seal: t.seal, Consents: t.consents}
	for _, key := range t.keys {
		der, err := x509.MarshalPKCS8PrivateKey(key.private)
		if err != nil {
			return err
		}
		s.Keys = append(s.Keys, der)
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(t.path), 0o700); err != nil {
		return err
	}
	next := t.path + ".next"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, t.path)
}
