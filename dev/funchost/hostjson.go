package funchost

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// worker is how the handler is started and what is sent to it.
type worker struct {
	executable string
	arguments  []string
	directory  string
	routes     []route
	// limit is for the first answer after the start.
	limit time.Duration
}

type route struct{ template, level string }

// layers are settings as .NET configuration sees them: the path in lower case,
// its parts joined by colons, the indexes of arrays among them.
type layers map[string]string

// profiles are what a configurationProfile stands for. It is the lowest layer:
// host.json and app settings win over it (HostConfigurationProfile).
var profiles = func() map[string]layers {
	customHandler := layers{
		"customhandler:enableproxyinghttprequest": "true",
		"customhandler:http:routes:0:route":       "{*route}",
		"extensions:http:routeprefix":             "",
	}
	return map[string]layers{"": {}, "default": {}, "mcp-custom-handler": customHandler, "web-app-custom-handler": customHandler}
}

// readHostJSON is what the host does with host.json and the app settings of the
// app in root.
func readHostJSON(root string, settings map[string]string) (worker, error) {
	text, err := os.ReadFile(filepath.Join(root, "host.json"))
	if err != nil {
		return worker{}, err
	}
	var document map[string]any
	if err := json.Unmarshal(text, &document); err != nil {
		return worker{}, fmt.Errorf("host.json: %w", err)
	}
	file := layers{}
	file.flatten("", document)
	if file["version"] != "2.0" {
		// HostJsonFileConfigurationSource
		return worker{}, errors.New(`host.json: "version" must be "2.0"`)
	}
	known, ok := profiles()[strings.ToLower(file["configurationprofile"])]
	if !ok {
		// HostConfigurationProfile.Get
		return worker{}, fmt.Errorf("host.json: configuration profile %q is not supported", file["configurationprofile"])
	}
	all := layers{}
	for _, layer := range []layers{known, file, fromSettings(settings)} {
		maps.Copy(all, layer)
	}
	return all.worker(root, settings)
}

func (l layers) flatten(path string, v any) {
	join := func(name string) string { return strings.TrimPrefix(path+":"+strings.ToLower(name), ":") }
	switch v := v.(type) {
	case map[string]any:
		for name, child := range v {
			l.flatten(join(name), child)
		}
	case []any:
		for i, child := range v {
			l.flatten(join(strconv.Itoa(i)), child)
		}
	case nil:
		l[path] = ""
	default:
		l[path] = fmt.Sprint(v)
	}
}

// fromSettings are the app settings that stand for values of host.json
// (functions-host-json.md, "Override host.json values").
func fromSettings(settings map[string]string) layers {
	l := layers{}
	for name, v := range settings {
		if path, ok := strings.CutPrefix(name, "AzureFunctionsJobHost__"); ok {
			l[strings.ToLower(strings.ReplaceAll(path, "__", ":"))] = v
		}
	}
	return l
}

// keys that the host reads under customHandler (HttpWorkerOptions,
// CustomHandlerHttpOptions). It ignores others; people have shipped
// enableHttpProxyingRequest and http.enableProxying.
var keys = regexp.MustCompile(`^(type|port|initializationtimeout|enableforwardinghttprequest|enableproxyinghttprequest` +
	`|description:(defaultexecutablepath|defaultworkerpath|workingdirectory|language|(arguments|workerarguments):\d+)` +
	`|http:(defaultauthorizationlevel|routes:\d+:(route|authorizationlevel)))$`)

func (l layers) worker(root string, settings map[string]string) (worker, error) {
	for path := range l {
		if key, ok := strings.CutPrefix(path, "customhandler:"); ok && !keys.MatchString(key) {
			return worker{}, fmt.Errorf("host.json: the host knows no customHandler:%s and would ignore it", key)
		}
	}
	w := worker{directory: root, limit: 30 * time.Second}
	if l["customhandler:enableproxyinghttprequest"] != "true" {
		return w, errors.New("host.json: customHandler.enableProxyingHttpRequest is not true, so answers would not stream")
	}
	if l["extensions:http:routeprefix"] != "" {
		return w, fmt.Errorf("host.json: the route prefix is %q, so nothing would be served at the root", l["extensions:http:routeprefix"])
	}
	if l["customhandler:port"] != "" {
		// HttpWorkerOptionsSetup.GetPort: restarts become sequential, and
		// the start fails where the port is taken.
		return w, errors.New("host.json: customHandler.port is fixed")
	}
	if v := l["customhandler:initializationtimeout"]; v != "" {
		t, err := time.Parse("15:04:05", v)
		if err != nil {
			return w, fmt.Errorf("host.json: initializationTimeout: %w", err)
		}
		w.limit = t.Sub(t.Truncate(24 * time.Hour))
	}
	if err := l.command(&w, root, settings); err != nil {
		return w, err
	}
	return w, l.declareRoutes(&w)
}

// command: HttpWorkerDescription.ApplyDefaultsAndValidate.
func (l layers) command(w *worker, root string, settings map[string]string) error {
	name := expand(l["customhandler:description:defaultexecutablepath"], settings)
	if name == "" {
		return errors.New("host.json: defaultExecutablePath cannot be empty")
	}
	w.executable = name
	if !filepath.IsAbs(name) {
		w.executable = filepath.Join(root, name)
	}
	if _, err := os.Stat(w.executable); err != nil {
		return fmt.Errorf("host.json: defaultExecutablePath: %w", err)
	}
	for i := 0; ; i++ {
		argument, ok := l["customhandler:description:arguments:"+strconv.Itoa(i)]
		if !ok {
			break
		}
		w.arguments = append(w.arguments, expand(argument, settings))
	}
	if dir := l["customhandler:description:workingdirectory"]; dir != "" {
		w.directory = filepath.Join(root, dir)
	}
	return nil
}

func (l layers) declareRoutes(w *worker) error {
	const path = "customhandler:http:"
	for i := 0; ; i++ {
		template, ok := l[path+"routes:"+strconv.Itoa(i)+":route"]
		if !ok {
			break
		}
		first, _, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(template, "/")), "/")
		if first == "admin" || first == "runtime" {
			return fmt.Errorf("route %q: the specified route conflicts with one or more built in routes", template)
		}
		if template != "{*route}" {
			return fmt.Errorf("route %q: only the catch-all route is emulated", template)
		}
		level := l[path+"routes:"+strconv.Itoa(i)+":authorizationlevel"]
		if level == "" {
			level = l[path+"defaultauthorizationlevel"]
		}
		if level == "" {
			level = "function" // HttpWorkerOptions: the default
		}
		if !slices.Contains([]string{"anonymous", "function", "admin"}, strings.ToLower(level)) {
			return fmt.Errorf("route %q: authorization level %q", template, level)
		}
		w.routes = append(w.routes, route{template, strings.ToLower(level)})
	}
	if len(w.routes) == 0 {
		return errors.New("host.json: no route, so no function, so the handler is never started")
	}
	return nil
}

var variable = regexp.MustCompile(`%[^%]+%`)

// expand replaces %NAME%.
func expand(s string, settings map[string]string) string {
	return variable.ReplaceAllStringFunc(s, func(name string) string { return settings[strings.Trim(name, "%")] })
}
