package stack

import (
	"encoding/json"
	"os"
	"path/filepath"
	"sync"

	"github.com/chromedp/chromedp"
)

// axeSource is axe-core, as npm installed it.
var axeSource = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(filepath.Join(root, "e2e", "node_modules", "axe-core", "axe.min.js"))
	return string(source), err
})

// Axe is what axe-core finds wrong with the current page as it is shown now, and
// where. It runs every rule, those of best practice too, but those named. The
// devtools protocol evaluates it, which no content security policy forbids.
func (c *Chromium) Axe(except ...string) []string {
	c.tb.Helper()
	source, err := axeSource()
	if err != nil {
		c.tb.Fatalf("axe-core is needed: %v\nInstall it with: npm ci --prefix e2e", err)
	}
	rules, err := json.Marshal(append([]string{}, except...))
	if err != nil {
		c.tb.Fatal(err)
	}
	found, err := chromedp.Run(c.ctx, chromedp.Evaluate[[]string](source+";"+axeRun+"("+string(rules)+")", chromedp.EvalAwaitPromise))
	if err != nil {
		c.tb.Fatalf("axe-core: %v", err)
	}
	return found
}

const axeRun = `(except => axe.run(document, {rules: Object.fromEntries(except.map(id => [id, {enabled: false}]))}).then(r => r.violations.flatMap(
  v => v.nodes.map(n => v.id + ': ' + v.help + ': ' + n.target.join(' ') + ': ' + n.any.concat(n.all, n.none).map(c => c.message).join('; ')))))`
