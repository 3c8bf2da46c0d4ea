package funchost

import (
	"bufio"
	"io"
	"strings"
	"sync"
)

// Severity is the level under which a line reaches Application Insights.
type Severity string

// The severities of console lines.
const (
	Information Severity = "Information"
	Warning     Severity = "Warning"
	Error       Severity = "Error"
)

// Line is one line of the log. Host says that the host wrote it, not the
// handler.
type Line struct {
	Severity Severity
	Text     string
	Host     bool
}

type console struct {
	mu    sync.Mutex
	lines []Line
}

func (c *console) add(l Line) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines = append(c.lines, l)
}

func (c *console) all() []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Line(nil), c.lines...)
}

// pump reads one stream of the handler to its end. The level inside a line
// plays no part (WorkerProcess.OnOutputDataReceived, ParseErrorMessageAndLog
// with UseStdErrorStreamForErrorsOnly, which is HttpWorkerDescription's
// default).
func (c *console) pump(stream io.Reader, isError bool) {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		severity := Information
		if isError {
			severity = Error
			if strings.Contains(strings.ToLower(lines.Text()), "warn") {
				severity = Warning
			}
		}
		c.add(Line{Severity: severity, Text: lines.Text()})
	}
	_, _ = io.Copy(io.Discard, stream)
}
