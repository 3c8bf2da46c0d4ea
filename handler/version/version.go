// Package version says which version of the server this is.
package version

import (
	"runtime/debug"
)

// String is the module version or, for a build from a checkout, the revision
// it was built from, as the Go toolchain recorded it.
func String() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return versionOf(info)
}

// Commit is the revision that the server was built from and when that was made, both
// empty where the build does not know. A revision with changes ends in "+modified".
func Commit() (revision, time string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "", ""
	}
	return commitOf(info)
}

func commitOf(info *debug.BuildInfo) (revision, time string) {
	modified := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.time":
			time = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+modified"
		}
	}
	if revision == "" {
		return "", time
	}
	return revision + modified, time
}

func versionOf(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, modified := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = "-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "+dirty"
		}
	}
	return "devel" + revision + modified
}
