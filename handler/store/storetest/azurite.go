package storetest

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// The account of every Azurite, as its documentation publishes it.
const (
	azuriteAccount = "devstoreaccount1"
	azuriteKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	azuriteStart   = 60 * time.Second
)

// preload runs inside Azurite's process. It reports the port, which Azurite
// does not when it is told to take a free one, and ends the process when this
// end of its standard input closes: by whatever way a test binary ends, on any
// system, no Azurite stays behind.
//
//go:embed preload.mjs
var preload []byte

var sharedAzurite = sync.OnceValues(startAzurite)

// Azurite returns the connection string of an Azurite with an empty table
// service in memory, started on first use and shared by the whole test binary.
// It never skips: if Azurite is missing or does not start, the test fails.
func Azurite(tb testing.TB) (connectionString string) {
	tb.Helper()
	port, err := sharedAzurite()
	if err != nil {
		tb.Fatalf("Azurite is needed and did not start: %v\nInstall it with: npm ci --prefix e2e", err)
	}
	return fmt.Sprintf("DefaultEndpointsProtocol=http;AccountName=%s;AccountKey=%s;TableEndpoint=http://127.0.0.1:%d/%s",
		azuriteAccount, azuriteKey, port, azuriteAccount)
}

func startAzurite() (port int, err error) {
	modules, err := nodeModules()
	if err != nil {
		return 0, err
	}
	main := filepath.Join(modules, "azurite", "dist", "src", "table", "main.js")
	if _, err := os.Stat(main); err != nil {
		return 0, err
	}
	azurite := exec.Command(filepath.Join(modules, ".bin", "node"),
		"--import", "data:text/javascript;base64,"+base64.StdEncoding.EncodeToString(preload), main,
		"--tableHost", "127.0.0.1", "--tablePort", "0",
		"--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck")
	azurite.Dir = os.TempDir()
	if _, err := azurite.StdinPipe(); err != nil {
		return 0, err
	}
	out, err := azurite.StdoutPipe()
	if err != nil {
		return 0, err
	}
	azurite.Stderr = azurite.Stdout
	if err := azurite.Start(); err != nil {
		return 0, err
	}
	return awaitPort(azurite, out)
}

func awaitPort(azurite *exec.Cmd, out io.Reader) (int, error) {
	type result struct {
		port int
		err  error
	}
	started := make(chan result, 1)
	go func() {
		port, err := readPort(out)
		started <- result{port, err}
		_, _ = io.Copy(io.Discard, out)
		_ = azurite.Wait()
	}()
	select {
	case r := <-started:
		return r.port, r.err
	case <-time.After(azuriteStart):
		return 0, errors.Join(fmt.Errorf("not listening after %v", azuriteStart), azurite.Process.Kill())
	}
}

func readPort(out io.Reader) (int, error) {
	var said bytes.Buffer
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if port, found := bytes.CutPrefix(lines.Bytes(), []byte("preload: port ")); found {
			return strconv.Atoi(string(port))
		}
		said.Write(lines.Bytes())
		said.WriteByte('\n')
	}
	return 0, fmt.Errorf("it ended, saying:\n%s", &said)
}

// nodeModules is e2e/node_modules of the module that the test belongs to.
func nodeModules() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "e2e", "node_modules"), nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = parent
	}
}
